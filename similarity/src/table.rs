//! Tables: immutable rows to compare, and masks of the rows that count.

mod laid;

use std::fmt;
use std::ops::Range;

use super::slices::{LANES, Sparse};
use super::{Error, scalar};
use laid::Kept;
pub(crate) use laid::MAX_ROWS;

/// Immutable rows, each with a dense part and a sparse part.
///
/// Dense parts all have one length and are stored one after the other, padded with zeros to [`Table::stride`]; a row
/// without one is all zero, so that its products are exactly 0. Sparse parts are compressed sparse rows. Comparing
/// caches data with the rows (see [`Table::kept_bytes`]), so share a table rather than building it again.
pub struct Table {
    dimension: usize,
    dense: Vec<f32>,
    ends: Vec<u32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
    kept: Kept,
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Values of a dense part.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Values of a dense part as stored: the dimension rounded up to [`LANES`].
    pub fn stride(&self) -> usize {
        self.dimension.next_multiple_of(LANES)
    }

    /// The padded dense part of a row: [`Table::stride`] values.
    pub fn dense(&self, row: usize) -> &[f32] {
        let stride = self.stride();
        &self.dense[row * stride..(row + 1) * stride]
    }

    /// The sparse part of a row: term ids, strictly ascending, and their weights.
    pub fn sparse(&self, row: usize) -> (&[u32], &[f32]) {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let span: Range<usize> = start as usize..self.ends[row] as usize;
        (&self.ids[span.clone()], &self.weights[span])
    }

    /// Terms of all rows together.
    pub fn terms(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of values held.
    pub fn bytes(&self) -> usize {
        4 * (self.dense.len() + 2 * self.ids.len())
    }

    /// Whether rows of both tables can be scored: dense parts of equal length, or none on one side.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.dimension == 0 || other.dimension == 0 || self.dimension == other.dimension
    }

    /// The canonical score of a row and a row of another table (see the crate).
    ///
    /// # Panics
    /// When a table has no such row, or dense parts differ in length (except for a table without any).
    pub fn score(&self, row: usize, other: &Self, other_row: usize) -> f32 {
        assert!(
            self.is_comparable(other),
            "rows of one space are equally long"
        );
        let dense = if self.dimension == 0 || other.dimension == 0 {
            0.0
        } else {
            scalar::dot(self.dense(row), other.dense(other_row))
        };
        dense + scalar::sparse_dot(self.sparse(row), other.sparse(other_row))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.rows())
            .field("dimension", &self.dimension)
            .field("terms", &self.terms())
            .finish()
    }
}

/// Collects rows into a [`Table`].
pub struct TableBuilder {
    table: Table,
}

impl TableBuilder {
    /// For rows whose dense parts have `dimension` values; 0: none has one.
    pub fn new(dimension: usize) -> Self {
        Self {
            table: Table {
                dimension,
                dense: Vec::new(),
                ends: Vec::new(),
                ids: Vec::new(),
                weights: Vec::new(),
                kept: Kept::default(),
            },
        }
    }

    /// Adds a row. An empty `dense` is all zero.
    ///
    /// # Errors
    /// When the dense part has another length, a value is not finite, or the terms, one per weight, do not ascend
    /// strictly. The row is then not added.
    pub fn push(&mut self, dense: &[f32], terms: &[u32], weights: &[f32]) -> Result<(), Error> {
        let table = &mut self.table;
        let row = table.rows();
        if !dense.is_empty() && dense.len() != table.dimension {
            return Err(Error::Shape {
                values: dense.len(),
                count: 1,
                dimension: table.dimension,
            });
        }
        check(row, dense, (terms, weights))?;
        let end = u32::try_from(table.ids.len() + terms.len()).map_err(|_| Error::TooLarge)?;
        table.dense.extend_from_slice(dense);
        table.dense.resize((row + 1) * table.stride(), 0.0);
        table.ids.extend_from_slice(terms);
        table.weights.extend_from_slice(weights);
        table.ends.push(end);
        Ok(())
    }

    /// The table with the rows added so far.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The finished table.
    pub fn build(self) -> Table {
        let mut table = self.table;
        table.dense.shrink_to_fit();
        table.ends.shrink_to_fit();
        table.ids.shrink_to_fit();
        table.weights.shrink_to_fit();
        table
    }
}

/// Checks the parts of a row.
pub(crate) fn check(row: usize, dense: &[f32], (ids, weights): Sparse<'_>) -> Result<(), Error> {
    if !is_finite(dense) {
        return Err(Error::NotFinite(row));
    }
    let ascend = ids.is_sorted_by(|a, b| a < b);
    if ids.len() != weights.len() || !ascend || !is_finite(weights) {
        return Err(Error::Sparse(row));
    }
    Ok(())
}

