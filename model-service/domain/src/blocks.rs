//! The blocks of a loaded domain. Every current feature is a live row of exactly one of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kindred_shared::block::MAX_ROWS;
use kindred_shared::{Block, BlockBuilder, Feature, ItemId, Space};
use kindred_similarity::RowMask;

use crate::features::{Features, Live, Rows};
use crate::memory;
use crate::slot::Slot;

/// Identifies a block within one loaded domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey(u64);

/// A row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRow {
    /// The block.
    pub block: BlockKey,
    /// Its row.
    pub row: u32,
}

/// A block, and the state of its rows.
#[derive(Debug)]
pub struct Resident {
    /// The rows, as they were added.
    pub block: Arc<Block>,
    /// The item of each row.
    pub slots: Arc<[Slot]>,
    /// Both of the above, shared with readers.
    rows: Arc<Rows>,
    /// The rows that still are the current feature of their item. Shared with readers until it
    /// changes.
    pub live: Arc<RowMask>,
}

impl Resident {
    fn memory(&self) -> u64 {
        let live = memory::shared(self.live.rows() / 8);
        let block = memory::shared(size_of::<Block>()) + self.block.held_bytes() as u64;
        block + self.rows.memory() + live
    }
}

/// A feature to be added to a block.
#[derive(Debug, Clone)]
pub struct NewRow {
    /// The item.
    pub slot: Slot,
    /// Its id.
    pub id: ItemId,
    /// Its version.
    pub version: u64,
    /// Must not be zero.
    pub feature: Feature,
}

/// All blocks of a loaded domain.
#[derive(Debug, Default)]
pub struct Blocks {
    residents: HashMap<BlockKey, Resident>,
    by_space: BTreeMap<Space, Vec<BlockKey>>,
    next: u64,
}

impl Blocks {
    /// The spaces that have blocks.
    pub fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.by_space.keys()
    }

    /// The blocks of a space, oldest first.
    pub fn keys(&self, space: &Space) -> &[BlockKey] {
        self.by_space.get(space).map_or(&[], Vec::as_slice)
    }

    /// A block by its key.
    ///
    /// # Panics
    /// When the key is not one of [`Self::keys`].
    pub fn get(&self, key: BlockKey) -> &Resident {
        &self.residents[&key]
    }

    /// The number of rows that are the current feature of their item.
    pub fn live_rows(&self) -> usize {
        let residents = self.residents.values();
        residents.map(|resident| resident.live.count()).sum()
    }

    /// The number of live rows in each space.
    pub fn rows_by_space(&self) -> Vec<(Space, usize)> {
        let rows = |keys: &Vec<BlockKey>| keys.iter().map(|key| self.get(*key).live.count()).sum();
        self.by_space
            .iter()
            .map(|(space, keys)| (space.clone(), rows(keys)))
            .collect()
    }

    /// The feature of a row.
    pub fn feature(&self, place: BlockRow) -> Feature {
        self.get(place.block).block.feature(place.row as usize)
    }

    /// The space of a row.
    pub fn space(&self, place: BlockRow) -> &Space {
        self.get(place.block).block.space()
    }

    /// A snapshot of the features for readers; copies nothing.
    pub(crate) fn features(&self) -> Features {
        let live = |key: &BlockKey| {
            let resident = self.get(*key);
            Live {
                rows: Arc::clone(&resident.rows),
                live: Arc::clone(&resident.live),
            }
        };
        let by_space = self.by_space.iter();
        Features::new(
            by_space.map(|(space, keys)| (space.clone(), keys.iter().map(live).collect())),
        )
    }

    /// An estimate of the bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.residents.values().map(Resident::memory).sum()
    }

    /// Marks a row as no longer the feature of its item.
    pub fn retire(&mut self, place: BlockRow) {
        if let Some(resident) = self.residents.get_mut(&place.block) {
            Arc::make_mut(&mut resident.live).remove(place.row as usize);
        }
    }

    /// Adds a finished block with every row live.
    pub fn add(&mut self, block: Arc<Block>, slots: Arc<[Slot]>) -> BlockKey {
        let key = BlockKey(self.next);
        self.next += 1;
        self.by_space
            .entry(block.space().clone())
            .or_default()
            .push(key);
        let live = Arc::new(RowMask::all(block.rows()));
        let rows = Arc::new(Rows::new(Arc::clone(&block), Arc::clone(&slots)));
        let resident = Resident {
            block,
            slots,
            rows,
            live,
        };
        self.residents.insert(key, resident);
        key
    }

    /// Adds rows of one space in as few blocks as possible; returns the new keys.
    pub fn add_rows(&mut self, space: &Space, rows: Vec<NewRow>) -> Vec<BlockKey> {
        pack(space, rows)
            .into_iter()
            .map(|(block, slots)| self.add(Arc::new(block), slots))
            .collect()
    }

    /// Makes the dense parts of a space this long, in new blocks; returns where rows moved.
    pub fn lengthen(&mut self, space: &Space, length: usize) -> Vec<(Slot, BlockRow)> {
        let keys = self.by_space.remove(space).unwrap_or_default();
        let mut rows: Vec<NewRow> = keys.iter().flat_map(|key| self.rows_of(*key)).collect();
        for key in &keys {
            self.residents.remove(key);
        }
        for row in &mut rows {
            row.feature = row.feature.padded(length);
        }
        self.add_rows(space, rows);
        self.places(self.keys(space))
    }

    /// The rows of these blocks, all of which are live, by item.
    fn places(&self, keys: &[BlockKey]) -> Vec<(Slot, BlockRow)> {
        let of_block = |key: &BlockKey| {
            let (block, slots) = (*key, Arc::clone(&self.get(*key).slots));
            let place = move |row: usize| {
                let place = BlockRow {
                    block,
                    row: row_number(row),
                };
                (slots[row], place)
            };
            (0..self.get(*key).slots.len()).map(place)
        };
        keys.iter().flat_map(of_block).collect()
    }

    /// Merges small and sparsely live blocks of a space, so that there are few; returns where rows
    /// moved. Blocks grow like the digits of a counter, so each row is copied a logarithmic number
    /// of times.
    pub fn compact(&mut self, space: &Space) -> Vec<(Slot, BlockRow)> {
        let mut moved = Vec::new();
        while let Some(run) = self.mergeable(space) {
            let rows: Vec<NewRow> = run.iter().flat_map(|key| self.rows_of(*key)).collect();
            for key in &run {
                self.residents.remove(key);
            }
            if let Some(keys) = self.by_space.get_mut(space) {
                keys.retain(|key| !run.contains(key));
            }
            let keys = self.add_rows(space, rows);
            moved.extend(self.places(&keys));
        }
        if self.keys(space).is_empty() {
            self.by_space.remove(space);
        }
        moved
    }

    /// The next blocks to rewrite as one: a block with more dead rows than live ones, or the last
    /// two blocks if the younger is at least half as large as the older and both fit into one.
    fn mergeable(&self, space: &Space) -> Option<Vec<BlockKey>> {
        let keys = self.keys(space);
        let live = |key: &BlockKey| self.get(*key).live.count();
        if let Some(thin) = keys
            .iter()
            .find(|key| 2 * live(key) < self.get(**key).block.rows())
        {
            return Some(vec![*thin]);
        }
        let [.., older, younger] = keys else {
            return None;
        };
        let (a, b) = (live(older), live(younger));
        let bytes = self.get(*older).block.bytes() + self.get(*younger).block.bytes();
        (2 * b >= a && a + b <= MAX_ROWS && bytes <= kindred_shared::block::MAX_BYTES)
            .then(|| vec![*older, *younger])
    }

    /// The live rows of a block, with their features.
    fn rows_of(&self, key: BlockKey) -> Vec<NewRow> {
        let resident = self.get(key);
        resident
            .live
            .iter()
            .map(|row| NewRow {
                slot: resident.slots[row],
                id: resident.block.id(row).clone(),
                version: resident.block.version(row),
                feature: resident.block.feature(row),
            })
            .collect()
    }
}

