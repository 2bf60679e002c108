//! Writing batches.
//!
//! A crash can cut a batch only where the trait allows it: the dirty mark is awaited before
//! anything else is sent; then the other rows are written, [`IN_FLIGHT`] requests at a time,
//! grouped by partition; then the fence; a clean mark comes last.

use futures_util::stream::{FuturesUnordered, StreamExt};
use kindred_shared::ModelName;
use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::CassandraStore;
use super::counts::Table;
use super::facts::bucket;
use super::failure::Trouble;
use super::rows::{Change, RowChange};
use kindred_domain::store::{Epoch, Partition, Stamp, StoreError, Write, WriteBatch};

/// Write requests in flight, over all batches.
pub(super) const IN_FLIGHT: usize = 128;
/// Most bytes of rows per request, unless a single row has more. Cassandra refuses batches of 50
/// KiB or more (`batch_size_fail_threshold`) that span partitions; it does not measure those of one
/// partition.
const REQUEST_BYTES: usize = 32 << 10;
/// Most rows per request.
const REQUEST_ROWS: usize = 100;

/// The rows of a batch, by the phase in which they are written.
struct Plan {
    /// The dirty mark.
    first: Vec<RowChange>,
    rows: Vec<RowChange>,
    /// The clean mark.
    last: Vec<RowChange>,
}

/// What the rows of one request have in common.
type Together = (Table, i16, Option<ModelName>);

impl CassandraStore {
    pub(super) async fn write_batch(
        &self,
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: WriteBatch,
    ) -> Result<(), StoreError> {
        let (domain, fence) = (batch.domain.clone(), batch.fence);
        let buckets = self.buckets(&domain).await.map_err(Trouble::of_read)?;
        let plan = self.plan(stamp, batch, buckets);
        let registers = !(plan.first.is_empty() && plan.last.is_empty());
        self.write_rows(plan.first).await?;
        self.write_rows(plan.rows).await?;
        if fence {
            self.fence(partition, epoch).await?;
        }
        self.write_rows(plan.last).await?;
        if registers {
            self.facts.registered(&domain, buckets);
        }
        Ok(())
    }

    fn plan(&self, stamp: Stamp, batch: WriteBatch, buckets: i16) -> Plan {
        let WriteBatch { domain, writes, .. } = batch;
        let row = |bucket, change| RowChange {
            domain: domain.clone(),
            bucket,
            stamp: stamp.as_i64(),
            change,
        };
        let mut plan = Plan {
            first: Vec::new(),
            rows: Vec::with_capacity(writes.len()),
            last: Vec::new(),
        };
        for write in writes {
            let rows = &mut plan.rows;
            match write {
                Write::Domain(domain) => {
                    let marks = match domain.dirty {
                        Some(_) => &mut plan.first,
                        None => &mut plan.last,
                    };
                    marks.push(row(0, Change::Domain(domain, buckets)));
                }
                Write::PurgeDomain => rows.push(row(0, Change::PurgeDomain)),
                Write::Settings(settings) => rows.push(row(0, Change::Settings(settings))),
                Write::Item(item) => {
                    let bucket = bucket(&item.id, buckets);
                    rows.push(row(bucket, Change::Item(item)));
                }
                Write::PurgeItem(id) => {
                    rows.push(row(bucket(&id, buckets), Change::PurgeItem(id)));
                }
                Write::Content(id, content) => rows.push(row(0, Change::Content(id, content))),
                Write::DeleteContent(id) => rows.push(row(0, Change::DeleteContent(id))),
                Write::Feature(feature) => {
                    let bucket = bucket(&feature.id, buckets);
                    rows.push(row(bucket, Change::Feature(feature)));
                }
                Write::DeleteFeatures(id) => {
                    let bucket = bucket(&id, buckets);
                    for model in self.models.iter() {
                        let change = Change::DeleteFeature(id.clone(), model.clone());
                        rows.push(row(bucket, change));
                    }
                }
                Write::List(list) => rows.push(row(0, Change::List(list))),
                Write::DeleteList(id) => rows.push(row(0, Change::DeleteList(id))),
                Write::DeleteFeature(model, id) => {
                    let bucket = bucket(&id, buckets);
                    rows.push(row(bucket, Change::DeleteFeature(id, model)));
                }
                Write::Beside(model, beside) => {
                    let marks = match beside.dirty {
                        Some(_) => &mut plan.first,
                        None => &mut plan.last,
                    };
                    marks.push(row(0, Change::Beside(model, beside)));
                }
                Write::BesideHabits(model, habits) => {
                    rows.push(row(0, Change::BesideHabits(model, habits)));
                }
                Write::BesideList(model, list) => {
                    rows.push(row(0, Change::BesideList(model, list)));
                }
                Write::DeleteBesideList(model, id) => {
                    rows.push(row(0, Change::DeleteBesideList(model, id)));
                }
                Write::Log(entry) => rows.push(row(0, Change::Log(entry))),
                Write::TrimLog(floor) => rows.push(row(0, Change::TrimLog(floor))),
            }
        }
        plan
    }