/// Whether all values are finite, without a branch per value.
pub(crate) fn is_finite(values: &[f32]) -> bool {
    let all = values.iter();
    all.fold(true, |all, value| all & value.is_finite())
}

/// A set of rows of one table.
#[derive(Clone, PartialEq, Eq)]
pub struct RowMask {
    words: Vec<u64>,
    rows: usize,
}

impl RowMask {
    /// The empty set over `rows` rows.
    pub fn none(rows: usize) -> Self {
        Self {
            words: vec![0; rows.div_ceil(64)],
            rows,
        }
    }

    /// The full set over `rows` rows.
    pub fn all(rows: usize) -> Self {
        let mut mask = Self::none(rows);
        (0..rows).for_each(|row| mask.insert(row));
        mask
    }

    /// Number of rows that the mask covers, in the set or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row is in the set.
    pub fn contains(&self, row: usize) -> bool {
        row < self.rows && self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Puts a row into the set.
    ///
    /// # Panics
    /// When the row is not one of the table's.
    pub fn insert(&mut self, row: usize) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Takes a row out of the set.
    pub fn remove(&mut self, row: usize) {
        if row < self.rows {
            self.words[row / 64] &= !(1 << (row % 64));
        }
    }

    /// Number of rows in the set.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The rows in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.within(0..self.rows)
    }

    /// The rows in the set within a range, ascending.
    pub fn within(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        let Range { start, end } = rows.start..rows.end.min(self.rows).max(rows.start);
        let words = start / 64..end.div_ceil(64);
        words.flat_map(move |at| {
            let mut word = self.words.get(at).copied().unwrap_or(0);
            // Only the first and the last word contain rows outside the range.
            if at * 64 < start {
                word &= u64::MAX << (start % 64);
            }
            if end < (at + 1) * 64 {
                word &= !(u64::MAX << (end % 64));
            }
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }

    /// Extends the mask by one row, in the set or not.
    pub fn push(&mut self, present: bool) {
        self.rows += 1;
        self.words.resize(self.rows.div_ceil(64), 0);
        if present {
            self.insert(self.rows - 1);
        }
    }
}

impl fmt::Debug for RowMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rows", self.count(), self.rows)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let mut builder = TableBuilder::new(3);
        builder.push(&[0.6, 0.0, 0.8], &[], &[]).unwrap();
        builder.push(&[], &[3, 9], &[0.6, 0.8]).unwrap();
        let table = builder.build();
        assert_eq!((table.rows(), table.stride(), table.terms()), (2, 16, 2));
        assert_eq!(table.dense(0)[..4], [0.6, 0.0, 0.8, 0.0]);
        assert_eq!(table.dense(1), [0.0; 16]);
        assert_eq!(table.sparse(0), (&[][..], &[][..]));
        assert_eq!(table.sparse(1), (&[3, 9][..], &[0.6, 0.8][..]));
    }

    #[test]
    fn refuses_what_is_no_row() {
        let mut builder = TableBuilder::new(2);
        let push = |builder: &mut TableBuilder, dense: &[f32], terms: &[u32], weights: &[f32]| {
            builder.push(dense, terms, weights).err()
        };
        let shape = push(&mut builder, &[1.0], &[], &[]);
        assert!(matches!(shape, Some(Error::Shape { values: 1, .. })));
        let number = push(&mut builder, &[1.0, f32::NAN], &[], &[]);
        assert_eq!(number, Some(Error::NotFinite(0)));
        for (terms, weights) in [
            (&[1, 1][..], &[0.5, 0.5][..]),
            (&[1], &[]),
            (&[1], &[f32::INFINITY]),
        ] {
            let sparse = push(&mut builder, &[], terms, weights);
            assert_eq!(sparse, Some(Error::Sparse(0)));
        }
        assert_eq!(builder.build().rows(), 0);
    }

    #[test]
    fn masks_count_and_iterate() {
        let mut mask = RowMask::all(130);
        assert_eq!(mask.count(), 130);
        mask.remove(64);
        assert!(!mask.contains(64) && mask.contains(129) && !mask.contains(130));
        assert_eq!(mask.iter().filter(|row| (60..70).contains(row)).count(), 9);
        for (start, end) in [
            (0, 0),
            (3, 3),
            (60, 70),
            (64, 128),
            (1, 129),
            (128, 500),
            (200, 300),
        ] {
            let within: Vec<usize> = mask.within(start..end).collect();
            let expected: Vec<usize> = mask
                .iter()
                .filter(|row| (start..end).contains(row))
                .collect();
            assert_eq!(within, expected, "{start}..{end}");
        }
        let all: Vec<usize> = (0..130).filter(|row| mask.contains(*row)).collect();
        assert_eq!(mask.iter().collect::<Vec<_>>(), all);
    }
}
