//! Writes neighbours as NDJSON and as NumPy arrays.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::mpsc::sync_channel;

use kindred_similarity::Neighbours;
use rayon::ThreadPool;
use rayon::prelude::*;

/// Most rows formatted as one piece.
const PIECE_ROWS: usize = 256;
/// Neighbours formatted as one piece, about: this bounds the bytes that wait to be written, however
/// long the lists and however slow the disk.
const PIECE_NEIGHBOURS: usize = 5_000;
/// Pieces per thread between two writes.
const PIECES: usize = 4;
/// Writes that may be queued while more is formatted.
const WAITING: usize = 2;
/// The id where there is no neighbour.
const NONE: u32 = u32::MAX;
/// A `.npy` header is padded to a multiple of this, so that the data is aligned.
const HEADER_UNIT: usize = 64;

/// One line per row: `{"id":0,"neighbours":[{"id":17,"score":0.83},…]}`. Scores have the fewest
/// digits that parse to the same `f32`; an infinite score, possible for rows of huge values, is
/// `null`.
pub(super) fn write_ndjson(
    found: &Neighbours,
    keep: usize,
    pool: &ThreadPool,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_rows(found.rows(), keep, pool, out, |rows, text| {
        for row in rows {
            write_line(row, found.of(row), text);
        }
    })
}

fn write_line(row: usize, (ids, scores): (&[u32], &[f32]), text: &mut Vec<u8>) {
    text.extend(b"{\"id\":");
    number(&row, text);
    text.extend(b",\"neighbours\":[");
    for (at, (id, score)) in ids.iter().zip(scores).enumerate() {
        text.extend(if at == 0 {
            &b"{\"id\":"[..]
        } else {
            b",{\"id\":"
        });
        number(id, text);
        text.extend(b",\"score\":");
        number(score, text);
        text.push(b'}');
    }
    text.extend(b"]}\n");
}

fn number(number: &impl serde::Serialize, text: &mut Vec<u8>) {
    serde_json::to_writer(text, number).expect("numbers are JSON, and a Vec takes all");
}

/// A `u32` matrix with `keep` ids per row; 2^32 − 1 where there are fewer neighbours.
pub(super) fn write_ids(
    found: &Neighbours,
    keep: usize,
    pool: &ThreadPool,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_header("<u4", found.rows(), keep, out)?;
    write_rows(found.rows(), keep, pool, out, |rows, bytes| {
        for row in rows {
            let ids = found.of(row).0;
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
            bytes.extend((ids.len()..keep).flat_map(|_| NONE.to_le_bytes()));
        }
    })
}

/// An `f32` matrix with `keep` scores per row; NaN where there are fewer neighbours.
pub(super) fn write_scores(
    found: &Neighbours,
    keep: usize,
    pool: &ThreadPool,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_header("<f4", found.rows(), keep, out)?;
    write_rows(found.rows(), keep, pool, out, |rows, bytes| {
        for row in rows {
            let scores = found.of(row).1;
            bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
            bytes.extend((scores.len()..keep).flat_map(|_| f32::NAN.to_le_bytes()));
        }
    })
}

