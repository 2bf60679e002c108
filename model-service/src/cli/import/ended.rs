//! The result of sending files of events.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::exit::Exit;

/// What importing and publishing report at the end, besides the number of events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ended {
    /// Lines that were rejected.
    pub(crate) rejected: u64,
    /// The rejects file, if this run rejected any.
    pub(crate) rejects: Option<PathBuf>,
    /// Seconds from the first line, or from the broker's first confirmation, until the last answer.
    pub(crate) seconds: f64,
    /// Accepted events per second.
    pub(crate) items_per_second: f64,
}

impl Ended {
    /// For `sent` events accepted within `seconds`.
    pub(crate) fn new(sent: u64, rejected: u64, rejects: Option<PathBuf>, seconds: f64) -> Self {
        Self {
            rejected,
            rejects,
            seconds,
            items_per_second: sent as f64 / seconds.max(0.001),
        }
    }

    /// For people; `done` says how many events were accepted.
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
