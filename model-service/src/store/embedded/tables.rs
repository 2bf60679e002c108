//! The tables of the database, and the one rule for writing rows.

use std::ops::Range;

use kindred_shared::{DomainName, ItemId, ModelName};
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::encoding::{Head, Writer, end_of, feature_key, key, log_key, split_value};
use super::experiments::ExperimentTables;
use super::failure::Trouble;
use crate::store::damage;
use kindred_domain::keys::KeyRow;
use kindred_domain::models::Swept;
use kindred_domain::store::{Cas, Epoch, Lease, Partition, Stamp, StoreError, Write, WriteBatch};

type Bytes = &'static [u8];

/// Metadata: version, models and their inputs, partitions; and the number of the last committed
/// group.
pub(super) const META: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("meta");
/// Lease rows by partition.
const LEASES: TableDefinition<'static, u16, Bytes> = TableDefinition::new("partitions");
/// Locations of deletion markers: the table's number, then the row's key.
pub(super) const MARKERS: TableDefinition<'static, Bytes, ()> = TableDefinition::new("markers");

/// API keys by name, as JSON. They have neither stamps nor markers: each is written once and
/// removed.
pub(super) const KEYS: TableDefinition<'static, &'static str, Bytes> =
    TableDefinition::new("access_keys");

/// A table of rows in which the last write wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StampedTable {
    Domains,
    Items,
    Contents,
    /// Of several models, side by side.
    Features,
    Lists,
    Settings,
    /// The state of models next to the served one.
    Models,
    /// The habits of their features.
    ModelHabits,
    /// Their lists.
    ModelLists,
    /// Entries of logs, by number.
    Log,
}

impl StampedTable {
    pub(super) const ALL: [Self; 10] = [
        Self::Domains,
        Self::Items,
        Self::Contents,
        Self::Features,
        Self::Lists,
        Self::Settings,
        Self::Models,
        Self::ModelHabits,
        Self::ModelLists,
        Self::Log,
    ];

    /// Its name in metrics, as in the contract.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Domains => damage::DOMAINS,
            Self::Items => damage::ITEMS,
            Self::Contents => damage::CONTENTS,
            Self::Features => damage::FEATURES,
            Self::Lists => damage::LISTS,
            Self::Settings => damage::SETTINGS,
            Self::Models => damage::MODELS,
            Self::ModelHabits => damage::MODEL_HABITS,
            Self::ModelLists => damage::MODEL_LISTS,
            Self::Log => damage::LOG,
        }
    }

    pub(super) fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(match self {
            // The name without a number is version 1's table, whose keys had no model.
            Self::Features => "item_features_2",
            _ => self.name(),
        })
    }
}

/// Name of the table of lease rows, as in the contract.
pub(super) const LEASES_NAME: &str = "partitions";

/// Rows written by a group, by table: [`StampedTable::ALL`], then the leases.
pub(super) type RowCounts = [u64; StampedTable::ALL.len() + 1];

/// The lease row of a partition.
pub(super) fn lease(
    transaction: &ReadTransaction,
    partition: Partition,
) -> Result<Option<Lease>, Trouble> {
    match transaction.open_table(LEASES)?.get(partition.0)? {
        Some(value) => Ok(Some(split_value(value.value())?.1.lease()?)),
        None => Ok(None),
    }
}