/// The header of a `.npy` file of version 1.0.
fn write_header(descr: &str, rows: usize, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Before it: magic word, version, its length. After it: a line feed.
    const BEFORE: usize = 10;
    let length = (BEFORE + header.len() + 1).next_multiple_of(HEADER_UNIT) - BEFORE;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\0")?;
    let length = u16::try_from(length).expect("two numbers and some words");
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// Writes `format`'s output for all rows, in order: all threads of the pool format while this
/// thread writes what is ready. A row has up to `keep` neighbours.
fn write_rows(
    rows: usize,
    keep: usize,
    pool: &ThreadPool,
    out: &mut dyn Write,
    format: impl Fn(Range<usize>, &mut Vec<u8>) + Sync,
) -> io::Result<()> {
    let piece_rows = (PIECE_NEIGHBOURS / keep.max(1)).clamp(1, PIECE_ROWS);
    let wave_rows = piece_rows * PIECES * pool.current_num_threads();
    let wave = |first: usize| -> Vec<Vec<u8>> {
        let end = rows.min(first + wave_rows);
        let starts = (first..end).into_par_iter().step_by(piece_rows);
        let piece = |start: usize| {
            let mut bytes = Vec::new();
            format(start..end.min(start + piece_rows), &mut bytes);
            bytes
        };
        starts.map(piece).collect()
    };
    let (ready, waiting) = sync_channel::<Vec<Vec<u8>>>(WAITING);
    pool.in_place_scope(|scope| {
        scope.spawn(|_| {
            // The receiver is gone: writing failed.
            let ready = ready;
            (0..rows)
                .step_by(wave_rows)
                .all(|first| ready.send(wave(first)).is_ok());
        });
        for pieces in waiting {
            for bytes in pieces {
                out.write_all(&bytes)?;
            }
        }
        out.flush()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use compute_worker::pool;
    use kindred_similarity::{Options, Rows, neighbours};

    use super::*;

    const VALUES: [f32; 8] = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0];

    fn found(keep: usize, min_score: Option<f32>) -> Neighbours {
        let rows = Rows::new(&VALUES, 4, 2).unwrap();
        let options = Options {
            keep,
            min_score,
            ..Options::default()
        };
        neighbours(&rows, &options).unwrap()
    }

    fn written(write: impl Fn(&ThreadPool, &mut dyn Write) -> io::Result<()>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&pool(2).unwrap(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn lines_are_to_the_letter() {
        let found = found(2, Some(-0.5));
        let text = written(|pool, out| write_ndjson(&found, 2, pool, out));
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"id\":0,\"neighbours\":[{\"id\":1,\"score\":0.8},{\"id\":2,\"score\":0.0}]}\n\
             {\"id\":1,\"neighbours\":[{\"id\":0,\"score\":0.8},{\"id\":2,\"score\":0.6}]}\n\
             {\"id\":2,\"neighbours\":[{\"id\":1,\"score\":0.6},{\"id\":0,\"score\":0.0}]}\n\
             {\"id\":3,\"neighbours\":[{\"id\":2,\"score\":0.0}]}\n"
        );
    }

    #[test]
    fn arrays_are_filled_up() {
        let found = found(5, None);
        let ids = written(|pool, out| write_ids(&found, 5, pool, out));
        let scores = written(|pool, out| write_scores(&found, 5, pool, out));
        let (head, data) = ids.split_at(128);
        assert_eq!(head[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        let words = "{'descr': '<u4', 'fortran_order': False, 'shape': (4, 5), }";
        assert!(head[10..].starts_with(words.as_bytes()) && head.ends_with(b" \n"));
        let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let ids: Vec<u32> = data.as_chunks().0.iter().map(number).collect();
        assert_eq!(ids[..5], [1, 2, 3, NONE, NONE]);
        assert_eq!(ids.len(), 20);
        let score = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        let scores: Vec<f32> = scores[128..].as_chunks().0.iter().map(score).collect();
        assert_eq!(scores[..3], [0.8, 0.0, -1.0]);
        assert!(scores[3].is_nan() && scores[4].is_nan());
    }

    #[test]
    fn many_rows_keep_their_order_and_a_failed_write_ends_it() {
        let rows = 10_000;
        let pool = pool(3).unwrap();
        let format = |rows: Range<usize>, bytes: &mut Vec<u8>| {
            bytes.extend(rows.flat_map(|row| (row as u32).to_le_bytes()));
        };
        let mut bytes = Vec::new();
        write_rows(rows, 20, &pool, &mut bytes, format).unwrap();
        let expected: Vec<u8> = (0..rows as u32).flat_map(u32::to_le_bytes).collect();
        assert!(bytes == expected);
        let mut full = [0_u8; 1000];
        let failed = write_rows(rows, 20, &pool, &mut &mut full[..], format);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    /// A disk that is never faster than it must be: it waits until the most allowed is formatted.
    struct Slow<'a> {
        formatted: &'a AtomicUsize,
        written: &'a AtomicUsize,
        rows: usize,
        ahead: usize,
    }

    impl Write for Slow<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.written.load(Ordering::SeqCst);
            let expected = self.rows.min(written + self.ahead);
            let deadline = Instant::now() + Duration::from_secs(60);
            while self.formatted.load(Ordering::SeqCst) < expected {
                assert!(
                    Instant::now() < deadline,
                    "formatting goes on during a write"
                );
                std::thread::yield_now();
            }
            self.written.fetch_add(bytes.len(), Ordering::SeqCst);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_for_a_slow_disk_has_a_bound() {
        const THREADS: usize = 2;
        const WAVE: usize = PIECE_NEIGHBOURS * PIECES * THREADS;
        // Besides the queued ones, one is being formatted and one written.
        const MOST: usize = WAVE * (WAITING + 2);
        let pool = pool(THREADS).unwrap();
        for keep in [20, 100, 1000] {
            let rows = 2 * MOST / keep;
            let [formatted, written] = [const { AtomicUsize::new(0) }; 2];
            let most = AtomicUsize::new(0);
            let format = |range: Range<usize>, bytes: &mut Vec<u8>| {
                let now = formatted.fetch_add(range.len(), Ordering::SeqCst) + range.len();
                most.fetch_max(now - written.load(Ordering::SeqCst), Ordering::SeqCst);
                bytes.extend(range.map(|_| 0));
            };
            let mut slow = Slow {
                formatted: &formatted,
                written: &written,
                rows,
                ahead: WAITING * WAVE / keep,
            };
            write_rows(rows, keep, &pool, &mut slow, format).unwrap();
            assert_eq!(written.into_inner(), rows);
            let most = most.into_inner() * keep;
            assert!(most <= MOST, "{most} neighbours of lists of {keep} waited");
        }
    }
}
