//! Term → rows: finds the terms a row shares with many others at once.
//!
//! Exact products come from lists, a term's rows and weights. For approximate ones the terms that
//! many rows of a tile have are kept as columns besides: a weight for every row, in 16 bits. In
//! texts a few hundred terms make nearly all products, and adding up whole columns takes a third
//! of the time of the same products one by one. What columns are off by is bounded: a weight by
//! half a unit, so a score by half a unit times the sum of the other row's weights in columns.
//!
//! Which terms two tiles share is found out once for all their rows, by merging both indexes:
//! looking up each row's terms for itself takes longer than all the sums.
//!
//! Memory: 8 bytes a term of a row, 21 to 26 a distinct term, 2 a row and column, 4 a row; and 20 a
//! term of a row of the left tile, a thread.

use super::rows::Sparse;
use super::strip::PANEL;

/// Multiplier that spreads term ids over the slots (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;
/// Fewest slots.
const MIN_SLOTS: usize = 64;
/// Bits of the first look for each slot: whether there is a term at all.
const BITS: usize = 8;
/// Rows that have a term that is worth a column, at least.
const FREQUENT: usize = 4;
/// Most columns: those of the most frequent terms.
const MAX_COLUMNS: usize = 192;
/// An index with so many times fewer terms than another has each of them looked up in that one.
const FEW: usize = 4;
/// The largest weight of a column, in its units.
const MOST: f32 = 32_766.0;
/// No column.
const NONE: u16 = u16::MAX;

/// Bytes of the indexes of a block with so many terms and rows, at most and nearly.
pub(super) fn bytes(terms: usize, rows: usize) -> usize {
    if terms == 0 {
        0
    } else {
        34 * terms + (2 * MAX_COLUMNS + 4) * rows
    }
}

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
    /// The term of each hash.
    terms: Vec<Term>,
    /// Where the terms of each row end, if all rows' terms stood one after the other.
    row_ends: Vec<u32>,
    /// Row (as numbered in the index) and weight; a term's lie together, rows ascending.
    postings: Vec<(u32, f32)>,
    /// A column after the other, each of whole panels.
    columns: Vec<i16>,
    /// Weight of one unit of a column.
    unit: f32,
    /// Bound of the Euclidean norm of what columns leave out of a row.
    residual: f64,
}

/// A term and its span of postings.
#[derive(Clone, Copy)]
struct Term {
    start: u32,
    end: u32,
    column: u16,
}

