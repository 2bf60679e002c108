//! The lease rows: written only by lightweight transactions, read at SERIAL.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use kindred_shared::Backoff;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::CassandraStore;
use super::counts::Table;
use super::failure::{Trouble, is_unknown};
use kindred_domain::store::{Cas, Epoch, Lease, Partition, StoreError};

/// Longest a fence may take, including retries.
const FENCE_DEADLINE: Duration = Duration::from_secs(10);
/// Pauses before a failed or unknown write is retried. When replicas answer a conditional write
/// differently, it fails at once although nothing is wrong; the next write repairs that.
pub(super) const ASK_AGAIN: Backoff =
    Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Longest a change of the lease waits for another statement of its row. Contention costs a round
/// trip; a slow fence could cost the lease.
const TURN_LIMIT: Duration = Duration::from_millis(200);

/// Runs one fence of a partition at a time; fences requested meanwhile share the next one.
#[derive(Default)]
pub(super) struct Gate {
    /// Conditional writes of one row contend, so this process sends its own one after the other.
    /// Locked for one statement only, so that a beat never waits for the retries of a fence.
    turn: Mutex<()>,
    /// Number of the last fence that began.
    begun: AtomicU64,
    last: Mutex<Option<Fenced>>,
}

/// What a fence found.
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

/// The result of a conditional write.
#[derive(Debug)]
pub(super) enum Said {
    Applied,
    /// The columns it compared, or none if there is no row.
    Refused(HashMap<String, CqlValue>),
}

pub(super) fn said(result: QueryResult) -> Result<Said, Trouble> {
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

fn lease_of(found: &QueryRowsResult) -> Result<Option<Lease>, Trouble> {
    let row = found.maybe_first_row::<(i64, String, String, i64)>()?;
    Ok(row.map(|(epoch, owner, address, beat)| Lease {
        epoch: epoch.cast_unsigned(),
        owner,
        address,
        beat: beat.cast_unsigned(),
    }))
}

impl CassandraStore {
    /// The current lease row. Retried until it is known: the caller has a deadline.
    pub(super) async fn read_lease(&self, partition: Partition) -> Result<Option<Lease>, Trouble> {
        let gate = self.gates.of(partition);
        let mut pause = ASK_AGAIN;
        loop {
            let turn = gate.turn.lock().await;
            let found = self.lease_by(&self.statements.lease, partition).await;
            drop(turn);
            match found {
                Err(Trouble::Execution(error)) if is_unknown(&error) => {
                    tokio::time::sleep(pause.failed()).await;
                }
                found => return found,
            }
        }
    }

    /// The lease row as a quorum has it: a conditional write in progress is not visible.
    pub(super) async fn seen_lease(&self, partition: Partition) -> Result<Option<Lease>, Trouble> {
        let key = (partition.0.cast_signed(),);
        let found = self.ask_quorum(&self.statements.look_at_lease, key).await?;
        lease_of(&found)
    }

    async fn lease_by(
        &self,
        statement: &PreparedStatement,
        partition: Partition,
    ) -> Result<Option<Lease>, Trouble> {
        let values = (partition.0.cast_signed(),);
        let found = self.session.execute_unpaged(statement, values).await?;
        lease_of(&found.into_rows_result()?)
    }

    /// Sets the lease row if it still is as expected. Sent once: the lease's machine knows how long a
    /// try counts, and when to send it again.
    pub(super) async fn set_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError> {
        let gate = self.gates.of(partition);
        let turn = timeout(TURN_LIMIT, gate.turn.lock()).await;
        let said = self.try_lease(partition, expected, wanted).await;
        drop(turn);
        match said.map_err(Trouble::of_write)? {
            Said::Applied => {
                self.counts.add(Table::Partitions);
                Ok(Cas::Applied)
            }
            Said::Refused(columns) => {
                Ok(Cas::Refused(lease_in(&columns).map_err(Trouble::of_read)?))
            }
        }
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

    /// Makes sure that a partition's epoch is still the writer's, after all its writes so far. One
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
            // Nobody has taken the partition from us.
            _ => Ok(()),
        }
    }

    /// The partition's epoch, as a conditional write finds it.
    async fn epoch_by_writing(
        &self,
        partition: Partition,
        ours: Epoch,
    ) -> Result<Option<Epoch>, StoreError> {
        let gate = self.gates.of(partition);
        let epoch = ours.0.cast_signed();
        let values = (epoch, partition.0.cast_signed(), epoch);
        let turn = gate.turn.lock().await;
        let result = self
            .session
            .execute_unpaged(&self.statements.fence, values)
            .await;
        drop(turn);
        match result.map_err(Trouble::from).and_then(said) {
            Ok(Said::Applied) => {
                self.counts.add(Table::Partitions);
                Ok(Some(ours))
            }
            Ok(Said::Refused(columns)) => {
                let epoch = columns.get("epoch").and_then(CqlValue::as_bigint);
                Ok(epoch.map(|epoch| Epoch(epoch.cast_unsigned())))
            }
            // A SERIAL read is ordered among the conditional writes, so it returns what the write
            // would have.
            Err(Trouble::Execution(error)) if is_unknown(&error) => {
                let row = self.read_lease(partition).await;
                Ok(row.map_err(Trouble::of_write)?.map(|lease| lease.epoch()))
            }
            Err(trouble) => Err(trouble.of_write()),
        }
    }
}
