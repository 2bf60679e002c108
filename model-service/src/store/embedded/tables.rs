//! The tables of the database, and the one rule all rows are written by.

use kindred_shared::{DomainName, ItemId, ModelName};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::encoding::{Head, Writer, end_of, feature_key, key, split_value};
use super::failure::Trouble;
use kindred_domain::store::{Batch, Cas, Epoch, Lease, Partition, Stamp, StoreError, Write};

type Bytes = &'static [u8];

/// What the store is: version, models and their inputs, partitions; and the number of the last
/// group committed.
pub(super) const META: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("meta");
/// Lease rows by partition.
const LEASES: TableDefinition<'static, u16, Bytes> = TableDefinition::new("partitions");
/// Where deletion markers lie: the table's number, then the row's key.
pub(super) const MARKERS: TableDefinition<'static, Bytes, ()> = TableDefinition::new("markers");

/// A table of rows that the last write wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Domains,
    Items,
    Contents,
    /// Of several models, side by side.
    Features,
    Lists,
    Settings,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Domains,
        Self::Items,
        Self::Contents,
        Self::Features,
        Self::Lists,
        Self::Settings,
    ];

    /// The name it is counted by, as in the contract.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Domains => "domains",
            Self::Items => "items",
            Self::Contents => "item_texts",
            Self::Features => "item_features",
            Self::Lists => "similar_items",
            Self::Settings => "domain_settings",
        }
    }

    pub(super) fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(match self {
            // The name without a number is version 1's, whose keys had no model.
            Self::Features => "item_features_2",
            _ => self.name(),
        })
    }
}

/// Name of the table of lease rows, as in the contract.
pub(super) const LEASES_NAME: &str = "partitions";

/// Rows a group has written, by table: [`Kind::ALL`], then the leases.
pub(super) type RowCounts = [u64; Kind::ALL.len() + 1];

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

/// All tables of one write transaction.
pub(super) struct Tables<'t> {
    /// The models that the program knows.
    models: &'t [ModelName],
    rows: [Table<'t, Bytes, Bytes>; Kind::ALL.len()],
    leases: Table<'t, u16, Bytes>,
    markers: Table<'t, Bytes, ()>,
    buffer: Writer,
    /// Rows written so far; lost writes do not count.
    pub(super) written: RowCounts,
}