impl TermIndex {
    /// The index of these sparse rows (ids and weights), numbered in the order given.
    pub(super) fn of<'a>(rows: impl Iterator<Item = Sparse<'a>>) -> Self {
        let mut entries: Vec<(u32, u32, f32)> = Vec::new();
        let mut row_ends: Vec<u32> = Vec::new();
        for (number, (ids, weights)) in (0_u32..).zip(rows) {
            // The hash keeps terms apart: the multiplier is odd.
            let spread = |id: &u32| id.wrapping_mul(SPREAD);
            entries.extend(
                ids.iter()
                    .zip(weights)
                    .map(|(id, &w)| (spread(id), number, w)),
            );
            row_ends.push(u32::try_from(entries.len()).expect("a block's terms fit u32"));
        }
        entries
            .sort_unstable_by_key(|&(hash, number, _)| u64::from(hash) << 32 | u64::from(number));
        let distinct = entries.chunk_by(|a, b| a.0 == b.0).count();
        let size = distinct.next_power_of_two().max(MIN_SLOTS);
        let shift = 32 - size.trailing_zeros();
        let mut index = Self {
            rows: row_ends.len(),
            bits: vec![0; size * BITS / 64],
            slots: Vec::with_capacity(size + 1),
            shift,
            hashes: Vec::with_capacity(distinct),
            terms: Vec::with_capacity(distinct),
            row_ends,
            postings: entries.iter().map(|&(_, number, w)| (number, w)).collect(),
            columns: Vec::new(),
            unit: 0.0,
            residual: 0.0,
        };
        let number = |count: usize| u32::try_from(count).expect("a block's terms fit u32");
        let mut start = 0;
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            let hash = same[0].0;
            index
                .slots
                .resize((hash >> shift) as usize + 1, number(index.terms.len()));
            let bit = index.bit(hash);
            index.bits[bit / 64] |= 1 << (bit % 64);
            let end = start + number(same.len());
            index.hashes.push(hash);
            index.terms.push(Term {
                start,
                end,
                column: NONE,
            });
            start = end;
        }
        index.slots.resize(size + 1, number(distinct));
        index
    }

    /// With columns for frequent terms.
    pub(super) fn with_columns(mut self) -> Self {
        let often = |term: &Term| (term.end - term.start) as usize;
        let mut frequent: Vec<usize> = (0..self.terms.len())
            .filter(|at| often(&self.terms[*at]) >= FREQUENT)
            .collect();
        frequent.sort_unstable_by_key(|at| std::cmp::Reverse(often(&self.terms[*at])));
        frequent.truncate(MAX_COLUMNS);
        let spans = frequent.iter().map(|at| self.terms[*at]);
        let spans: Vec<_> = spans
            .map(|term| term.start as usize..term.end as usize)
            .collect();
        let weights = spans.iter().flat_map(|span| &self.postings[span.clone()]);
        let largest = weights.fold(0.0_f32, |most, (_, weight)| most.max(weight.abs()));
        // Of smaller ones a unit would be no normal number.
        if largest < 1e-30 {
            return self;
        }
        self.unit = largest / MOST;
        let stride = self.rows.next_multiple_of(PANEL);
        self.columns = vec![0; frequent.len() * stride];
        let mut squares = vec![0.0_f64; self.rows];
        let columns = self.columns.chunks_exact_mut(stride);
        for (((at, span), column), number) in frequent.iter().zip(spans).zip(columns).zip(0_u16..) {
            self.terms[*at].column = number;
            for &(row, weight) in &self.postings[span] {
                let units = (weight / self.unit).round().clamp(-MOST, MOST);
                column[row as usize] = units as i16;
                let left = f64::from(weight) - f64::from(units) * f64::from(self.unit);
                squares[row as usize] += left * left;
            }
        }
        self.residual = squares.into_iter().fold(0.0, f64::max).sqrt();
        self
    }

    /// Bound of the Euclidean norm of what columns leave out of any row.
    pub(super) fn residual(&self) -> f64 {
        self.residual
    }

    #[inline(always)]
    fn bit(&self, hash: u32) -> usize {
        (hash >> (self.shift - BITS.trailing_zeros())) as usize
    }

    #[inline(always)]
    fn get(&self, id: u32) -> Option<Term> {
        let hash = id.wrapping_mul(SPREAD);
        self.find(hash).map(|at| self.terms[at])
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

    /// For every row: one `mul_add` chain from what `sums` holds over the terms shared with
    /// another row, by ascending term id. Inlined into each kernel, so that `mul_add` becomes
    /// the instruction that kernel may use.
    #[inline(always)]
    pub(super) fn add_products(&self, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        for (&id, &right) in ids.iter().zip(weights) {
            let Some(term) = self.get(id) else {
                continue;
            };
            for &(number, left) in &self.postings[term.start as usize..term.end as usize] {
                // A prefix of the rows may be asked for; postings ascend by row.
                let Some(sum) = sums.get_mut(number as usize) else {
                    break;
                };
                *sum = left.mul_add(right, *sum);
            }
        }
    }

    /// Puts the sums of weighted columns into `sums`, a place a row in whole panels, a panel after
    /// the other; its sums stay in registers. Inlined into each kernel.
    #[inline(always)]
    pub(super) fn add_columns(&self, columns: &[Weighted], sums: &mut [f32]) {
        let (panels, _) = sums.as_chunks_mut::<PANEL>();
        for (at, sums) in panels.iter_mut().enumerate() {
            let mut held = [0.0; PANEL];
            for weighted in columns {
                let column = &self.column(weighted)[at * PANEL..(at + 1) * PANEL];
                for (sum, units) in held.iter_mut().zip(column) {
                    *sum += f32::from(*units) * weighted.weight;
                }
            }
            *sums = held;
        }
    }

    /// A column, as long as there are rows, in whole panels.
    #[inline(always)]
    pub(super) fn column(&self, weighted: &Weighted) -> &[i16] {
        let stride = self.rows.next_multiple_of(PANEL);
        let start = weighted.column as usize * stride;
        &self.columns[start..start + stride]
    }
}

/// A column, and what each of its values is to be multiplied with.
#[derive(Clone, Copy, Default)]
pub(super) struct Weighted {
    pub(super) weight: f32,
    column: u32,
}

