//! Finds rows of blocks that belong to the same items.

use super::Block;

/// The hashed item ids of a block's rows.
pub(super) struct Names {
    /// Hash of the id, and row; ascending.
    hashes: Vec<(u32, u32)>,
}

impl Names {
    /// Bytes per row.
    pub(super) const ROW_BYTES: usize = 8;

    pub(super) fn new(block: &Block) -> Self {
        let hash = |row: usize| block.id(row).hash64() as u32;
        let mut hashes: Vec<(u32, u32)> = (0..block.rows())
            .map(|row| (hash(row), row as u32))
            .collect();
        hashes.sort_unstable();
        Self { hashes }
    }

    /// Pairs of rows of two blocks, `block` and `other`, that belong to one item.
    pub(super) fn shared(&self, block: &Block, other: &Block, names: &Self) -> Vec<(u32, u32)> {
        if self.hashes.len() > names.hashes.len() {
            let swapped = names.shared(other, block, self);
            return swapped.into_iter().map(|(a, b)| (b, a)).collect();
        }
        let mut shared = Vec::new();
        let mut rest = &names.hashes[..];
        // Gallops in steps of the expected length, so that most hashes of the longer list are
        // skipped.
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

    /// Pairs of rows of one block, lower row first, that belong to one item.
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
    use proptest::prelude::*;

    use super::*;
    use crate::{BlockBuilder, Feature, ItemId, Space};

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
            let mut shared = one.same_items(&two);
            shared.sort_unstable();
            let pairs = |left: &[u32], right: &[u32]| -> Vec<(u32, u32)> {
                let right = |at| (0..).zip(right).filter(move |(_, id)| **id == at);
                let left = (0..).zip(left);
                left.flat_map(|(row, &id)| right(id).map(move |(at, _)| (row, at))).collect()
            };
            prop_assert_eq!(shared, pairs(&left, &right));
            let mut repeated = one.repeated_items();
            repeated.sort_unstable();
            let mut within = pairs(&left, &left);
            within.retain(|(a, b)| a < b);
            prop_assert_eq!(repeated, within);
        }
    }
}
