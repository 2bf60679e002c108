//! Term → rows: finds the terms a row shares with many others at once.
//!
//! Exact products come from lists, a term's rows and weights. For approximate ones the terms that
//! many rows of a tile have are kept as columns besides: a weight for every row, in 16 bits. In
//! texts a few hundred terms make nearly all products, and adding up whole columns takes a third
//! of the time of the same products one by one. What columns are off by is bounded: a weight by
//! half a unit, so a score by half a unit times the sum of the other row's weights in columns.
//!
//! Memory: 8 bytes a term of a row, 18 to 28 a distinct term, 2 a row and column, 8 KiB.

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
/// The largest weight of a column, in its units.
const MOST: f32 = 32_766.0;
/// Terms of a row that are looked up before they are added up.
const TOGETHER: usize = 64;
/// Places of the table of columns; a term is in one of two.
const PLACES: usize = 1024;
/// No column.
const NONE: u16 = u16::MAX;

/// Bytes of the indexes of a block with so many terms and rows, at most and nearly.
pub(super) fn bytes(terms: usize, rows: usize) -> usize {
    if terms == 0 {
        0
    } else {
        32 * terms + 2 * MAX_COLUMNS * rows
    }
}

/// The sparse parts of some rows, by term.
pub(super) struct TermIndex {
    rows: usize,
    /// Which of a slot's terms may be there: a bit for each of `BITS · slots` spans of hashes.
    bits: Vec<u64>,
    /// The same without the terms that have columns; empty if none has.
    rare: Vec<u64>,
    /// Where the terms of each slot begin, and where the last ends.
    slots: Vec<u32>,
    shift: u32,
    /// By slot.
    terms: Vec<Term>,
    /// Row (as numbered in the index) and weight; a term's lie together, rows ascending.
    postings: Vec<(u32, f32)>,
    /// Hash and column of the terms that have one, by hash; so small that it stays near.
    table: Vec<(u32, u32)>,
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
    id: u32,
    start: u32,
    end: u32,
    column: u16,
}

