//! Rare term → rows: finds the rows of a tile that share a term with another row.
//!
//! Frequent terms have columns (`columns`); what is left of a text are terms that few other texts
//! have, so that almost all pairs share none of them. Which terms two tiles share is found out once for
//! all their rows, by merging both indexes: looking each row's terms up for itself takes longer than all
//! products.
//!
//! Memory: 8 bytes a term of a row, 13 to 18 a distinct term, 4 a row; and 12 a term of a row of the
//! left tile, a thread.

use std::ops::{AddAssign, Range};

use super::rows::Sparse;
use super::strip::{GROUP, PANEL};

/// Multiplier that spreads term ids over the slots (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;
/// Fewest slots.
const MIN_SLOTS: usize = 64;
/// Bits of the first look for each slot: whether there is a term at all.
const BITS: usize = 8;
/// An index with so many times fewer terms than another has each of them looked up in that one.
const FEW: usize = 4;

/// The sparse parts of some rows, by term.
pub(super) struct TermIndex {
    rows: usize,
    /// Which of a slot's terms may be there: a bit for each of `BITS · slots` spans of hashes.
    bits: Vec<u64>,
    /// Where the terms of each slot begin, and where the last ends.
    slots: Vec<u32>,
    shift: u32,
    /// The terms' hashes, ascending, hence by slot.
    hashes: Vec<u32>,
    /// Where the postings of each hash begin, and where the last end.
    starts: Vec<u32>,
    /// Row (as numbered in the index) and weight; a term's lie together, rows ascending.
    postings: Vec<(u32, f32)>,
    /// Where the terms of each row end, if all rows' terms stood one after the other.
    row_ends: Vec<u32>,
}

/// Terms of rows, row after row: each as its hash, and its weight.
#[derive(Default)]
pub(super) struct RowTerms {
    terms: Vec<(u32, f32)>,
    /// Where those of each row end.
    ends: Vec<u32>,
}

/// The hash of a term. It keeps terms apart, for the multiplier is odd.
#[inline(always)]
fn hash(id: u32) -> u32 {
    id.wrapping_mul(SPREAD)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a block's terms fit u32")
}

impl RowTerms {
    /// Adds a term of a row, the last one or a later one.
    pub(super) fn push(&mut self, row: usize, id: u32, weight: f32) {
        self.end(row);
        self.terms.push((hash(id), weight));
    }

    /// Ends all rows before this one.
    pub(super) fn end(&mut self, row: usize) {
        let end = number(self.terms.len());
        self.ends.resize(row.max(self.ends.len()), end);
    }

    fn rows(&self) -> usize {
        self.ends.len()
    }

    fn row(&self, row: usize) -> &[(u32, f32)] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.terms[start as usize..self.ends[row] as usize]
    }
}

impl TermIndex {
    /// The index of these sparse rows (ids and weights), numbered in the order given.
    pub(super) fn of<'a>(rows: impl Iterator<Item = Sparse<'a>>) -> Self {
        let mut terms = RowTerms::default();
        let mut count = 0;
        for (row, (ids, weights)) in rows.enumerate() {
            for (&id, &weight) in ids.iter().zip(weights) {
                terms.push(row, id, weight);
            }
            count = row + 1;
        }
        terms.end(count);
        Self::of_terms(&terms)
    }

    /// The index of these terms.
    pub(super) fn of_terms(rows: &RowTerms) -> Self {
        let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(rows.terms.len());
        for row in 0..rows.rows() {
            let own = rows.row(row).iter();
            entries.extend(own.map(|&(hash, weight)| (hash, number(row), weight)));
        }
        entries.sort_unstable_by_key(|&(hash, row, _)| u64::from(hash) << 32 | u64::from(row));
        let distinct = entries.chunk_by(|a, b| a.0 == b.0).count();
        let size = distinct.next_power_of_two().max(MIN_SLOTS);
        let shift = 32 - size.trailing_zeros();
        let mut index = Self {
            rows: rows.rows(),
            bits: vec![0; size * BITS / 64],
            slots: Vec::with_capacity(size + 1),
            shift,
            hashes: Vec::with_capacity(distinct),
            starts: Vec::with_capacity(distinct + 1),
            postings: entries
                .iter()
                .map(|&(_, row, weight)| (row, weight))
                .collect(),
            row_ends: rows.ends.clone(),
        };
        let mut start = 0;
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            let hash = same[0].0;
            index
                .slots
                .resize((hash >> shift) as usize + 1, number(index.hashes.len()));
            let bit = index.bit(hash);
            index.bits[bit / 64] |= 1 << (bit % 64);
            index.hashes.push(hash);
            index.starts.push(start);
            start += number(same.len());
        }
        index.starts.push(start);
        index.slots.resize(size + 1, number(distinct));
        index
    }

    #[inline(always)]
    fn bit(&self, hash: u32) -> usize {
        (hash >> (self.shift - BITS.trailing_zeros())) as usize
    }

    /// Which term has a hash.
    #[inline(always)]
    fn find(&self, hash: u32) -> Option<usize> {
        let bit = self.bit(hash);
        if self.bits[bit / 64] >> (bit % 64) & 1 == 0 {
            return None;
        }
        let slot = (hash >> self.shift) as usize;
        let span = self.slots[slot] as usize..self.slots[slot + 1] as usize;
        let found = self.hashes[span.clone()].iter().position(|at| *at == hash);
        found.map(|at| span.start + at)
    }

    #[inline(always)]
    fn postings(&self, term: usize) -> &[(u32, f32)] {
        &self.postings[self.starts[term] as usize..self.starts[term + 1] as usize]
    }

    /// For every row: one `mul_add` chain from what `sums` holds over the terms shared with
    /// another row, by ascending term id. Inlined into each kernel, so that `mul_add` becomes
    /// the instruction that kernel may use.
    #[inline(always)]
    pub(super) fn add_products(&self, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        for (&id, &right) in ids.iter().zip(weights) {
            let Some(term) = self.find(hash(id)) else {
                continue;
            };
            for &(row, left) in self.postings(term) {
                // A prefix of the rows may be asked for; postings ascend by row.
                let Some(sum) = sums.get_mut(row as usize) else {
                    break;
                };
                *sum = left.mul_add(right, *sum);
            }
        }
    }
}

