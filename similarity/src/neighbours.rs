//! The exact nearest rows of every row, as a library.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::Kernel;
use super::crowd::Crowd;
use super::engine::Engine;
use super::equal::Groups;
use super::error::Error;
use super::kernel::Isa;
use super::layout::{Aligned, MAX_NORM, Shape, norm};
use super::lists::Lists;
use super::order::order;
use super::rows::Scorer;
use super::sorted::{Sorted, sort_all};
use super::steps::Steps;
use super::strip::PANEL;
use super::table::{LANES, Sparse, check, is_finite};
use super::terms::MAX_TERMS;

/// Rows to compare: dense parts of one length, and perhaps sparse parts.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    count: usize,
    dimension: usize,
    dense: &'a [f32],
    sparse: Option<SparseRows<'a>>,
    /// Only these of them, if not all.
    picked: Option<&'a [u32]>,
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
    /// Is called with the steps done and the steps there are, from any thread: a step is a tile, or the
    /// sorting of the lists of a block. All are done at the very end.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Once true, the work ends within a few tiles.
    pub cancelled: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            keep: 20,
            min_score: None,
            kernel: Kernel::Auto,
            progress: None,
            cancelled: None,
        }
    }
}

/// Most values of a row.
const MAX_DIMENSION: usize = 1 << 16;
/// Rows of a block, at most: of few rows, so that all bases rise soon, and of many, where what is done
/// once a tile counts.
const MAX_ROWS: [usize; 2] = [8 * PANEL, 16 * PANEL];
/// Blocks there shall be before they become larger.
const MANY_BLOCKS: usize = 80;
/// The same where rows have sparse parts: what two blocks share is looked for once.
const MAX_SPARSE_ROWS: usize = 24 * PANEL;
/// Bytes of the values of a block, at most, so that two stay in the second-level cache.
const MAX_BYTES: usize = 320 << 10;
/// Bytes a row beyond half of the rows' own, from which on rows are not copied into their order.
const MAX_EXTRA: usize = 1200;
/// Rows that a thread copies, or makes the lists of, in one go.
const PART: usize = 1024;

impl<'a> Rows<'a> {
    /// `count` rows of `dimension` values each, one after the other.
    ///
    /// # Errors
    /// When `dense` is not as long as that, or a value is not finite.
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
            picked: None,
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

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Only some of the rows, numbered anew.
    fn pick<'b>(&self, rows: &'b [u32]) -> Rows<'b>
    where
        'a: 'b,
    {
        Rows {
            count: rows.len(),
            picked: Some(rows),
            ..*self
        }
    }

    fn place(&self, row: usize) -> usize {
        self.picked.map_or(row, |picked| picked[row] as usize)
    }

    pub(super) fn dense(&self, row: usize) -> &'a [f32] {
        let row = self.place(row);
        &self.dense[row * self.dimension..(row + 1) * self.dimension]
    }

    pub(super) fn sparse(&self, row: usize) -> Option<Sparse<'a>> {
        let row = self.place(row);
        self.sparse.map(|sparse| sparse.row(row))
    }
}

impl<'a> SparseRows<'a> {
    fn row(&self, row: usize) -> Sparse<'a> {
        let span = self.offsets[row]..self.offsets[row + 1];
        (&self.ids[span.clone()], &self.weights[span])
    }
}

/// The neighbours of every row.
#[derive(Debug, Clone)]
pub struct Neighbours {
    kernel: Kernel,
    /// Where each row's list is: those of so many rows are together.
    positions: Vec<u32>,
    block_rows: usize,
    blocks: Vec<Sorted>,
}

impl Neighbours {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// The kernel they were found with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The neighbours of a row, best first: their numbers, and their canonical scores.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let position = self.positions[row] as usize;
        match self.blocks.get(position / self.block_rows) {
            Some(block) => block.of(position % self.block_rows),
            // None are kept.
            None => (&[], &[]),
        }
    }
}

/// The same kernel, and the same neighbours of every row.
impl PartialEq for Neighbours {
    fn eq(&self, other: &Self) -> bool {
        self.kernel == other.kernel
            && self.rows() == other.rows()
            && (0..self.rows()).all(|row| self.of(row) == other.of(row))
    }
}