/// A term without column that a row of one tile shares with some of another: its weight in that row,
/// and its span of the other's postings.
#[derive(Clone, Copy, Default)]
struct Run {
    weight: f32,
    start: u32,
    end: u32,
}

/// What the rows of a left tile share with a right one. Looking terms up takes longer than adding
/// their products up, hence it is done for all rows of both tiles at once.
#[derive(Default)]
pub(super) struct Shared {
    /// Terms that both have: their places in either index.
    terms: Vec<(u32, u32)>,
    /// Each row has as many places as it has terms, and uses the first few.
    columns: Vec<Weighted>,
    runs: Vec<Run>,
    /// First place, and ends of the used ones of `columns` and `runs`, for each row.
    rows: Vec<[u32; 3]>,
}

impl Shared {
    /// Finds out for these tiles.
    pub(super) fn find(&mut self, left: &TermIndex, right: &TermIndex) {
        self.find_terms(left, right);
        let most = left.row_ends.last().map_or(0, |end| *end as usize);
        if self.columns.len() < most {
            self.columns.resize(most, Weighted::default());
            self.runs.resize(most, Run::default());
        }
        self.rows.clear();
        let starts = std::iter::once(&0).chain(&left.row_ends);
        self.rows
            .extend(starts.take(left.rows).map(|start| [*start; 3]));
        for &(own, other) in &self.terms {
            let (own, other) = (left.terms[own as usize], right.terms[other as usize]);
            let own = &left.postings[own.start as usize..own.end as usize];
            if other.column == NONE {
                for &(row, weight) in own {
                    let end = &mut self.rows[row as usize][2];
                    self.runs[*end as usize] = Run {
                        weight,
                        start: other.start,
                        end: other.end,
                    };
                    *end += 1;
                }
            } else {
                for &(row, weight) in own {
                    let end = &mut self.rows[row as usize][1];
                    self.columns[*end as usize] = Weighted {
                        weight: weight * right.unit,
                        column: u32::from(other.column),
                    };
                    *end += 1;
                }
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

    /// The sparse dot products of a row of the left tile with all of the right one, approximately;
    /// `sums` has a place for each in whole panels. `add` puts the sums of weighted columns there.
    /// Inlined into each kernel.
    #[inline(always)]
    pub(super) fn sums(
        &self,
        right: &TermIndex,
        row: usize,
        sums: &mut [f32],
        add: impl Fn(&[Weighted], &mut [f32]),
    ) {
        let stride = right.rows.next_multiple_of(PANEL);
        assert_eq!(sums.len(), stride, "one sum a row, in whole panels");
        let [start, columns, runs] = self.rows[row].map(|at| at as usize);
        add(&self.columns[start..columns], sums);
        for run in &self.runs[start..runs] {
            for &(number, weight) in &right.postings[run.start as usize..run.end as usize] {
                sums[number as usize] += run.weight * weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Kernel, scalar};
    use super::*;

    proptest! {
        #[test]
        fn columns_are_off_by_no_more_than_they_say(
            rows in proptest::collection::vec(
                proptest::collection::btree_map(0..40_u32, -1.0_f32..1.0, 0..90), 1..120),
        ) {
            let rows: Vec<(Vec<u32>, Vec<f32>)> =
                rows.into_iter().map(|row| row.into_iter().unzip()).collect();
            let sparse = || rows.iter().map(|(ids, weights)| (&ids[..], &weights[..]));
            let index = TermIndex::of(sparse()).with_columns();
            let mut shared = Shared::default();
            shared.find(&index, &index);
            let norm = |weights: &[f32]| weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
            for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Scalar] {
                let mut sums = vec![f32::NAN; rows.len().next_multiple_of(PANEL)];
                for (row, one) in sparse().enumerate() {
                    kernel.sparse_sums(&shared, &index, row, &mut sums);
                    let mut exact = vec![0.0; rows.len()];
                    kernel.sparse_dots(&index, one.0, one.1, &mut exact);
                    for ((other, sum), exact) in sparse().zip(&sums).zip(exact) {
                        prop_assert_eq!(exact.to_bits(), scalar::sparse_dot(one, other).to_bits());
                        let most = norm(one.1) * (index.residual() + 1e-5 * norm(other.1));
                        let error = f64::from(sum - exact).abs();
                        prop_assert!(error <= most, "{kernel}: {error:e} > {most:e}");
                    }
                }
            }
        }
    }
}