/// Packs rows of one space into blocks within their limits, in the given order.
pub fn pack(space: &Space, rows: Vec<NewRow>) -> Vec<(Block, Arc<[Slot]>)> {
    let dimension = rows
        .iter()
        .map(|row| row.feature.dense().len())
        .max()
        .unwrap_or(0);
    let mut packed = Vec::new();
    let mut builder = BlockBuilder::new(space.clone(), dimension);
    let mut slots: Vec<Slot> = Vec::new();
    for row in rows {
        if !builder.has_room_for(&row.feature) {
            let full = std::mem::replace(&mut builder, BlockBuilder::new(space.clone(), dimension));
            packed.push((full.build(), std::mem::take(&mut slots).into()));
        }
        builder.push(row.id, row.version, &row.feature);
        slots.push(row.slot);
    }
    if builder.rows() > 0 {
        packed.push((builder.build(), slots.into()));
    }
    packed
}

/// A row's index in the type used outside of this file.
pub fn row_number(row: usize) -> u32 {
    u32::try_from(row).expect("a block has at most 4,096 rows")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn new_row(n: u32) -> NewRow {
        NewRow {
            slot: Slot(n),
            id: ItemId::new(&format!("i{n}")).unwrap(),
            version: 1,
            feature: Feature::new(vec![1.0], vec![n], vec![0.5]).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn compaction_keeps_live_rows_and_few_blocks(
            sizes in prop::collection::vec(1..200usize, 1..40),
            retired in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let space = Space::stored("words-1/en");
            let mut blocks = Blocks::default();
            let mut places: BTreeMap<u32, BlockRow> = BTreeMap::new();
            let mut next = 0;
            for size in sizes {
                let rows = (next..next + size as u32).map(new_row).collect();
                next += size as u32;
                for key in blocks.add_rows(&space, rows) {
                    for (row, slot) in blocks.get(key).slots.clone().iter().enumerate() {
                        places.insert(slot.0, BlockRow { block: key, row: row as u32 });
                    }
                }
                for (slot, place) in blocks.compact(&space) {
                    places.insert(slot.0, place);
                }
            }
            let gone: BTreeSet<u32> = retired.iter().map(|i| i.index(next as usize) as u32).collect();
            for slot in &gone {
                blocks.retire(places.remove(slot).unwrap());
            }
            for (slot, place) in blocks.compact(&space) {
                prop_assert!(places.insert(slot.0, place).is_some(), "a dead row came back");
            }
            let live: usize = blocks.keys(&space).iter().map(|k| blocks.get(*k).live.count()).sum();
            prop_assert_eq!(live, places.len());
            for (slot, place) in &places {
                prop_assert_eq!(blocks.feature(*place), new_row(*slot).feature);
                prop_assert!(blocks.get(place.block).live.contains(place.row as usize));
            }
            prop_assert!(blocks.keys(&space).len() <= 16, "{} blocks", blocks.keys(&space).len());
        }
    }
}