    /// Writes rows in any order; stops at the first failure.
    pub(super) async fn write_rows(&self, rows: Vec<RowChange>) -> Result<(), StoreError> {
        let mut running = FuturesUnordered::new();
        for request in requests(rows) {
            if running.len() == IN_FLIGHT
                && let Some(written) = running.next().await
            {
                written?;
            }
            running.push(self.send(request));
        }
        while let Some(written) = running.next().await {
            written?;
        }
        Ok(())
    }

    async fn send(&self, rows: Vec<RowChange>) -> Result<(), StoreError> {
        let _turn = self.writing.acquire().await;
        let tables: Vec<Table> = rows.iter().map(|row| table(&row.change)).collect();
        let with_before = |row: RowChange| row.before().into_iter().chain([row]);
        let changes: Vec<RowChange> = rows.into_iter().flat_map(with_before).collect();
        let sent = match &changes[..] {
            [row] => self.session.execute_unpaged(self.statement(row), row).await,
            changes => {
                let mut batch = CqlBatch::new(BatchType::Unlogged);
                batch.set_is_idempotent(true);
                for change in changes {
                    batch.append_statement(self.statement(change).clone());
                }
                self.session.batch(&batch, changes).await
            }
        };
        sent.map_err(|error| Trouble::from(error).of_write())?;
        for table in tables {
            self.counts.add(table);
        }
        Ok(())
    }

    fn statement(&self, row: &RowChange) -> &PreparedStatement {
        let all = &self.statements;
        match row.change {
            Change::Domain(..) => &all.put_domain,
            Change::PurgeDomain => &all.delete_domain,
            Change::Settings(_) => &all.put_settings,
            Change::Item(_) => &all.put_item,
            Change::PurgeItem(_) => &all.delete_item,
            Change::Content(..) => &all.put_content,
            Change::DeleteContent(_) => &all.delete_content,
            Change::Feature(_) => &all.put_feature,
            Change::DeleteFeature(..) => &all.delete_feature,
            Change::List(_) => &all.put_list,
            Change::DeleteList(_) => &all.delete_list,
            Change::Beside(..) => &all.put_beside,
            Change::BesideHabits(..) => &all.put_beside_habits,
            Change::BesideList(..) => &all.put_beside_list,
            Change::DeleteBesideList(..) => &all.delete_beside_list,
            Change::Log(_) => &all.put_log,
            Change::TrimLog(_) => &all.trim_log,
        }
    }
}

fn table(change: &Change) -> Table {
    match change {
        Change::Domain(..) | Change::PurgeDomain => Table::Domains,
        Change::Settings(_) => Table::Settings,
        Change::Item(_) | Change::PurgeItem(_) => Table::Items,
        Change::Content(..) | Change::DeleteContent(_) => Table::Texts,
        Change::Feature(_) | Change::DeleteFeature(..) => Table::Features,
        Change::List(_) | Change::DeleteList(_) => Table::Lists,
        Change::Beside(..) | Change::BesideHabits(..) => Table::Models,
        Change::BesideList(..) | Change::DeleteBesideList(..) => Table::ModelLists,
        Change::Log(_) | Change::TrimLog(_) => Table::Log,
    }
}

