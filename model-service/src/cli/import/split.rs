//! Finds the records of an input: the lines of NDJSON, or the elements of one JSON array. One
//! record is held at a time.

use std::io::{self, BufRead};

/// One record as it stands in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line it begins on, from 1.
    pub(crate) line: u64,
    /// Its bytes; the first [`EXCERPT`] of them when it is too long.
    pub(crate) text: Vec<u8>,
    /// Why it cannot be an event, whatever its bytes are.
    pub(crate) fault: Option<Fault>,
}

/// Why a record cannot be an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Longer than [`MAX_RECORD`].
    TooLong,
    /// The array ends before its closing bracket.
    OpenArray,
    /// Something follows the array's closing bracket.
    AfterArray,
}

/// Longest record, in bytes: what a server takes at most unless it is told otherwise.
pub(crate) const MAX_RECORD: usize = 1 << 20;
/// Bytes of a record that is too long which are kept to recognise it by.
pub(crate) const EXCERPT: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The first byte was not read yet.
    Unknown,
    Lines,
    /// Between elements or before the first.
    Array,
    Ended,
}

/// The records of one input, in order.
pub(crate) struct Records<R> {
    input: R,
    shape: Shape,
    line: u64,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            shape: Shape::Unknown,
            line: 1,
        }
    }

    /// The next byte, not taken yet.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.input.consume(1);
    }

    /// The first byte that is neither white space nor of a byte order mark, not taken yet.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => self.take(byte),
                other => return Ok(other),
            }
        }
    }

    fn skip_mark(&mut self) -> io::Result<()> {
        for expected in [0xef, 0xbb, 0xbf] {
            if self.peek()? != Some(expected) {
                break;
            }
            self.take(expected);
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<Record>> {
        if self.shape == Shape::Unknown {
            self.skip_mark()?;
            self.shape = match self.skip_space()? {
                Some(b'[') => {
                    self.take(b'[');
                    Shape::Array
                }
                _ => Shape::Lines,
            };
        }
        match self.shape {
            Shape::Lines => self.read_line(),
            Shape::Array => self.read_element(),
            Shape::Ended | Shape::Unknown => Ok(None),
        }
    }

    fn read_line(&mut self) -> io::Result<Option<Record>> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut held = Held::new(self.line);
        while let Some(byte) = self.peek()? {
            if byte == b'\n' {
                self.take(byte);
                break;
            }
            self.take_run(&mut held, |byte| byte != b'\n')?;
        }
        Ok(Some(held.finish()))
    }

    fn read_element(&mut self) -> io::Result<Option<Record>> {
        loop {
            match self.skip_space()? {
                // An empty element is a slip (a trailing comma), and nothing is lost by it.
                Some(b',') => self.take(b','),
                Some(b']') => {
                    self.take(b']');
                    self.shape = Shape::Ended;
                    return self.after_array();
                }
                Some(_) => break,
                None => {
                    self.shape = Shape::Ended;
                    return Ok(Some(Held::new(self.line).fail(Fault::OpenArray)));
                }
            }
        }
        let mut held = Held::new(self.line);
        let mut depth = 0_usize;
        let (mut in_string, mut escaped) = (false, false);
        while let Some(byte) = self.peek()? {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' | b']' if depth == 0 => return Ok(Some(held.finish())),
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            held.push(&[byte]);
            self.take(byte);
        }
        self.shape = Shape::Ended;
        Ok(Some(held.fail(Fault::OpenArray)))
    }

    fn after_array(&mut self) -> io::Result<Option<Record>> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut held = Held::new(self.line);
        self.take_run(&mut held, |_| true)?;
        Ok(Some(held.fail(Fault::AfterArray)))
    }

    /// Takes the bytes at hand while they are wanted; there is at least one.
    fn take_run(&mut self, held: &mut Held, wanted: fn(u8) -> bool) -> io::Result<()> {
        let bytes = self.input.fill_buf()?;
        let run = bytes
            .iter()
            .position(|byte| !wanted(*byte))
            .unwrap_or(bytes.len());
        held.push(&bytes[..run]);
        self.line += bytes[..run].iter().filter(|b| **b == b'\n').count() as u64;
        self.input.consume(run);
        Ok(())
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.shape = Shape::Ended;
        }
        read.transpose()
    }
}

