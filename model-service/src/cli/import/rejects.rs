//! The rejects file: every line that did not go in, whole, with its reason.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A line that did not go in.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Reject {
    /// The input it is from.
    pub(crate) file: String,
    /// The line it begins on, from 1.
    pub(crate) line: u64,
    /// The stable word.
    pub(crate) reason: String,
    /// What is wrong and what would be right.
    pub(crate) detail: String,
    /// The text as it stands in the input.
    pub(crate) event: String,
}

/// Writes rejects; the file is made with the first one.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Rejects {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            count: 0,
        }
    }

    /// Adds one.
    pub(crate) fn add(&mut self, reject: &Reject) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&self.path)?)),
        };
        serde_json::to_writer(&mut *file, reject)?;
        file.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }

    /// How many were added, and where they are if there are any.
    pub(crate) fn finish(&mut self) -> io::Result<(u64, Option<&Path>)> {
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        Ok((self.count, self.file.as_ref().map(|_| self.path.as_path())))
    }

    /// Where they go.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
