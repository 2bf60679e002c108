//! The catalogue: every item of a loaded domain, where its feature is, and when it appears and expires.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::{Feature, ItemId, Space};

use crate::blocks::{BlockKey, BlockRow, Blocks, NewRow, row_number};
use crate::effect::Made;
use crate::intake::Failure;
use crate::item::{Item, Placement};
use crate::memory;
use crate::outdated::Outdated;
use crate::shown::Shown;
use crate::slot::{IdOrder, Slot, Slots};
use crate::store::{DomainRow, FeatureRow};

/// The items of a loaded domain by slot.
///
/// Invariants: counts, publications and expiries match the items; an item is placed in a row exactly when that row is
/// live and holds its slot; dense parts of one space have the same length; the outdated items are those whose feature
/// was made with other habits than the domain's.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    slots: Slots,
    items: Vec<Item>,
    blocks: Blocks,
    expiries: BTreeSet<(i64, Slot)>,
    /// Items that will become visible by themselves ([`Item::appears_at`]).
    publications: BTreeSet<(i64, Slot)>,
    live: u64,
    visible: u64,
    unread: Unread,
    outdated: Outdated,
    /// The highest hash of an id in the latest sample; `None`: a new sample may differ.
    sampled_to: Option<u64>,
    /// Bytes of what readers see.
    shown: u64,
    /// The length of dense parts in each space that has had any.
    lengths: BTreeMap<Space, usize>,
}

/// The counts of the items that are not read yet, according to the store.
#[derive(Debug, Default, Clone, Copy)]
struct Unread {
    live: u64,
    visible: u64,
    next_expiry: Option<i64>,
}

impl Catalogue {
    /// The slot of an id; assigns one if it has none.
    pub(crate) fn slot(&mut self, id: &ItemId) -> Slot {
        let slot = self.slots.assign(id);
        if self.items.len() < self.slots.len() {
            self.items.resize_with(self.slots.len(), Item::default);
        }
        slot
    }

    /// The slot of an id, if it has one.
    pub(crate) fn known(&self, id: &ItemId) -> Option<Slot> {
        self.slots.get(id)
    }

    /// Only the domain's row has been read.
    pub(crate) fn expect(&mut self, row: &DomainRow) {
        self.unread = Unread {
            live: row.live,
            visible: row.visible,
            next_expiry: row.next_expiry.map(|at| at.timestamp_millis()),
        };
    }

    /// Adds an item that is read before the others.
    pub(crate) fn recall(&mut self, slot: Slot, item: Item) {
        // The row's counts are those of when the domain was last clean, and may be outdated.
        let counted = |count: u64, is: bool| count.saturating_sub(u64::from(is));
        self.unread.live = counted(self.unread.live, item.live);
        self.unread.visible = counted(self.unread.visible, item.is_visible());
        self.update(slot, |place| *place = item);
    }

    /// All items are read.
    pub(crate) fn all_read(&mut self) {
        self.unread = Unread::default();
    }

    /// The id of a slot.
    pub(crate) fn id(&self, slot: Slot) -> &ItemId {
        self.slots.id(slot)
    }

    /// The item of a slot.
    pub(crate) fn item(&self, slot: Slot) -> &Item {
        &self.items[slot.index()]
    }

