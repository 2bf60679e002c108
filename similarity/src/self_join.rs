//! All rows with all rows, each pair once, feeding the lists of both sides.
//!
//! Rows are sorted so that near ones are together (`order`), and cut into blocks. First every block meets itself, which
//! gives each row a first base. Then pairs of blocks are handed out, near ones first, so that all bases rise evenly:
//! the blocks form a circle, and each meets the half of the others that follows it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::aligned::Aligned;
use super::answer::Neighbours;
use super::equal::Groups;
use super::error::Error;
use super::filter::PreparedLeft;
use super::kernel::Isa;
use super::layout::{MAX_NORM, Shape, norm};
use super::lists::Lists;
use super::meeting::{Meeting, Scratch};
use super::order::order;
use super::pieces::each;
use super::rows::Source;
use super::slices::{LANES, Sparse};
use super::sorted::Sorted;
use super::steps::Steps;
use super::strip::{GROUP, PANEL};
use super::terms::MAX_TERMS;
use super::tile::{Tile, pair};

/// Most rows of a block: few while there are few rows, so that all bases rise early; many otherwise, because some work
/// is done once per tile.
const MAX_ROWS: [usize; 2] = [8 * PANEL, 16 * PANEL];
/// Blocks there should be before blocks become larger.
const MANY_BLOCKS: usize = 80;
/// The same for rows with sparse parts: shared terms are looked up once per pair of blocks.
const MAX_SPARSE_ROWS: usize = 24 * PANEL;
/// Most bytes of a block's values, so that two blocks stay in the second-level cache.
const MAX_BYTES: usize = 320 << 10;
/// Extra bytes per row, beyond half of the rows' own, above which rows are not copied into their order.
const MAX_EXTRA: usize = 1200;
/// Rows that a thread copies, or builds the lists of, at a time.
const PART: usize = 1024;

/// Rows of a block that meet each other first: a sample large enough to estimate bases from.
const PART_ROWS: usize = 8 * PANEL;
/// Most blocks to the right of a block that are met at a time.
const MAX_BAND: usize = 8;

/// How all rows are compared with all rows.
pub(super) struct SelfJoin<'a> {
    pub(super) isa: Isa,
    pub(super) keep: usize,
    /// The lowest score that counts.
    pub(super) floor: f32,
    pub(super) progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    pub(super) cancelled: Option<&'a AtomicBool>,
}

/// Which blocks meet which, and the state that all threads share.
struct Run<'r> {
    isa: Isa,
    tiles: &'r [Tile<'r>],
    lists: &'r [Mutex<Lists<'static>>],
    is_cancelled: &'r (dyn Fn() -> bool + Sync),
    steps: &'r Steps<'r>,
}