impl TermIndex {
    /// The index of these sparse rows (ids and weights), numbered in the order given.
    pub(super) fn of<'a>(rows: impl Iterator<Item = Sparse<'a>>) -> Self {
        let mut entries: Vec<(u32, u32, f32)> = Vec::new();
        let mut count = 0;
        for (number, (ids, weights)) in (0_u32..).zip(rows) {
            // The hash keeps terms apart: the multiplier is odd.
            let spread = |id: &u32| id.wrapping_mul(SPREAD);
            entries.extend(
                ids.iter()
                    .zip(weights)
                    .map(|(id, &w)| (spread(id), number, w)),
            );
            count = number as usize + 1;
        }
        entries
            .sort_unstable_by_key(|&(hash, number, _)| u64::from(hash) << 32 | u64::from(number));
        let distinct = entries.chunk_by(|a, b| a.0 == b.0).count();
        let size = distinct.next_power_of_two().max(MIN_SLOTS);
        let shift = 32 - size.trailing_zeros();
        let mut index = Self {
            rows: count,
            bits: vec![0; size * BITS / 64],
            rare: Vec::new(),
            slots: Vec::with_capacity(size + 1),
            shift,
            terms: Vec::with_capacity(distinct),
            postings: entries.iter().map(|&(_, number, w)| (number, w)).collect(),
            table: Vec::new(),
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
            index.terms.push(Term {
                id: hash,
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
        let mut table = vec![(0, u32::from(NONE)); PLACES + 1];
        let mut columns = 0;
        // Those for which there is no place have none.
        frequent.retain(|&at| {
            let hash = self.terms[at].id;
            let place = place(hash);
            let free = (place..place + 2).find(|at| table[*at].1 == u32::from(NONE));
            if let (Some(free), true) = (free, columns < MAX_COLUMNS as u32) {
                table[free] = (hash, columns);
                columns += 1;
                return true;
            }
            false
        });
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
        self.table = table;
        // The first look need not find what the table does.
        self.rare = vec![0; self.bits.len()];
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
        for term in self.terms.iter().filter(|term| term.column == NONE) {
            let bit = self.bit(term.id);
            self.rare[bit / 64] |= 1 << (bit % 64);
        }
        self.residual = squares.into_iter().fold(0.0, f64::max).sqrt();
        self
    }

    /// Bound of the Euclidean norm of what [`Self::approximate`] leaves out of any row.
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
        self.is_there(&self.bits, hash)
            .then(|| self.find(hash))
            .flatten()
    }

    /// Whether a term may be there.
    #[inline(always)]
    fn is_there(&self, bits: &[u64], hash: u32) -> bool {
        let bit = self.bit(hash);
        bits[bit / 64] >> (bit % 64) & 1 == 1
    }

    #[inline(always)]
    fn find(&self, hash: u32) -> Option<Term> {
        let slot = (hash >> self.shift) as usize;
        let span = self.slots[slot] as usize..self.slots[slot + 1] as usize;
        self.terms[span]
            .iter()
            .find(|term| term.id == hash)
            .copied()
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

    /// The sparse dot products of a row with all rows, approximately; `sums` has a place for each
    /// in whole panels. `add` puts weighted columns into all sums, or adds them. Inlined into each
    /// kernel.
    #[inline(always)]
    pub(super) fn approximate(
        &self,
        ids: &[u32],
        weights: &[f32],
        sums: &mut [f32],
        add: impl Fn(&[Weighted<'_>], &mut [f32], bool),
    ) {
        let stride = self.rows.next_multiple_of(PANEL);
        assert_eq!(sums.len(), stride, "one sum a row, in whole panels");
        let mut is_first = true;
        for (ids, weights) in ids.chunks(TOGETHER).zip(weights.chunks(TOGETHER)) {
            let mut columns = [(0.0_f32, 0_u32); TOGETHER];
            let mut rest = [(0.0_f32, 0_u32); TOGETHER];
            let (mut wide, mut others) = (0, 0);
            // Without branches: what a row has in common with a tile is not foreseen.
            if self.table.is_empty() {
                for (&id, &weight) in ids.iter().zip(weights) {
                    let hash = id.wrapping_mul(SPREAD);
                    rest[others] = (weight, hash);
                    others += usize::from(self.is_there(&self.bits, hash));
                }
            } else {
                for (&id, &weight) in ids.iter().zip(weights) {
                    let hash = id.wrapping_mul(SPREAD);
                    let at = place(hash);
                    let (one, two) = (self.table[at], self.table[at + 1]);
                    let column = if one.0 == hash { one.1 } else { two.1 };
                    let is_column = (one.0 == hash || two.0 == hash) & (column != u32::from(NONE));
                    columns[wide] = (weight * self.unit, column);
                    rest[others] = (weight, hash);
                    wide += usize::from(is_column);
                    others += usize::from(!is_column & self.is_there(&self.rare, hash));
                }
            }
            let mut weighted = [Weighted {
                weight: 0.0,
                column: &[],
            }; TOGETHER];
            for (weighted, &(weight, column)) in weighted.iter_mut().zip(&columns[..wide]) {
                let start = column as usize * stride;
                let column = &self.columns[start..start + stride];
                *weighted = Weighted { weight, column };
            }
            let columns = &weighted[..wide];
            add(columns, sums, is_first);
            is_first = false;
            for &(weight, hash) in &rest[..others] {
                let Some(term) = self.find(hash) else {
                    continue;
                };
                for &(number, other) in &self.postings[term.start as usize..term.end as usize] {
                    sums[number as usize] += weight * other;
                }
            }
        }
        if is_first {
            sums.fill(0.0);
        }
    }
}

/// The first place in the table of columns of a term.
#[inline(always)]
fn place(hash: u32) -> usize {
    (hash >> (32 - PLACES.trailing_zeros())) as usize
}

/// A column, and what each of its values is to be multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Weighted<'a> {
    pub(super) weight: f32,
    /// As long as the sums.
    pub(super) column: &'a [i16],
}

/// Adds weighted columns to sums, or puts them there; a panel's stay in registers.
#[inline(always)]
pub(super) fn add_columns(columns: &[Weighted<'_>], sums: &mut [f32], is_first: bool) {
    let (panels, _) = sums.as_chunks_mut::<PANEL>();
    for (at, sums) in panels.iter_mut().enumerate() {
        let mut held = if is_first { [0.0; PANEL] } else { *sums };
        for Weighted { weight, column } in columns {
            let column = &column[at * PANEL..(at + 1) * PANEL];
            for (sum, units) in held.iter_mut().zip(column) {
                *sum += f32::from(*units) * weight;
            }
        }
        *sums = held;
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
            let norm = |weights: &[f32]| weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
            for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Scalar] {
                let mut sums = vec![f32::NAN; rows.len().next_multiple_of(PANEL)];
                for one in sparse() {
                    kernel.sparse_sums(&index, one.0, one.1, &mut sums);
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
