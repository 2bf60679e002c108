//! The file in which a command keeps its position, so that it can be resumed.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::CommandError;
use super::import::beside;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
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

    /// Reads the state of an earlier run. `absence` says what it means that there is none.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) fn load<S: DeserializeOwned>(&self, absence: &str) -> Result<S, CommandError> {
        let place = self.0.display();
        let text = std::fs::read(&self.0).map_err(|error| {
            let words = match error.kind() {
                io::ErrorKind::NotFound => format!("does not exist: {absence}"),
                _ => format!("cannot be read: {error}"),
            };
            CommandError::usage(format!("--resume: {place} {words}"))
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            CommandError::usage(format!("--resume: {place} cannot be understood: {error}"))
        })
    }

    /// Writes the state atomically.
    pub(super) fn save<S: Serialize>(&self, state: &S) -> io::Result<()> {
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
