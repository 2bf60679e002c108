//! Blocks: the features of many items of one domain and space, laid out for comparison.

mod same;

use std::fmt;
use std::sync::OnceLock;

use kindred_similarity::{RowMask, Table, TableBuilder};

use crate::feature::Feature;
use crate::name::{ItemId, Space};
use same::Names;

/// Most rows of a block.
pub const MAX_ROWS: usize = 4096;
/// Most bytes of a block's feature values; a single row may be larger.
pub const MAX_BYTES: usize = 4 << 20;
/// Immutable rows of one domain and space, each with its item's id and version. Zero features have no row in any block.
pub struct Block {
    space: Space,
    ids: Vec<ItemId>,
    versions: Vec<u64>,
    table: Table,
    has_dense: RowMask,
    /// Built on first use.
    names: OnceLock<Names>,
}

impl Block {
    /// The space of its rows, which decides what they are compared with.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Length of a dense row as the model made it, without padding.
    pub fn dimension(&self) -> usize {
        self.table.dimension()
    }

    /// The values of its rows, for comparison.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The id of the item of a row.
    pub fn id(&self, row: usize) -> &ItemId {
        &self.ids[row]
    }

    /// The version of a row's item from which its feature was made.
    pub fn version(&self, row: usize) -> u64 {
        self.versions[row]
    }

    /// The feature of a row, exactly as it was added.
    pub fn feature(&self, row: usize) -> Feature {
        let dense = if self.has_dense.contains(row) {
            self.table.dense(row)[..self.dimension()].to_vec()
        } else {
            Vec::new()
        };
        let (ids, weights) = self.table.sparse(row);
        Feature::new(dense, ids.to_vec(), weights.to_vec())
            .expect("rows of a block were features when they were added")
    }

    /// Bytes of values held.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// An upper estimate of the bytes that comparing it adds.
    pub fn kept_bytes(&self) -> usize {
        self.table.kept_bytes() + self.rows() * Names::ROW_BYTES
    }

    /// An estimate of the bytes held now, including what comparing it has added.
    pub fn held_bytes(&self) -> usize {
        let names = self.names.get().map_or(0, |_| Names::ROW_BYTES);
        let row = size_of::<ItemId>() + size_of::<u64>() + names;
        self.table.held_bytes() + self.rows() * row
    }

    /// Pairs of a row of this block and a row of the other that belong to one item.
    pub fn same_items(&self, other: &Self) -> Vec<(u32, u32)> {
        self.names().shared(self, other, other.names())
    }

    /// Pairs of its own rows, lower row first, that belong to one item.
    pub fn repeated_items(&self) -> Vec<(u32, u32)> {
        self.names().repeated(self)
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::new(self))
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("space", &self.space)
            .field("rows", &self.rows())
            .field("terms", &self.table.terms())
            .finish()
    }
}

/// Collects rows into a [`Block`].
pub struct BlockBuilder {
    space: Space,
    ids: Vec<ItemId>,
    versions: Vec<u64>,
    rows: TableBuilder,
    has_dense: RowMask,
}

impl BlockBuilder {
    /// A builder for rows of one space whose dense parts have `dimension` values.
    pub fn new(space: Space, dimension: usize) -> Self {
        Self {
            space,
            ids: Vec::new(),
            versions: Vec::new(),
            rows: TableBuilder::new(dimension),
            has_dense: RowMask::none(0),
        }
    }

    /// Whether a row with this feature still fits within [`MAX_ROWS`] and [`MAX_BYTES`]. An empty block takes any
    /// feature.
    pub fn has_room_for(&self, feature: &Feature) -> bool {
        let table = self.rows.table();
        let row = 4 * (table.stride() + 2 * feature.term_ids().len());
        self.rows() == 0 || (self.rows() < MAX_ROWS && table.bytes() + row <= MAX_BYTES)
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When a dense part exists and is not `dimension` long, or the feature is zero. The features of one space have one
    /// length and zero features have no row, so either is a bug of the caller.
    pub fn push(&mut self, id: ItemId, version: u64, feature: &Feature) {
        assert!(!feature.is_zero(), "a zero feature has no row");
        self.rows
            .push(feature.dense(), feature.term_ids(), feature.term_weights())
            .expect("features of one space are alike");
        self.has_dense.push(!feature.dense().is_empty());
        self.ids.push(id);
        self.versions.push(version);
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The finished block.
    pub fn build(self) -> Block {
        let (mut ids, mut versions) = (self.ids, self.versions);
        ids.shrink_to_fit();
        versions.shrink_to_fit();
        Block {
            space: self.space,
            ids,
            versions,
            table: self.rows.build(),
            has_dense: self.has_dense,
            names: OnceLock::new(),
        }
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
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 3);
        for (row, feature) in features.iter().enumerate() {
            assert!(builder.has_room_for(feature));
            builder.push(
                ItemId::new(&format!("i{row}")).unwrap(),
                row as u64,
                feature,
            );
        }
        let block = builder.build();
        assert_eq!((block.rows(), block.dimension()), (3, 3));
        for (row, feature) in features.iter().enumerate() {
            assert_eq!(&block.feature(row), feature);
            assert_eq!(block.version(row), row as u64);
        }
    }
}
