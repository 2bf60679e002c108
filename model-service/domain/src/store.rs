//! The store as the domain core knows it: rows, and a trait with the database's semantics, so that its
//! implementations cannot drift apart:
//!
//! * Every row is last-write-wins by [`Stamp`]. A write whose stamp is lower than the row's silently changes nothing. A
//!   deletion is a write too: a lower stamp cannot undo it.
//! * [`Store::commit`] is durable when it returns `Ok`. It is not isolated: readers may see a part of a batch before
//!   the rest. A batch that failed with [`StoreError::Unknown`] may be applied wholly, in part or not at all, now or
//!   later.
//! * Features of several models are stored side by side. Rows of a model that the program does not know
//!   ([`Store::knows`]) are never changed.
//! * Only the lease is compare-and-set ([`Store::take_lease`]).
//! * A row that Kindred cannot have written is damaged: every read treats it as missing, and [`Store::damaged`] reports
//!   it. It does not fail reads or writes of other rows, and writing it again repairs it. What is missing in a damaged
//!   domain row is replaced by defaults, and the domain counts as dirty.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kindred_shared::{DomainName, ItemId, ModelName};

use crate::habits::Habits;
use crate::log::{LogEntry, joined};
use crate::models::Swept;
pub use crate::rows::{
    Beside, BesideRow, Content, Damaged, DamagedRow, DomainRow, FeatureRow, FeatureStamp, ItemRow,
    Lease, ListRow, Liveness, Neighbour, RemovalStage, Removed, SettingsRow,
};
pub use crate::stamp::{Epoch, Partition, Stamp};

/// Changes of one domain that become durable together.
///
/// What [`Store::commit`] promises when it returns `Ok`, in the order in which a crash can cut it short: first the
/// dirty mark is durable, before any other row of the batch; then the rows; then, with `fence`, the partition's epoch
/// was still the writer's.
#[derive(Debug, Clone)]
pub struct WriteBatch {
    /// The domain all rows belong to.
    pub domain: DomainName,
    /// Whether the partition's epoch must still be `epoch` after the rows are written.
    pub fence: bool,
    /// The rows. No row occurs twice.
    pub writes: Vec<Write>,
}

/// One row to write.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // settings are in few writes, items in most
pub enum Write {
    /// The domain's row: its registration, dirty mark and counts.
    Domain(DomainRow),
    /// Deletes the row of a domain that was removed, once it has been kept long enough.
    PurgeDomain,
    /// The domain's settings, all of them.
    Settings(SettingsRow),
    /// An item, live or a tombstone.
    Item(ItemRow),
    /// Deletes a tombstone that has been kept long enough.
    PurgeItem(ItemId),
    /// The text and vector that an item's feature is made from.
    Content(ItemId, Content),
    /// Deletes the text and vector of an item that is gone.
    DeleteContent(ItemId),
    /// An item's feature of one model.
    Feature(FeatureRow),
    /// Deletes the features of an item that is gone, of every model the program knows, except those of named vectors.
    DeleteFeatures(ItemId),
    /// Deletes the feature of an item that is gone, of this model.
    DeleteFeature(ModelName, ItemId),
    /// An item's neighbours.
    List(ListRow),
    /// Deletes the list of an item that is not visible.
    DeleteList(ItemId),
    /// The state of a model beside the served one.
    Beside(ModelName, BesideRow),
    /// The habits of the domain's texts with which a model beside the served one makes its features.
    BesideHabits(ModelName, Habits),
    /// An item's neighbours by a model beside the served one.
    BesideList(ModelName, ListRow),
    /// Deletes the list of an item that is not visible, of a model beside the served one.
    DeleteBesideList(ModelName, ItemId),
    /// An entry of the domain's log that the row of its settings may drop from now on.
    Log(LogEntry),
    /// Deletes the entries of the domain's log below this number.
    TrimLog(i64),
}

/// Outcome of a compare-and-set of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cas {
    /// The row is now as requested.
    Applied,
    /// The row was not as expected: it is this.
    Refused(Option<Lease>),
}

