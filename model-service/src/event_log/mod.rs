//! The log of events that a standalone keeps on disk, for `kindred replay`.
//!
//! It is a folder of the data directory. Each file of it is a segment: events in their canonical JSON, one per line,
//! each with the time at which it was logged in a field `at`, which readers of events ignore. A segment is named by the
//! number of its first line. So the log is read by line, while it is written to, and other programs can read it, too.
//!
//! What is logged is what a commit makes durable: an upsert for an item as it is then, with its version, or its
//! deletion; settings of a domain; the removal of a domain. Lines therefore need no order to be applied: versions
//! decide. A commit is confirmed once both the store and the log are durable; they are written at the same time. After
//! a crash, the log may have lines that the store lacks: nobody was told that they were accepted.

mod lines;
mod reader;
mod segments;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::Utc;
use kindred_domain::store::WriteBatch;
use tokio::sync::{mpsc, oneshot};

pub(crate) use lines::Lines;
use lines::Told;
pub(crate) use reader::{LogReader, ReadError};
pub(crate) use segments::FOLDER;
use writer::{Append, LogWriter};

/// Appends that may wait for the writer; beyond it callers wait.
const WAITING: usize = 64;

/// How long, and up to what size, events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Older events are dropped.
    pub(crate) age: Duration,
    /// Beyond this many bytes, the oldest events are dropped.
    pub(crate) bytes: u64,
}

/// The log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log of events in {place} cannot be written: {detail}")]
pub(crate) struct LogError {
    place: String,
    detail: String,
}

/// An open log. Dropping it completes what was passed on.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// `None` only during drop.
    appends: Option<mpsc::Sender<Append>>,
    writer: Option<JoinHandle<()>>,
    place: String,
    /// Why the last append failed, until one succeeds.
    trouble: Arc<Mutex<Option<String>>>,
    told: Mutex<Told>,
}

impl EventLog {
    /// Opens the log of a data directory, creating it if missing. A line that a crash has cut short is removed: nobody
    /// was told that it was accepted.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open(data_dir: &Path, retention: Retention) -> Result<Self, LogError> {
        let folder: PathBuf = data_dir.join(FOLDER);
        let place = folder.display().to_string();
        let failed = |error: std::io::Error| LogError {
            place: place.clone(),
            detail: error.to_string(),
        };
        let writer = LogWriter::open(folder, retention).map_err(failed)?;
        let (appends, receiver) = mpsc::channel(WAITING);
        let trouble = Arc::new(Mutex::new(None));
        let told = Arc::clone(&trouble);
        let writer = std::thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(move || writer.run(receiver, &told))
            .map_err(failed)?;
        Ok(Self {
            appends: Some(appends),
            writer: Some(writer),
            place,
            trouble,
            told: Mutex::default(),
        })
    }

    /// What a commit adds to the log.
    pub(crate) fn lines_of(&self, batch: &WriteBatch) -> Lines {
        Lines::of(&batch.domain, &batch.writes, Utc::now(), &mut self.told())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes lines durable.
    ///
    /// # Errors
    /// [`LogError`]: they may be in the log, or only some of them.
    pub(crate) async fn append(&self, lines: Lines) -> Result<(), LogError> {
        let gone = || self.failed("the log is closed");
        let (done, is_done) = oneshot::channel();
        let appends = self.appends.as_ref().ok_or_else(gone)?;
        let append = Append { lines, done };
        appends.send(append).await.map_err(|_| gone())?;
        let written = is_done.await.map_err(|_| gone())?;
        written.map_err(|detail| {
            // The settings among them are to be logged with the next commit.
            self.told().clear();
            self.failed(&detail)
        })
    }

    /// Why the last append failed, until one succeeds.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let detail = trouble.as_ref()?;
        Some(self.failed(detail).to_string())
    }

    fn failed(&self, detail: &str) -> LogError {
        LogError {
            place: self.place.clone(),
            detail: detail.to_owned(),
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.appends = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("event_log.writer_panicked");
        }
    }
}
