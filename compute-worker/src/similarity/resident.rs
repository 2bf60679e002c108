//! What is kept with a block, once made: its rows as kernels want them, and the hashes of its ids.
//!
//! Blocks are immutable and outlive many jobs, so that laying them out pays after a few. What is
//! here depends on the block alone: which rows are live is a job's affair.
//!
//! Memory, with a block and only once it met enough rows: as much as its dense parts for kernels
//! of floats, a quarter of it for those of integers; 24 bytes a row; and see `sparse_bytes`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use kindred_shared::Block;
use xxhash_rust::xxh3::xxh3_64;

use super::Kernel;
use super::layout::{self, MAX_NORM, Shape};
use super::order::order;
use super::rows::Sparse;
use super::strip::PANEL;
use super::terms::MAX_TERMS;

/// Rows of a tile, at most: a sample large enough to guess thresholds from.
pub(super) const MAX_ROWS: usize = 8 * PANEL;
/// Bytes of the values of a tile, at most, so that two stay in the second-level cache.
const MAX_BYTES: usize = 320 << 10;
/// Rows that must have met a block before it is laid out. Laying a row out takes as long as
/// scoring it some forty times, so that a block which few rows ever meet is not laid out, and one
/// that meets one row after the other is, and no order of jobs takes twice as long as the best.
const WORTHWHILE: usize = 32;

/// Bytes of a row besides its values: its place, its hash, offset and ρ.
const ROW_BYTES: usize = 24;

/// What is kept with a block.
#[derive(Default)]
pub(super) struct Resident {
    /// One a kind of layout; a program uses one kernel, and tests all.
    laid: [OnceLock<Option<Laid>>; 3],
    names: OnceLock<Names>,
    /// Rows that it met.
    met: AtomicUsize,
}

/// The rows of a block, laid out.
pub(super) struct Laid {
    /// Values of a laid out row.
    pub(super) length: usize,
    /// Rows of every tile but the last.
    pub(super) tile_rows: usize,
    pub(super) tiles: Vec<layout::Block>,
    /// The block's row at each position.
    pub(super) rows: Vec<u32>,
}

/// Bytes that comparing a block adds to it, at most and nearly, whatever the kernel.
pub fn kept_bytes(block: &Block) -> usize {
    let row = 4 * block.dimension().max(1).next_multiple_of(4) + ROW_BYTES;
    block.rows() * row + layout::sparse_bytes(block.terms(), block.rows())
}

impl Resident {
    /// What is kept with this block.
    pub(super) fn of(block: &Block) -> &Self {
        block.kept(Self::default)
    }

    /// The block laid out for a kernel, if it was before, or if that pays now that it meets
    /// `rows` more. `None` also for values so large that only exact scores will do.
    pub(super) fn laid(&self, block: &Block, kernel: Kernel, rows: usize) -> Option<&Laid> {
        let place = &self.laid[match kernel {
            Kernel::Avx512Vnni => 0,
            Kernel::Avx512 | Kernel::Avx2 => 1,
            Kernel::Scalar => 2,
        }];
        let met = self
            .met
            .fetch_add(rows, Ordering::Relaxed)
            .saturating_add(rows);
        if met < WORTHWHILE {
            return place.get()?.as_ref();
        }
        if place.get().is_none() {
            // Not `get_or_init`: while it waits for others of the pool, this thread may take up a
            // job that wants the same.
            let _ = place.set(Laid::new(block, kernel));
        }
        place.get()?.as_ref()
    }

    /// The block's ids.
    pub(super) fn names(&self, block: &Block) -> &Names {
        self.names.get_or_init(|| Names::new(block))
    }
}

impl Laid {
    fn new(block: &Block, kernel: Kernel) -> Option<Self> {
        let shape = Shape::new(kernel, block.dimension());
        let dense = |row: usize| &block.dense(row)[..block.dimension()];
        let mut buffer = Vec::new();
        let mut scale = |row: usize| {
            let (scale, dense_norm) = shape.scale(dense(row), &mut buffer);
            let norm = dense_norm + layout::norm(block.sparse(row).1);
            let can = norm <= MAX_NORM && block.sparse(row).0.len() <= MAX_TERMS;
            can.then(|| u64::from(scale.to_bits()) << 32 | row as u64)
        };
        let scales: Vec<u64> = (0..block.rows()).map(&mut scale).collect::<Option<_>>()?;
        let tile_rows = (MAX_BYTES / shape.bytes() / PANEL * PANEL).clamp(PANEL, MAX_ROWS);
        let rows = if block.dimension() > 0 {
            let rows: Vec<&[f32]> = (0..block.rows()).map(dense).collect();
            order(kernel, &rows, scales, tile_rows, &|| false)
        } else {
            (0..block.rows() as u32).collect()
        };
        let columns = Arc::new(shape.columns(block.rows(), |row| block.sparse(row)));
        let tile = |rows: &[u32]| {
            let rows = || rows.iter().map(|row| *row as usize);
            let sparse: Vec<Sparse<'_>> = rows().map(|row| block.sparse(row)).collect();
            let dense: Vec<&[f32]> = rows().map(dense).collect();
            shape.block(&dense, &sparse, &columns)
        };
        Some(Self {
            length: shape.length,
            tile_rows,
            tiles: rows.chunks(tile_rows).map(tile).collect(),
            rows,
        })
    }
}

