//! The log that is replayed: the broker's stream, or the files of a standalone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kindred_shared::event::Limits;
use tokio::sync::mpsc;

use super::record::Record;
use super::since::Since;
use super::stream::StreamLog;
use crate::cli::exit::CommandError;
use crate::config::Config;
use crate::event_log::{self, LogReader, ReadError};

/// Entries that are read ahead.
pub(super) const READ_AHEAD: usize = 256;
/// The connection's name in the management UI.
const PROGRAM: &str = "kindred replay";

/// Entries in order, or why there are no more.
pub(super) type Records = mpsc::Receiver<Result<Record, CommandError>>;

/// Where entries come from.
#[derive(Debug)]
pub(super) enum Log {
    /// The broker's stream.
    Stream(Box<StreamLog>),
    /// The data directory of a standalone.
    Folder(PathBuf, Limits),
}

impl Log {
    /// The log of a data directory, or, if none is named, of the configured broker.
    ///
    /// # Errors
    /// [`CommandError`], if the configuration cannot be used.
    pub(super) fn configured(
        data_dir: Option<&Path>,
        config: &Config,
        timeout: Duration,
    ) -> Result<Self, CommandError> {
        let limits = config.events.limits();
        if let Some(data_dir) = data_dir {
            return Ok(Self::Folder(data_dir.to_owned(), limits));
        }
        let connector = config.broker.connector(PROGRAM);
        let connector = connector.map_err(|error| CommandError::usage(error.to_string()))?;
        let stream = StreamLog::new(connector, limits, timeout);
        Ok(Self::Stream(Box::new(stream)))
    }

    /// Its name for people, and to recognise it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stream(stream) => stream.name(),
            Self::Folder(data_dir, _) => {
                let path = std::path::absolute(data_dir);
                let path = path.unwrap_or_else(|_| data_dir.clone());
                path.join(event_log::FOLDER).display().to_string()
            }
        }
    }

    /// What an entry's place is called.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Stream(_) => "offset",
            Self::Folder(..) => "line",
        }
    }

    /// The place of the last entry; `None`: there is none.
    ///
    /// # Errors
    /// When the log is not there, or cannot be read.
    pub(super) fn end(&self) -> Result<Option<u64>, CommandError> {
        match self {
            Self::Stream(stream) => stream.end(),
            Self::Folder(data_dir, _) => LogReader::last(data_dir).map_err(in_words),
        }
    }

    /// Reads entries on a thread of its own, up to this place.
    pub(super) fn read(&self, since: Since, until: u64) -> Records {
        let (out, records) = mpsc::channel(READ_AHEAD);
        match self {
            Self::Stream(stream) => {
                let stream = stream.clone();
                std::thread::spawn(move || stream.read(since, until, &out));
            }
            Self::Folder(data_dir, limits) => {
                let (data_dir, limits) = (data_dir.clone(), *limits);
                std::thread::spawn(move || {
                    if let Err(error) = read_folder(&data_dir, &limits, since, until, &out) {
                        // Nobody may be left to hear it.
                        let _ = out.blocking_send(Err(in_words(error)));
                    }
                });
            }
        }
        records
    }
}

fn read_folder(
    data_dir: &Path,
    limits: &Limits,
    since: Since,
    until: u64,
    out: &mpsc::Sender<Result<Record, CommandError>>,
) -> Result<(), ReadError> {
    let from = since.time();
    let mut reader = LogReader::open(data_dir, from)?;
    while let Some(entry) = reader.next()? {
        if entry.number > until {
            break;
        }
        // A segment may begin before.
        if from.is_some_and(|from| entry.at.is_some_and(|at| at < from)) {
            continue;
        }
        let record = Record::of_line(entry.number, entry.line.as_deref(), limits);
        if out.blocking_send(Ok(record)).is_err() {
            break;
        }
    }
    Ok(())
}

fn in_words(error: ReadError) -> CommandError {
    CommandError::failed(error.to_string())
}
