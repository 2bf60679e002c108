//! Reads a log, also while it is written to.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::segments::{FOLDER, Line, Segment, begin_of, list, next_line, time_of};

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The directory has none.
    #[error(
        "{0} has no log of events: a standalone on it keeps one with log_retention, such as \
         log_retention = \"30days\", from then on"
    )]
    Missing(PathBuf),
    /// The system refuses it.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// When it was logged, if it says so.
    pub(crate) at: Option<DateTime<Utc>>,
    /// What it says; `None`: it is too long to be read.
    pub(crate) line: Option<Vec<u8>>,
}

/// Reads the lines of a log in order. Lines that are written meanwhile are read if their segment was there when this
/// was opened.
#[derive(Debug)]
pub(crate) struct LogReader {
    /// Those not begun, the last one first.
    segments: Vec<Segment>,
    reading: Option<(Segment, BufReader<File>)>,
    next: u64,
}

impl LogReader {
    /// Opens the log of a data directory, at the segment with the first line of `from` or later.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn open(data_dir: &Path, from: Option<DateTime<Utc>>) -> Result<Self, ReadError> {
        let folder = data_dir.join(FOLDER);
        let mut segments = match list(&folder) {
            Ok(segments) => segments,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::Missing(data_dir.to_owned()));
            }
            Err(error) => return Err(ReadError::Unreadable(folder, error)),
        };
        if let Some(from) = from {
            let is_before = |next: &Segment| begin_of(next).is_some_and(|begin| begin < from);
            let skipped = segments.iter().skip(1).take_while(|next| is_before(next));
            let skipped = skipped.count();
            segments.drain(..skipped);
        }
        segments.reverse();
        Ok(Self {
            next: segments.last().map_or(1, |segment| segment.first),
            segments,
            reading: None,
        })
    }

    /// The number of the last whole line of a log; `None`: it has none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn last(data_dir: &Path) -> Result<Option<u64>, ReadError> {
        let mut reader = Self::open(data_dir, None)?;
        // The newest segment that has a line; it comes first in this order.
        for segment in std::mem::take(&mut reader.segments) {
            reader.segments.push(segment);
            let mut last = None;
            while let Some(entry) = reader.next()? {
                last = Some(entry.number);
            }
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The next whole line; `None`: there is none now. A segment that was dropped meanwhile is left out.
    ///
    /// # Errors
    /// [`ReadError::Unreadable`].
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            let Some((segment, file)) = &mut self.reading else {
                let Some(segment) = self.segments.pop() else {
                    return Ok(None);
                };
                match File::open(&segment.path) {
                    Ok(file) => {
                        self.next = segment.first;
                        self.reading = Some((segment, BufReader::new(file)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(ReadError::Unreadable(segment.path, error)),
                }
                continue;
            };
            let line = next_line(file)
                .map_err(|error| ReadError::Unreadable(segment.path.clone(), error))?;
            let line = match line {
                Line::Whole(line) => Some(line),
                Line::TooLong => None,
                // It is being written, or a crash cut it short.
                Line::Torn | Line::End => {
                    self.reading = None;
                    continue;
                }
            };
            let number = self.next;
            self.next += 1;
            return Ok(Some(Entry {
                number,
                at: line.as_deref().and_then(time_of),
                line,
            }));
        }
    }
}
