//! Term → left rows: finds the terms a right row shares with many left rows at once.

use kindred_shared::Block;

/// Multiplier that spreads term ids over the slots (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;

/// Fewest slots: 12 KiB. An index of a few rows is then almost empty, so that looking a term up in
/// vain, the rule there, is one predictable step.
const MIN_SLOTS: usize = 1024;

/// The sparse parts of some left rows, by term.
pub(super) struct TermIndex {
    /// Open addressing; a power of two long, at most half full.
    slots: Vec<Slot>,
    shift: u32,
    /// Left row (as numbered in the index) and weight; a term's lie together, rows ascending.
    postings: Vec<(u32, f32)>,
}

/// A term and its span of postings; `start == end` means free.
#[derive(Clone, Copy, Default)]
struct Slot {
    term: u32,
    start: u32,
    end: u32,
}

impl TermIndex {
    /// The index of these rows of a block, numbered in the order given.
    pub(super) fn new(block: &Block, rows: &[u32]) -> Self {
        Self::of(rows.iter().map(|&row| block.sparse(row as usize)))
    }

    /// The index of these sparse rows (ids and weights), numbered in the order given.
    pub(super) fn of<'a>(rows: impl Iterator<Item = (&'a [u32], &'a [f32])>) -> Self {
        let mut entries: Vec<(u32, u32, f32)> = Vec::new();
        for (number, (ids, weights)) in (0_u32..).zip(rows) {
            entries.extend(ids.iter().zip(weights).map(|(&id, &w)| (id, number, w)));
        }
        entries.sort_unstable_by_key(|&(id, number, _)| (id, number));
        let terms = entries.chunk_by(|a, b| a.0 == b.0).count();
        let size = (2 * terms).next_power_of_two().max(MIN_SLOTS);
        let mut index = Self {
            slots: vec![Slot::default(); size],
            shift: 32 - size.trailing_zeros(),
            postings: entries.iter().map(|&(_, number, w)| (number, w)).collect(),
        };
        let mut start = 0;
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            let end = start + u32::try_from(same.len()).expect("a block's terms fit u32");
            let slot = index.slot(same[0].0);
            index.slots[slot] = Slot {
                term: same[0].0,
                start,
                end,
            };
            start = end;
        }
        index
    }

    /// The slot of a term, or the free one where it would go.
    #[inline(always)]
    fn slot(&self, term: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (term.wrapping_mul(SPREAD) >> self.shift) as usize;
        loop {
            let slot = self.slots[at & mask];
            if slot.start == slot.end || slot.term == term {
                return at & mask;
            }
            at += 1;
        }
    }

    /// For every left row: one `mul_add` chain from what `sums` holds over the terms shared with
    /// a right row, by ascending term id. Inlined into each kernel, so that `mul_add` becomes
    /// the instruction that kernel may use.
    #[inline(always)]
    pub(super) fn add_products(&self, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        if self.postings.is_empty() {
            return;
        }
        for (&term, &right) in ids.iter().zip(weights) {
            let slot = self.slots[self.slot(term)];
            for &(number, left) in &self.postings[slot.start as usize..slot.end as usize] {
                // A prefix of the rows may be asked for; postings ascend by row.
                let Some(sum) = sums.get_mut(number as usize) else {
                    break;
                };
                *sum = left.mul_add(right, *sum);
            }
        }
    }
}
