//! Estimates how long a job takes. Work is cut into pieces by these estimates, and domains share machines by them.
//!
//! Times are for one core of a slow machine. A worker runs two jobs at once on all its threads, so with two cores that
//! is the wall-clock time of a job. Only the AVX2 and AVX-512 kernels are this fast; on a machine with neither, a piece
//! takes longer.

use std::time::Duration;

use crate::block::Block;
use crate::job::{CompareTask, ExtractTask, Floor, Side, Task, TermCounts};

/// Longest piece of work: 40 ms, so that including the round trip it is done within 50 ms.
pub const PIECE: Duration = Duration::from_millis(40);
/// Pairs that a core compares in a millisecond. The example `pieces` measured 46,000 with AVX2 and full lists of the
/// right rows (docs/BENCHMARKS.md).
pub const PAIRS_PER_MS: usize = 40_000;
/// How many pairs one pair counts as if its right row has no list yet: with AVX2, such pairs took 2.6 times as long.
pub const FRESH: usize = 2;
/// Pairs of a piece.
pub const PIECE_PAIRS: usize = PIECE.as_millis() as usize * PAIRS_PER_MS;
/// Bytes of terms that a core parses and turns into features in a millisecond. In the same example, making features
/// alone is several times as fast.
pub const TERM_BYTES_PER_MS: usize = 25_000;
/// Bytes of a text that a core encodes in a millisecond: about a token of a small sentence encoder. An estimate on the
/// safe side, not a measurement.
pub const ENCODED_BYTES_PER_MS: usize = 4;
/// Most bytes of a text that count. Encoders only read the first 512 tokens or fewer.
const MOST_ENCODED_BYTES: usize = 2 << 10;
/// Bytes of terms of a piece.
pub const PIECE_TERM_BYTES: usize = PIECE.as_millis() as usize * TERM_BYTES_PER_MS;

/// Longest job that a worker accepts: 60 s. A single row is never split, and comparing one with all of a large domain
/// takes a few pieces; no model service sends longer jobs than this.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Shortest time a job takes, however small: 2 ms for the messages, their encoding and decoding.
const LEAST: Duration = Duration::from_millis(2);
/// Longest row, in bytes, whose pairs count as one. The measured rows have 650 bytes, with 100 values and 25 terms.
/// Longer rows count in proportion to their length, as rows of 768 values did.
const ROW_BYTES: usize = 1 << 10;
/// Bytes that a term counts for in addition to its letters.
const TERM_BYTES: usize = 8;

/// How long a job takes.
pub fn of(task: &Task) -> Duration {
    let (amount, per_ms) = match task {
        Task::Extract(task) if task.space.model().encoder().is_some() => {
            (encoded_of(task), ENCODED_BYTES_PER_MS)
        }
        Task::Extract(task) => (terms_of(task), TERM_BYTES_PER_MS),
        Task::Compare(task) => (pairs_of(task), PAIRS_PER_MS),
    };
    let micros = amount.saturating_mul(1_000) / per_ms;
    LEAST.max(Duration::from_micros(micros as u64))
}

/// How many pairs of short rows one pair of these blocks' rows counts as; at least 1.
pub fn of_pair(left: &Block, right: &Block) -> usize {
    let row = |block: &Block| block.bytes() / block.rows().max(1);
    ((row(left) + row(right)) / (2 * ROW_BYTES)).max(1)
}

/// Bytes of an item's terms.
pub fn of_terms(item: &TermCounts) -> usize {
    let terms = item.terms.iter();
    terms.map(|(term, _)| term.len() + TERM_BYTES).sum()
}

/// Bytes of texts that an encoder reads.
fn encoded_of(task: &ExtractTask) -> usize {
    let rows = task.rows.iter();
    rows.map(|row| of_terms(row).min(MOST_ENCODED_BYTES)).sum()
}

fn terms_of(task: &ExtractTask) -> usize {
    task.rows.iter().map(of_terms).sum()
}

