//! Frequent terms as integer columns: an upper bound of their products for the cost of a few integer products.
//!
//! In texts a few hundred terms account for most of what pairs share, and looking each of them up takes longer than
//! multiplying values that are mostly 0. So the most frequent terms of a set of rows have a column each, and only the
//! many rare ones are looked up (`terms`). A row's value in a column is its absolute weight, rounded up to an integer:
//! the sum of the products is never less than the terms' contribution, and no error has to be added. Right rows have a
//! value in every column; of a left row only those steps of columns count in which it has a term.
//!
//! A value is at most [`MOST`]. Its unit is the block's scale times a power of two, so that a shift converts sums of
//! products into the units of dense ones.

use super::aligned::Aligned;
use super::slices::Sparse;
use super::strip::{PANEL, TermStep};

/// Most columns: a panel of them stays in the first-level cache. Twice as many are as fast, half as many are slower.
pub(super) const COLUMNS: usize = 128;
/// A term gets a column if at least one in this many rows has it.
const EVERY: usize = 128;
/// Most rows sampled to find the frequent terms.
const SAMPLE: usize = 4096;
/// Columns of a step.
const STEP: usize = 4;
/// The highest value.
const MOST: f64 = 127.0;
/// Multiplier that spreads term ids over the places (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B9;
/// Fewest places per term: collisions are rare.
const ROOM: usize = 4;
/// Marks a place without a term.
const NONE: u16 = u16::MAX;

/// Maps terms to columns.
#[derive(Debug)]
pub(super) struct TermColumns {
    /// Number of columns, in whole steps.
    count: usize,
    /// Term and column, each stored from the place of its hash on.
    places: Vec<(u32, u16)>,
    shift: u32,
}

impl TermColumns {
    /// No columns: all terms are looked up.
    pub(super) fn none() -> Self {
        Self {
            count: 0,
            places: vec![(0, NONE); 2],
            shift: 31,
        }
    }

    /// Columns for terms that many rows have; `row` returns the terms of each of `rows`.
    pub(super) fn of<'a>(rows: usize, row: impl Fn(usize) -> &'a [u32]) -> Self {
        let asked = rows.min(SAMPLE);
        let mut terms: Vec<u32> = (0..asked)
            .flat_map(|at| row(at * rows / asked.max(1)))
            .copied()
            .collect();
        terms.sort_unstable();
        let mut frequent: Vec<(usize, u32)> = terms
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() * EVERY >= asked && same.len() > 1)
            .map(|same| (same.len(), same[0]))
            .collect();
        // By frequency, then by term, so that the same rows give the same columns.
        frequent.sort_unstable_by_key(|&(count, term)| (std::cmp::Reverse(count), term));
        frequent.truncate(COLUMNS);
        if frequent.is_empty() {
            return Self::none();
        }
        let size = (ROOM * frequent.len()).next_power_of_two();
        let mut columns = Self {
            count: frequent.len().next_multiple_of(STEP),
            places: vec![(0, NONE); size],
            shift: 32 - size.trailing_zeros(),
        };
        for (&(_, term), column) in frequent.iter().zip(0..) {
            columns.insert(term, column);
        }
        columns
    }

    fn insert(&mut self, term: u32, column: u16) {
        let mut place = self.place(term);
        while self.places[place].1 != NONE {
            place = (place + 1) % self.places.len();
        }
        self.places[place] = (term, column);
    }

    #[inline(always)]
    fn place(&self, term: u32) -> usize {
        (term.wrapping_mul(SPREAD) >> self.shift) as usize
    }

    /// The column of a term, if it has one.
    #[inline(always)]
    pub(super) fn get(&self, term: u32) -> Option<usize> {
        let mut place = self.place(term);
        loop {
            let (found, column) = self.places[place];
            if column == NONE {
                return None;
            }
            if found == term {
                return Some(usize::from(column));
            }
            place = (place + 1) % self.places.len();
        }
    }
}

/// The values of some rows.
pub(super) struct Values {
    /// Of every column, in panels of steps: the rows in the role of right rows.
    panels: Aligned<u8>,
    /// The steps that are not 0, row by row: the rows in the role of left rows.
    steps: Vec<TermStep>,
    /// Where the steps of each row end.
    ends: Vec<u32>,
    /// A unit is the rows' scale times two to this power.
    power: u32,
}

