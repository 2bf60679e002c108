//! The store as the domain core knows it: rows, and a trait with the database's semantics, so that its
//! implementations cannot drift apart:
//!
//! * Every row is last-write-wins by [`Stamp`]. A write whose stamp is lower than the row's
//!   changes nothing, and says nothing. A deletion is a write: a lower stamp cannot undo it.
//! * [`Store::commit`] is durable when it returns `Ok`. It is not isolated: readers may see a
//!   part of a batch before the rest. A batch that failed with [`StoreError::Unknown`] may be
//!   there, wholly or in part, now or later.
//! * Features of several models lie side by side. What belongs to a model that the program does not
//!   know ([`Store::knows`]) is never changed.
//! * Only the lease is compare-and-set ([`Store::take_lease`]).
//! * A row that cannot be what Kindred wrote counts as none, wherever it is read, and is told by [`Store::damaged`]. It
//!   fails nobody who reads or writes others, and writing it anew mends it. Of a domain's own row what can be is made
//!   up, and the domain is dirty then.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kindred_shared::{DomainName, ItemId, ModelName};

use crate::habits::Habits;
use crate::models::Swept;
pub use crate::rows::{
    Beside, BesideRow, Content, Damaged, DamagedRow, DomainRow, FeatureRow, FeatureStamp, ItemRow,
    Lease, ListRow, Liveness, Neighbour, RemovalStage, Removed, SettingsRow,
};
pub use crate::stamp::{Epoch, Partition, Stamp};

/// Changes of one domain that become durable together.
///
/// What a batch promises when [`Store::commit`] returns `Ok`, in the order a crash can cut it:
/// the dirty mark is durable before any other row of the batch; then the rows; then, with
/// `fence`, the partition's epoch was still the writer's.
#[derive(Debug, Clone)]
pub struct WriteBatch {
    /// The domain all rows belong to.
    pub domain: DomainName,
    /// Whether the partition's epoch must still be `epoch` after the rows are written.
    pub fence: bool,
    /// The rows. No row twice.
    pub writes: Vec<Write>,
}

/// One row to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// The domain's row: registered, dirty, clean, counted.
    Domain(DomainRow),
    /// The row of a domain that was removed has been kept long enough.
    PurgeDomain,
    /// What is set for the domain, whole.
    Settings(SettingsRow),
    /// An item, live or a tombstone.
    Item(ItemRow),
    /// A tombstone has been kept long enough.
    PurgeItem(ItemId),
    /// What an item's feature is made of.
    Content(ItemId, Content),
    /// The item is gone, and so is its text.
    DeleteContent(ItemId),
    /// An item's feature of one model.
    Feature(FeatureRow),
    /// The item is gone, and so are its features of every model the program knows.
    DeleteFeatures(ItemId),
    /// The item is gone, and so is its feature of this model.
    DeleteFeature(ModelName, ItemId),
    /// An item's neighbours.
    List(ListRow),
    /// The item is not visible: no row.
    DeleteList(ItemId),
    /// How a model beside the served one stands.
    Beside(ModelName, BesideRow),
    /// What is usual in the domain's texts, as the features of a model beside the served one are made with.
    BesideHabits(ModelName, Habits),
    /// An item's neighbours by a model beside the served one.
    BesideList(ModelName, ListRow),
    /// The item is not visible: no row of the model.
    DeleteBesideList(ModelName, ItemId),
}

/// Outcome of a compare-and-set of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cas {
    /// The row is as asked for.
    Applied,
    /// The row was another; this one.
    Refused(Option<Lease>),
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The partition has a newer owner; this one must stop.
    #[error("partition {} is at epoch {}, not at {}", partition.0, current.0, ours.0)]
    Superseded {
        /// The partition.
        partition: Partition,
        /// The epoch that was ours.
        ours: Epoch,
        /// The epoch in the store.
        current: Epoch,
    },
    /// Nothing more fits.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store is damaged; only a person can help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store cannot be reached now.
    #[error("the store is away: {0}")]
    Away(String),
    /// It may have been done or not.
    #[error("the store did not say whether the write was done: {0}")]
    Unknown(String),
}

/// A page of a scan: rows in the order of ids by bytes, and where the next page begins.
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Give this to the next call; `None`: that was the last page.
    pub next: Option<ItemId>,
}

impl<T> fmt::Debug for Page<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page of {} rows", self.rows.len())
    }
}

