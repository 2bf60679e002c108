//! How far publishing is, kept in a file, so that it can go on after it was ended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::super::exit::CommandError;
use super::super::import::{Position, beside};
use super::served::Marks;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The inputs, to know them by.
    inputs: Vec<Input>,
    /// All before it is settled.
    pub(super) position: Position,
    /// Events confirmed.
    pub(super) published: u64,
    /// Lines rejected.
    pub(super) rejected: u64,
    /// What is to be waited for, if anybody wants to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) marks: Option<Marks>,
}

/// What an input is known by: it may not change between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    path: PathBuf,
    bytes: u64,
    /// Since 1970; `None` where the system does not tell.
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

impl State {
    /// Of inputs nothing of which was published.
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

/// The file in which a state is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether there is one, of an earlier run.
    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// Reads the state of an earlier run on the same inputs.
    ///
    /// # Errors
    /// When there is none, or the inputs are not what they were.
    pub(super) fn load(&self, files: &[PathBuf]) -> Result<State, CommandError> {
        let place = self.0.display();
        let text = std::fs::read(&self.0).map_err(|error| {
            let words = match error.kind() {
                io::ErrorKind::NotFound => {
                    "is not there: nothing was begun, or all was published".to_owned()
                }
                _ => format!("cannot be read: {error}"),
            };
            CommandError::usage(format!("--resume: {place} {words}"))
        })?;
        let state: State = serde_json::from_slice(&text).map_err(|error| {
            CommandError::usage(format!("--resume: {place} cannot be understood: {error}"))
        })?;
        if state.inputs != State::begin(files).inputs {
            return Err(CommandError::usage(format!(
                "--resume: the files are not those of {place}, or have changed since; publish \
                 without --resume: events with versions may come twice"
            )));
        }
        Ok(state)
    }

    /// Writes the state, whole or not at all.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
        let unfinished = beside(&self.0, ".new");
        std::fs::write(&unfinished, serde_json::to_vec(state)?)?;
        std::fs::rename(&unfinished, &self.0)
    }

    /// Removes it; it is no longer needed.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
