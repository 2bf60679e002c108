//! Splits an input into records: the objects of a JSON stream, one per line (NDJSON) or
//! pretty-printed over several lines; or the elements of one JSON array. Only one record is in
//! memory at a time.
//!
//! A truncated object must not swallow the ones after it. So a string never spans lines, and a `{`
//! at the left margin starts the next object: pretty-printers indent what is inside.

use std::io::{self, BufRead};

/// One record as it is in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line it starts on, counted from 1.
    pub(crate) line: u64,
    /// Its bytes; only the first [`EXCERPT`] if it is too long.
    pub(crate) text: Vec<u8>,
    /// Why it cannot be an event, if that is already clear.
    pub(crate) fault: Option<Fault>,
}

/// The byte-order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

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

/// Longest record, in bytes: a server's default limit.
pub(crate) const MAX_RECORD: usize = 1 << 20;
/// Bytes kept of a record that is too long, to recognise it by.
pub(crate) const EXCERPT: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The first byte has not been read yet.
    Unknown,
    Objects,
    /// Between elements or before the first.
    Array,
    Ended,
}

/// The records of one input, in order.
pub(crate) struct Records<R> {
    input: R,
    shape: Shape,
    line: u64,
    /// Bytes taken that looked like a byte-order mark but belong to the next record.
    of_mark: usize,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            shape: Shape::Unknown,
            line: 1,
            of_mark: 0,
        }
    }

    /// The next byte, without taking it.
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

    /// The next byte that is not white space, without taking it. Skips byte-order marks, too:
    /// concatenated files have one each.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => self.take(byte),
                Some(byte) if byte == MARK[0] => {
                    self.of_mark = 0;
                    while self.of_mark < MARK.len() && self.peek()? == Some(MARK[self.of_mark]) {
                        self.input.consume(1);
                        self.of_mark += 1;
                    }
                    if self.of_mark < MARK.len() {
                        return self.peek();
                    }
                    self.of_mark = 0;
                }
                other => return Ok(other),
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Record>> {
        if self.shape == Shape::Unknown {
            self.shape = match self.skip_space()? {
                Some(b'[') => {
                    self.take(b'[');
                    Shape::Array
                }
                _ => Shape::Objects,
            };
        }
        match self.shape {
            Shape::Objects => self.read_object(),
            Shape::Array => self.read_element(),
            Shape::Ended | Shape::Unknown => Ok(None),
        }
    }

    /// The next object; if none starts here, the rest of the line.
    fn read_object(&mut self) -> io::Result<Option<Record>> {
        let first = if self.of_mark == 0 {
            self.skip_space()?
        } else {
            self.peek()?
        };
        if first.is_none() && self.of_mark == 0 {
            return Ok(None);
        }
        let mut partial = PartialRecord::new(self.line);
        partial.push(&MARK[..std::mem::take(&mut self.of_mark)]);
        if first != Some(b'{') {
            self.take_line(&mut partial)?;
            return Ok(Some(partial.finish()));
        }
        let mut nesting = Nesting::default();
        loop {
            self.take_run(&mut partial, |byte| {
                nesting.step(byte);
                byte != b'\n' && !nesting.is_over()
            })?;
            if nesting.is_over() {
                self.end_object(&mut partial)?;
                break;
            }
            match self.peek()? {
                // The run ended at the end of the line, which was not taken.
                Some(b'\n') => {
                    self.take(b'\n');
                    partial.push(b"\n");
                    let breaks_off = self.peek()? == Some(b'{');
                    if nesting.in_string || breaks_off {
                        break;
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(Some(partial.finish()))
    }

    /// Checks what follows an object on its line: another object is left for later, anything else
    /// invalidates this one.
    fn end_object(&mut self, partial: &mut PartialRecord) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            match byte {
                b'\n' => {
                    self.take(byte);
                    break;
                }
                b' ' | b'\t' | b'\r' => {
                    self.take(byte);
                    partial.push(&[byte]);
                }
                b'{' => break,
                _ => return self.take_line(partial),
            }
        }
        Ok(())
    }

    /// Takes the rest of the line, including its end.
    fn take_line(&mut self, partial: &mut PartialRecord) -> io::Result<()> {
        while let Some(byte) = self.peek()? {
            if byte == b'\n' {
                self.take(byte);
                break;
            }
            self.take_run(partial, |byte| byte != b'\n')?;
        }
        Ok(())
    }

    fn read_element(&mut self) -> io::Result<Option<Record>> {
        loop {
            match self.skip_space()? {
                // An empty element is a slip (a trailing comma) and loses nothing.
                Some(b',') => self.take(b','),
                Some(b']') => {
                    self.take(b']');
                    self.shape = Shape::Ended;
                    return self.after_array();
                }
                Some(_) => break,
                None => {
                    self.shape = Shape::Ended;
                    return Ok(Some(PartialRecord::new(self.line).fail(Fault::OpenArray)));
                }
            }
        }
        let mut partial = PartialRecord::new(self.line);
        let mut nesting = Nesting::default();
        while let Some(byte) = self.peek()? {
            if matches!(byte, b',' | b']') && nesting.is_outside() {
                return Ok(Some(partial.finish()));
            }
            nesting.step(byte);
            partial.push(&[byte]);
            self.take(byte);
        }
        self.shape = Shape::Ended;
        Ok(Some(partial.fail(Fault::OpenArray)))
    }

    fn after_array(&mut self) -> io::Result<Option<Record>> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut partial = PartialRecord::new(self.line);
        self.take_run(&mut partial, |_| true)?;
        Ok(Some(partial.fail(Fault::AfterArray)))
    }

    /// Takes bytes while they are wanted. The last byte of an object is taken, too; a line end is
    /// not.
    fn take_run(
        &mut self,
        partial: &mut PartialRecord,
        mut wanted: impl FnMut(u8) -> bool,
    ) -> io::Result<()> {
        let bytes = self.input.fill_buf()?;
        let run = match bytes.iter().position(|byte| !wanted(*byte)) {
            Some(at) => at + usize::from(bytes[at] != b'\n'),
            None => bytes.len(),
        };
        partial.push(&bytes[..run]);
        self.line += bytes[..run].iter().filter(|b| **b == b'\n').count() as u64;
        self.input.consume(run);
        Ok(())
    }
}