impl SelfJoin<'_> {
    /// Finds the neighbours of every row.
    ///
    /// # Errors
    /// When it was cancelled.
    pub(super) fn compare(&self, rows: &Source<'_>) -> Result<Neighbours, Error> {
        if self.keep > 0
            && let Some(groups) = Groups::of(rows)
        {
            return self.of_groups(rows, &groups);
        }
        self.of_rows(rows)
    }

    fn is_cancelled(&self) -> bool {
        let flag = self.cancelled;
        flag.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// The same when there are groups of equal rows.
    fn of_groups(&self, rows: &Source<'_>, groups: &Groups) -> Result<Neighbours, Error> {
        let firsts = rows.pick(groups.firsts());
        let found = self.of_rows(&firsts)?;
        let keep = self.keep.min(rows.rows() - 1);
        let own_scores = groups.own_scores(self.isa, &firsts);
        let is_cancelled = || self.is_cancelled();
        let blocks = groups.expand(&own_scores, &found, keep, self.floor, PART, &is_cancelled);
        Ok(Neighbours {
            kernel: self.isa.kernel,
            positions: (0..rows.rows() as u32).collect(),
            block_rows: PART,
            blocks: blocks.ok_or(Error::Cancelled)?,
        })
    }

    /// The same, ignoring equal rows.
    fn of_rows(&self, rows: &Source<'_>) -> Result<Neighbours, Error> {
        let (isa, count) = (self.isa, rows.rows());
        let keep = self.keep.min(count.saturating_sub(1));
        if keep == 0 {
            return Ok(Neighbours {
                kernel: isa.kernel,
                positions: vec![0; count],
                block_rows: 1,
                blocks: Vec::new(),
            });
        }
        let is_cancelled = || self.is_cancelled();
        let shape = Shape::new(isa, rows.dimension);
        let scales = scales(rows, &shape, &is_cancelled);
        let filter = scales.is_some();
        let most_rows = if rows.sparse.is_empty() {
            let [few, many] = MAX_ROWS;
            (count / MANY_BLOCKS)
                .next_multiple_of(PANEL)
                .clamp(few, many)
        } else {
            MAX_SPARSE_ROWS
        };
        let block_rows = block_rows(count, if filter { shape.bytes() } else { 0 }, most_rows);
        let ids = match scales {
            Some(scales) if rows.dimension > 0 => {
                order(isa, &rows.dense, scales, block_rows, &is_cancelled)
            }
            _ => (0..count as u32).collect(),
        };
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let near = near(rows, &ids, keep, &shape);
        let stride = near_stride(rows.dimension);
        let near_sparse = NearSparse::of(rows, &ids);
        let dense = |span: Range<usize>| -> Vec<&[f32]> {
            match &near {
                Some(near) => span
                    .map(|at| &near.get()[at * stride..][..rows.dimension])
                    .collect(),
                None => span.map(|at| rows.dense[ids[at] as usize]).collect(),
            }
        };
        let sparse = |span: Range<usize>| -> Vec<Sparse<'_>> {
            let span = if near_sparse.ends.is_empty() {
                0..0
            } else {
                span
            };
            span.map(|at| near_sparse.row(at)).collect()
        };
        let spans = || {
            let starts = (0..count.div_ceil(block_rows)).into_par_iter();
            starts.map(|block| block * block_rows..count.min((block + 1) * block_rows))
        };
        let columns = Arc::new(shape.columns(near_sparse.ends.len(), |at| near_sparse.row(at)));
        let lay = |span: Range<usize>| {
            let (dense, sparse) = (dense(span.clone()), sparse(span));
            (!is_cancelled()).then(|| shape.block(&dense, &sparse, &columns))
        };
        let blocks: Option<Vec<_>> = if filter {
            spans().map(lay).collect()
        } else {
            Some(Vec::new())
        };
        let blocks = blocks.ok_or(Error::Cancelled)?;
        let tile = |span: Range<usize>| {
            let block = blocks.get(span.start / block_rows);
            let own = ids[span.clone()].to_vec();
            Tile::new(own, dense(span.clone()), sparse(span), block, shape.length)
        };
        let tiles: Vec<Tile<'_>> = spans().map(tile).collect();
        let list = |span: Range<usize>| {
            let floors = std::iter::repeat_n(self.floor, span.len());
            Mutex::new(Lists::new(isa, floors, keep, None))
        };
        let lists: Vec<Mutex<Lists<'static>>> = spans().map(list).collect();
        let steps = Steps::new(lists.len(), self.progress);
        Run {
            isa,
            tiles: &tiles,
            lists: &lists,
            is_cancelled: &is_cancelled,
            steps: &steps,
        }
        .go();
        // Frees what only the comparison needs before anything else is allocated.
        drop(tiles);
        drop(blocks);
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
}

impl Run<'_> {
    /// Compares, unless it is cancelled.
    fn go(&self) {
        let blocks = self.tiles.len();
        self.each(blocks, |block, (prepared, scratch)| {
            self.diagonal(block, prepared, scratch);
            self.steps.done(1);
        });
        let offsets = blocks / 2;
        let workers = rayon::current_num_threads();
        let band = (blocks * offsets / (16 * workers)).clamp(1, MAX_BAND);
        let units = blocks * offsets.div_ceil(band);
        self.each(units, |unit, (prepared, scratch)| {
            let left = unit % blocks;
            let first = unit / blocks * band;
            self.prepare(left, prepared);
            for offset in first + 1..=(first + band).min(offsets) {
                let opposite = 2 * offset == blocks;
                if (opposite && left >= offset) || (self.is_cancelled)() {
                    continue;
                }
                let meeting = self.meeting([left, (left + offset) % blocks], [true, true]);
                let mut projected = None;
                let pair = pair(self.isa, meeting.tiles, prepared, &mut projected);
                meeting.all(pair.as_ref(), scratch);
                self.steps.done(1);
            }
        });
    }

    fn each(&self, count: usize, work: impl Fn(usize, &mut (PreparedLeft, Scratch)) + Sync) {
        each(count, self.is_cancelled, Default::default, work);
    }

    /// Prepares a block to be the left one.
    fn prepare(&self, at: usize, prepared: &mut PreparedLeft) {
        if let Some(block) = self.tiles[at].block {
            prepared.prepare(self.isa, block);
        }
    }

    fn meeting(&self, blocks: [usize; 2], wanted: [bool; 2]) -> Meeting<'_, 'static> {
        Meeting {
            isa: self.isa,
            tiles: blocks.map(|block| &self.tiles[block]),
            lists: blocks.map(|block| &self.lists[block]),
            wanted,
            apart: &[],
        }
    }

    /// A block with itself: first each part with itself, which gives each row a first base, then each part with those
    /// after it.
    fn diagonal(&self, at: usize, prepared: &mut PreparedLeft, scratch: &mut Scratch) {
        self.prepare(at, prepared);
        // Each pair comes up twice, once for either row.
        let meeting = self.meeting([at, at], [true, false]);
        let mut projected = None;
        let Some(pair) = pair(self.isa, meeting.tiles, prepared, &mut projected) else {
            return meeting.exact(scratch);
        };
        let rows = self.tiles[at].rows();
        scratch.share(&pair);
        let parts = || (0..rows).step_by(PART_ROWS);
        for first in parts() {
            let part = first..rows.min(first + PART_ROWS);
            meeting.sample(&pair, part.clone(), part, scratch);
        }
        let meeting = self.meeting([at, at], [true, true]);
        let end = rows.next_multiple_of(PANEL);
        for behind in parts().skip(1) {
            let groups = (behind - PART_ROWS) / GROUP..behind / GROUP;
            meeting.filtered(&pair, groups, behind..end, scratch);
        }
    }
}