impl Values {
    /// The values of rows whose dense scale is `scale`; `half_norm` is as in `Grid`. `rare` receives the terms without
    /// a column, row by row.
    pub(super) fn of<'a>(
        columns: &TermColumns,
        rows: impl ExactSizeIterator<Item = Sparse<'a>>,
        scale: f32,
        half_norm: f32,
        mut rare: impl FnMut(usize, u32, f32),
    ) -> Self {
        let count = rows.len();
        // Row, column, and absolute weight.
        let mut frequent: Vec<(usize, usize, f64)> = Vec::new();
        for (at, (ids, weights)) in rows.enumerate() {
            for (&id, &weight) in ids.iter().zip(weights) {
                match columns.get(id) {
                    Some(column) => frequent.push((at, column, f64::from(weight.abs()))),
                    None => rare(at, id, weight),
                }
            }
        }
        let mut power = 0;
        let panels = loop {
            let unit = f64::from(scale) * f64::from(1_u32 << power);
            match panels(&frequent, count, columns.count, unit, half_norm) {
                Some(panels) => break panels,
                None => power += 1,
            }
        };
        let mut values = Self {
            panels,
            steps: Vec::with_capacity(frequent.len()),
            ends: Vec::with_capacity(count),
            power,
        };
        values.find_steps(count, columns.count);
        values
    }

    fn find_steps(&mut self, rows: usize, columns: usize) {
        for row in 0..rows {
            let (panel, place) = (row / PANEL * PANEL * columns, row % PANEL * STEP);
            for at in (0..columns * PANEL).step_by(STEP * PANEL) {
                let start = panel + at + place;
                let values: [u8; STEP] =
                    std::array::from_fn(|value| self.panels.get()[start + value]);
                if values != [0; STEP] {
                    self.steps.push(TermStep {
                        at: at as u32,
                        values: i32::from_le_bytes(values),
                    });
                }
            }
            // A block's term count fits 32 bits.
            self.ends.push(self.steps.len() as u32);
        }
    }

    /// The values in the role of a right block: panels of whole steps, laid out like those of dense parts.
    pub(super) fn panels(&self) -> &[u8] {
        self.panels.get()
    }

    /// The steps of a row in the role of a left row; a row that does not exist has none.
    pub(super) fn steps(&self, row: usize) -> &[TermStep] {
        let end = |row: usize| self.ends[row] as usize;
        if row >= self.ends.len() {
            return &[];
        }
        &self.steps[row.checked_sub(1).map_or(0, end)..end(row)]
    }

    /// The number of bits by which sums of these products with others are shifted to be in the units of the dense
    /// products.
    pub(super) fn shift(&self, other: &Self) -> u32 {
        self.power + other.power
    }
}

