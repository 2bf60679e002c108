//! An index from terms to rows: finds the rows of a tile that share a term with another row.
//!
//! [`TermIndex`] has all terms and computes canonical products. [`RareTerms`] has the terms without a column
//! (`columns`): few other texts contain these, so almost all pairs share none of them. The terms that two tiles share
//! are found once for all their rows, by merging both indexes: looking up each row's terms separately would take longer
//! than all products.
//!
//! Rare weights are rounded up to integers, like those of columns. Their unit is chosen so that the squares of a row's
//! weights sum to at most [`MOST`]: then, by the Cauchy–Schwarz inequality, the products of two rows sum to at most
//! that, which fits 16 bits.

use std::ops::Range;

use super::slices::Sparse;
use super::strip::{GROUP, PANEL};

/// Multiplier that spreads term ids over the slots (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;
/// Fewest slots.
const MIN_SLOTS: usize = 64;
/// Bits per slot for the first check: whether there is a term at all.
const BITS: usize = 8;
/// If one side has this many times fewer terms than the other, each of them is looked up there.
const FEW: usize = 4;
/// The largest sum of squares of a row's rare weights.
const MOST: u64 = u16::MAX as u64;
/// Most terms of a row that is filtered; that many weights of one unit are well below [`MOST`]. Texts have at most half
/// as many. A longer row makes all rows be scored exactly.
pub(super) const MAX_TERMS: usize = 4096;

/// The hash of a term. It is injective, because the multiplier is odd.
#[inline(always)]
fn hash(id: u32) -> u32 {
    id.wrapping_mul(SPREAD)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a block's terms fit u32")
}

/// The distinct terms of some rows, and where the postings of each lie.
struct Terms {
    /// Which terms a slot may contain: a bit for each of `BITS · slots` spans of hashes.
    bits: Vec<u64>,
    /// Where the terms of each slot begin, followed by where the last ones end.
    slots: Vec<u32>,
    shift: u32,
    /// The terms' hashes, ascending, hence ordered by slot.
    hashes: Vec<u32>,
    /// Where the postings of each hash begin, followed by where the last ones end.
    starts: Vec<u32>,
}

impl Terms {
    /// Builds the index from the hashes of all postings, ascending.
    fn of<T>(postings: &[T], hash: impl Fn(&T) -> u32) -> Self {
        let same = || postings.chunk_by(|a, b| hash(a) == hash(b));
        let distinct = same().count();
        let size = distinct.next_power_of_two().max(MIN_SLOTS);
        let mut terms = Self {
            bits: vec![0; size * BITS / 64],
            slots: Vec::with_capacity(size + 1),
            shift: 32 - size.trailing_zeros(),
            hashes: Vec::with_capacity(distinct),
            starts: Vec::with_capacity(distinct + 1),
        };
        let mut start = 0;
        for same in same() {
            let hash = hash(&same[0]);
            let slot = (hash >> terms.shift) as usize;
            terms.slots.resize(slot + 1, number(terms.hashes.len()));
            let bit = terms.bit(hash);
            terms.bits[bit / 64] |= 1 << (bit % 64);
            terms.hashes.push(hash);
            terms.starts.push(start);
            start += number(same.len());
        }
        terms.starts.push(start);
        terms.slots.resize(size + 1, number(distinct));
        terms
    }

    #[inline(always)]
    fn bit(&self, hash: u32) -> usize {
        (hash >> (self.shift - BITS.trailing_zeros())) as usize
    }

    /// The term with this hash.
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

    /// The range of a term's postings.
    #[inline(always)]
    fn postings(&self, term: usize) -> Range<usize> {
        self.starts[term] as usize..self.starts[term + 1] as usize
    }
}

/// The sparse parts of some rows, by term.
pub(super) struct TermIndex {
    terms: Terms,
    /// Row, as numbered in the index, and weight; the postings of a term are adjacent, rows ascending.
    postings: Vec<(u32, f32)>,
}

impl TermIndex {
    /// Indexes these sparse rows (ids and weights), numbered in the given order.
    pub(super) fn of<'a>(rows: impl Iterator<Item = Sparse<'a>>) -> Self {
        let mut postings: Vec<(u32, u32, f32)> = Vec::new();
        for (row, (ids, weights)) in rows.enumerate() {
            let own = ids.iter().zip(weights);
            postings.extend(own.map(|(&id, &weight)| (hash(id), number(row), weight)));
        }
        postings.sort_unstable_by_key(|&(hash, row, _)| u64::from(hash) << 32 | u64::from(row));
        Self {
            terms: Terms::of(&postings, |posting| posting.0),
            postings: (postings.iter())
                .map(|&(_, row, weight)| (row, weight))
                .collect(),
        }
    }

    /// For every row: continues one `mul_add` chain from the value in `sums` over the terms shared with another row, by
    /// ascending term id. Inlined into each kernel, so that `mul_add` compiles to that kernel's instruction.
    #[inline(always)]
    pub(super) fn add_products(&self, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        for (&id, &right) in ids.iter().zip(weights) {
            let Some(term) = self.terms.find(hash(id)) else {
                continue;
            };
            for &(row, left) in &self.postings[self.terms.postings(term)] {
                // `sums` may cover only a prefix of the rows; postings ascend by row.
                let Some(sum) = sums.get_mut(row as usize) else {
                    break;
                };
                *sum = left.mul_add(right, *sum);
            }
        }
    }
}

