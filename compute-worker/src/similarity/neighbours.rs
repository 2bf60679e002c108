//! The exact nearest rows of every row, as a library.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32};

use rayon::prelude::*;

use super::Kernel;
use super::engine::Engine;
use super::layout::{Layout, norm, order};
use super::lists::{Lists, Run};
use super::rows::{Scorer, Sparse};

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
    /// Where each row begins in the other two, and at last where the last one ends.
    pub offsets: &'a [usize],
    /// Terms, strictly ascending in each row.
    pub ids: &'a [u32],
    /// Their weights.
    pub weights: &'a [f32],
}

/// How to look for neighbours. `Options::default()` keeps 20 on the fastest kernel.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Neighbours of a row, at most.
    pub keep: usize,
    /// Lower scores do not count; `None`: all count, those below 0 too.
    pub min_score: Option<f32>,
    /// The instructions to use. The answer does not depend on them.
    pub kernel: Kernel,
    /// Is called with the tiles done and the tiles there are, from any thread.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Once true, the work ends within a few tiles.
    pub cancelled: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            keep: 20,
            min_score: None,
            kernel: Kernel::detect(),
            progress: None,
            cancelled: None,
        }
    }
}

/// Why there are no neighbours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeighboursError {
    /// The values are not whole rows.
    #[error("{values} values are not {count} rows of {dimension}")]
    Shape {
        /// Values there are.
        values: usize,
        /// Rows.
        count: usize,
        /// Values a row.
        dimension: usize,
    },
    /// There are more rows or longer ones than can be compared.
    #[error("at most 4,294,967,295 rows of at most 65,536 values can be compared")]
    TooLarge,
    /// A value is infinite or no number.
    #[error("row {0} has a value that is infinite or not a number")]
    NotFinite(usize),
    /// The sparse part of a row is not as described.
    #[error("the sparse part of row {0} is not within bounds, finite and ascending by term")]
    Sparse(usize),
    /// This CPU lacks the kernel's instructions.
    #[error(transparent)]
    Kernel(#[from] super::KernelError),
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Most values of a row.
const MAX_DIMENSION: usize = 1 << 16;

impl<'a> Rows<'a> {
    /// `count` rows of `dimension` values each, one after the other.
    ///
    /// # Errors
    /// When `dense` is not as long as that, or a value is not finite.
    pub fn new(dense: &'a [f32], count: usize, dimension: usize) -> Result<Self, NeighboursError> {
        if count.checked_mul(dimension) != Some(dense.len()) {
            let values = dense.len();
            return Err(NeighboursError::Shape {
                values,
                count,
                dimension,
            });
        }
        if u32::try_from(count).is_err() || dimension > MAX_DIMENSION {
            return Err(NeighboursError::TooLarge);
        }
        if let Some(at) = dense.par_iter().position_first(|value| !value.is_finite()) {
            return Err(NeighboursError::NotFinite(at / dimension));
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
    pub fn with_sparse(self, sparse: SparseRows<'a>) -> Result<Self, NeighboursError> {
        let SparseRows {
            offsets,
            ids,
            weights,
        } = sparse;
        if offsets.len() != self.count + 1 || ids.len() != weights.len() {
            return Err(NeighboursError::Sparse(0));
        }
        for (row, ends) in offsets.windows(2).enumerate() {
            let span = (ids.get(ends[0]..ends[1]), weights.get(ends[0]..ends[1]));
            let (Some(ids), Some(weights)) = span else {
                return Err(NeighboursError::Sparse(row));
            };
            if !ids.is_sorted_by(|a, b| a < b) || !weights.iter().all(|weight| weight.is_finite()) {
                return Err(NeighboursError::Sparse(row));
            }
        }
        Ok(Self {
            sparse: Some(sparse),
            ..self
        })
    }

    fn dense(&self, row: usize) -> &'a [f32] {
        &self.dense[row * self.dimension..(row + 1) * self.dimension]
    }
}

impl<'a> SparseRows<'a> {
    fn row(&self, row: usize) -> Sparse<'a> {
        let span = self.offsets[row]..self.offsets[row + 1];
        (&self.ids[span.clone()], &self.weights[span])
    }
}

/// The neighbours of every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    ends: Vec<usize>,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

impl Neighbours {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The neighbours of a row, best first: their numbers, and their canonical scores.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let span = start..self.ends[row];
        (&self.ids[span.clone()], &self.scores[span])
    }
}

