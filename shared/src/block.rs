//! Blocks: the features of many items of one domain and space, laid out for comparing.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

use crate::feature::Feature;
use crate::name::{ItemId, Space};

/// Most rows of a block.
pub const MAX_ROWS: usize = 4096;
/// Most bytes of feature values of a block; a single row may be larger.
pub const MAX_BYTES: usize = 4 << 20;
/// Dense rows are zero-padded to a multiple of this many values: one per chain of the canonical
/// dot product.
pub const LANES: usize = 16;

/// Immutable rows of one domain and space, each with its item's id and version.
///
/// Dense rows are stored one after the other, each padded with zeros to [`Block::stride`];
/// a row without a dense part is all zero (its products are exactly 0). Sparse rows are stored
/// as compressed sparse rows. Zero features have no row in any block.
pub struct Block {
    space: Space,
    dimension: usize,
    ids: Vec<ItemId>,
    versions: Vec<u64>,
    dense: Vec<f32>,
    has_dense: RowMask,
    offsets: Vec<u32>,
    term_ids: Vec<u32>,
    term_weights: Vec<f32>,
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Block {
    /// What its rows are compared with.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Length of a dense row as the model made it.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Length of a dense row as stored: the dimension rounded up to [`LANES`].
    pub fn stride(&self) -> usize {
        self.dimension.next_multiple_of(LANES)
    }

    /// Whether rows of both blocks have scores: dense parts of one length, or none in one of them.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.dimension == 0 || other.dimension == 0 || self.dimension == other.dimension
    }

    /// The id of the item of a row.
    pub fn id(&self, row: usize) -> &ItemId {
        &self.ids[row]
    }

    /// The version of the item of a row when its feature was made.
    pub fn version(&self, row: usize) -> u64 {
        self.versions[row]
    }

    /// A padded dense row: [`Block::stride`] values.
    pub fn dense(&self, row: usize) -> &[f32] {
        let stride = self.stride();
        &self.dense[row * stride..(row + 1) * stride]
    }

    /// A sparse row: ids strictly ascending, and their weights.
    pub fn sparse(&self, row: usize) -> (&[u32], &[f32]) {
        let span = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        (&self.term_ids[span.clone()], &self.term_weights[span])
    }

    /// Terms of all rows together.
    pub fn terms(&self) -> usize {
        self.term_ids.len()
    }

    /// The feature of a row, as it was added.
    pub fn feature(&self, row: usize) -> Feature {
        let dense = if self.has_dense.contains(row) {
            self.dense(row)[..self.dimension].to_vec()
        } else {
            Vec::new()
        };
        let (ids, weights) = self.sparse(row);
        Feature::new(dense, ids.to_vec(), weights.to_vec())
            .expect("rows of a block were features when they were added")
    }

    /// What whoever compares blocks makes of this one: made at most once, kept as long as the
    /// block, and shared by all who hold it. It must depend on the block alone.
    ///
    /// # Panics
    /// When something of another type is kept here already: a program keeps one type.
    pub fn kept<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> &T {
        let kept = self.kept.get_or_init(|| Box::new(make()));
        kept.downcast_ref()
            .expect("one type is kept with the blocks of a program")
    }

    /// Bytes of values held.
    pub fn bytes(&self) -> usize {
        4 * (self.dense.len() + 2 * self.term_ids.len())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("space", &self.space)
            .field("rows", &self.rows())
            .field("terms", &self.term_ids.len())
            .finish()
    }
}

/// Collects rows into a [`Block`].
pub struct BlockBuilder {
    block: Block,
}

impl BlockBuilder {
    /// A builder for rows of one space whose dense parts have `dimension` values.
    pub fn new(space: Space, dimension: usize) -> Self {
        Self {
            block: Block {
                space,
                dimension,
                ids: Vec::new(),
                versions: Vec::new(),
                dense: Vec::new(),
                has_dense: RowMask::none(0),
                offsets: vec![0],
                term_ids: Vec::new(),
                term_weights: Vec::new(),
                kept: OnceLock::new(),
            },
        }
    }