/// Finds, for every row, the `keep` other rows with the highest canonical scores (see the module):
/// score descending, then number ascending. The answer is that of comparing each with each, to the
/// last bit, whatever the kernel and the number of threads.
///
/// Runs on the current rayon pool: call it within `ThreadPool::install`. Beside the rows it holds the
/// dense parts as integers (a quarter of their size; all of it with the scalar kernel), a copy and an
/// index of the sparse parts (about 40 bytes a term and 140 a row), and the lists (about 10 · `keep` + 150
/// bytes a row), which turn into the answer (8 · `keep` + 8) where they are. It copies short dense parts as
/// well, if all of that, but for the sparse parts, then stays within half of the rows' size and 1,200 bytes
/// a row. Where many rows are equal, bit for
/// bit, only one of each kind is compared.
///
/// # Errors
/// When the kernel cannot run here, or it was cancelled.
///
/// # Examples
/// ```
/// use kindred_similarity::{Options, Rows, neighbours};
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0];
/// let rows = Rows::new(&values, 4, 2)?;
/// let found = neighbours(&rows, &Options { keep: 2, ..Options::default() })?;
/// assert_eq!(found.of(0), (&[1, 2][..], &[0.8, 0.0][..]));
/// # Ok::<(), kindred_similarity::Error>(())
/// ```
pub fn neighbours(rows: &Rows<'_>, options: &Options<'_>) -> Result<Neighbours, Error> {
    let isa = options.kernel.instructions()?;
    if options.keep > 0
        && let Some(groups) = Groups::of(rows)
    {
        return of_groups(isa, rows, &groups, options);
    }
    compare(isa, rows, options)
}

/// As [`neighbours`], where groups of rows are equal.
fn of_groups(
    isa: Isa,
    rows: &Rows<'_>,
    groups: &Groups,
    options: &Options<'_>,
) -> Result<Neighbours, Error> {
    let firsts = rows.pick(groups.firsts());
    let found = compare(isa, &firsts, options)?;
    let scorer = Scorer::new(
        isa,
        (0..firsts.count as u32).collect(),
        |_, id| firsts.dense(id),
        firsts
            .sparse
            .map(|_| |_, row| firsts.sparse(row).unwrap_or_default()),
    );
    let keep = options.keep.min(rows.count - 1);
    let floor = options.min_score.unwrap_or(f32::NEG_INFINITY);
    let is_cancelled = || is_cancelled(options);
    let blocks = groups.expand(&scorer, &found, keep, floor, PART, &is_cancelled);
    Ok(Neighbours {
        kernel: isa.kernel,
        positions: (0..rows.count as u32).collect(),
        block_rows: PART,
        blocks: blocks.ok_or(Error::Cancelled)?,
    })
}

