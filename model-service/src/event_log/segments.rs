//! The files of a log.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// The folder, in the data directory.
pub(crate) const FOLDER: &str = "event-log";
/// How names of segments end.
const SUFFIX: &str = ".ndjson";
/// Digits of a segment's name, so that names sort as numbers do.
const DIGITS: usize = 20;
/// Longest line that is read, in bytes; the longest event that can be logged is far shorter.
pub(super) const LONGEST_LINE: u64 = 64 << 20;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The number of its first line.
    pub(super) first: u64,
}

impl Segment {
    /// The segment that begins with this line.
    pub(super) fn new(folder: &Path, first: u64) -> Self {
        Self {
            path: folder.join(format!("{first:0DIGITS$}{SUFFIX}")),
            first,
        }
    }

    fn of(path: PathBuf) -> Option<Self> {
        let digits = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let is_number = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        let first = is_number.then(|| digits.parse().ok()).flatten()?;
        Some(Self { path, first })
    }
}

/// The segments of a folder, the oldest first. Other files are ignored.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        segments.extend(Segment::of(entry?.path()));
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// A line, as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole one, without its end.
    Whole(Vec<u8>),
    /// One that is too long; it was skipped.
    TooLong,
    /// The file ends within it.
    Torn,
    /// There is none.
    End,
}

/// Reads the next line.
pub(super) fn next_line(file: &mut impl BufRead) -> io::Result<Line> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    loop {
        let mut part = io::Read::take(&mut *file, LONGEST_LINE);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(match line.is_empty() && !is_too_long {
                true => Line::End,
                false => Line::Torn,
            });
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(match is_too_long {
                true => Line::TooLong,
                false => Line::Whole(line),
            });
        }
        if line.len() as u64 >= LONGEST_LINE {
            is_too_long = true;
            line.clear();
        }
    }
}

/// What every line says besides its event.
#[derive(Deserialize)]
struct Stamped {
    at: DateTime<Utc>,
}

/// When a line was logged; `None`: it does not say.
pub(super) fn time_of(line: &[u8]) -> Option<DateTime<Utc>> {
    serde_json::from_slice::<Stamped>(line)
        .ok()
        .map(|line| line.at)
}

/// When the first line of a segment was logged; `None`: it has none, or is gone.
pub(super) fn begin_of(segment: &Segment) -> Option<DateTime<Utc>> {
    let file = fs::File::open(&segment.path).ok()?;
    match next_line(&mut BufReader::new(file)).ok()? {
        Line::Whole(line) => time_of(&line),
        Line::TooLong | Line::Torn | Line::End => None,
    }
}