/// Every key.
pub(super) fn keys(transaction: &ReadTransaction) -> Result<Vec<KeyRow>, Trouble> {
    let table = match transaction.open_table(KEYS) {
        Ok(table) => table,
        // A store from before keys existed.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut rows = Vec::new();
    for entry in table.iter()? {
        let (id, json) = entry?;
        let row = serde_json::from_slice(json.value()).map_err(|error| {
            let what = format!("the key {:?} cannot be read: {error}", id.value());
            Trouble::Store(StoreError::Damaged(what))
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// All tables of one write transaction.
pub(super) struct Tables<'t> {
    /// The models that this program knows.
    models: &'t [ModelName],
    rows: [Table<'t, Bytes, Bytes>; StampedTable::ALL.len()],
    leases: Table<'t, u16, Bytes>,
    markers: Table<'t, Bytes, ()>,
    keys: Table<'t, &'static str, Bytes>,
    /// Experiments and what readers did.
    pub(super) experiments: ExperimentTables<'t>,
    buffer: Writer,
    /// Rows written so far; writes that lost do not count.
    pub(super) written: RowCounts,
    /// Whether something changed that is not counted as rows: keys, experiments.
    pub(super) has_changed_more: bool,
}

impl<'t> Tables<'t> {
    /// Opens the tables, creating missing ones.
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        models: &'t [ModelName],
    ) -> Result<Self, Trouble> {
        let rows = StampedTable::ALL.map(|kind| transaction.open_table(kind.definition()));
        let [a, b, c, d, e, f, g, h, i, j] = rows;
        Ok(Self {
            models,
            rows: [a?, b?, c?, d?, e?, f?, g?, h?, i?, j?],
            leases: transaction.open_table(LEASES)?,
            markers: transaction.open_table(MARKERS)?,
            keys: transaction.open_table(KEYS)?,
            experiments: ExperimentTables::open(transaction)?,
            buffer: Writer::default(),
            written: RowCounts::default(),
            has_changed_more: false,
        })
    }

    fn lease(&self, partition: Partition) -> Result<Option<Lease>, Trouble> {
        match self.leases.get(partition.0)? {
            Some(value) => Ok(Some(split_value(value.value())?.1.lease()?)),
            None => Ok(None),
        }
    }

    /// The fence. It is checked before the rows are written: within one transaction of the only
    /// writer that is equivalent to checking after, and a failed batch leaves nothing behind.
    pub(super) fn check_fence(&self, partition: Partition, ours: Epoch) -> Result<(), Trouble> {
        match self.lease(partition)? {
            Some(lease) if lease.epoch() > ours => Err(Trouble::Store(StoreError::Superseded {
                partition,
                ours,
                current: lease.epoch(),
            })),
            _ => Ok(()),
        }
    }

    /// Sets a lease row if it still is as expected.
    pub(super) fn take_lease(
        &mut self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, Trouble> {
        let current = self.lease(partition)?;
        if current.as_ref() != expected {
            return Ok(Cas::Refused(current));
        }
        self.buffer.lease(wanted);
        self.leases.insert(partition.0, self.buffer.bytes())?;
        self.written[StampedTable::ALL.len()] += 1;
        Ok(Cas::Applied)
    }

    /// Adds a key unless one has its name; returns whether it was added.
    pub(super) fn add_key(&mut self, row: &KeyRow) -> Result<bool, Trouble> {
        if self.keys.get(&*row.id)?.is_some() {
            return Ok(false);
        }
        let json = serde_json::to_vec(row).map_err(std::io::Error::from)?;
        self.keys.insert(&*row.id, &*json)?;
        self.has_changed_more = true;
        Ok(true)
    }

    /// Removes a key; returns whether it existed.
    pub(super) fn remove_key(&mut self, id: &str) -> Result<bool, Trouble> {
        let was_there = self.keys.remove(id)?.is_some();
        self.has_changed_more |= was_there;
        Ok(was_there)
    }

    /// Writes the rows of a batch.
    pub(super) fn write(&mut self, stamp: Stamp, batch: &WriteBatch) -> Result<(), Trouble> {
        let domain = &batch.domain;
        let of = |id: &ItemId| key(domain, id.as_str());
        for write in &batch.writes {
            match write {
                Write::Domain(row) => {
                    self.buffer.domain(stamp, row);
                    self.put_row(StampedTable::Domains, &key(domain, ""), stamp)?;
                }
                Write::PurgeDomain => {
                    self.delete(StampedTable::Domains, &key(domain, ""), stamp)?;
                }
                Write::Settings(row) => {
                    self.buffer.settings(stamp, row);
                    self.put_row(StampedTable::Settings, &key(domain, ""), stamp)?;
                }
                Write::Item(row) => {
                    self.buffer.item(stamp, row);
                    self.put_row(StampedTable::Items, &of(&row.id), stamp)?;
                }
                Write::Content(id, content) => {
                    self.buffer.content(stamp, content);
                    self.put_row(StampedTable::Contents, &of(id), stamp)?;
                }
                Write::Feature(row) => {
                    self.buffer.feature(stamp, row);
                    let key = feature_key(domain.as_str(), &row.space.model(), row.id.as_str());
                    self.put_row(StampedTable::Features, &key, stamp)?;
                }
                Write::List(row) => {
                    self.buffer.list(stamp, row);
                    self.put_row(StampedTable::Lists, &of(&row.id), stamp)?;
                }
                Write::PurgeItem(id) => self.delete(StampedTable::Items, &of(id), stamp)?,
                Write::DeleteContent(id) => self.delete(StampedTable::Contents, &of(id), stamp)?,
                Write::DeleteFeatures(id) => {
                    for model in self.models {
                        let key = feature_key(domain.as_str(), model, id.as_str());
                        self.delete(StampedTable::Features, &key, stamp)?;
                    }
                }
                Write::DeleteList(id) => self.delete(StampedTable::Lists, &of(id), stamp)?,
                Write::DeleteFeature(model, id) => {
                    let key = feature_key(domain.as_str(), model, id.as_str());
                    self.delete(StampedTable::Features, &key, stamp)?;
                }
                Write::Beside(model, row) => {
                    self.buffer.beside(stamp, row);
                    let key = feature_key(domain.as_str(), model, "");
                    self.put_row(StampedTable::Models, &key, stamp)?;
                }
                Write::BesideHabits(model, habits) => {
                    self.buffer.habits(stamp, habits);
                    let key = feature_key(domain.as_str(), model, "");
                    self.put_row(StampedTable::ModelHabits, &key, stamp)?;
                }
                Write::BesideList(model, row) => {
                    self.buffer.list(stamp, row);
                    let key = feature_key(domain.as_str(), model, row.id.as_str());
                    self.put_row(StampedTable::ModelLists, &key, stamp)?;
                }
                Write::DeleteBesideList(model, id) => {
                    let key = feature_key(domain.as_str(), model, id.as_str());
                    self.delete(StampedTable::ModelLists, &key, stamp)?;
                }
                Write::Log(entry) => {
                    self.buffer.log(stamp, entry);
                    self.put_row(StampedTable::Log, &log_key(domain, entry.number), stamp)?;
                }
                Write::TrimLog(floor) => {
                    let range = key(domain, "")..log_key(domain, *floor);
                    self.sweep_range(StampedTable::Log, range, stamp, usize::MAX)?;
                }
            }
        }
        Ok(())
    }

    /// Removes rows of a domain, except its own, that were written before a stamp: at most `most`.
    /// Returns whether none are left. They leave no markers: this is the only process, and the
    /// domain's machine has no earlier write in flight.
    pub(super) fn sweep(
        &mut self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, Trouble> {
        let first = key(domain, "");
        let kinds = [
            StampedTable::Lists,
            StampedTable::ModelLists,
            StampedTable::Items,
            StampedTable::Contents,
            StampedTable::Features,
            StampedTable::ModelHabits,
            StampedTable::Models,
            StampedTable::Log,
            StampedTable::Settings,
        ];
        let ranges = kinds.map(|kind| (kind, first.clone())).into();
        let left = self.sweep_ranges(ranges, stamp, most)?;
        if left == 0 {
            return Ok(false);
        }
        let swept = self.experiments.sweep(domain, left)?;
        self.has_changed_more |= swept > 0;
        Ok(swept < left)
    }

    /// The same for one model.
    pub(super) fn sweep_model(
        &mut self,
        domain: &DomainName,
        swept: &Swept,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, Trouble> {
        let key = |model: &ModelName| feature_key(domain.as_str(), model, "");
        let mut ranges = vec![(StampedTable::ModelLists, key(&swept.name))];
        if let Some(kind) = &swept.features {
            ranges.push((StampedTable::Features, key(kind)));
        }
        if swept.wholly {
            ranges.push((StampedTable::ModelHabits, key(&swept.name)));
            ranges.push((StampedTable::Models, key(&swept.name)));
        }
        Ok(self.sweep_ranges(ranges, stamp, most)? > 0)
    }

    /// Removes rows whose keys start with these prefixes, at most `most`; returns how many more it
    /// could have removed. 0: some may be left.
    fn sweep_ranges(
        &mut self,
        ranges: Vec<(StampedTable, Vec<u8>)>,
        stamp: Stamp,
        most: usize,
    ) -> Result<usize, Trouble> {
        let mut left = most;
        for (kind, first) in ranges {
            let end = end_of(first.clone());
            left -= self.sweep_range(kind, first..end, stamp, left)?;
            if left == 0 {
                break;
            }
        }
        Ok(left)
    }

    /// The same for one range of keys; returns how many it removed.
    fn sweep_range(
        &mut self,
        kind: StampedTable,
        keys: Range<Vec<u8>>,
        stamp: Stamp,
        most: usize,
    ) -> Result<usize, Trouble> {
        let table = &mut self.rows[kind as usize];
        let mut old = Vec::new();
        if keys.is_empty() {
            return Ok(0);
        }
        for row in table.range(keys.start.as_slice()..keys.end.as_slice())? {
            if old.len() == most {
                break;
            }
            let (key, value) = row?;
            if split_value(value.value()).map_or(true, |(head, _)| head.stamp <= stamp) {
                old.push(key.value().to_vec());
            }
        }
        for key in &old {
            table.remove(key.as_slice())?;
            self.markers.remove(&*marker_key(kind, key))?;
            self.written[kind as usize] += 1;
        }
        Ok(old.len())
    }

    fn put_row(&mut self, kind: StampedTable, key: &[u8], stamp: Stamp) -> Result<(), Trouble> {
        let deleted = false;
        self.put(kind, key, Head { stamp, deleted })
    }

    fn delete(&mut self, kind: StampedTable, key: &[u8], stamp: Stamp) -> Result<(), Trouble> {
        self.buffer.marker(stamp);
        let deleted = true;
        self.put(kind, key, Head { stamp, deleted })
    }

    /// Stores the buffer's value under a key unless the existing value has a higher stamp. An equal
    /// stamp overwrites: only the same batch sent again has it. A damaged value has none.
    fn put(&mut self, kind: StampedTable, key: &[u8], head: Head) -> Result<(), Trouble> {
        let old = match self.rows[kind as usize].get(key)? {
            Some(old) => split_value(old.value()).map(|(head, _)| head).ok(),
            None => None,
        };
        if old.is_some_and(|old| old.stamp > head.stamp) && self.was_written(old)? {
            return Ok(());
        }
        let was_marker = old.is_some_and(|old| old.deleted);
        let table = &mut self.rows[kind as usize];
        table.insert(key, self.buffer.bytes())?;
        self.written[kind as usize] += 1;
        match (was_marker, head.deleted) {
            (false, true) => {
                self.markers.insert(&*marker_key(kind, key), ())?;
            }
            (true, false) => {
                self.markers.remove(&*marker_key(kind, key))?;
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// Whether an owner wrote a row: at an epoch that existed. Any other stamp is damage, and would
    /// silently defeat all later writes.
    fn was_written(&self, head: Option<Head>) -> Result<bool, Trouble> {
        let Some(Head { stamp, .. }) = head else {
            return Ok(false);
        };
        for entry in self.leases.iter()? {
            if split_value(entry?.1.value())?.1.lease()?.epoch() >= stamp.epoch() {
                return Ok(true);
            }
        }
        // Without any lease no epoch exists that could be exceeded.
        Ok(self.leases.is_empty()?)
    }

    /// Removes deletion markers older than the epochs of all leases. The writers of those epochs
    /// are gone, so no write can still arrive that a marker has to beat. Returns how many.
    pub(super) fn purge_markers(&mut self) -> Result<u64, Trouble> {
        let mut oldest: Option<Epoch> = None;
        for entry in self.leases.iter()? {
            let epoch = split_value(entry?.1.value())?.1.lease()?.epoch();
            oldest = Some(oldest.map_or(epoch, |least| least.min(epoch)));
        }
        let Some(bound) = oldest.and_then(|epoch| Stamp::new(epoch, 0)) else {
            return Ok(0);
        };
        let mut purged = 0;
        let rows = &mut self.rows;
        let mut failed = None;
        self.markers.retain(|marker, ()| {
            if failed.is_some() {
                return true;
            }
            match purge(rows, marker, bound) {
                Ok(gone) => {
                    purged += u64::from(gone);
                    !gone
                }
                Err(trouble) => {
                    failed = Some(trouble);
                    true
                }
            }
        })?;
        failed.map_or(Ok(purged), Err)
    }
}

/// Removes the row of a marker entry if it is older than the bound.
fn purge(
    rows: &mut [Table<'_, Bytes, Bytes>],
    marker: &[u8],
    bound: Stamp,
) -> Result<bool, Trouble> {
    let Some((table, key)) = marker
        .split_first()
        .and_then(|(kind, key)| Some((rows.get_mut(usize::from(*kind))?, key)))
    else {
        return Ok(true);
    };
    let old = match table.get(key)? {
        Some(value) => match split_value(value.value()) {
            Ok((head, _)) => head.deleted && head.stamp < bound,
            // It is not a marker, or one without effect.
            Err(_) => return Ok(true),
        },
        None => return Ok(true),
    };
    if old {
        table.remove(key)?;
    }
    Ok(old)
}

fn marker_key(kind: StampedTable, key: &[u8]) -> Vec<u8> {
    let mut marker = Vec::with_capacity(1 + key.len());
    marker.push(kind as u8);
    marker.extend_from_slice(key);
    marker
}