fn is_cancelled(options: &Options<'_>) -> bool {
    let flag = options.cancelled;
    flag.is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// As [`neighbours`], with no regard to equal rows.
fn compare(isa: Isa, rows: &Rows<'_>, options: &Options<'_>) -> Result<Neighbours, Error> {
    let count = rows.count;
    let keep = options.keep.min(count.saturating_sub(1));
    if keep == 0 {
        return Ok(Neighbours {
            kernel: isa.kernel,
            positions: vec![0; count],
            block_rows: 1,
            blocks: Vec::new(),
        });
    }
    let is_cancelled = || is_cancelled(options);
    let shape = Shape::new(isa, rows.dimension);
    let scales = scales(rows, &shape, &is_cancelled);
    let filter = scales.is_some();
    let most_rows = if rows.sparse.is_some() {
        MAX_SPARSE_ROWS
    } else {
        let [few, many] = MAX_ROWS;
        (count / MANY_BLOCKS)
            .next_multiple_of(PANEL)
            .clamp(few, many)
    };
    let block_rows = block_rows(count, if filter { shape.bytes() } else { 0 }, most_rows);
    let ids = match scales {
        Some(scales) if rows.dimension > 0 => {
            let rows: Vec<&[f32]> = (0..count).map(|row| rows.dense(row)).collect();
            order(isa, &rows, scales, block_rows, &is_cancelled)
        }
        _ => (0..count as u32).collect(),
    };
    if is_cancelled() {
        return Err(Error::Cancelled);
    }
    let near = near(rows, &ids, keep, &shape);
    let stride = near_stride(rows.dimension);
    let near_sparse = NearSparse::of(rows, &ids);
    let sparse = rows
        .sparse
        .map(|_| |position: usize, _| near_sparse.row(position));
    let scorer = Scorer::new(
        isa,
        ids,
        |position, id| match &near {
            Some(near) => &near.get()[position * stride..][..rows.dimension],
            None => rows.dense(id),
        },
        sparse,
    );
    let spans = || {
        let starts = (0..count.div_ceil(block_rows)).into_par_iter();
        starts.map(|block| block * block_rows..count.min((block + 1) * block_rows))
    };
    let floor = options.min_score.unwrap_or(f32::NEG_INFINITY);
    let list = |span: Range<usize>| Mutex::new(Lists::new(isa, span.len(), keep, floor, None));
    let lists: Vec<_> = spans().map(list).collect();
    let sparse_row = |row| scorer.sparse(row).unwrap_or_default();
    let columns = Arc::new(shape.columns(if scorer.has_sparse() { count } else { 0 }, sparse_row));
    let lay = |span: Range<usize>| {
        let (dense, sparse) = (scorer.dense(span.clone()), scorer.sparse_rows(span));
        (!is_cancelled()).then(|| shape.block(dense, sparse, &columns))
    };
    let blocks = if filter {
        spans().map(lay).collect()
    } else {
        Some(Vec::new())
    };
    let Some(blocks) = blocks else {
        return Err(Error::Cancelled);
    };
    let steps = Steps::new(lists.len(), options.progress);
    let engine = Engine {
        isa,
        scorer: &scorer,
        block_rows,
        blocks,
        length: shape.length,
        crowds: lists.iter().map(|_| Crowd::default()).collect(),
        lists,
        cancelled: options.cancelled,
        steps: &steps,
    };
    let lists = engine.compare().ok_or(Error::Cancelled)?;
    // What only comparing needs is gone before anything else is made.
    let ids = scorer.into_ids();
    drop((near, near_sparse));
    let blocks = sort_all(lists, &steps, &is_cancelled).ok_or(Error::Cancelled)?;
    let mut positions = vec![0; count];
    for (position, &id) in (0..).zip(&ids) {
        positions[id as usize] = position;
    }
    Ok(Neighbours {
        kernel: isa.kernel,
        positions,
        block_rows,
        blocks,
    })
}

/// Every row's scale (its bits, in the upper half) and number. `None`: the data is such that only
/// exact scores will do, or it was cancelled.
fn scales(
    rows: &Rows<'_>,
    shape: &Shape,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<u64>> {
    let scale = |buffer: &mut Vec<f32>, row: usize| {
        if is_cancelled() {
            return None;
        }
        let (scale, dense_norm) = shape.scale(rows.dense(row), buffer);
        let (terms, weights) = rows.sparse(row).unwrap_or_default();
        let can = dense_norm + norm(weights) <= MAX_NORM && terms.len() <= MAX_TERMS;
        can.then(|| u64::from(scale.to_bits()) << 32 | row as u64)
    };
    let all = (0..rows.count).into_par_iter().with_min_len(256);
    all.map_init(Vec::new, scale).collect()
}

/// The rows in their order, if they are short enough to be copied: then each begins at a cache line,
/// and those of a block share pages. Long ones gain little.
fn near(rows: &Rows<'_>, ids: &[u32], keep: usize, shape: &Shape) -> Option<Aligned<f32>> {
    let stride = near_stride(rows.dimension);
    // Bytes a row: the copy, the integers, the list, and what tables there are.
    let bytes = 4 * stride + shape.bytes() + Lists::bytes(keep) + 48;
    if stride == 0 || bytes > 2 * rows.dimension + MAX_EXTRA {
        return None;
    }
    let mut near = Aligned::new(ids.len() * stride, 0.0);
    let places = near.get_mut().par_chunks_mut(PART * stride);
    places.zip(ids.par_chunks(PART)).for_each(|(places, ids)| {
        for (place, &id) in places.chunks_mut(stride).zip(ids) {
            place[..rows.dimension].copy_from_slice(rows.dense(id as usize));
        }
    });
    Some(near)
}

/// The sparse parts of all rows in their order: those of a block share pages, and so stay in the cache
/// while it meets others.
struct NearSparse {
    ends: Vec<usize>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl NearSparse {
    fn of(rows: &Rows<'_>, order: &[u32]) -> Self {
        let terms = rows.sparse.map_or(0, |sparse| sparse.ids.len());
        let mut near = Self {
            ends: Vec::with_capacity(order.len()),
            ids: Vec::with_capacity(terms),
            weights: Vec::with_capacity(terms),
        };
        if rows.sparse.is_some() {
            for &row in order {
                let (ids, weights) = rows.sparse(row as usize).unwrap_or_default();
                near.ids.extend_from_slice(ids);
                near.weights.extend_from_slice(weights);
                near.ends.push(near.ids.len());
            }
        }
        near
    }

    fn row(&self, position: usize) -> Sparse<'_> {
        let start = position
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        let span = start..self.ends[position];
        (&self.ids[span.clone()], &self.weights[span])
    }
}

/// Values from one row to the next: whole cache lines.
fn near_stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LANES)
}

/// Rows of a block.
fn block_rows(count: usize, bytes: usize, most_rows: usize) -> usize {
    let most = (MAX_BYTES / bytes.max(1) / PANEL * PANEL).clamp(PANEL, most_rows);
    // A few blocks a thread, even of few rows.
    let share = count / (4 * rayon::current_num_threads());
    share
        .next_multiple_of(PANEL)
        .clamp(2 * PANEL, most_rows)
        .min(most)
}
