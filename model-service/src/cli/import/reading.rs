//! Reads the records of several inputs in order and makes lines of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::line::{self, Defaults, Line, Unreadable};
use super::rejects::Reject;
use super::source::Source;
use super::split::Records;
use crate::cli::exit::CommandError;

/// A position between records: everything before it has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Which input, in the given order.
    pub(crate) file: usize,
    /// Records of that input before it.
    pub(crate) records: u64,
}

/// One record that was read.
#[derive(Debug)]
pub(crate) struct Found {
    /// The position right after it.
    pub(crate) after: Position,
    /// The line it starts on, counted from 1.
    pub(crate) line: u64,
    /// Its text as it is in the input.
    pub(crate) raw: Vec<u8>,
    /// What was made of it.
    pub(crate) made: Result<Line, Unreadable>,
}

impl Found {
    /// Its line for the rejects file, with what is wrong.
    pub(crate) fn reject(&self, file: &str, unreadable: &Unreadable) -> Reject {
        Reject {
            file: file.to_owned(),
            line: self.line,
            reason: unreadable.reason.word().to_owned(),
            detail: unreadable.detail.clone(),
            event: String::from_utf8_lossy(&self.raw).into_owned(),
        }
    }
}

/// Hands every record after a position to `take`, in order. `taken` counts bytes of the inputs;
/// `warn` is called with problems of inputs that could be read nevertheless. `Ok(Some(…))`: an
/// input broke off, and nothing after that point was read.
///
/// # Errors
/// Those of `take`; nothing is read after one.
pub(crate) fn read(
    sources: Vec<Source>,
    from: Position,
    defaults: &Defaults,
    taken: &Arc<AtomicU64>,
    warn: impl Fn(&str),
    mut take: impl FnMut(Found) -> Result<(), CommandError>,
) -> Result<Option<CommandError>, CommandError> {
    for (file, source) in sources.into_iter().enumerate().skip(from.file) {
        let name = source.name.clone();
        let broken_off = |error: std::io::Error| {
            CommandError::failed(format!("{name} cannot be read any further: {error}"))
        };
        let is_followed = Arc::default();
        let reader = match source.reader(Arc::clone(taken), &is_followed) {
            Ok(reader) => reader,
            Err(error) => return Ok(Some(broken_off(error))),
        };
        let before = if file == from.file { from.records } else { 0 };
        for (number, record) in (1..).zip(Records::new(reader)) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Ok(Some(broken_off(error))),
            };
            if number <= before {
                continue;
            }
            let made = line::prepare(&record, defaults);
            take(Found {
                after: Position {
                    file,
                    records: number,
                },
                line: record.line,
                raw: record.text,
                made,
            })?;
        }
        if is_followed.load(Ordering::Relaxed) {
            warn(&format!(
                "warning: {name}: ignored data after the end of the gzip data"
            ));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn goes_on_from_any_place() {
        let sources = || {
            vec![
                Source::bytes("a", "{\"n\":1}\nbad\n\n{\"n\":2}\n"),
                Source::bytes("b", "[{\"n\":3},\n{\"n\":4}]"),
            ]
        };
        let defaults = Defaults {
            domain: Some(kindred_shared::DomainName::new("d").unwrap()),
        };
        let from = |position| {
            let mut found = Vec::new();
            let broken = read(
                sources(),
                position,
                &defaults,
                &Arc::default(),
                |_| (),
                |one| {
                    found.push((one.after, one.line, one.made.is_ok()));
                    Ok(())
                },
            );
            assert_eq!(broken, Ok(None));
            found
        };
        let at = |file, records| Position { file, records };
        let all = from(Position::default());
        assert_eq!(
            all,
            [
                (at(0, 1), 1, true),
                (at(0, 2), 2, false),
                (at(0, 3), 4, true),
                (at(1, 1), 1, true),
                (at(1, 2), 2, true)
            ]
        );
        for (skipped, (after, ..)) in all.iter().enumerate() {
            assert_eq!(from(*after), all[skipped + 1..]);
        }
    }
}
