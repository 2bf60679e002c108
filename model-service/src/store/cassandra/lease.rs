//! The lease rows: written by lightweight transactions only, read at SERIAL.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::CassandraStore;
use super::counts::Table;
use super::failure::{Trouble, is_unknown};
use kindred_domain::store::{Cas, Epoch, Lease, Partition, StoreError};

/// Longest a change of the lease may take with everything it has to ask again. An owner must know
/// within five seconds whether it still is one.
const LEASE_DEADLINE: Duration = Duration::from_secs(4);
/// Longest a fence may take.
const FENCE_DEADLINE: Duration = Duration::from_secs(10);

/// Lets one fence of a partition run at a time; those that wait meanwhile share the next one.
#[derive(Default)]
pub(super) struct Gate {
    /// Number of the last fence that began.
    begun: AtomicU64,
    last: Mutex<Option<Fenced>>,
}

/// What a fence saw.
struct Fenced {
    number: u64,
    epoch: Result<Option<Epoch>, StoreError>,
}

/// Gates by partition; never more than there are partitions.
#[derive(Default)]
pub(super) struct Gates(StdMutex<HashMap<Partition, Arc<Gate>>>);

impl Gates {
    fn of(&self, partition: Partition) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(partition).or_default())
    }
}

/// What a conditional write said.
enum Said {
    Applied,
    /// The columns it looked at, or none where there is no row.
    Refused(HashMap<String, CqlValue>),
}

fn said(result: QueryResult) -> Result<Said, Trouble> {
    let found = result.into_rows_result()?;
    let names: Vec<String> = found
        .column_specs()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let row = found.maybe_first_row::<Row>()?;
    let values = row.map_or_else(Vec::new, |row| row.columns);
    let mut columns: HashMap<String, CqlValue> = names
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect();
    match columns.remove("[applied]") {
        Some(CqlValue::Boolean(true)) => Ok(Said::Applied),
        Some(_) => Ok(Said::Refused(columns)),
        None => Err(Trouble::Answer(
            "a conditional write without [applied]".to_owned(),
        )),
    }
}

fn lease_in(columns: &HashMap<String, CqlValue>) -> Result<Option<Lease>, Trouble> {
    let number = |name: &str| columns.get(name).and_then(CqlValue::as_bigint);
    let text = |name: &str| columns.get(name).and_then(CqlValue::as_text);
    match (
        number("epoch"),
        text("owner"),
        text("address"),
        number("beat"),
    ) {
        (Some(epoch), Some(owner), Some(address), Some(beat)) => Ok(Some(Lease {
            epoch: epoch.cast_unsigned(),
            owner: owner.clone(),
            address: address.clone(),
            beat: beat.cast_unsigned(),
        })),
        (None, None, None, None) => Ok(None),
        _ => Err(Trouble::Row("partitions", "a column is missing".to_owned())),
    }
}

impl CassandraStore {
    pub(super) async fn read_lease(&self, partition: Partition) -> Result<Option<Lease>, Trouble> {
        let values = (partition.0.cast_signed(),);
        let found = self
            .session
            .execute_unpaged(&self.statements.lease, values)
            .await?;
        let found = found.into_rows_result()?;
        let row = found.maybe_first_row::<(i64, String, String, i64)>()?;
        Ok(row.map(|(epoch, owner, address, beat)| Lease {
            epoch: epoch.cast_unsigned(),
            owner,
            address,
            beat: beat.cast_unsigned(),
        }))
    }

