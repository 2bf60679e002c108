//! Unpacks gzip files: several members one after the other (`cat a.gz b.gz`), zeros after the last
//! one (padding by tapes and some disks), and, in damaged files, other data.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

/// The first bytes of a member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A reader with lookahead.
pub(super) struct Ahead<R> {
    looked: Vec<u8>,
    inner: R,
}

impl<R: BufRead> Ahead<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            looked: Vec::new(),
            inner,
        }
    }

    /// Whether a gzip member starts here. Bytes may arrive one at a time through a pipe.
    pub(super) fn is_gzip(&mut self) -> io::Result<bool> {
        while self.looked.len() < MAGIC.len() {
            let mut byte = [0];
            match self.inner.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => self.looked.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.looked == MAGIC)
    }

    /// Skips zeros; returns whether anything follows.
    fn skip_zeros(&mut self) -> io::Result<bool> {
        loop {
            let bytes = match self.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                return Ok(false);
            }
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let is_over = zeros < bytes.len();
            self.consume(zeros);
            if is_over {
                return Ok(true);
            }
        }
    }
}

impl<R: BufRead> Read for Ahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.looked.is_empty() {
            self.inner.fill_buf()
        } else {
            Ok(&self.looked)
        }
    }

    fn consume(&mut self, count: usize) {
        if self.looked.is_empty() {
            self.inner.consume(count);
        } else {
            self.looked.drain(..count);
        }
    }
}

enum StreamState<R> {
    Member(GzDecoder<Ahead<R>>),
    Between(Ahead<R>),
    Ended,
}

/// The unpacked members of a gzip file.
pub(super) struct Gunzip<R> {
    state: StreamState<R>,
    is_followed: Arc<AtomicBool>,
}

impl<R: BufRead> Gunzip<R> {
    /// `is_followed` is set when something other than a member or zeros follows the last one.
    pub(super) fn new(packed: Ahead<R>, is_followed: Arc<AtomicBool>) -> Self {
        Self {
            state: StreamState::Between(packed),
            is_followed,
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, StreamState::Ended) {
                StreamState::Member(mut member) => match member.read(buffer) {
                    Ok(0) => self.state = StreamState::Between(member.into_inner()),
                    read => {
                        self.state = StreamState::Member(member);
                        return read;
                    }
                },
                StreamState::Between(mut packed) => {
                    if packed.is_gzip()? {
                        self.state = StreamState::Member(GzDecoder::new(packed));
                    } else if packed.skip_zeros()? {
                        if packed.is_gzip()? {
                            self.state = StreamState::Between(packed);
                        } else {
                            self.is_followed.store(true, Ordering::Relaxed);
                        }
                    }
                }
                StreamState::Ended => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], capacity: usize) -> (io::Result<usize>, String, bool) {
        let followed = Arc::new(AtomicBool::new(false));
        let ahead = Ahead::new(BufReader::with_capacity(capacity, bytes));
        let mut text = Vec::new();
        let read = Gunzip::new(ahead, Arc::clone(&followed)).read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        (read, text, followed.load(Ordering::Relaxed))
    }

    #[test]
    fn members_padding_and_what_follows() {
        let zeros = vec![0; 1000];
        for capacity in [1, 2, 7, 4096] {
            for (bytes, followed) in [
                ([packed("ab"), packed("cd")].concat(), false),
                ([packed("abcd"), zeros.clone()].concat(), false),
                (
                    [packed("ab"), zeros.clone(), packed("cd"), vec![0]].concat(),
                    false,
                ),
                ([packed("abcd"), b"garbage".to_vec()].concat(), true),
                ([packed("abcd"), vec![0, 0, 0x1f]].concat(), true),
                (
                    [packed("abcd"), zeros.clone(), b"x".to_vec()].concat(),
                    true,
                ),
            ] {
                let (read, text, is_followed) = unpacked(&bytes, capacity);
                assert_eq!((read.unwrap(), &*text), (4, "abcd"));
                assert_eq!(is_followed, followed, "{capacity}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error() {
        let whole = packed("abcd");
        for cut in 3..whole.len() {
            assert!(unpacked(&whole[..cut], 7).0.is_err(), "cut at {cut}");
        }
        let mut damaged = whole;
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert!(unpacked(&damaged, 7).0.is_err());
    }
}
