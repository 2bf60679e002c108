//! The position of a replay, kept in a file so that it can be resumed.

use kindred_shared::DomainName;
use serde::{Deserialize, Serialize};

use super::Present;
use crate::cli::exit::CommandError;
use crate::cli::state_file::StateFile;

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
    /// What an earlier run of the same task left.
    ///
    /// # Errors
    /// When there is nothing, or it is of another task.
    pub(super) fn load(file: &StateFile, task: &Task) -> Result<Self, CommandError> {
        let state: Self = file.load("nothing was begun, or everything was replayed")?;
        if state.task != *task {
            let place = file.path().display();
            let was = serde_json::to_string(&state.task).unwrap_or_default();
            return Err(CommandError::usage(format!(
                "--resume: {place} belongs to another replay, {was}; replay without --resume: \
                what was applied already changes nothing"
            )));
        }
        Ok(state)
    }

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
