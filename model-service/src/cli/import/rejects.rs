//! The rejects files: every rejected line, whole, with its reason.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::Source;
use crate::cli::exit::CommandError;

/// A rejected line.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Reject {
    /// The input it comes from.
    pub(crate) file: String,
    /// The line it starts on, counted from 1.
    pub(crate) line: u64,
    /// The stable reason code.
    pub(crate) reason: String,
    /// What is wrong, and what would be right.
    pub(crate) detail: String,
    /// The text as it is in the input.
    pub(crate) event: String,
}

/// The rejects files: one for all inputs, or one per input. A file is created with its first
/// reject.
#[derive(Debug)]
pub(crate) struct Rejects {
    files: Vec<Sink>,
    /// Whether to keep what a file already contains.
    keep: bool,
}

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Rejects {
    /// In `shared`, or next to each input; for standard input, in `<command>.rejects.ndjson`. With
    /// `keep`, rejects are appended to those of an earlier run.
    pub(crate) fn new(
        shared: Option<PathBuf>,
        sources: &[Source],
        command: &str,
        keep: bool,
    ) -> Self {
        let paths = match shared {
            Some(path) => vec![path],
            None => sources
                .iter()
                .map(|source| match &source.path {
                    Some(path) => beside(path, ".rejects.ndjson"),
                    None => PathBuf::from(format!("{command}.rejects.ndjson")),
                })
                .collect(),
        };
        Self::into_files(paths, keep)
    }

    /// In these files, one per input or one for all.
    pub(crate) fn into_files(paths: Vec<PathBuf>, keep: bool) -> Self {
        let files = paths.into_iter().map(|path| Sink {
            path,
            file: None,
            count: 0,
        });
        Self {
            files: files.collect(),
            keep,
        }
    }

    /// Adds a reject of an input, given by its number.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add(&mut self, input: usize, reject: &Reject) -> Result<(), CommandError> {
        let at = input.min(self.files.len() - 1);
        let keep = self.keep;
        let sink = &mut self.files[at];
        sink.add(reject, keep).map_err(|error| sink.failure(&error))
    }

    /// Flushes to the operating system.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn flush(&mut self) -> Result<(), CommandError> {
        for sink in &mut self.files {
            if let Some(file) = &mut sink.file
                && let Err(error) = file.flush()
            {
                return Err(sink.failure(&error));
            }
        }
        Ok(())
    }

    /// The total number of rejects, and the first file that has any.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn finish(&mut self) -> Result<(u64, Option<PathBuf>), CommandError> {
        self.flush()?;
        let count = self.files.iter().map(|sink| sink.count).sum();
        let first = self.files.iter().find(|sink| sink.file.is_some());
        Ok((count, first.map(|sink| sink.path.clone())))
    }
}

impl Sink {
    fn add(&mut self, reject: &Reject, keep: bool) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = File::options()
                    .create(true)
                    .write(true)
                    .append(keep)
                    .truncate(!keep)
                    .open(&self.path)?;
                none.insert(BufWriter::new(file))
            }
        };
        serde_json::to_writer(&mut *file, reject)?;
        file.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> CommandError {
        CommandError::failed(format!(
            "{} cannot be written: {error}",
            self.path.display()
        ))
    }
}

/// The path with something appended to its last component.
pub(crate) fn beside(path: &Path, addition: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(addition);
    PathBuf::from(name)
}
