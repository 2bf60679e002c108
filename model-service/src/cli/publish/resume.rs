//! How far publishing has got, kept in a file so that it can be resumed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::super::exit::CommandError;
use super::super::import::{Position, beside};
use super::served::Marks;

/// The saved position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResumePoint {
    /// The inputs, to recognise them.
    inputs: Vec<Input>,
    /// Everything before it is settled.
    pub(super) position: Position,
    /// Events confirmed.
    pub(super) published: u64,
    /// Lines rejected.
    pub(super) rejected: u64,
    /// What has to be served, if the run waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) marks: Option<Marks>,
}

/// What identifies an input: it may not change between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    path: PathBuf,
    bytes: u64,
    /// Since 1970; `None` where the system does not report it.
    modified_ms: Option<u64>,
}

impl Input {
    fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        let modified = metadata.as_ref().and_then(|of| of.modified().ok());
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            path: path.to_owned(),
            bytes: metadata.map_or(0, |of| of.len()),
            modified_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()),
        }
    }
}

impl ResumePoint {
    /// The start of inputs of which nothing was published.
    pub(super) fn begin(files: &[PathBuf]) -> Self {
        Self {
            inputs: files.iter().map(|file| Input::of(file)).collect(),
            position: Position::default(),
            published: 0,
            rejected: 0,
            marks: None,
        }
    }
}

/// The file that holds the state.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether an earlier run left one.
    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// Reads the state of an earlier run on the same inputs.
    ///
    /// # Errors
    /// When there is none, or the inputs have changed.
    pub(super) fn load(&self, files: &[PathBuf]) -> Result<ResumePoint, CommandError> {
        let place = self.0.display();
        let text = std::fs::read(&self.0).map_err(|error| {
            let words = match error.kind() {
                io::ErrorKind::NotFound => {
                    "does not exist: nothing was started, or everything was published".to_owned()
                }
                _ => format!("cannot be read: {error}"),
            };
            CommandError::usage(format!("--resume: {place} {words}"))
        })?;
        let state: ResumePoint = serde_json::from_slice(&text).map_err(|error| {
            CommandError::usage(format!("--resume: {place} cannot be understood: {error}"))
        })?;
        if state.inputs != ResumePoint::begin(files).inputs {
            return Err(CommandError::usage(format!(
                "--resume: the files differ from those in {place}, or have changed since; \
                 publish without --resume: events with versions may be published twice"
            )));
        }
        Ok(state)
    }

    /// Writes the state atomically.
    pub(super) fn save(&self, state: &ResumePoint) -> io::Result<()> {
        let unfinished = beside(&self.0, ".new");
        std::fs::write(&unfinished, serde_json::to_vec(state)?)?;
        std::fs::rename(&unfinished, &self.0)
    }

    /// Removes it when it is no longer needed.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
