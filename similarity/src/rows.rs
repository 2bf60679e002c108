//! Rows to compare, borrowed from the caller.

use rayon::prelude::*;

use super::error::Error;
use super::slices::Sparse;
use super::table::{check, is_finite};

/// Rows to compare: dense parts of one length, and perhaps sparse parts.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    count: usize,
    dimension: usize,
    dense: &'a [f32],
    sparse: Option<SparseRows<'a>>,
}

/// Compressed sparse rows.
#[derive(Clone, Copy)]
pub struct SparseRows<'a> {
    /// Where each row begins in the other two, followed by where the last one ends.
    pub offsets: &'a [usize],
    /// Terms, strictly ascending in each row.
    pub ids: &'a [u32],
    /// Their weights.
    pub weights: &'a [f32],
}

/// The longest row, in values.
const MAX_DIMENSION: usize = 1 << 16;
/// Rows that a thread checks at a time.
const PART: usize = 1024;

impl<'a> Rows<'a> {
    /// `count` rows of `dimension` values each, one after the other.
    ///
    /// # Errors
    /// When `dense` does not have that many values, or a value is not finite.
    pub fn new(dense: &'a [f32], count: usize, dimension: usize) -> Result<Self, Error> {
        if count.checked_mul(dimension) != Some(dense.len()) {
            let values = dense.len();
            return Err(Error::Shape {
                values,
                count,
                dimension,
            });
        }
        if u32::try_from(count).is_err() || dimension > MAX_DIMENSION {
            return Err(Error::TooLarge);
        }
        let parts = dense.par_chunks((PART * dimension).max(1)).enumerate();
        if let Some((part, values)) = parts.find_first(|(_, values)| !is_finite(values)) {
            let rows = values.chunks(dimension);
            let at = rows.take_while(|row| is_finite(row)).count();
            return Err(Error::NotFinite(part * PART + at));
        }
        Ok(Self {
            count,
            dimension,
            dense,
            sparse: None,
        })
    }

    /// The same rows with sparse parts.
    ///
    /// # Errors
    /// When offsets do not ascend within bounds, terms do not ascend strictly, or a weight is not
    /// finite.
    pub fn with_sparse(self, sparse: SparseRows<'a>) -> Result<Self, Error> {
        let SparseRows {
            offsets,
            ids,
            weights,
        } = sparse;
        if offsets.len() != self.count + 1 || ids.len() != weights.len() {
            return Err(Error::Sparse(0));
        }
        for (row, ends) in offsets.windows(2).enumerate() {
            let span = (ids.get(ends[0]..ends[1]), weights.get(ends[0]..ends[1]));
            let (Some(ids), Some(weights)) = span else {
                return Err(Error::Sparse(row));
            };
            check(row, &[], (ids, weights))?;
        }
        Ok(Self {
            sparse: Some(sparse),
            ..self
        })
    }

    /// References to each row.
    pub(super) fn source(&self) -> Source<'a> {
        let row = |row: usize| &self.dense[row * self.dimension..(row + 1) * self.dimension];
        let sparse = |sparse: SparseRows<'a>| {
            let row = move |ends: &[usize]| {
                let span = ends[0]..ends[1];
                (&sparse.ids[span.clone()], &sparse.weights[span])
            };
            sparse.offsets.windows(2).map(row).collect()
        };
        Source {
            dimension: self.dimension,
            dense: (0..self.count).map(row).collect(),
            sparse: self.sparse.map_or_else(Vec::new, sparse),
        }
    }
}

/// Rows by number, wherever they are in memory.
pub(super) struct Source<'a> {
    /// Values of each dense part.
    pub(super) dimension: usize,
    pub(super) dense: Vec<&'a [f32]>,
    /// One per row, or empty if no row has one.
    pub(super) sparse: Vec<Sparse<'a>>,
}

impl<'a> Source<'a> {
    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.dense.len()
    }

    /// The sparse part of a row.
    pub(super) fn sparse(&self, row: usize) -> Sparse<'a> {
        self.sparse.get(row).copied().unwrap_or_default()
    }

    /// Some of the rows, renumbered.
    pub(super) fn pick(&self, rows: &[u32]) -> Self {
        Self {
            dimension: self.dimension,
            dense: rows.iter().map(|row| self.dense[*row as usize]).collect(),
            sparse: if self.sparse.is_empty() {
                Vec::new()
            } else {
                rows.iter().map(|row| self.sparse[*row as usize]).collect()
            },
        }
    }
}