/// Rare terms of rows, row by row: the hash and the absolute weight of each.
#[derive(Default)]
pub(super) struct RowTerms {
    terms: Vec<(u32, f32)>,
    /// Where the terms of each row end.
    ends: Vec<u32>,
}

impl RowTerms {
    /// Adds a term to the last row or to a later one.
    pub(super) fn push(&mut self, row: usize, id: u32, weight: f32) {
        self.end(row);
        self.terms.push((hash(id), weight.abs()));
    }

    /// Closes all rows before this one.
    pub(super) fn end(&mut self, row: usize) {
        let end = number(self.terms.len());
        self.ends.resize(row.max(self.ends.len()), end);
    }

    /// The terms of each row.
    fn rows(&self) -> impl Iterator<Item = &[(u32, f32)]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let spans = starts.zip(&self.ends);
        spans.map(|(start, end)| &self.terms[*start as usize..*end as usize])
    }

    /// The least power of two, at least `least`, such that in units of it times `scale` the squares of each row sum to
    /// at most [`MOST`].
    fn power(&self, scale: f64, least: i32) -> i32 {
        let squares = |of: &dyn Fn(f64) -> f64| {
            let row = |row: &[(u32, f32)]| row.iter().map(|term| of(f64::from(term.1))).sum();
            self.rows().map(row).fold(0.0, f64::max)
        };
        let norm = squares(&|weight| weight * weight).sqrt();
        // In a smaller unit the norm alone would be too large.
        let mut power = ((norm / (scale * (MOST as f64).sqrt())).log2().floor() as i32).max(least);
        while squares(&|weight| units(weight, scale, power).powi(2)) > MOST as f64 {
            power += 1;
        }
        power
    }
}

/// A weight in units of `scale` times a power of two, rounded up.
fn units(weight: f64, scale: f64, power: i32) -> f64 {
    // Makes up for a quotient that was rounded down.
    const UP: f64 = 1.0 + 1e-12;
    (weight / (scale * 2.0_f64.powi(power)) * UP).ceil()
}

/// The rare terms of some rows, by term.
///
/// Memory: 4 bytes per term of a row, 13 to 18 per distinct term, 4 per row; and, per thread, 12 per term of a row of
/// the left tile.
pub(super) struct RareTerms {
    rows: usize,
    terms: Terms,
    /// Row in the lower half, weight in units in the upper; the postings of a term are adjacent, rows ascending.
    postings: Vec<u32>,
    /// Where the terms of each row end in the concatenation of all rows' terms.
    row_ends: Vec<u32>,
    /// A unit is the rows' scale times two to this power.
    power: i32,
}

impl RareTerms {
    /// Indexes at most 65,536 rows of at most [`MAX_TERMS`] terms each. A unit is `scale` times two to a power of at
    /// least `least`.
    pub(super) fn of(rows: &RowTerms, scale: f32, least: i32) -> Self {
        let scale = f64::from(scale);
        let power = rows.power(scale, least);
        let mut postings: Vec<(u32, u32)> = Vec::with_capacity(rows.terms.len());
        for (row, terms) in rows.rows().enumerate() {
            postings.extend(terms.iter().map(|&(hash, weight)| {
                let units = units(f64::from(weight), scale, power) as u32;
                (hash, units << 16 | row as u32)
            }));
        }
        postings.sort_unstable_by_key(|&(hash, posting)| {
            u64::from(hash) << 32 | u64::from(posting & 0xFFFF)
        });
        Self {
            rows: rows.ends.len(),
            terms: Terms::of(&postings, |posting| posting.0),
            postings: postings.into_iter().map(|(_, posting)| posting).collect(),
            row_ends: rows.ends.clone(),
            power,
        }
    }

    /// The power of two that converts sums of products of these with others to the units of the dense products.
    pub(super) fn product_power(&self, other: &Self) -> i32 {
        self.power + other.power
    }
}

/// A term that a row of one tile shares with some rows of another: its weight in that row, in units, and the range of
/// the other tile's postings.
#[derive(Clone, Copy, Default)]
struct Run {
    units: u32,
    start: u32,
    end: u32,
}

/// The terms that the rows of a left tile share with a right tile.
#[derive(Default)]
pub(super) struct Shared {
    /// Terms that both have: their positions in either index.
    terms: Vec<(u32, u32)>,
    /// Each row has as many places as terms, and uses the first few.
    runs: Vec<Run>,
    /// For each row: its first place, and the end of the used ones.
    rows: Vec<[u32; 2]>,
}