    /// All assigned slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let count = u32::try_from(self.slots.len()).expect("slots are counted in u32");
        (0..count).map(Slot)
    }

    /// Number of live items.
    pub(crate) fn live(&self) -> u64 {
        self.unread.live + self.live
    }

    /// Number of visible items.
    pub(crate) fn visible(&self) -> u64 {
        self.unread.visible + self.visible
    }

    /// When the next item expires or is published, in ms since 1970.
    pub(crate) fn next_expiry(&self) -> Option<i64> {
        let first = [&self.expiries, &self.publications].map(|times| times.first());
        let first = first.into_iter().flatten().map(|(at, _)| *at);
        first.chain(self.unread.next_expiry).min()
    }

    /// An item that has expired by now, in ms since 1970.
    pub(crate) fn expired(&self, now: i64) -> Option<Slot> {
        let (at, slot) = self.expiries.first()?;
        (*at <= now).then_some(*slot)
    }

    /// An item that must be published by now, in ms since 1970.
    pub(crate) fn due(&self, now: i64) -> Option<Slot> {
        let (at, slot) = self.publications.first()?;
        (*at <= now).then_some(*slot)
    }

    /// Changes an item, except its placement; updates counts, publications and expiries.
    pub(crate) fn update(&mut self, slot: Slot, change: impl FnOnce(&mut Item)) {
        let item = &mut self.items[slot.index()];
        let (live, visible, expires_at) = (item.live, item.is_visible(), item.expires_at);
        let appears_at = item.appears_at();
        let sampled_as = item.sampled_as();
        self.shown -= item.shown_memory();
        change(item);
        self.shown += item.shown_memory();
        self.live = self.live + u64::from(item.live) - u64::from(live);
        self.visible = self.visible + u64::from(item.is_visible()) - u64::from(visible);
        if let Some(at) = expires_at {
            self.expiries.remove(&(at, slot));
        }
        if let Some(at) = item.expires_at.filter(|_| item.live) {
            self.expiries.insert((at, slot));
        }
        self.outdated.changed(slot, item);
        if item.sampled_as() != sampled_as
            && let Some(to) = self.sampled_to
            && self.slots.id(slot).hash64() <= to
        {
            self.sampled_to = None;
        }
        let appears = item.appears_at();
        self.appears(slot, appears_at, appears);
    }

    /// From now on the domain's habits have this fingerprint.
    pub(crate) fn use_habits(&mut self, habits: u64) {
        let items = (0..).map(Slot).zip(&self.items);
        self.outdated.use_habits(habits, items);
    }

    /// Records that a feature that has been stored is held here, too.
    pub(crate) fn made_here(&mut self, slot: Slot) {
        self.outdated.is_here(slot, &self.items[slot.index()]);
    }

    /// Records that the item's feature was made again with these habits, only in the store.
    pub(crate) fn made_in_store(&mut self, slot: Slot, habits: u64) {
        self.outdated
            .is_stored(slot, &self.items[slot.index()], habits);
    }

    /// Items whose feature was made with other habits.
    pub(crate) fn outdated(&self) -> &Outdated {
        &self.outdated
    }

    /// The sample of items that are surveyed for habits: of the live items that are `stored` and whose text can be
    /// read, the `most` with the lowest hashes of ids, in the order of these hashes, which are returned too.
    pub(crate) fn sample(&self, most: usize, is_stored: impl Fn(Slot) -> bool) -> Vec<(u64, Slot)> {
        let mut least: BTreeSet<(u64, Slot)> = BTreeSet::new();
        for slot in self.slots() {
            if self.item(slot).sampled_as().is_none() || !is_stored(slot) {
                continue;
            }
            let hash = self.id(slot).hash64();
            if least.len() < most || least.last().is_some_and(|(last, _)| hash < *last) {
                least.insert((hash, slot));
                if least.len() > most {
                    least.pop_last();
                }
            }
        }
        least.into_iter().collect()
    }

    /// Whether the sample is still the one that was kept last.
    pub(crate) fn knows_sample(&self) -> bool {
        self.sampled_to.is_some()
    }

    /// Keeps a sample of at most `most` items, which was taken from all items.
    pub(crate) fn keep_sample(&mut self, sample: &[(u64, Slot)], most: usize) {
        let last = sample.last().filter(|_| sample.len() >= most);
        // As long as there is room for more, every item is in it.
        self.sampled_to = Some(last.map_or(u64::MAX, |(hash, _)| *hash));
    }

    /// A new sample may differ.
    pub(crate) fn forget_sample(&mut self) {
        self.sampled_to = None;
    }

    /// Changes when the item becomes visible by itself.
    fn appears(&mut self, slot: Slot, was: Option<i64>, is: Option<i64>) {
        if let Some(at) = was {
            self.publications.remove(&(at, slot));
        }
        if let Some(at) = is {
            self.publications.insert((at, slot));
        }
    }

    /// Records whether the item's list is served.
    pub(crate) fn set_listed(&mut self, slot: Slot, listed: bool) {
        self.items[slot.index()].listed = listed;
    }

    /// Sets what readers see of the item from now on.
    pub(crate) fn show(&mut self, slot: Slot, shown: Option<Arc<Shown>>) {
        let item = &mut self.items[slot.index()];
        let was = item.appears_at();
        self.shown -= item.shown_memory();
        item.shown = shown;
        self.shown += item.shown_memory();
        let is = item.appears_at();
        self.appears(slot, was, is);
    }

    /// Number of ids.
    pub(crate) fn ids(&self) -> u64 {
        self.slots.len() as u64
    }

    /// An estimate of the bytes of the items and their ids.
    pub(crate) fn items_memory(&self) -> u64 {
        let items = memory::vector::<Item>(self.items.capacity());
        // The nodes of a tree are two thirds full.
        let times = self.expiries.len() + self.publications.len();
        let times = memory::vector::<(i64, Slot)>(times * 3 / 2);
        let outdated = memory::vector::<Slot>(self.outdated.len() * 3 / 2);
        self.slots.memory() + items + times + outdated
    }

    /// An estimate of the bytes of what readers see.
    pub(crate) fn shown_memory(&self) -> u64 {
        self.shown
    }

    /// Removes the item's row from its block; returns whether it had one.
    pub(crate) fn retire(&mut self, slot: Slot) -> bool {
        match self.items[slot.index()].placement.take() {
            Some(Placement::Row(place)) => {
                self.blocks.retire(place);
                true
            }
            Some(Placement::Zero(_)) | None => false,
        }
    }

    /// Assigns a feature to its item, unless the item is hidden. If it needs a row in a block, returns its space and
    /// the row to add.
    pub(crate) fn give(&mut self, made: Made) -> Option<(Space, NewRow)> {
        let slot = made.slot;
        let item = &mut self.items[slot.index()];
        item.placed_version = made.version;
        // A rejected item is tried again with its next event.
        item.is_stale = made.rejected().is_some();
        if made.feature.is_zero() {
            item.placement = Some(Placement::Zero(made.space));
            return None;
        }
        let row = NewRow {
            slot,
            id: self.slots.id(slot).clone(),
            version: made.version,
            feature: made.feature,
        };
        Some((made.space, row))
    }

    /// Records that there is nothing to compare for an item.
    pub(crate) fn give_zero(&mut self, slot: Slot, space: Space) {
        self.items[slot.index()].placement = Some(Placement::Zero(space));
    }

    /// Puts rows of one space into new blocks and places their items there; returns the blocks.
    pub(crate) fn add_rows(&mut self, space: &Space, rows: Vec<NewRow>) -> Vec<BlockKey> {
        let keys = self.blocks.add_rows(space, rows);
        for &block in &keys {
            for (row, slot) in self.blocks.get(block).slots.iter().enumerate() {
                let row = row_number(row);
                self.items[slot.index()].placement = Some(Placement::Row(BlockRow { block, row }));
            }
        }
        keys
    }

    /// Makes dense parts as long as those of the space, which grow if they are longer.
    pub(crate) fn fit_lengths(&mut self, space: &Space, rows: &mut [NewRow]) {
        let lengths = rows.iter().map(|row| row.feature.dense().len());
        let longest = lengths.max().unwrap_or(0);
        if longest == 0 {
            return;
        }
        if !space.is_ragged() {
            self.lengths.entry(space.clone()).or_insert(longest);
            return;
        }
        let known = self.lengths.entry(space.clone()).or_default();
        let length = longest.max(*known);
        if *known < length {
            *known = length;
            // No list changes, because no score does.
            for (slot, place) in self.blocks.lengthen(space, length) {
                self.items[slot.index()].placement = Some(Placement::Row(place));
            }
        }
        for row in rows {
            row.feature = row.feature.padded(length);
        }
    }

    /// Merges blocks that are small or mostly dead.
    pub(crate) fn compact(&mut self) {
        let spaces: Vec<Space> = self.blocks.spaces().cloned().collect();
        for space in spaces {
            for (slot, place) in self.blocks.compact(&space) {
                self.items[slot.index()].placement = Some(Placement::Row(place));
            }
        }
    }

    /// The length of dense parts in each space that has had any.
    pub(crate) fn lengths(&self) -> &BTreeMap<Space, usize> {
        &self.lengths
    }

    /// Whether features can be compared with the existing ones, and with each other.
    ///
    /// # Errors
    /// The space in which they cannot, and the remedy. Then nothing is changed.
    pub(crate) fn agree_on_lengths(&mut self, made: &[Made]) -> Result<(), Failure> {
        let mut lengths = self.lengths.clone();
        for Made { space, feature, .. } in made {
            let length = feature.dense().len();
            if length == 0 || space.is_ragged() {
                continue;
            }
            match lengths.get(space) {
                Some(other) if *other != length => {
                    return Err(other_length(space, length, *other));
                }
                Some(_) => {}
                None => drop(lengths.insert(space.clone(), length)),
            }
        }
        self.lengths = lengths;
        Ok(())
    }

    /// The blocks.
    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The row of an item's feature, as it would be added to a block again.
    pub(crate) fn row(&self, slot: Slot) -> Option<(&Space, NewRow)> {
        let Some(Placement::Row(place)) = self.item(slot).placement else {
            return None;
        };
        let block = &self.blocks.get(place.block).block;
        let row = NewRow {
            slot,
            id: self.id(slot).clone(),
            version: block.version(place.row as usize),
            feature: self.blocks.feature(place),
        };
        Some((block.space(), row))
    }

    /// Whether the item is listed with this feature and version.
    pub(crate) fn has_made(&self, made: &Made) -> bool {
        let item = self.item(made.slot);
        let is_listed = item.is_listed() && item.placed_version == made.version;
        is_listed
            && made.rejected().is_none()
            && match &item.placement {
                Some(Placement::Zero(space)) => made.feature.is_zero() && *space == made.space,
                Some(Placement::Row(place)) => {
                    let space = self.blocks.space(*place);
                    *space == made.space
                        && as_made(space, self.blocks.feature(*place)) == made.feature
                }
                None => false,
            }
    }

    /// The item's feature under another version, if the feature is in memory.
    pub(crate) fn feature_row(&self, slot: Slot, version: u64) -> Option<FeatureRow> {
        let (space, feature) = match self.item(slot).placement.as_ref()? {
            Placement::Zero(space) => (space.clone(), Feature::zero()),
            Placement::Row(place) => {
                let space = self.blocks.space(*place);
                (space.clone(), as_made(space, self.blocks.feature(*place)))
            }
        };
        Some(FeatureRow {
            id: self.id(slot).clone(),
            version,
            habits: self.item(slot).habits.unwrap_or(0),
            space,
            feature,
        })
    }

    /// The space of an item's current feature.
    pub(crate) fn space_of(&self, slot: Slot) -> Option<&Space> {
        match self.item(slot).placement.as_ref()? {
            Placement::Zero(space) => Some(space),
            Placement::Row(place) => Some(self.blocks.space(*place)),
        }
    }
}

/// The feature of a row as it was made, without zeros that make it as long as others.
fn as_made(space: &Space, feature: Feature) -> Feature {
    if space.is_ragged() {
        feature.trimmed()
    } else {
        feature
    }
}

/// Why features cannot be compared with the existing ones.
pub(crate) fn other_length(space: &Space, length: usize, other: usize) -> Failure {
    Failure::passing(format!(
        "features of {space} were made with {length} values, and others have {other}: workers differ in their word \
         vectors or versions; run workers of this service's version with its word vectors"
    ))
}

impl IdOrder for Catalogue {
    fn cmp_ids(&self, a: Slot, b: Slot) -> Ordering {
        self.slots.cmp_ids(a, b)
    }
}