    /// Whether one more row with this feature stays within [`MAX_ROWS`] and [`MAX_BYTES`].
    /// An empty block takes any feature.
    pub fn has_room_for(&self, feature: &Feature) -> bool {
        let row = 4 * (self.block.stride() + 2 * feature.term_ids().len());
        self.block.rows() == 0
            || (self.block.rows() < MAX_ROWS && self.block.bytes() + row <= MAX_BYTES)
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When a dense part is there and is not `dimension` long, or the feature is zero: features
    /// of one space are all alike, so either is a bug of the caller.
    pub fn push(&mut self, id: ItemId, version: u64, feature: &Feature) {
        assert!(!feature.is_zero(), "a zero feature has no row");
        let block = &mut self.block;
        let dense = feature.dense();
        assert!(
            dense.is_empty() || dense.len() == block.dimension,
            "a dense part of {} values in a space of {}",
            dense.len(),
            block.dimension
        );
        let end = (block.rows() + 1) * block.stride();
        block.dense.extend_from_slice(dense);
        block.dense.resize(end, 0.0);
        block.has_dense.push(!dense.is_empty());
        block.term_ids.extend_from_slice(feature.term_ids());
        block.term_weights.extend_from_slice(feature.term_weights());
        block
            .offsets
            .push(u32::try_from(block.term_ids.len()).expect("a block's terms are counted in u32"));
        block.ids.push(id);
        block.versions.push(version);
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.block.rows()
    }

    /// The finished block.
    pub fn build(self) -> Block {
        let mut block = self.block;
        block.ids.shrink_to_fit();
        block.versions.shrink_to_fit();
        block.dense.shrink_to_fit();
        block.offsets.shrink_to_fit();
        block.term_ids.shrink_to_fit();
        block.term_weights.shrink_to_fit();
        block
    }
}

/// A set of rows of one block.
#[derive(Clone, PartialEq, Eq)]
pub struct RowMask {
    words: Vec<u64>,
    rows: usize,
}

impl RowMask {
    /// No row of `rows`.
    pub fn none(rows: usize) -> Self {
        Self {
            words: vec![0; rows.div_ceil(64)],
            rows,
        }
    }

    /// Every row of `rows`.
    pub fn all(rows: usize) -> Self {
        let mut mask = Self::none(rows);
        (0..rows).for_each(|row| mask.insert(row));
        mask
    }

    /// Number of rows the mask speaks of, in the set or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row is in the set.
    pub fn contains(&self, row: usize) -> bool {
        row < self.rows && self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Puts a row into the set.
    ///
    /// # Panics
    /// When the row is not one of the block's.
    pub fn insert(&mut self, row: usize) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Takes a row out of the set.
    pub fn remove(&mut self, row: usize) {
        if row < self.rows {
            self.words[row / 64] &= !(1 << (row % 64));
        }
    }

    /// Number of rows in the set.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The rows in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * 64 + bit)
        })
    }

    fn push(&mut self, present: bool) {
        self.rows += 1;
        self.words.resize(self.rows.div_ceil(64), 0);
        if present {
            self.insert(self.rows - 1);
        }
    }
}

impl fmt::Debug for RowMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rows", self.count(), self.rows)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let features = [
            Feature::new(vec![0.6, 0.0, 0.8], vec![], vec![]).unwrap(),
            Feature::new(vec![], vec![3, 9], vec![0.6, 0.8]).unwrap(),
            Feature::new(vec![0.5, 0.5, 0.5], vec![7], vec![0.5]).unwrap(),
        ];
        let mut builder = BlockBuilder::new(Space::words("en"), 3);
        for (row, feature) in features.iter().enumerate() {
            assert!(builder.has_room_for(feature));
            builder.push(
                ItemId::new(&format!("i{row}")).unwrap(),
                row as u64,
                feature,
            );
        }
        let block = builder.build();
        assert_eq!((block.rows(), block.stride()), (3, 16));
        for (row, feature) in features.iter().enumerate() {
            assert_eq!(&block.feature(row), feature);
            assert_eq!(block.version(row), row as u64);
        }
    }

    #[test]
    fn what_is_kept_is_made_once() {
        let block = BlockBuilder::new(Space::own(1), 1).build();
        assert_eq!(*block.kept(|| 7_u8), 7);
        assert_eq!(*block.kept(|| -> u8 { panic!("made before") }), 7);
    }

    #[test]
    fn masks_count_and_iterate() {
        let mut mask = RowMask::all(130);
        assert_eq!(mask.count(), 130);
        mask.remove(64);
        assert!(!mask.contains(64) && mask.contains(129) && !mask.contains(130));
        assert_eq!(mask.iter().filter(|row| (60..70).contains(row)).count(), 9);
    }
}