/// What Kindred knows, on disk. See the module for the semantics that all implementations share.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The lease row of a partition, as of now, with all that every [`Store::take_lease`] before did or
    /// still may do to it.
    async fn lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError>;

    /// The lease row of a partition, for those who only watch it: it may be a little behind, and costs
    /// those who change it nothing.
    async fn look_at_lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError> {
        self.lease(partition).await
    }

    /// Sets the lease row if it still is `expected`. After [`StoreError::Unknown`] the caller
    /// reads the row again.
    async fn take_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError>;

    /// Whether the store itself keeps every other process out, so that an owner need not beat.
    fn is_exclusive(&self) -> bool;

    /// Says that a model service (an owner's name, and where it answers) is there, for `lasting`:
    /// whole seconds, one at least. Again: for that long from now on.
    async fn announce(
        &self,
        owner: &str,
        address: &str,
        lasting: Duration,
    ) -> Result<(), StoreError>;

    /// Says that it is there no more.
    async fn withdraw(&self, owner: &str) -> Result<(), StoreError>;

    /// The model services that are there, in any order.
    async fn instances(&self) -> Result<Vec<String>, StoreError>;

    /// Makes a batch durable under the stamp; `partition` and the stamp's epoch are what a fence
    /// checks.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when the batch asks for a fence and the partition's epoch is
    /// higher; the rows may then be there, but lose to the new owner's.
    async fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: WriteBatch,
    ) -> Result<(), StoreError>;

    /// Deletes rows of a domain, but for its own row, that have a lower stamp or this one: those of every model,
    /// and what is set for it. Some `most` rows at most; whether none are left. Lists go first. A row that is
    /// written later under a lower stamp stays away, or counts for nothing.
    async fn sweep(
        &self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Deletes rows of a model of a domain that have a lower stamp or this one: its lists beside the served model's, and,
    /// where it goes wholly, what is said of it and features of the kind named. Some `most` rows at most; whether none
    /// are left.
    async fn sweep_model(
        &self,
        domain: &DomainName,
        swept: &Swept,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Every domain that has a row: also those that were removed ([`DomainRow::is_there`]).
    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError>;

    /// One domain, if it has a row: also one that was removed.
    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError>;

    /// What is set for a domain; `None`: nothing ever was.
    async fn settings(&self, domain: &DomainName) -> Result<Option<SettingsRow>, StoreError>;

    /// Items of a domain, tombstones too, a page at a time from `from` (inclusive) on.
    async fn scan_items(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemRow>, StoreError>;

    /// Whether the program knows a model: features of it are written and deleted, others left alone.
    fn knows(&self, model: &ModelName) -> bool;

    /// Features of a domain of one model, a page at a time.
    async fn scan_features(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<FeatureRow>, StoreError>;

    /// Ids of a domain's stored lists, a page at a time.
    async fn scan_list_ids(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError>;

    /// What is stored of a model beside the served one.
    async fn beside(&self, domain: &DomainName, model: &ModelName) -> Result<Beside, StoreError>;

    /// Ids of a domain's stored lists of a model beside the served one, a page at a time.
    async fn scan_beside_list_ids(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError>;

    /// An item's stored list of a model beside the served one.
    async fn beside_list(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, StoreError>;

    /// The items of these ids, in their order; `None` where there never was one.
    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError>;

    /// The texts of these ids, in their order.
    async fn contents(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError>;

    /// Version and space of an item's stored feature of one model.
    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError>;

    /// Rows of a domain that were read and cannot be what Kindred wrote, and were not written anew since.
    fn damaged(&self, _: &DomainName) -> Damaged {
        Damaged::default()
    }

    /// How many there are, of all domains.
    fn damaged_rows(&self) -> u64 {
        0
    }

    /// Rows written since this store was opened, deletions too, by table.
    fn rows_written(&self) -> Vec<(&'static str, u64)>;

    /// An item's stored list.
    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError>;

    /// What readers of an item are answered from while no view of its domain is there. Where the store
    /// cannot say what is certain, it says what it has, and that this may be behind.
    async fn reading(&self, domain: &DomainName, id: &ItemId) -> Result<Reading, StoreError> {
        let list = self.list(domain, id).await?;
        let mut items = self.items(domain, &Reading::ids(id, list.as_ref())).await?;
        let row = self.domain(domain).await?;
        let is_removed = row.is_some_and(|row| !row.is_there());
        Ok(Reading {
            neighbours: items.split_off(1),
            // Of a domain that was removed rows may be left.
            item: items.pop().flatten().filter(|_| !is_removed),
            list,
            is_stale: false,
        })
    }
}

/// An item as readers need it.
#[derive(Debug)]
pub struct Reading {
    /// Its row.
    pub item: Option<ItemRow>,
    /// Its list.
    pub list: Option<ListRow>,
    /// The rows of the list's neighbours, in its order.
    pub neighbours: Vec<Option<ItemRow>>,
    /// Whether newer rows may be there.
    pub is_stale: bool,
}

impl Reading {
    /// The items whose rows are needed: the item's own first, then its neighbours' in order.
    pub fn ids(id: &ItemId, list: Option<&ListRow>) -> Vec<ItemId> {
        let neighbours = list.map_or(&[][..], |list| &list.neighbours);
        let neighbours = neighbours.iter().map(|neighbour| &neighbour.id);
        std::iter::once(id).chain(neighbours).cloned().collect()
    }
}

/// Version and space of an item's newest feature: of the domain's model, or of its own vector.
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
    let own = store.feature_stamp(domain, &ModelName::own(), id).await?;
    Ok(of_texts
        .into_iter()
        .chain(own)
        .max_by_key(|stamp| stamp.version))
}