/// Every row's scale (its bits, in the upper half) and number. `None`: the values allow exact scores only, or it was
/// cancelled.
fn scales(
    rows: &Source<'_>,
    shape: &Shape,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<u64>> {
    let scale = |buffer: &mut Vec<f32>, row: usize| {
        if is_cancelled() {
            return None;
        }
        let (scale, dense_norm) = shape.scale(rows.dense[row], buffer);
        let (terms, weights) = rows.sparse(row);
        let can = dense_norm + norm(weights) <= MAX_NORM && terms.len() <= MAX_TERMS;
        can.then(|| u64::from(scale.to_bits()) << 32 | row as u64)
    };
    let all = (0..rows.rows()).into_par_iter().with_min_len(256);
    all.map_init(Vec::new, scale).collect()
}

/// A copy of the rows in their order, if they are short enough: each row then begins at a cache line, and those of a
/// block share pages. Copying long rows gains little.
fn near(rows: &Source<'_>, ids: &[u32], keep: usize, shape: &Shape) -> Option<Aligned<f32>> {
    let stride = near_stride(rows.dimension);
    // Bytes per row: the copy, the integers, the list, and the tables.
    let bytes = 4 * stride + shape.bytes() + Lists::bytes(keep) + 48;
    if stride == 0 || bytes > 2 * rows.dimension + MAX_EXTRA {
        return None;
    }
    let mut near = Aligned::new(ids.len() * stride, 0.0);
    let places = near.get_mut().par_chunks_mut(PART * stride);
    places.zip(ids.par_chunks(PART)).for_each(|(places, ids)| {
        for (place, &id) in places.chunks_mut(stride).zip(ids) {
            place[..rows.dimension].copy_from_slice(rows.dense[id as usize]);
        }
    });
    Some(near)
}

/// The sparse parts of all rows in their order: those of a block share pages, and so stay in the cache while the block
/// meets others.
struct NearSparse {
    ends: Vec<usize>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl NearSparse {
    fn of(rows: &Source<'_>, order: &[u32]) -> Self {
        let terms = rows.sparse.iter().map(|row| row.0.len()).sum();
        let mut near = Self {
            ends: Vec::with_capacity(order.len()),
            ids: Vec::with_capacity(terms),
            weights: Vec::with_capacity(terms),
        };
        if !rows.sparse.is_empty() {
            for &row in order {
                let (ids, weights) = rows.sparse(row as usize);
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

/// The distance from one row to the next, in values: whole cache lines.
fn near_stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LANES)
}

fn block_rows(count: usize, bytes: usize, most_rows: usize) -> usize {
    let most = (MAX_BYTES / bytes.max(1) / PANEL * PANEL).clamp(PANEL, most_rows);
    // A few blocks per thread, even of few rows.
    let share = count / (4 * rayon::current_num_threads());
    share
        .next_multiple_of(PANEL)
        .clamp(2 * PANEL, most_rows)
        .min(most)
}

/// Sorts the lists of all blocks on all threads, each in place, so that there is never a second copy of them. `None`:
/// it was cancelled.
fn sort_all(
    lists: Vec<Mutex<Lists<'static>>>,
    steps: &Steps<'_>,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Sorted>> {
    let sort = |lists: Mutex<Lists<'static>>| {
        if is_cancelled() {
            return None;
        }
        let lists = lists.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sorted = lists.into_sorted();
        steps.done(steps.per_block());
        Some(sorted)
    };
    let all = lists.into_par_iter().with_max_len(1).map(sort);
    all.collect()
}