impl Shared {
    /// Finds them for two tiles.
    pub(super) fn find(&mut self, left: &RareTerms, right: &RareTerms) {
        self.find_terms(&left.terms, &right.terms);
        let most = left.row_ends.last().map_or(0, |end| *end as usize);
        if self.runs.len() < most {
            self.runs.resize(most, Run::default());
        }
        self.rows.clear();
        let starts = std::iter::once(&0).chain(&left.row_ends);
        self.rows
            .extend(starts.take(left.rows).map(|start| [*start; 2]));
        for &(own, other) in &self.terms {
            let span = right.terms.postings(other as usize);
            let (start, end) = (span.start as u32, span.end as u32);
            for posting in &left.postings[left.terms.postings(own as usize)] {
                let used = &mut self.rows[(posting & 0xFFFF) as usize][1];
                let units = posting >> 16;
                self.runs[*used as usize] = Run { units, start, end };
                *used += 1;
            }
        }
    }

    /// The terms that both have, by ascending hash.
    fn find_terms(&mut self, left: &Terms, right: &Terms) {
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
        // Branchless: which list advances is not predictable.
        while let (Some(own), Some(other)) = (one.get(l), two.get(r)) {
            self.terms[count] = (l as u32, r as u32);
            count += usize::from(own == other);
            l += usize::from(own <= other);
            r += usize::from(other <= own);
        }
        self.terms.truncate(count);
    }

    /// The contributions of a group's terms with all rows of the right tile that was last passed to `find`, in units:
    /// one row of `sums` after another, each of whole panels; or empty if they share nothing.
    pub(super) fn sums(&self, right: &RareTerms, group: Range<usize>, sums: &mut Vec<u16>) {
        let stride = right.rows.next_multiple_of(PANEL);
        sums.clear();
        let runs = |row: usize| {
            let [start, end] = self.rows[row];
            &self.runs[start as usize..end as usize]
        };
        if group.clone().all(|row| runs(row).is_empty()) {
            return;
        }
        sums.resize(GROUP * stride, 0);
        for (row, sums) in group.zip(sums.chunks_exact_mut(stride)) {
            for run in runs(row) {
                for posting in &right.postings[run.start as usize..run.end as usize] {
                    // A row's sum fits 16 bits: see the module's documentation.
                    sums[(posting & 0xFFFF) as usize] += (run.units * (posting >> 16)) as u16;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = std::collections::BTreeMap<u32, f32>;

    fn rare(rows: &[Row], scale: f32, least: i32) -> RareTerms {
        let mut terms = RowTerms::default();
        for (at, row) in rows.iter().enumerate() {
            row.iter()
                .for_each(|(id, weight)| terms.push(at, *id, *weight));
        }
        terms.end(rows.len());
        RareTerms::of(&terms, scale, least)
    }

    /// Asserts that no sum of units is less than the shared terms' contribution.
    fn assert_bounds(lefts: &[Row], rights: &[Row], scale: f32, least: i32) {
        let (left, right) = (rare(lefts, scale, least), rare(rights, scale, least));
        let unit = f64::from(scale).powi(2) * 2.0_f64.powi(left.product_power(&right));
        let stride = rights.len().next_multiple_of(PANEL);
        let mut shared = Shared::default();
        shared.find(&left, &right);
        let mut sums = Vec::new();
        for first in (0..lefts.len()).step_by(GROUP) {
            let group = first..lefts.len().min(first + GROUP);
            shared.sums(&right, group.clone(), &mut sums);
            for row in group {
                for (column, other) in rights.iter().enumerate() {
                    let product: f64 = lefts[row]
                        .iter()
                        .filter_map(|(id, weight)| Some((weight, other.get(id)?)))
                        .map(|(one, two)| f64::from(one.abs()) * f64::from(two.abs()))
                        .sum();
                    let sum = sums.get(row % GROUP * stride + column).unwrap_or(&0);
                    let bound = f64::from(*sum) * unit;
                    assert!(bound >= product, "{row} {column}: {bound} {product}");
                }
            }
        }
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let weight = prop_oneof![-1.0_f32..1.0, -1e-6_f32..1e-6, Just(0.0_f32)];
        let row = proptest::collection::btree_map(0..120_u32, weight, 0..80);
        proptest::collection::vec(row, 1..30)
    }

    proptest! {
        #[test]
        fn no_product_of_rare_terms_is_above_its_sum(
            lefts in rows(), rights in rows(), scale in 0.0004_f32..0.1, integers in any::<bool>(),
        ) {
            let (scale, least) = if integers { (scale, 0) } else { (1.0, -60) };
            assert_bounds(&lefts, &rights, scale, least);
        }
    }

    #[test]
    fn the_longest_rows_fit() {
        let row = |weight: f32| -> Row { (0..MAX_TERMS as u32).map(|id| (id, weight)).collect() };
        assert_bounds(&[row(1.0), row(1e-9)], &[row(-1.0), row(3e-9)], 0.01, 0);
        assert_bounds(&[row(8192.0)], &[row(128.0)], 1.0, 0);
        assert_bounds(&[row(1e-30)], &[row(1e6)], 1.0, -60);
    }
}