/// Why the store did not do what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The partition has a newer owner; this process must stop.
    #[error("partition {} is at epoch {}, not at {}", partition.0, current.0, ours.0)]
    Superseded {
        /// The partition.
        partition: Partition,
        /// The epoch of this process.
        ours: Epoch,
        /// The epoch in the store.
        current: Epoch,
    },
    /// There is no space left.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store is damaged; only a person can help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store cannot be reached now.
    #[error("the store is away: {0}")]
    Away(String),
    /// It is unknown whether it was done.
    #[error("the store did not say whether the write was done: {0}")]
    Unknown(String),
}

/// A page of a scan: rows in the byte order of their ids, and where the next page begins.
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// To be passed to the next call; `None`: this was the last page.
    pub next: Option<ItemId>,
}

impl<T> fmt::Debug for Page<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page of {} rows", self.rows.len())
    }
}

/// What Kindred stores. The module documents the semantics that all implementations share.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The current lease row of a partition. It reflects every earlier [`Store::take_lease`], including those whose
    /// outcome was unknown: none of them changes it afterwards.
    async fn lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError>;

    /// The lease row of a partition, for watchers: it may be slightly stale, and reading it does not disturb those who
    /// change it.
    async fn look_at_lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError> {
        self.lease(partition).await
    }

    /// Sets the lease row if it still is `expected`. After [`StoreError::Unknown`] it may have been set, or may still be:
    /// the caller reads the row, or asks for the same change again, which is then refused with the wanted row.
    async fn take_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError>;

    /// Whether the store itself keeps all other processes out, so that an owner needs no beats.
    fn is_exclusive(&self) -> bool;

    /// Announces that a model service (owner name and address) is running, for `lasting`: whole seconds, at least one.
    /// Announcing it again starts this time anew.
    async fn announce(
        &self,
        owner: &str,
        address: &str,
        lasting: Duration,
    ) -> Result<(), StoreError>;

    /// Withdraws the announcement of a model service.
    async fn withdraw(&self, owner: &str) -> Result<(), StoreError>;

    /// The model services that are announced, in any order.
    async fn instances(&self) -> Result<Vec<String>, StoreError>;

    /// Makes a batch durable under the stamp. A fence checks `partition` against the stamp's epoch.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the batch asks for a fence and the partition's epoch is higher. The rows may
    /// have been written, but lose against the new owner's.
    async fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: WriteBatch,
    ) -> Result<(), StoreError>;

    /// Deletes the rows of a domain whose stamp is at most this one, except the domain's own row: those of every model,
    /// the settings, and the log. Deletes about `most` rows; returns whether none are left. Lists are deleted first. A row that
    /// is written later under a lower stamp is not stored, or does not count.
    async fn sweep(
        &self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Deletes the rows of a model of a domain whose stamp is at most this one: its lists beside the served model's
    /// and, if the model is dropped altogether, its state and the features of the model named. Deletes about `most`
    /// rows; returns whether none are left.
    async fn sweep_model(
        &self,
        domain: &DomainName,
        swept: &Swept,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Every domain that has a row, including removed ones ([`DomainRow::is_there`]).
    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError>;

    /// One domain, if it has a row, even if it was removed.
    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError>;

    /// The settings of a domain; `None`: none were ever set.
    async fn settings(&self, domain: &DomainName) -> Result<Option<SettingsRow>, StoreError>;

    /// At most `most` entries of a domain's log with numbers above `after`, by number: those that the row of its
    /// settings may have dropped. See [`read_log`] for all of them.
    async fn log(
        &self,
        domain: &DomainName,
        after: i64,
        most: usize,
    ) -> Result<Vec<LogEntry>, StoreError>;

    /// The items of a domain, including tombstones, one page at a time, starting with `from` (inclusive).
    async fn scan_items(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemRow>, StoreError>;

    /// Whether the program knows a kind of model: it writes and deletes features of known kinds only. It knows those of
    /// named vectors.
    fn knows(&self, model: &ModelName) -> bool;

    /// Features of a domain by one model, one page at a time.
    async fn scan_features(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<FeatureRow>, StoreError>;

    /// Ids of a domain's stored lists, one page at a time.
    async fn scan_list_ids(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError>;

    /// What is stored about a model beside the served one.
    async fn beside(&self, domain: &DomainName, model: &ModelName) -> Result<Beside, StoreError>;

    /// Ids of a domain's stored lists by a model beside the served one, one page at a time.
    async fn scan_beside_list_ids(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError>;

    /// An item's stored list by a model beside the served one.
    async fn beside_list(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, StoreError>;

    /// The items with these ids, in this order; `None` for an id that never existed.
    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError>;

    /// The texts of these ids, in this order.
    async fn contents(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError>;

    /// Version and space of an item's stored feature by one model.
    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError>;

    /// The damaged rows of a domain that were found and have not been written again since.
    fn damaged(&self, _: &DomainName) -> Damaged {
        Damaged::default()
    }

    /// The number of damaged rows in all domains.
    fn damaged_rows(&self) -> u64 {
        0
    }

    /// Rows written since this store was opened, including deletions, by table.
    fn rows_written(&self) -> Vec<(&'static str, u64)>;

    /// An item's stored list.
    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError>;

    /// What readers of an item are answered with while no view of its domain is in memory. If the store cannot be sure
    /// that this is current, it returns what it has and says so.
    async fn reading(&self, domain: &DomainName, id: &ItemId) -> Result<Reading, StoreError> {
        let list = self.list(domain, id).await?;
        let mut items = self.items(domain, &Reading::ids(id, list.as_ref())).await?;
        let row = self.domain(domain).await?;
        let is_removed = row.is_some_and(|row| !row.is_there());
        Ok(Reading {
            neighbours: items.split_off(1),
            // A removed domain may still have rows.
            item: items.pop().flatten().filter(|_| !is_removed),
            list,
            is_stale: false,
        })
    }
}

/// What readers are answered with about an item.
#[derive(Debug)]
pub struct Reading {
    /// Its row.
    pub item: Option<ItemRow>,
    /// Its list.
    pub list: Option<ListRow>,
    /// The rows of the list's neighbours, in its order.
    pub neighbours: Vec<Option<ItemRow>>,
    /// Whether newer rows may exist.
    pub is_stale: bool,
}

impl Reading {
    /// The items whose rows are needed: the item itself, then its neighbours in order.
    pub fn ids(id: &ItemId, list: Option<&ListRow>) -> Vec<ItemId> {
        let neighbours = list.map_or(&[][..], |list| &list.neighbours);
        let neighbours = neighbours.iter().map(|neighbour| &neighbour.id);
        std::iter::once(id).chain(neighbours).cloned().collect()
    }
}

/// Version and space of an item's newest feature: by the domain's model, or from its own vector.
///
/// # Errors
/// Those of [`Store::feature_stamp`].
pub async fn newest_feature(
    store: &dyn Store,
    domain: &DomainName,
    model: &ModelName,
    id: &ItemId,
) -> Result<Option<FeatureStamp>, StoreError> {
    let of_texts = store.feature_stamp(domain, model, id).await?;
    if !model.prefers_own() {
        return Ok(of_texts);
    }
    let own = store.feature_stamp(domain, &ModelName::own(), id).await?;
    Ok(of_texts
        .into_iter()
        .chain(own)
        .max_by_key(|stamp| stamp.version))
}

/// At most `most` entries of a domain's log after the one with this number, oldest first; with 0 the oldest that are
/// kept.
///
/// # Errors
/// Those of the store.
pub async fn read_log(
    store: &dyn Store,
    domain: &DomainName,
    after: i64,
    most: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let Some(row) = store.settings(domain).await? else {
        return Ok(Vec::new());
    };
    // After the row: what it drops meanwhile is there.
    let from = after.max(row.log.floor() - 1);
    let older = store.log(domain, from, most).await?;
    Ok(joined(&row.log, older, after, most))
}