/// A term that a row of one tile shares with some of another: its weight in that row, and its span of the
/// other's postings.
#[derive(Clone, Copy, Default)]
struct Run {
    weight: f32,
    start: u32,
    end: u32,
}

/// What the rows of a left tile share with a right one.
#[derive(Default)]
pub(super) struct Shared {
    /// Terms that both have: their places in either index.
    terms: Vec<(u32, u32)>,
    /// Each row has as many places as it has terms, and uses the first few.
    runs: Vec<Run>,
    /// First place, and end of the used ones, for each row.
    rows: Vec<[u32; 2]>,
}

impl Shared {
    /// Finds out for these tiles.
    pub(super) fn find(&mut self, left: &TermIndex, right: &TermIndex) {
        self.find_terms(left, right);
        let most = left.row_ends.last().map_or(0, |end| *end as usize);
        if self.runs.len() < most {
            self.runs.resize(most, Run::default());
        }
        self.rows.clear();
        let starts = std::iter::once(&0).chain(&left.row_ends);
        self.rows
            .extend(starts.take(left.rows).map(|start| [*start; 2]));
        for &(own, other) in &self.terms {
            let (start, end) = (
                right.starts[other as usize],
                right.starts[other as usize + 1],
            );
            for &(row, weight) in left.postings(own as usize) {
                let used = &mut self.rows[row as usize][1];
                self.runs[*used as usize] = Run { weight, start, end };
                *used += 1;
            }
        }
    }

    /// The terms both have, by ascending hash.
    fn find_terms(&mut self, left: &TermIndex, right: &TermIndex) {
        let (one, two) = (&left.hashes[..], &right.hashes[..]);
        self.terms.clear();
        if one.len() * FEW < two.len() {
            let found = (0..).zip(one);
            let found = found.filter_map(|(at, hash)| Some((at, right.find(*hash)? as u32)));
            self.terms.extend(found);
            return;
        }
        if two.len() * FEW < one.len() {
            let found = (0..).zip(two);
            let found = found.filter_map(|(at, hash)| Some((left.find(*hash)? as u32, at)));
            self.terms.extend(found);
            return;
        }
        self.terms.resize(one.len().min(two.len()) + 1, (0, 0));
        let (mut l, mut r, mut count) = (0, 0, 0);
        // Without branches: which list goes on is not foreseen.
        while let (Some(own), Some(other)) = (one.get(l), two.get(r)) {
            self.terms[count] = (l as u32, r as u32);
            count += usize::from(own == other);
            l += usize::from(own <= other);
            r += usize::from(other <= own);
        }
        self.terms.truncate(count);
    }

    /// What the terms of a group's rows come to with all rows of the right index, whose find it was: a
    /// row of `sums` after the other, each of whole panels; or none if they share nothing. `product`
    /// makes what is added of a weight made ready by `factor` and another.
    #[inline(always)]
    pub(super) fn sums<T: Copy + Default + AddAssign>(
        &self,
        right: &TermIndex,
        group: Range<usize>,
        sums: &mut Vec<T>,
        factor: f32,
        product: impl Fn(f32) -> T,
    ) {
        let stride = right.rows.next_multiple_of(PANEL);
        sums.clear();
        let runs = |row: usize| {
            let [start, end] = self.rows[row];
            &self.runs[start as usize..end as usize]
        };
        if group.clone().all(|row| runs(row).is_empty()) {
            return;
        }
        sums.resize(GROUP * stride, T::default());
        for (row, sums) in group.zip(sums.chunks_exact_mut(stride)) {
            for run in runs(row) {
                let weight = run.weight * factor;
                for &(other, own) in &right.postings[run.start as usize..run.end as usize] {
                    sums[other as usize] += product(weight * own);
                }
            }
        }
    }
}