/// Finds, for every row, the `keep` other rows with the highest canonical scores (see the module):
/// score descending, then number ascending. The answer is that of comparing each with each, to the
/// last bit, whatever the kernel and the number of threads.
///
/// Runs on the current rayon pool: call it within `ThreadPool::install`. Beside the rows and the
/// answer it holds a copy of the dense parts (a quarter of their size with 8-bit integers, all of
/// it otherwise), an index of the sparse parts, and 12 · `keep` + 700 bytes a row.
///
/// # Errors
/// When the kernel cannot run here, or it was cancelled.
///
/// # Examples
/// ```
/// use compute_worker::similarity::{Options, Rows, neighbours};
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0];
/// let rows = Rows::new(&values, 4, 2)?;
/// let found = neighbours(&rows, &Options { keep: 2, ..Options::default() })?;
/// assert_eq!(found.of(0), (&[1, 2][..], &[0.8, 0.0][..]));
/// # Ok::<(), compute_worker::similarity::NeighboursError>(())
/// ```
pub fn neighbours(rows: &Rows<'_>, options: &Options<'_>) -> Result<Neighbours, NeighboursError> {
    let kernel = options.kernel;
    if !kernel.available() {
        return Err(super::KernelError::Lacking(kernel).into());
    }
    let count = rows.count;
    let keep = options.keep.min(count.saturating_sub(1));
    if keep == 0 {
        return Ok(Neighbours {
            ends: vec![0; count],
            ids: Vec::new(),
            scores: Vec::new(),
        });
    }
    let integers = kernel.has_integers();
    let sparse_norm = |row| rows.sparse.map_or(0.0, |sparse| norm(sparse.row(row).1));
    let ordered = order(
        count,
        rows.dimension,
        |row| rows.dense(row),
        sparse_norm,
        integers,
    );
    let filter = ordered.is_some();
    let ids = ordered.unwrap_or_else(|| (0..count as u32).collect());
    let sparse = rows.sparse.map(|sparse| move |row| sparse.row(row));
    let scorer = Scorer::new(kernel, ids, |row| rows.dense(row), sparse);
    let threads = rayon::current_num_threads();
    let integers = integers && filter;
    let layout = Layout::new(&scorer, rows.dimension, filter, integers, threads);
    tracing::debug!(%kernel, rows = count, keep, filter, "neighbours");
    let floor = options.min_score.unwrap_or(f32::NEG_INFINITY);
    let list = |block: &super::layout::Block| {
        Mutex::new(Lists::new(block.first, block.rows, keep, floor, !filter))
    };
    let engine = Engine {
        kernel,
        lists: layout.blocks.iter().map(list).collect(),
        crowded: layout.blocks.iter().map(|_| AtomicU32::new(0)).collect(),
        run: Run {
            kernel,
            layout: &layout,
            scorer: &scorer,
            floor,
        },
        filter,
        cancelled: options.cancelled,
        progress: options.progress,
    };
    if !engine.compare() {
        return Err(NeighboursError::Cancelled);
    }
    let found = engine.finish();
    let lists: Vec<&Vec<(u32, f32)>> = found.iter().flatten().collect();
    if lists.len() != count {
        return Err(NeighboursError::Cancelled);
    }
    let mut positions = vec![0_u32; count];
    for position in 0..count as u32 {
        positions[scorer.id(position) as usize] = position;
    }
    let total = lists.iter().map(|list| list.len()).sum();
    let mut all = Neighbours {
        ends: Vec::with_capacity(count),
        ids: Vec::with_capacity(total),
        scores: Vec::with_capacity(total),
    };
    for position in positions {
        let list = lists[position as usize];
        all.ids
            .extend(list.iter().map(|&(other, _)| scorer.id(other)));
        all.scores.extend(list.iter().map(|&(_, score)| score));
        all.ends.push(all.ids.len());
    }
    Ok(all)
}
