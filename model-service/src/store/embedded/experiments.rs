//! Experiments and what readers did. Rows have neither stamps nor markers: one process writes them,
//! one at a time.

use kindred_shared::DomainName;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::encoding::{end_of, key};
use super::failure::Trouble;
use kindred_domain::experiment::store::{ExperimentRow, ReaderRow};

pub(super) type Bytes = &'static [u8];

/// Experiments by domain and name, as JSON.
pub(super) const EXPERIMENTS: TableDefinition<'static, Bytes, Bytes> =
    TableDefinition::new("domain_experiments");
/// What readers did, by domain, run (8 bytes, the highest first) and reader (16 bytes).
pub(super) const READERS: TableDefinition<'static, Bytes, Bytes> =
    TableDefinition::new("experiment_readers");

/// Rows deleted per transaction.
const STEP_ROWS: usize = 4_096;

/// A change of a domain's experiments.
pub(super) enum Change {
    /// Set an experiment.
    Put(Box<ExperimentRow>),
    /// Delete an experiment.
    Delete(String),
    /// Set rows of readers of a run.
    PutReaders(i64, Vec<ReaderRow>),
    /// Delete some readers of a run.
    ForgetReaders(i64),
}

impl Change {
    /// Approximate number of rows it writes.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Put(_) | Self::Delete(_) => 1,
            Self::PutReaders(_, rows) => rows.len(),
            Self::ForgetReaders(_) => STEP_ROWS,
        }
    }
}

/// The tables in one write transaction.
pub(super) struct ExperimentTables<'t> {
    experiments: Table<'t, Bytes, Bytes>,
    readers: Table<'t, Bytes, Bytes>,
}

impl<'t> ExperimentTables<'t> {
    /// Opens the tables, creating missing ones.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Trouble> {
        Ok(Self {
            experiments: transaction.open_table(EXPERIMENTS)?,
            readers: transaction.open_table(READERS)?,
        })
    }

    /// Makes a change; returns whether it is complete.
    pub(super) fn apply(&mut self, domain: &DomainName, change: &Change) -> Result<bool, Trouble> {
        match change {
            Change::Put(row) => {
                let json = serde_json::to_vec(row).map_err(std::io::Error::from)?;
                let key = key(domain, &row.experiment.name);
                self.experiments.insert(&*key, &*json)?;
            }
            Change::Delete(name) => {
                self.experiments.remove(&*key(domain, name))?;
            }
            Change::PutReaders(run, rows) => {
                for (reader, tally) in rows {
                    let key = reader_key(domain, *run, reader.0);
                    self.readers.insert(&*key, &*tally.to_bytes())?;
                }
            }
            Change::ForgetReaders(run) => {
                let first = reader_key(domain, *run, [0; 16]);
                let last = reader_key(domain, *run, [u8::MAX; 16]);
                let mut end = last;
                end.push(0);
                return Ok(remove(&mut self.readers, &first, &end, STEP_ROWS)? < STEP_ROWS);
            }
        }
        Ok(true)
    }

    /// Deletes rows of a removed domain, at most `most`; returns how many.
    pub(super) fn sweep(&mut self, domain: &DomainName, most: usize) -> Result<usize, Trouble> {
        let first = key(domain, "");
        let end = end_of(first.clone());
        let removed = remove(&mut self.readers, &first, &end, most)?;
        Ok(removed + remove(&mut self.experiments, &first, &end, most - removed)?)
    }
}

/// Deletes rows from a key on, at most `most`; returns how many.
fn remove(
    table: &mut Table<'_, Bytes, Bytes>,
    first: &[u8],
    end: &[u8],
    most: usize,
) -> Result<usize, Trouble> {
    let mut keys = Vec::new();
    for row in table.range(first..end)?.take(most) {
        keys.push(row?.0.value().to_vec());
    }
    for key in &keys {
        table.remove(&**key)?;
    }
    Ok(keys.len())
}

/// The key of a reader's row. The run is not text, so such a key can only be split at the domain's
/// name.
pub(super) fn reader_key(domain: &DomainName, run: i64, reader: [u8; 16]) -> Vec<u8> {
    let mut whole = key(domain, "");
    whole.extend_from_slice(&run.to_be_bytes());
    whole.extend_from_slice(&reader);
    whole
}

/// A table that older stores may not have.
pub(super) fn opened(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, Bytes, Bytes>,
) -> Result<Option<redb::ReadOnlyTable<Bytes, Bytes>>, Trouble> {
    match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