/// Finds the rows that two blocks have of the same items.
pub(super) struct Names {
    /// Hash of the id, and row; ascending.
    hashes: Vec<(u32, u32)>,
}

impl Names {
    fn new(block: &Block) -> Self {
        let hash = |row: usize| xxh3_64(block.id(row).as_str().as_bytes()) as u32;
        let mut hashes: Vec<(u32, u32)> = (0..block.rows())
            .map(|row| (hash(row), row as u32))
            .collect();
        hashes.sort_unstable();
        Self { hashes }
    }

    /// Rows of two blocks, `block` and `other`, with the same item.
    pub(super) fn shared(&self, block: &Block, other: &Block, names: &Self) -> Vec<(u32, u32)> {
        if self.hashes.len() > names.hashes.len() {
            let swapped = names.shared(other, block, self);
            return swapped.into_iter().map(|(a, b)| (b, a)).collect();
        }
        let mut shared = Vec::new();
        let mut rest = &names.hashes[..];
        // Steps as long as they probably must be: most hashes of the longer one are skipped.
        let step = (rest.len() / self.hashes.len().max(1)).max(1);
        for &(hash, row) in &self.hashes {
            while let Some(&(far, _)) = rest.get(step)
                && far < hash
            {
                rest = &rest[step..];
            }
            let from = rest.iter().position(|(near, _)| *near >= hash);
            rest = &rest[from.unwrap_or(rest.len())..];
            let same = rest.iter().take_while(|(near, _)| *near == hash);
            let same = same.filter(|(_, at)| other.id(*at as usize) == block.id(row as usize));
            shared.extend(same.map(|&(_, at)| (row, at)));
        }
        shared
    }

    /// Pairs of rows of one block, the lower one first, with the same item.
    pub(super) fn repeated(&self, block: &Block) -> Vec<(u32, u32)> {
        let mut repeated = Vec::new();
        for same in self.hashes.chunk_by(|a, b| a.0 == b.0) {
            for (at, &(_, row)) in same.iter().enumerate() {
                let later = same[at + 1..].iter();
                let later =
                    later.filter(|(_, other)| block.id(row as usize) == block.id(*other as usize));
                repeated.extend(later.map(|&(_, other)| (row, other)));
            }
        }
        repeated
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::{BlockBuilder, Feature, ItemId, Space};
    use proptest::prelude::*;

    use super::*;

    fn block(ids: &[u32]) -> Block {
        let mut builder = BlockBuilder::new(Space::own(1), 1);
        let feature = Feature::new(vec![1.0], vec![], vec![]).unwrap();
        for id in ids {
            builder.push(ItemId::new(&id.to_string()).unwrap(), 1, &feature);
        }
        builder.build()
    }

    proptest! {
        #[test]
        fn same_items_are_found(
            left in proptest::collection::vec(0..60_u32, 0..50),
            right in proptest::collection::vec(0..60_u32, 0..50),
        ) {
            let (one, two) = (block(&left), block(&right));
            let names = |block| Resident::of(block).names(block);
            let mut shared = names(&one).shared(&one, &two, names(&two));
            shared.sort_unstable();
            let pairs = |left: &[u32], right: &[u32]| -> Vec<(u32, u32)> {
                let right = |at| (0..).zip(right).filter(move |(_, id)| **id == at);
                let left = (0..).zip(left);
                left.flat_map(|(row, &id)| right(id).map(move |(at, _)| (row, at))).collect()
            };
            prop_assert_eq!(shared, pairs(&left, &right));
            let mut repeated = names(&one).repeated(&one);
            repeated.sort_unstable();
            let mut within = pairs(&left, &left);
            within.retain(|(a, b)| a < b);
            prop_assert_eq!(repeated, within);
        }
    }

    #[test]
    fn a_block_is_laid_out_once_it_met_enough_rows() {
        let block = block(&[1, 2, 3]);
        let resident = Resident::of(&block);
        for _ in 0..WORTHWHILE - 1 {
            assert!(resident.laid(&block, Kernel::Scalar, 1).is_none());
        }
        let laid = resident.laid(&block, Kernel::Scalar, 1).unwrap();
        assert!(std::ptr::eq(
            laid,
            resident.laid(&block, Kernel::Scalar, 0).unwrap()
        ));
    }
}
