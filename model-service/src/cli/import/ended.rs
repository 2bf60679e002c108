//! How sending files of events ended.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::exit::Exit;

/// What importing and publishing tell at their end, besides how many events went in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ended {
    /// Lines that did not go in.
    pub(crate) rejected: u64,
    /// Where they are, when there are any (of this run).
    pub(crate) rejects: Option<PathBuf>,
    /// Seconds in which they went in: from the first line, or the first one that a broker confirmed, to the
    /// last answer.
    pub(crate) seconds: f64,
    /// Events a second that went in.
    pub(crate) items_per_second: f64,
}

impl Ended {
    /// When `sent` events went in within `seconds`.
    pub(crate) fn new(sent: u64, rejected: u64, rejects: Option<PathBuf>, seconds: f64) -> Self {
        Self {
            rejected,
            rejects,
            seconds,
            items_per_second: sent as f64 / seconds.max(0.001),
        }
    }

    /// For people; `done` says how many went in.
    pub(crate) fn tell(&self, done: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{done}, {} rejected in {:.1} s ({:.0} items/s)",
            self.rejected, self.seconds, self.items_per_second
        )?;
        if let Some(path) = &self.rejects {
            writeln!(out, "rejected lines with their reasons: {}", path.display())?;
        }
        Ok(())
    }

    /// What the exit code says.
    pub(crate) fn exit(&self) -> Exit {
        if self.rejected > 0 {
            Exit::SomeRejected
        } else {
            Exit::Done
        }
    }
}
