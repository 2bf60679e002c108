//! The features of a domain as readers have them: its blocks, shared with its machine.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kindred_shared::{Block, Space};
use kindred_similarity::RowMask;

use crate::memory;
use crate::slot::Slot;

/// Immutable rows and their items, shared by the machine and snapshots.
#[derive(Debug)]
pub struct Rows {
    /// The rows as they were added.
    pub block: Arc<Block>,
    /// The item of each row; no item occurs twice.
    pub slots: Arc<[Slot]>,
    /// Row numbers sorted by slot; made when a row is first looked up by its item.
    by_slot: OnceLock<Box<[u32]>>,
}

impl Rows {
    /// The rows of a block, with one slot per row.
    pub fn new(block: Arc<Block>, slots: Arc<[Slot]>) -> Self {
        Self {
            block,
            slots,
            by_slot: OnceLock::new(),
        }
    }

    /// The row of an item, if it is in this block.
    pub fn find(&self, slot: Slot) -> Option<u32> {
        let by_slot = self.by_slot.get_or_init(|| {
            let mut rows: Box<[u32]> = (0..).take(self.slots.len()).collect();
            rows.sort_unstable_by_key(|row| self.slots[*row as usize]);
            rows
        });
        let of = |row: &u32| self.slots[*row as usize];
        let at = by_slot.binary_search_by_key(&slot, of).ok()?;
        by_slot.get(at).copied()
    }

    /// An estimate of the bytes held besides the block.
    pub(crate) fn memory(&self) -> u64 {
        let by_slot = self.by_slot.get().map_or(0, |rows| size_of_val(&**rows));
        memory::shared(size_of::<Self>())
            + memory::shared(size_of_val(&*self.slots))
            + memory::boxed(by_slot)
    }
}

/// The rows of a block, and which of them are live.
#[derive(Debug, Clone)]
pub struct Live {
    /// The rows.
    pub rows: Arc<Rows>,
    /// The rows that are the current feature of their item.
    pub live: Arc<RowMask>,
}

impl Live {
    /// The row that is the item's current feature, if it is in this block.
    pub fn find(&self, slot: Slot) -> Option<u32> {
        let row = self.rows.find(slot)?;
        self.live.contains(row as usize).then_some(row)
    }
}

/// All features of a domain at one moment, by space. An item has at most one.
#[derive(Debug, Clone, Default)]
pub struct Features(BTreeMap<Space, Box<[Live]>>);

impl Features {
    /// The features in these blocks.
    pub fn new(by_space: impl IntoIterator<Item = (Space, Box<[Live]>)>) -> Self {
        Self(by_space.into_iter().collect())
    }

    /// The spaces that have rows, and those rows.
    pub fn spaces(&self) -> impl Iterator<Item = (&Space, &[Live])> {
        self.0.iter().map(|(space, live)| (space, &**live))
    }

    /// The rows of a space.
    pub fn of(&self, space: &Space) -> &[Live] {
        self.0.get(space).map_or(&[], |live| live)
    }

    /// Where an item's feature is; looks in the `first` space first. `None`: it has none, or a zero feature.
    pub fn find(&self, slot: Slot, first: Option<&Space>) -> Option<(&Space, &Live, u32)> {
        let first = first.and_then(|space| self.0.get_key_value(space));
        let all = first.into_iter().chain(&self.0);
        all.flat_map(|(space, live)| live.iter().map(move |live| (space, live)))
            .find_map(|(space, live)| Some((space, live, live.find(slot)?)))
    }

    /// The number of items with a feature in each space.
    pub fn counts(&self) -> Vec<(Space, usize)> {
        let rows = |live: &[Live]| live.iter().map(|live| live.live.count()).sum();
        self.spaces()
            .map(|(space, live)| (space.clone(), rows(live)))
            .collect()
    }
}