/// Nesting depth of the next byte.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether a bracket was opened.
    began: bool,
}

impl Nesting {
    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                self.began = true;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.in_string
    }

    /// All brackets are closed.
    fn is_over(&self) -> bool {
        self.began && self.is_outside()
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
struct PartialRecord {
    line: u64,
    text: Vec<u8>,
    too_long: bool,
}

impl PartialRecord {
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
            (
                "{\n  \"a\": {\n    \"b\": [\n      {}\n    ]\n  }\n}\n{\n\"c\": \"}\"\n}",
                &[
                    (
                        1,
                        "{\n  \"a\": {\n    \"b\": [\n      {}\n    ]\n  }\n}",
                        None,
                    ),
                    (8, "{\n\"c\": \"}\"\n}", None),
                ],
            ),
            (
                "{\"a\":1}{}  {}",
                &[(1, "{\"a\":1}", None), (1, "{}", None), (1, "{}", None)],
            ),
            ("{} x\n{}", &[(1, "{} x", None), (2, "{}", None)]),
            ("x {}\n{}", &[(1, "x {}", None), (2, "{}", None)]),
            // A truncated object harms no other.
            (
                "{\"a\": \"b\n{}\n",
                &[(1, "{\"a\": \"b", None), (2, "{}", None)],
            ),
            (
                "{\"a\": [1,\n{}\n",
                &[(1, "{\"a\": [1,", None), (2, "{}", None)],
            ),
            (
                "{\"a\": 1,\n\n{}\n",
                &[(1, "{\"a\": 1,", None), (3, "{}", None)],
            ),
            ("{\"a\": {", &[(1, "{\"a\": {", None)]),
            // Files one after the other, each with its mark.
            (
                "\u{feff}{}\n\u{feff}{\n}\n",
                &[(1, "{}", None), (2, "{\n}", None)],
            ),
            ("\u{feff}[1,\n2]", &[(1, "1", None), (2, "2", None)]),
            (
                "\u{fefe}{}\n{}",
                &[(1, "\u{fefe}{}", None), (2, "{}", None)],
            ),
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
            let line = |value| match pretty {
                true => format!("{value:#}\n"),
                false => format!("{value}\n"),
            };
            let lines: String = values.iter().map(line).collect();
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