/// The equivalent number of pairs of short rows. Dead rows of the right side count, because they lie among the live
/// ones.
fn pairs_of(task: &CompareTask) -> usize {
    let (left, rows) = (&task.left.block, task.left.live.count());
    let rights = task.rights.iter().map(|right| {
        let block = &right.block;
        rows.saturating_mul(block.rows())
            .saturating_mul(of_pair(left, block))
            .saturating_mul(if is_fresh(right) { FRESH } else { 1 })
    });
    let within = if task.within_left {
        rows.saturating_mul(rows) / 2 * of_pair(left, left) * FRESH
    } else {
        0
    };
    rights.fold(within, usize::saturating_add)
}

/// Whether most rows of a side take any candidate.
fn is_fresh(side: &Side) -> bool {
    let open = side.floors.iter().filter(|floor| **floor == Floor::Open);
    2 * open.count() > side.block.rows()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::sync::Arc;

    use kindred_similarity::RowMask;

    use super::*;
    use crate::job::Side;
    use crate::{BlockBuilder, Feature, ItemId, Space};

    fn side(rows: usize, dimension: usize) -> Side {
        let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
        let feature = Feature::new(vec![1.0; dimension], vec![], vec![]).unwrap();
        for row in 0..rows {
            builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows),
            floors: vec![],
        }
    }

    #[test]
    fn a_comparison_takes_as_long_as_its_pairs_and_their_length() {
        let compare = |left: Side, rights: Vec<Side>, within_left| {
            of(&Task::Compare(Arc::new(CompareTask {
                left,
                within_left,
                rights,
                keep: 1,
            })))
        };
        assert_eq!(compare(side(3, 4), vec![side(5, 4)], true), LEAST);
        let rights = || vec![side(1_000, 4), side(500, 4)];
        let time = |pairs: u64| Duration::from_micros(pairs * 1_000 / PAIRS_PER_MS as u64);
        let whole = compare(side(1_000, 4), rights(), false);
        assert_eq!(whole, time(1_500_000));
        let with_own = compare(side(1_000, 4), rights(), true);
        assert_eq!(with_own, time(2_500_000));
        let mut fresh = rights();
        fresh[0].floors = vec![Floor::Open; 1_000];
        fresh[1].floors = vec![Floor::Closed; 500];
        assert_eq!(compare(side(1_000, 4), fresh, false), time(2_500_000));
        let mut few = side(1_000, 4);
        (500..1_000).for_each(|row| few.live.remove(row));
        assert_eq!(compare(few, rights(), false), whole / 2);
        let long = compare(side(1_000, 768), vec![side(1_000, 768)], false);
        assert_eq!(long, time(3_000_000));
    }

    #[test]
    fn an_extraction_takes_as_long_as_its_terms() {
        let extract = |terms: usize| {
            let item = TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: (0..terms).map(|n| (format!("{n:08}").into(), 1)).collect(),
            };
            of(&Task::Extract(Arc::new(ExtractTask {
                space: Space::stored("words-1/en"),
                rows: vec![item],
            })))
        };
        assert_eq!(extract(10), LEAST);
        assert_eq!(extract(PIECE_TERM_BYTES / 16), PIECE);
    }

    #[test]
    fn encoding_takes_as_long_as_the_part_of_a_text_that_is_read() {
        let encode = |bytes: usize| {
            let item = TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: vec![("x".repeat(bytes).into(), 1)],
            };
            let kind = crate::ModelName::of_encoder("minilm", 7).unwrap();
            of(&Task::Extract(Arc::new(ExtractTask {
                space: Space::of_texts(&kind, "en"),
                rows: vec![item.clone(), item],
            })))
        };
        assert_eq!(
            encode(392),
            Duration::from_millis(2 * 400 / ENCODED_BYTES_PER_MS as u64)
        );
        assert_eq!(encode(1 << 20), encode(MOST_ENCODED_BYTES));
    }
}
