//! Output for programs on standard output.

use std::io::{self, Write};

use serde::Serialize;

/// JSON on one line.
pub(super) fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// JSON that is also easy to read for people.
pub(super) fn json_lines(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
