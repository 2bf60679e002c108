//! Experiments and what readers did, on disk. Their domain's owner alone writes them; every instance reads which
//! experiment runs.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kindred_shared::DomainName;
use serde::{Deserialize, Serialize};

use super::Experiment;
use super::statistics::Sums;
use super::tally::{ReaderKey, Tally};
use crate::store::{Epoch, Partition, Stamp, StoreError};

/// An experiment as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// Names this run of it, among all of the domain; readers' rows are of one run. The time of its begin in ms, or
    /// one more than the run before.
    pub run: i64,
    /// What it is.
    pub experiment: Experiment,
    /// Since when it runs.
    pub since: DateTime<Utc>,
    /// When it ended, and what readers had done; `None`: it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// The end of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// What readers had done, by arm.
    pub sums: Vec<Sums>,
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The partition whose owner writes.
    pub partition: Partition,
    /// The epoch of the ownership, which is what a fence checks.
    pub epoch: Epoch,
    /// The write's.
    pub stamp: Stamp,
}

/// A reader's row.
pub type ReaderRow = (ReaderKey, Tally);

/// Some readers' rows, and behind whom the next ones begin.
pub struct Readers {
    /// The rows.
    pub rows: Vec<ReaderRow>,
    /// Give this to the next call; `None`: these were the last.
    pub next: Option<ReaderKey>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} readers", self.rows.len())
    }
}

/// Experiments and what readers did, on disk.
///
/// Each row is whole in itself, and the last write wins by its stamp. A write is durable when it returns `Ok`, and the
/// partition's epoch was the writer's then; else it may be there or not. A row that cannot be what Kindred wrote counts
/// as none. A sweep of the domain ([`crate::store::Store::sweep`]) takes all of them along.
#[async_trait]
pub trait ExperimentStore: Send + Sync + 'static {
    /// Every experiment of a domain, by name: those that ended, too.
    async fn experiments(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError>;

    /// Writes an experiment, in the place of one of its name.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the partition has a newer owner.
    async fn put_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        row: &ExperimentRow,
    ) -> Result<(), StoreError>;

    /// Deletes an experiment that ended; that it is kept no longer loses nothing else.
    async fn delete_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        name: &str,
    ) -> Result<(), StoreError>;

    /// What these readers did in a run, in their order; `None`: nothing.
    async fn readers(
        &self,
        domain: &DomainName,
        run: i64,
        readers: &[ReaderKey],
    ) -> Result<Vec<Option<Tally>>, StoreError>;

    /// Writes what readers did in a run. No reader twice.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the partition has a newer owner: some may be there.
    async fn put_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
        rows: &[ReaderRow],
    ) -> Result<(), StoreError>;

    /// All readers of a run, each once, in an order of the store's own: some `most`, from behind one of them on.
    async fn scan_readers(
        &self,
        domain: &DomainName,
        run: i64,
        behind: Option<ReaderKey>,
        most: usize,
    ) -> Result<Readers, StoreError>;

    /// Deletes all readers of a run.
    async fn forget_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
    ) -> Result<(), StoreError>;
}
