//! How far publishing has got, kept in a file so that it can be resumed.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::super::exit::CommandError;
use super::super::import::Position;
use super::super::state_file::StateFile;
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
    /// What an earlier run on the same inputs left.
    ///
    /// # Errors
    /// When there is nothing, or the inputs have changed.
    pub(super) fn load(file: &StateFile, files: &[PathBuf]) -> Result<Self, CommandError> {
        let point: Self = file.load("nothing was started, or everything was published")?;
        if point.inputs != Self::begin(files).inputs {
            return Err(CommandError::usage(format!(
                "--resume: the files differ from those in {}, or have changed since; \
                 publish without --resume: events with versions may be published twice",
                file.path().display()
            )));
        }
        Ok(point)
    }

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
