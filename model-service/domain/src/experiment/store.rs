//! The stored form of experiments and of what readers did. Only the domain's owner writes it; every instance reads
//! which experiment is running.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kindred_shared::DomainName;
use kindred_shared::event::{NOBODY, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Experiment;
use super::statistics::Sums;
use super::tally::{ReaderKey, Tally};
use crate::log::what;
use crate::store::{DomainRow, Epoch, Partition, Stamp, StoreError};

/// An experiment as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// Identifies this run among all runs in the domain; readers' rows belong to a run. The time when it began, in ms,
    /// or one more than the previous run.
    pub run: i64,
    /// What it is.
    pub experiment: Experiment,
    /// When it began.
    pub since: DateTime<Utc>,
    /// Who asked for it, for the domain's log.
    #[serde(default = "nobody")]
    pub by: String,
    /// When it ended, and what readers had done by then; `None`: it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// The end of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// Who asked for it, for the domain's log.
    #[serde(default = "nobody")]
    pub by: String,
    /// What readers had done, by arm.
    pub sums: Vec<Sums>,
}

fn nobody() -> String {
    NOBODY.to_owned()
}

impl ExperimentRow {
    /// Its beginning and its end, if it has ended, for the domain's log. Their numbers rise because those of runs do.
    pub fn changes(&self, domain: &DomainRow) -> Vec<Recorded> {
        let number = self.run.saturating_mul(2);
        let told = serde_json::to_value(&self.experiment).unwrap_or_default();
        let change = |number: i64, at: DateTime<Utc>, by: &str, what: &str| Recorded {
            domain: domain.domain.clone(),
            request: format!("experiment {number}"),
            registered_at: domain.registered_at.timestamp_millis(),
            number,
            at: at.timestamp_millis(),
            what: what.to_owned(),
            before: Value::Null,
            after: Value::Null,
            by: by.to_owned(),
        };
        let mut changes = vec![Recorded {
            after: told.clone(),
            ..change(number, self.since, &self.by, what::EXPERIMENT_BEGUN)
        }];
        changes.extend(self.ended.as_ref().map(|ended| Recorded {
            before: told,
            ..change(number + 1, ended.at, &ended.by, what::EXPERIMENT_ENDED)
        }));
        changes
    }
}

/// The writer of a row, and its stamp.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The partition whose owner writes.
    pub partition: Partition,
    /// The epoch of the ownership, which a fence checks.
    pub epoch: Epoch,
    /// The stamp of the write.
    pub stamp: Stamp,
}

/// A reader's row.
pub type ReaderRow = (ReaderKey, Tally);

/// Some readers' rows, and where the next ones begin.
pub struct Readers {
    /// The rows.
    pub rows: Vec<ReaderRow>,
    /// To be passed to the next call; `None`: these were the last ones.
    pub next: Option<ReaderKey>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} readers", self.rows.len())
    }
}

/// The stored form of experiments and of what readers did.
///
/// Each row is complete in itself, and the last write wins, by its stamp. When a write returns `Ok`, it is durable, and
/// the partition's epoch was the writer's at that time; otherwise it may have been done or not. A row that Kindred
/// cannot have written is treated as missing. Sweeping the domain ([`crate::store::Store::sweep`]) deletes all of them.
#[async_trait]
pub trait ExperimentStore: Send + Sync + 'static {
    /// Every experiment of a domain, by name, including those that have ended.
    async fn experiments(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError>;

    /// Writes an experiment; replaces one of the same name.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the partition has a newer owner.
    async fn put_experiment(
        &self,
        writer: Writer,
        domain: &DomainName,
        row: &ExperimentRow,
    ) -> Result<(), StoreError>;

    /// Deletes an experiment that has ended.
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

    /// Writes what readers did in a run. No reader occurs twice.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the partition has a newer owner; some rows may have been written.
    async fn put_readers(
        &self,
        writer: Writer,
        domain: &DomainName,
        run: i64,
        rows: &[ReaderRow],
    ) -> Result<(), StoreError>;

    /// All readers of a run, each once, in an order of the store's choice: about `most`, after the given one.
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