/// Panels of values in this unit, if all values are small enough.
fn panels(
    frequent: &[(usize, usize, f64)],
    rows: usize,
    count: usize,
    unit: f64,
    half_norm: f32,
) -> Option<Aligned<u8>> {
    // Makes up for a quotient that was rounded down.
    const UP: f64 = 1.0 + 1e-12;
    let mut panels = Aligned::new(rows.next_multiple_of(PANEL) * count, 0_u8);
    let places = panels.get_mut();
    let most = f64::from(half_norm) * f64::from(half_norm);
    for of_row in frequent.chunk_by(|a, b| a.0 == b.0) {
        let row = of_row[0].0;
        let start = row / PANEL * PANEL * count + row % PANEL * STEP;
        let mut squares = [0.0_f64; 2];
        for &(_, column, weight) in of_row {
            let value = (weight / unit * UP).ceil();
            squares[column % STEP / 2] += value * value;
            if value > MOST || squares[column % STEP / 2] > most {
                return None;
            }
            places[start + column / STEP * PANEL * STEP + column % STEP] = value as u8;
        }
    }
    Some(panels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scalar::sparse_dot;
    use super::*;

    fn columns_of(rows: &[(Vec<u32>, Vec<f32>)]) -> TermColumns {
        TermColumns::of(rows.len(), |row| &rows[row].0)
    }

    fn value(values: &Values, count: usize, row: usize, column: usize) -> u64 {
        let start = row / PANEL * PANEL * count + row % PANEL * STEP;
        u64::from(values.panels()[start + column / STEP * PANEL * STEP + column % STEP])
    }

    #[test]
    fn frequent_terms_have_columns() {
        // Term t is in every (t + 1)-th row.
        let rows: Vec<(Vec<u32>, Vec<f32>)> = (0..1000_u32)
            .map(|row| {
                let ids: Vec<u32> = (0..400).filter(|term| row % (term + 1) == 0).collect();
                let weights = vec![0.5; ids.len()];
                (ids, weights)
            })
            .collect();
        let columns = columns_of(&rows);
        for term in 0..EVERY - 1 {
            assert_eq!(columns.get(term as u32), Some(term));
        }
        assert_eq!(columns.get(2 * EVERY as u32), None);
        assert_eq!(columns.get(1 << 20), None);
        assert!(columns.count <= COLUMNS && columns.count.is_multiple_of(STEP));
    }

    #[test]
    fn without_frequent_terms_there_are_no_columns() {
        let rows: Vec<(Vec<u32>, Vec<f32>)> =
            (0..100_u32).map(|row| (vec![row], vec![1.0])).collect();
        for columns in [columns_of(&rows), columns_of(&[]), TermColumns::none()] {
            assert_eq!((columns.count, columns.get(7)), (0, None));
        }
    }

    proptest! {
        /// Columns and rare terms together are never less than the sparse score, and never overflow.
        #[test]
        fn no_sparse_score_is_above_its_bound(
            rows in proptest::collection::vec(
                proptest::collection::btree_map(0..90_u32, -1.0_f32..1.0, 0..60), 2..70),
            other in proptest::collection::vec(
                proptest::collection::btree_map(0..90_u32, 0.0_f32..1.0, 0..60), 1..20),
            scale in 0.0004_f32..0.1,
            halves in any::<bool>(),
        ) {
            let split = |rows: Vec<std::collections::BTreeMap<u32, f32>>| {
                let rows = rows.into_iter().map(|row| row.into_iter().unzip());
                rows.collect::<Vec<(Vec<u32>, Vec<f32>)>>()
            };
            let (rows, other) = (split(rows), split(other));
            let columns = columns_of(&rows);
            let half_norm = if halves { 181.0 } else { f32::INFINITY };
            let of = |rows: &[(Vec<u32>, Vec<f32>)]| {
                let mut rare = vec![Vec::new(); rows.len()];
                let sparse = rows.iter().map(|(ids, weights)| (&ids[..], &weights[..]));
                let values = Values::of(&columns, sparse, scale, half_norm, |row, id, weight| {
                    rare[row].push((id, weight));
                });
                (values, rare)
            };
            let ((left, left_rare), (right, right_rare)) = (of(&rows), of(&other));
            for (row, (one, one_rare)) in rows.iter().zip(&left_rare).enumerate() {
                for (column, (two, two_rare)) in other.iter().zip(&right_rare).enumerate() {
                    // Both roles hold the same values.
                    let steps: u32 = left.steps(row).iter().map(|step| {
                        step.values.to_le_bytes().iter().map(|value| u32::from(*value)).sum::<u32>()
                    }).sum();
                    let values = (0..columns.count).map(|at| value(&left, columns.count, row, at));
                    prop_assert_eq!(u64::from(steps), values.sum::<u64>());
                    let products = (0..columns.count)
                        .map(|at| value(&left, columns.count, row, at) * value(&right, columns.count, column, at));
                    let products: Vec<u64> = products.collect();
                    for half in 0..2 {
                        let sum: u64 = (products.iter().enumerate())
                            .filter(|(at, _)| at % STEP / 2 == half)
                            .map(|(_, product)| product)
                            .sum();
                        prop_assert!(!halves || sum < 1 << 15);
                    }
                    let units = products.iter().sum::<u64>() << left.shift(&right);
                    let shared = one_rare.iter().flat_map(|(id, weight)| {
                        let same = two_rare.iter().filter(move |(other, _)| other == id);
                        same.map(move |(_, other)| f64::from(*weight) * f64::from(*other))
                    });
                    let bound = units as f64 * f64::from(scale) * f64::from(scale) + shared.sum::<f64>();
                    let score = sparse_dot((&one.0, &one.1), (&two.0, &two.1));
                    prop_assert!(bound >= f64::from(score) - 1e-5, "{bound} {score}");
                }
            }
        }
    }
}