impl<'t> Tables<'t> {
    /// Opens the tables, making those that are not there.
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        models: &'t [ModelName],
    ) -> Result<Self, Trouble> {
        let [domains, items, contents, features, lists, settings] = Kind::ALL.map(Kind::definition);
        Ok(Self {
            models,
            rows: [
                transaction.open_table(domains)?,
                transaction.open_table(items)?,
                transaction.open_table(contents)?,
                transaction.open_table(features)?,
                transaction.open_table(lists)?,
                transaction.open_table(settings)?,
            ],
            leases: transaction.open_table(LEASES)?,
            markers: transaction.open_table(MARKERS)?,
            buffer: Writer::default(),
            written: RowCounts::default(),
        })
    }

    fn lease(&self, partition: Partition) -> Result<Option<Lease>, Trouble> {
        match self.leases.get(partition.0)? {
            Some(value) => Ok(Some(split_value(value.value())?.1.lease()?)),
            None => Ok(None),
        }
    }

    /// The fence. It is checked before the rows are written: within one transaction of the only
    /// writer that is the same as after, and a batch that fails leaves nothing behind.
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

    /// Sets a lease row if it still is what was expected.
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
        self.written[Kind::ALL.len()] += 1;
        Ok(Cas::Applied)
    }

    /// Writes the rows of a batch.
    pub(super) fn write(&mut self, stamp: Stamp, batch: &Batch) -> Result<(), Trouble> {
        let domain = &batch.domain;
        let of = |id: &ItemId| key(domain, id.as_str());
        for write in &batch.writes {
            match write {
                Write::Domain(row) => {
                    self.buffer.domain(stamp, row);
                    self.put_row(Kind::Domains, &key(domain, ""), stamp)?;
                }
                Write::PurgeDomain => self.delete(Kind::Domains, &key(domain, ""), stamp)?,
                Write::Settings(row) => {
                    self.buffer.settings(stamp, row);
                    self.put_row(Kind::Settings, &key(domain, ""), stamp)?;
                }
                Write::Item(row) => {
                    self.buffer.item(stamp, row);
                    self.put_row(Kind::Items, &of(&row.id), stamp)?;
                }
                Write::Content(id, content) => {
                    self.buffer.content(stamp, content);
                    self.put_row(Kind::Contents, &of(id), stamp)?;
                }
                Write::Feature(row) => {
                    self.buffer.feature(stamp, row);
                    let key = feature_key(domain.as_str(), &row.space.model(), row.id.as_str());
                    self.put_row(Kind::Features, &key, stamp)?;
                }
                Write::List(row) => {
                    self.buffer.list(stamp, row);
                    self.put_row(Kind::Lists, &of(&row.id), stamp)?;
                }
                Write::PurgeItem(id) => self.delete(Kind::Items, &of(id), stamp)?,
                Write::DeleteContent(id) => self.delete(Kind::Contents, &of(id), stamp)?,
                Write::DeleteFeatures(id) => {
                    for model in self.models {
                        let key = feature_key(domain.as_str(), model, id.as_str());
                        self.delete(Kind::Features, &key, stamp)?;
                    }
                }
                Write::DeleteList(id) => self.delete(Kind::Lists, &of(id), stamp)?,
            }
        }
        Ok(())
    }

    /// Removes rows of a domain, but for its own, that were written before: at most so many. Whether none are
    /// left. They leave no markers: this is the only process, and its domain's machine has no earlier write on
    /// its way.
    pub(super) fn sweep(
        &mut self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, Trouble> {
        let first = key(domain, "");
        let end = end_of(first.clone());
        let mut left = most;
        for kind in [
            Kind::Lists,
            Kind::Items,
            Kind::Contents,
            Kind::Features,
            Kind::Settings,
        ] {
            let table = &mut self.rows[kind as usize];
            let mut keys = Vec::new();
            for row in table.range(first.as_slice()..end.as_slice())? {
                if keys.len() == left {
                    break;
                }
                let (key, value) = row?;
                if split_value(value.value())?.0.stamp <= stamp {
                    keys.push(key.value().to_vec());
                }
            }
            for key in &keys {
                table.remove(key.as_slice())?;
                self.markers.remove(&*marker_key(kind, key))?;
                self.written[kind as usize] += 1;
            }
            left -= keys.len();
            if left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put_row(&mut self, kind: Kind, key: &[u8], stamp: Stamp) -> Result<(), Trouble> {
        let deleted = false;
        self.put(kind, key, Head { stamp, deleted })
    }

    fn delete(&mut self, kind: Kind, key: &[u8], stamp: Stamp) -> Result<(), Trouble> {
        self.buffer.marker(stamp);
        let deleted = true;
        self.put(kind, key, Head { stamp, deleted })
    }

    /// Puts the buffer's value under a key unless what is there has a higher stamp. An equal
    /// stamp overwrites: only the same batch sent again has one.
    fn put(&mut self, kind: Kind, key: &[u8], head: Head) -> Result<(), Trouble> {
        let table = &mut self.rows[kind as usize];
        let was_marker = match table.get(key)? {
            Some(old) => {
                let (old, _) = split_value(old.value())?;
                if old.stamp > head.stamp {
                    return Ok(());
                }
                old.deleted
            }
            None => false,
        };
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

    /// Removes deletion markers from before the epoch of every lease. Whoever wrote at such an
    /// epoch is gone, so no write can come that the marker would have to beat. Returns how many.
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

/// Removes the row a marker entry names if it is older than the bound.
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
        Some(value) => {
            let (head, _) = split_value(value.value())?;
            head.deleted && head.stamp < bound
        }
        None => return Ok(true),
    };
    if old {
        table.remove(key)?;
    }
    Ok(old)
}

fn marker_key(kind: Kind, key: &[u8]) -> Vec<u8> {
    let mut marker = Vec::with_capacity(1 + key.len());
    marker.push(kind as u8);
    marker.extend_from_slice(key);
    marker
}
