//! Splits a stream of chunks into lines without ever holding more than one line.

use std::mem;

use bytes::{Buf, Bytes};

/// A line that is not blank, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// The whole line.
    Whole(Bytes),
    /// It is over the limit and was discarded.
    TooLong,
}

/// Splits chunks into lines. A line ends with `\n` or `\r\n`, or with the body; blank lines are
/// counted and skipped.
#[derive(Debug)]
pub(crate) struct Lines {
    limit: usize,
    chunk: Bytes,
    /// The beginning of a line whose end has not arrived; at most `limit + 1` bytes: one may be the
    /// `\r` of its end.
    partial: Vec<u8>,
    /// The current line is over the limit: discard it up to its end.
    skipping: bool,
    number: u64,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            partial: Vec::new(),
            skipping: false,
            number: 0,
        }
    }

    /// Takes the next chunk; all lines of the previous one must have been taken.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "the last chunk was not read to its end"
        );
        self.chunk = chunk;
    }

    /// The number, from 1, of the first line that has not ended.
    pub(crate) fn open_line(&self) -> u64 {
        self.number + 1
    }

    /// The next complete line and its number, counted from 1; `None`: the chunk is used up.
    pub(crate) fn next_line(&mut self) -> Option<(u64, Line)> {
        loop {
            let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') else {
                let rest = mem::take(&mut self.chunk);
                self.keep(&rest);
                return None;
            };
            let tail = self.chunk.split_to(end);
            self.chunk.advance(1);
            if let Some(line) = self.end_line(tail) {
                return Some((self.number, line));
            }
        }
    }

    /// The line that ends with the body, if there is one.
    pub(crate) fn finish(&mut self) -> Option<(u64, Line)> {
        let line = self.end_line(Bytes::new())?;
        Some((self.number, line))
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.skipping || self.partial.len() + rest.len() > self.limit + 1 {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(rest);
        }
    }

    fn end_line(&mut self, tail: Bytes) -> Option<Line> {
        self.number += 1;
        let mut line = tail;
        if self.skipping || !self.partial.is_empty() {
            self.keep(&line);
            if mem::take(&mut self.skipping) {
                return Some(Line::TooLong);
            }
            line = mem::take(&mut self.partial).into();
        }
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Some(Line::TooLong);
        }
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]], limit: usize) -> Vec<(u64, Line)> {
        let mut lines = Lines::new(limit);
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.next_line() {
                all.push(line);
            }
            assert!(lines.partial.len() <= limit + 1);
        }
        all.extend(lines.finish());
        all
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_end_in_every_usual_way() {
        let expected = vec![(1, whole("a")), (3, whole("b")), (5, whole("c"))];
        assert_eq!(split(&[b"a\r\n\r\nb\n  \nc"], 9), expected);
        assert_eq!(split(&[b"a\r", b"\n\r\nb", b"\n  \n", b"c\n"], 9), expected);
        assert_eq!(split(&[], 9), vec![]);
        assert_eq!(split(&[b"\n\n"], 9), vec![]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_the_rest_goes_on() {
        let expected = vec![(1, whole("abc")), (2, Line::TooLong), (3, whole("d"))];
        assert_eq!(split(&[b"abc\r\nabcd\nd"], 3), expected);
        assert_eq!(
            split(&[b"ab", b"c\r", b"\nab", b"cdefgh", b"i\nd"], 3),
            expected
        );
        assert_eq!(split(&[b"abcde"], 3), vec![(1, Line::TooLong)]);
    }

    proptest! {
        #[test]
        fn where_chunks_end_makes_no_difference(
            text in prop::collection::vec(prop::sample::select(b"ab \r\n".to_vec()), 0..80),
            cuts in prop::collection::vec(0..80usize, 0..10),
            limit in 1..8usize,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let expected: Vec<(u64, Line)> = text
                .split(|byte| *byte == b'\n')
                .zip(1..)
                .filter_map(|(line, number)| {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    if line.len() > limit {
                        Some((number, Line::TooLong))
                    } else if line.trim_ascii().is_empty() {
                        None
                    } else {
                        Some((number, Line::Whole(Bytes::copy_from_slice(line))))
                    }
                })
                .collect();
            prop_assert_eq!(split(&chunks, limit), expected);
        }
    }
}