    /// Sets the lease row if it still is as expected. A write that does not answer may have been
    /// done: the row is read again, and written again where it still is as expected.
    pub(super) async fn set_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError> {
        let asked = timeout(LEASE_DEADLINE, async {
            let mut unsure = false;
            loop {
                let error = match self.try_lease(partition, expected, wanted).await {
                    Ok(Said::Applied) => return Ok(Cas::Applied),
                    Ok(Said::Refused(columns)) => {
                        let row = lease_in(&columns).map_err(Trouble::of_read)?;
                        // An earlier try was done after all: nobody else wants this very row.
                        let done = unsure && row.as_ref() == Some(wanted);
                        return Ok(if done {
                            Cas::Applied
                        } else {
                            Cas::Refused(row)
                        });
                    }
                    Err(Trouble::Execution(error)) if is_unknown(&error) => error,
                    Err(trouble) => return Err(trouble.of_write()),
                };
                unsure = true;
                let row = self
                    .read_lease(partition)
                    .await
                    .map_err(|_| unknown(&error))?;
                if row.as_ref() == Some(wanted) {
                    return Ok(Cas::Applied);
                }
                if row.as_ref() != expected {
                    return Ok(Cas::Refused(row));
                }
            }
        });
        let cas = asked.await.unwrap_or_else(|_| {
            Err(StoreError::Unknown(format!(
                "the lease did not change within {} s",
                LEASE_DEADLINE.as_secs()
            )))
        });
        if cas == Ok(Cas::Applied) {
            self.counts.add(Table::Partitions);
        }
        cas
    }

    async fn try_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Said, Trouble> {
        let partition = partition.0.cast_signed();
        let (epoch, beat) = (wanted.epoch.cast_signed(), wanted.beat.cast_signed());
        let (owner, address) = (&wanted.owner, &wanted.address);
        let result = match expected {
            None => {
                let values = (partition, epoch, owner, address, beat);
                self.session
                    .execute_unpaged(&self.statements.make_lease, values)
                    .await
            }
            Some(old) => {
                let values = (
                    epoch,
                    owner,
                    address,
                    beat,
                    partition,
                    old.epoch.cast_signed(),
                    &old.owner,
                    &old.address,
                    old.beat.cast_signed(),
                );
                self.session
                    .execute_unpaged(&self.statements.take_lease, values)
                    .await
            }
        };
        said(result?)
    }

    /// Makes sure that a partition's epoch is still the writer's, after all it wrote so far. One
    /// conditional write serves all batches that were written before it began.
    pub(super) async fn fence(&self, partition: Partition, ours: Epoch) -> Result<(), StoreError> {
        let gate = self.gates.of(partition);
        let asked = gate.begun.load(Ordering::Acquire);
        let mut last = gate.last.lock().await;
        let seen = match &*last {
            Some(fenced) if fenced.number > asked => fenced.epoch.clone(),
            _ => {
                let number = gate.begun.fetch_add(1, Ordering::AcqRel) + 1;
                let epoch = timeout(FENCE_DEADLINE, self.epoch_by_writing(partition, ours)).await;
                let epoch = epoch.unwrap_or_else(|_| {
                    Err(StoreError::Unknown("the fence took too long".to_owned()))
                });
                *last = Some(Fenced {
                    number,
                    epoch: epoch.clone(),
                });
                epoch
            }
        };
        drop(last);
        match seen? {
            Some(current) if current > ours => Err(StoreError::Superseded {
                partition,
                ours,
                current,
            }),
            // Nobody took the partition from us.
            _ => Ok(()),
        }
    }

    /// The partition's epoch as a conditional write finds it.
    async fn epoch_by_writing(
        &self,
        partition: Partition,
        ours: Epoch,
    ) -> Result<Option<Epoch>, StoreError> {
        let epoch = ours.0.cast_signed();
        let values = (epoch, partition.0.cast_signed(), epoch);
        let result = self
            .session
            .execute_unpaged(&self.statements.fence, values)
            .await;
        match result.map_err(Trouble::from).and_then(said) {
            Ok(Said::Applied) => {
                self.counts.add(Table::Partitions);
                Ok(Some(ours))
            }
            Ok(Said::Refused(columns)) => {
                let epoch = columns.get("epoch").and_then(CqlValue::as_bigint);
                Ok(epoch.map(|epoch| Epoch(epoch.cast_unsigned())))
            }
            // Reading at SERIAL takes its turn among the conditional writes too, so it says what
            // the write would have.
            Err(Trouble::Execution(error)) if is_unknown(&error) => {
                let row = self
                    .read_lease(partition)
                    .await
                    .map_err(|_| unknown(&error))?;
                Ok(row.map(|lease| lease.epoch()))
            }
            Err(trouble) => Err(trouble.of_write()),
        }
    }
}

fn unknown(error: &ExecutionError) -> StoreError {
    StoreError::Unknown(error.to_string())
}