/// The partition that a row shares with other rows of its domain; `None`: it shares none.
fn together(row: &RowChange) -> Option<Together> {
    let model = match &row.change {
        Change::Item(_) | Change::PurgeItem(_) => None,
        Change::Feature(feature) => Some(feature.space.model()),
        Change::DeleteFeature(_, model) => Some(model.clone()),
        Change::BesideList(model, _) | Change::DeleteBesideList(model, _) => Some(model.clone()),
        // All lists of a domain are one partition.
        Change::List(_) | Change::DeleteList(_) => None,
        Change::Domain(..)
        | Change::PurgeDomain
        | Change::Settings(_)
        | Change::Beside(..)
        | Change::BesideHabits(..)
        | Change::Content(..)
        | Change::DeleteContent(_)
        | Change::Log(_)
        | Change::TrimLog(_) => return None,
    };
    Some((table(&row.change), row.bucket, model))
}

/// Groups rows of one domain into requests: by partition, within the limits.
fn requests(mut rows: Vec<RowChange>) -> Vec<Vec<RowChange>> {
    // A stable sort; rows that share no partition come first.
    rows.sort_by_cached_key(together);
    let mut requests: Vec<Vec<RowChange>> = Vec::new();
    let mut open = 0;
    for row in rows {
        let bytes = row.bytes();
        match requests.last_mut() {
            Some(last)
                if open + bytes <= REQUEST_BYTES
                    && last.len() < REQUEST_ROWS
                    && together(&row).is_some()
                    && last.last().and_then(together) == together(&row) =>
            {
                open += bytes;
                last.push(row);
            }
            _ => {
                open = bytes;
                requests.push(vec![row]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::{domain, feature, id, item, list};
    use super::*;
    use kindred_domain::store::Neighbour;

    fn change(bucket: i16, change: Change) -> RowChange {
        RowChange {
            domain: domain("d"),
            bucket,
            stamp: 1,
            change,
        }
    }

    #[test]
    fn rows_of_one_partition_go_together_in_bounds() {
        let mut rows = Vec::new();
        for n in 0..400_i16 {
            let name = format!("i{n:03}");
            let bucket = n % 2;
            rows.push(change(bucket, Change::Item(item(&name, 1))));
            rows.push(change(bucket, Change::Feature(feature(&name, 1))));
            rows.push(change(
                bucket,
                Change::DeleteFeature(id(&name), ModelName::own()),
            ));
            rows.push(change(0, Change::List(list(&name, 0.5))));
            rows.push(change(0, Change::DeleteList(id(&format!("gone{n}")))));
            rows.push(change(0, Change::DeleteContent(id(&name))));
        }
        let requests = requests(rows);
        assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), 2_400);
        for request in &requests {
            assert!(request.len() <= REQUEST_ROWS);
            assert!(request.iter().map(RowChange::bytes).sum::<usize>() <= REQUEST_BYTES);
            if request.len() > 1 {
                let first = together(&request[0]);
                assert!(first.is_some());
                assert!(request.iter().all(|row| together(row) == first));
            }
        }
        let alone = requests.iter().filter(|request| request.len() == 1).count();
        assert!((400..410).contains(&alone), "{alone} rows alone");
        assert!(requests.len() < 460, "{} requests", requests.len());
    }

    #[test]
    fn lists_of_long_ids_go_in_small_requests() {
        let long = "x".repeat(256);
        let neighbour = |score| Neighbour {
            id: id(&long),
            score,
        };
        let mut row = list("a", 0.5);
        row.neighbours = (0..50_u8).map(|n| neighbour(f32::from(n))).collect();
        let rows = (0..20).map(|_| change(0, Change::List(row.clone())));
        let requests = requests(rows.collect());
        assert!(
            requests.iter().all(|request| request.len() == 2),
            "13 KB a row"
        );
    }
}