/// A record being read.
struct Held {
    line: u64,
    text: Vec<u8>,
    too_long: bool,
}

impl Held {
    fn new(line: u64) -> Self {
        Self {
            line,
            text: Vec::new(),
            too_long: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.too_long {
            return;
        }
        if self.text.len() + bytes.len() > MAX_RECORD {
            self.too_long = true;
            self.text
                .extend_from_slice(&bytes[..bytes.len().min(EXCERPT)]);
            self.text.truncate(EXCERPT);
            self.text.shrink_to_fit();
            return;
        }
        self.text.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Record {
        let end = self.text.trim_ascii_end().len();
        if !self.too_long {
            self.text.truncate(end);
        }
        Record {
            line: self.line,
            text: self.text,
            fault: self.too_long.then_some(Fault::TooLong),
        }
    }

    fn fail(self, fault: Fault) -> Record {
        let mut record = self.finish();
        record.text.truncate(EXCERPT);
        record.fault = Some(fault);
        record
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn split(input: &[u8]) -> Vec<(u64, String, Option<Fault>)> {
        // A small buffer, so that records span several.
        Records::new(BufReader::with_capacity(7, input))
            .map(|record| {
                let record = record.unwrap();
                let text = String::from_utf8_lossy(&record.text).into_owned();
                (record.line, text, record.fault)
            })
            .collect()
    }

    #[test]
    fn finds_lines_and_elements() {
        type Found = &'static [(u64, &'static str, Option<Fault>)];
        let table: &[(&str, Found)] = &[
            ("", &[]),
            (" \n\n", &[]),
            ("{\"a\":1}", &[(1, "{\"a\":1}", None)]),
            ("\u{feff}{}\r\n\n {}\n", &[(1, "{}", None), (3, "{}", None)]),
            ("[]", &[]),
            (
                "[{\"a\":\"],\\\"}\"},\n{\"b\":[1,{}]} ]\n",
                &[
                    (1, "{\"a\":\"],\\\"}\"}", None),
                    (2, "{\"b\":[1,{}]}", None),
                ],
            ),
            ("[1,,2,]", &[(1, "1", None), (1, "2", None)]),
            ("[{\"a\":1", &[(1, "{\"a\":1", Some(Fault::OpenArray))]),
            ("[1,", &[(1, "1", None), (1, "", Some(Fault::OpenArray))]),
            (
                "[1]\nx",
                &[(1, "1", None), (2, "x", Some(Fault::AfterArray))],
            ),
        ];
        for (input, found) in table {
            let expected: Vec<_> = found
                .iter()
                .map(|(line, text, fault)| (*line, (*text).to_owned(), *fault))
                .collect();
            assert_eq!(split(input.as_bytes()), expected, "{input:?}");
        }
    }

    #[test]
    fn a_record_too_long_is_skipped_and_the_next_is_found() {
        let long = "x".repeat(MAX_RECORD + 1);
        for input in [format!("{long}\n{{}}\n"), format!("[\"{long}\",\n{{}}]")] {
            let found = split(input.as_bytes());
            assert_eq!(found.len(), 2);
            assert_eq!(
                (found[0].1.len(), found[0].2),
                (EXCERPT, Some(Fault::TooLong))
            );
            assert_eq!(found[1], (2, "{}".to_owned(), None));
        }
    }

    proptest! {
        #[test]
        fn an_array_and_lines_of_the_same_values_are_the_same(
            texts in prop::collection::vec("\\PC{0,12}", 0..8),
            pretty in any::<bool>(),
        ) {
            let values: Vec<serde_json::Value> = texts
                .iter()
                .map(|text| serde_json::json!({ text: [text, {"n": text}] }))
                .collect();
            let lines: String = values.iter().map(|v| format!("{v}\n")).collect();
            let array = if pretty {
                serde_json::to_string_pretty(&values).unwrap()
            } else {
                serde_json::to_string(&values).unwrap()
            };
            for input in [lines, array] {
                let found: Vec<serde_json::Value> = split(input.as_bytes())
                    .iter()
                    .map(|(_, text, fault)| {
                        assert_eq!(*fault, None);
                        serde_json::from_str(text).unwrap()
                    })
                    .collect();
                prop_assert_eq!(&found, &values);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = split(&bytes).len();
            prop_assert!(found <= bytes.len() + 1);
        }
    }
}
