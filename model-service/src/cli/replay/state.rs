//! The position of a replay, kept in a file so that it can be resumed.

use std::io;
use std::path::{Path, PathBuf};

use kindred_shared::DomainName;
use serde::{Deserialize, Serialize};

use super::Present;
use crate::cli::exit::CommandError;
use crate::cli::import::beside;

/// What is replayed, and into what: it may not change between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) log: String,
    pub(super) from: String,
    pub(super) domain: Option<DomainName>,
    pub(super) into: String,
    pub(super) undelete: bool,
}

/// What became of the entries of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Events that were applied.
    pub(super) replayed: u64,
    /// Events that the target refused.
    pub(super) refused: u64,
    /// Entries that cannot be read.
    pub(super) unreadable: u64,
    /// Entries from before their domain was deleted.
    pub(super) deleted: u64,
    /// Settings of domains that the target had already.
    pub(super) settings_left: u64,
    /// Changes of models and experiments.
    pub(super) others: u64,
    /// Patches of items that do not exist.
    pub(super) groundless: u64,
}

/// How far a replay has got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    task: Task,
    /// Everything before this place is applied.
    pub(super) next: u64,
    /// Domains that the target had before the replay; `None`: that was not asked yet.
    pub(super) present: Option<Present>,
    pub(super) counts: Counts,
}

impl State {
    /// A replay of which nothing was applied.
    pub(super) fn begin(task: Task) -> Self {
        Self {
            task,
            next: 0,
            present: None,
            counts: Counts::default(),
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

    /// Reads the state of an earlier run of the same task.
    ///
    /// # Errors
    /// When there is none, or it is of another task.
    pub(super) fn load(&self, task: &Task) -> Result<State, CommandError> {
        let place = self.0.display();
        let text = std::fs::read(&self.0).map_err(|error| {
            let words = match error.kind() {
                io::ErrorKind::NotFound => {
                    "does not exist: nothing was begun, or everything was replayed".to_owned()
                }
                _ => format!("cannot be read: {error}"),
            };
            CommandError::usage(format!("--resume: {place} {words}"))
        })?;
        let state: State = serde_json::from_slice(&text).map_err(|error| {
            CommandError::usage(format!("--resume: {place} cannot be understood: {error}"))
        })?;
        if state.task != *task {
            let was = serde_json::to_string(&state.task).unwrap_or_default();
            return Err(CommandError::usage(format!(
                "--resume: {place} belongs to another replay, {was}; replay without --resume: \
                what was applied already changes nothing"
            )));
        }
        Ok(state)
    }

    /// Writes the state atomically.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
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
