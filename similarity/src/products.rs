//! Canonical sparse products of pairs: one `mul_add` chain from 0 over the terms that both rows have, by ascending id.
//!
//! Many pairs that matter share a left row. So the left row's terms go into a table, and each term of a right row is
//! looked up there, without branches, because almost none is found.

use super::scalar::sparse_dot;
use super::slices::Sparse;
use super::strip::split;

/// Slots of the table; it stays in the first-level cache.
const SLOTS: usize = 4096;
/// Most terms of a row that fit the table.
const MOST: usize = u8::MAX as usize;
/// Terms looked up before the found ones are multiplied.
const TOGETHER: usize = 64;
/// Multiplier that spreads term ids over the slots (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;

/// Maps a row's terms to their positions.
pub(super) struct Places {
    /// By slot: the position of its term plus 1; 0 means none.
    slots: Vec<u8>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            slots: vec![0; SLOTS],
        }
    }
}

#[inline(always)]
fn slot(id: u32) -> usize {
    (id.wrapping_mul(SPREAD) >> (u32::BITS - SLOTS.trailing_zeros())) as usize
}

impl Places {
    /// Adds the canonical sparse products of pairs (see `strip::split`) to their scores; pairs of one left row should
    /// be adjacent. `quick` returns the products for which it has a faster way. Inlined into each kernel, so that
    /// `mul_add` compiles to that kernel's instruction.
    #[inline(always)]
    pub(super) fn add_products(
        &mut self,
        lefts: &[Sparse<'_>],
        rights: &[Sparse<'_>],
        pairs: &[u32],
        scores: &mut [f32],
        quick: impl Fn(Sparse<'_>, Sparse<'_>) -> Option<f32>,
    ) {
        let mut scores = scores.iter_mut();
        for same in pairs.chunk_by(|a, b| split(*a).0 == split(*b).0) {
            let left = lefts[split(same[0]).0];
            let mut held = None;
            for (&pair, score) in same.iter().zip(&mut scores) {
                let right = rights[split(pair).1];
                *score += if let Some(product) = quick(left, right) {
                    product
                } else if *held.get_or_insert_with(|| self.hold(left.0)) {
                    self.product(left, right)
                } else {
                    sparse_dot(left, right)
                };
            }
            if held.is_some() {
                for &id in left.0 {
                    self.slots[slot(id)] = 0;
                }
            }
        }
    }

    /// Puts the terms of a row into the table; returns whether each got a slot of its own.
    #[inline(always)]
    fn hold(&mut self, ids: &[u32]) -> bool {
        if ids.len() > MOST {
            return false;
        }
        let mut taken = 0;
        for (&id, place) in ids.iter().zip(1..=u8::MAX) {
            let slot = &mut self.slots[slot(id)];
            taken |= *slot;
            *slot = place;
        }
        taken == 0
    }

    /// The product of the row in the table and another row.
    #[inline(always)]
    fn product(&self, left: Sparse<'_>, right: Sparse<'_>) -> f32 {
        let mut sum = 0.0_f32;
        let chunks = right.0.chunks(TOGETHER).zip(right.1.chunks(TOGETHER));
        for (ids, weights) in chunks {
            let mut found = 0_u64;
            for (bit, &id) in ids.iter().enumerate() {
                found |= u64::from(self.slots[slot(id)] != 0) << bit;
            }
            while found != 0 {
                let at = found.trailing_zeros() as usize;
                found &= found - 1;
                let place = usize::from(self.slots[slot(ids[at])]) - 1;
                // Another term may share the slot.
                if left.0[place] == ids[at] {
                    sum = left.1[place].mul_add(weights[at], sum);
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(most: usize) -> impl Strategy<Value = (Vec<u32>, Vec<f32>)> {
        // Few distinct ids, so that rows share some, and large ones, so that some share a slot.
        let id = prop_oneof![0..60_u32, 0..40_000_u32];
        proptest::collection::btree_map(id, -1.0_f32..1.0, 0..most)
            .prop_map(|terms| terms.into_iter().unzip())
    }

    #[test]
    fn as_many_terms_as_a_table_takes() {
        for count in [MOST - 1, MOST, MOST + 1] {
            // Consecutive ids have slots of their own.
            let ids: Vec<u32> = (0..count as u32).collect();
            let weights: Vec<f32> = (0..count).map(|n| n as f32 + 0.1).collect();
            let row = (&ids[..], &weights[..]);
            let (mut scores, mut places) = ([0.0], Places::default());
            assert_eq!(places.hold(&ids), count <= MOST);
            places.slots.fill(0);
            places.add_products(&[row], &[row], &[0], &mut scores, |_, _| None);
            assert_eq!(scores[0].to_bits(), sparse_dot(row, row).to_bits());
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_merged_rows(
            lefts in proptest::collection::vec(row(90), 1..6),
            rights in proptest::collection::vec(row(300), 1..6),
            pairs in proptest::collection::vec((0..6_usize, 0..6_usize), 0..60),
        ) {
            let pairs: Vec<u32> = pairs
                .into_iter()
                .map(|(left, right)| ((left % lefts.len()) << 16 | (right % rights.len())) as u32)
                .collect();
            let lefts: Vec<Sparse<'_>> = lefts.iter().map(|row| (&row.0[..], &row.1[..])).collect();
            let rights: Vec<Sparse<'_>> = rights.iter().map(|row| (&row.0[..], &row.1[..])).collect();
            let mut scores = vec![0.25; pairs.len()];
            let mut places = Places::default();
            places.add_products(&lefts, &rights, &pairs, &mut scores, |_, _| None);
            for (&pair, score) in pairs.iter().zip(&scores) {
                let (left, right) = split(pair);
                let expected = 0.25 + sparse_dot(lefts[left], rights[right]);
                prop_assert_eq!(score.to_bits(), expected.to_bits());
            }
            prop_assert!(places.slots.iter().all(|slot| *slot == 0));
        }
    }
}
