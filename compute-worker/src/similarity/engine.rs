//! All with all, once a pair, feeding both sides.
//!
//! First every block meets itself, which gives each row a first base. Then pairs of blocks are
//! handed out, near ones first, so that all bases rise evenly. Within a tile bases are a snapshot:
//! they only rise, so an old one lets too much through, never too little.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Kernel;
use super::layout::{Block, UNDERFLOW, Values};
use super::lists::{Lists, Run};
use super::strip::{GROUP, Hits, Strip};

/// A threshold that no integer score reaches, and minus one that each does.
const BEYOND: i32 = 1 << 29;
/// One in so many pairs of a tile may be a hit; with more, exact scores are as fast.
const HITS: usize = 6;
/// Tiles in which a block had too many hits before filtering it is no longer tried each time.
const PATIENCE: u32 = 2;
/// Then it is tried for one in so many.
const RETRY: usize = 8;
/// Blocks to the right of a block that are met in one go, at most.
const MAX_BAND: usize = 4;

/// A comparison of all rows with all.
pub(super) struct Engine<'a> {
    pub(super) kernel: Kernel,
    pub(super) run: Run<'a>,
    pub(super) lists: Vec<Mutex<Lists>>,
    /// Whether approximate scores come first.
    pub(super) filter: bool,
    /// For each block, in how many tiles hits were too many.
    pub(super) crowded: Vec<AtomicU32>,
    pub(super) cancelled: Option<&'a AtomicBool>,
    pub(super) progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

/// The lists of a block's rows: positions and scores, best first.
pub(super) type Found = Vec<Vec<(u32, f32)>>;

/// What a thread needs for a tile.
#[derive(Default)]
struct Scratch {
    left: Vec<u8>,
    integers: Hits<i32>,
    floats: Hits<f32>,
    bases: [Vec<f32>; 2],
    integer_from: [Vec<i32>; 2],
    float_from: [Vec<f32>; 2],
    sparse: Vec<f32>,
    bounds: Vec<f32>,
    others: Vec<u32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    thresholds: Vec<f32>,
}

impl Engine<'_> {
    /// Compares; false if it was cancelled.
    pub(super) fn compare(&self) -> bool {
        let blocks = self.run.layout.blocks.len();
        let total = (blocks * (blocks + 1) / 2) as u64;
        let done = AtomicUsize::new(0);
        let report = |tiles: usize| {
            let done = done.fetch_add(tiles, Ordering::Relaxed) + tiles;
            if let Some(progress) = self.progress {
                progress(done as u64, total);
            }
        };
        self.each(blocks, |block, scratch| {
            self.diagonal(block, scratch);
            report(1);
        });
        // Each block meets half of the others, those that follow it in a circle.
        let offsets = blocks / 2;
        let workers = rayon::current_num_threads();
        let band = (blocks * offsets / (16 * workers)).clamp(1, MAX_BAND);
        self.each(blocks * offsets.div_ceil(band), |unit, scratch| {
            let left = unit % blocks;
            let first = unit / blocks * band;
            self.hold(left, scratch);
            for offset in first + 1..=(first + band).min(offsets) {
                let opposite = 2 * offset == blocks;
                if (opposite && left >= offset) || self.is_cancelled() {
                    continue;
                }
                self.tile(left, (left + offset) % blocks, scratch);
                report(1);
            }
        });
        !self.is_cancelled()
    }

    /// The lists of all rows, by position.
    pub(super) fn finish(&self) -> Vec<Found> {
        let blocks = &self.run.layout.blocks;
        let found: Vec<Mutex<Found>> = blocks.iter().map(|_| Mutex::default()).collect();
        self.each(blocks.len(), |block, _| {
            let mut lists = self.lists(block);
            let rows = 0..blocks[block].rows;
            let best = rows.map(|row| lists.finish(row, &self.run)).collect();
            *found[block].lock().unwrap_or_else(PoisonError::into_inner) = best;
        });
        let inner = |found: Mutex<_>| found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.into_iter().map(inner).collect()
    }

    /// Does `count` pieces of work on all threads of the pool, each taking the next.
    fn each(&self, count: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        let next = AtomicUsize::new(0);
        rayon::broadcast(|_| {
            let mut scratch = Scratch::default();
            while !self.is_cancelled() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    break;
                }
                work(at, &mut scratch);
            }
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
            .is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }

    fn lists(&self, block: usize) -> MutexGuard<'_, Lists> {
        self.lists[block]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets a block ready to be the left one of tiles.
    fn hold(&self, block: usize, scratch: &mut Scratch) {
        if let Values::Integers(values) = &self.run.layout.blocks[block].values {
            scratch.left.clear();
            // Left values are signed.
            scratch
                .left
                .extend(values.get().iter().map(|value| value ^ 128));
        }
    }

    /// A block with itself.
    fn diagonal(&self, at: usize, scratch: &mut Scratch) {
        if !self.filter {
            self.exact_diagonal(at, scratch);
            return;
        }
        self.hold(at, scratch);
        let block = &self.run.layout.blocks[at];
        let columns = block.rows.next_multiple_of(super::strip::PANEL);
        for from in &mut scratch.integer_from {
            from.clear();
            from.resize(columns, BEYOND);
        }
        for from in &mut scratch.float_from {
            from.clear();
            from.resize(columns, 2.0 * block.norm * block.norm);
        }
        let residuals = self.run.layout.residuals(block);
        let mut lists = self.lists(at);
        for group in 0..block.rows.div_ceil(GROUP) {
            scratch.integers.count = 0;
            scratch.floats.count = 0;
            self.strip(block, block, group, scratch);
            let (hits, unit) = (scratch.hits(), unit(block, block));
            let mut bounds = std::mem::take(&mut scratch.bounds);
            bounds.clear();
            bounds.resize(GROUP * block.rows, f32::NEG_INFINITY);
            for at in 0..hits {
                let (row, column, score) = scratch.hit(at, unit);
                if row < block.rows && column < block.rows {
                    let error = block.norm * (residuals[row] + residuals[column]) + UNDERFLOW;
                    bounds[row % GROUP * block.rows + column] = score - error;
                }
            }
            for (row, bounds) in (group * GROUP..).zip(bounds.chunks_exact_mut(block.rows)) {
                if row < block.rows {
                    let first = block.first as u32;
                    let slack = self.run.layout.slack(first + row as u32, first);
                    lists.seed(row, bounds, slack, &self.run);
                }
            }
            scratch.bounds = bounds;
        }
    }

    /// Two different blocks.
    fn tile(&self, left: usize, right: usize, scratch: &mut Scratch) {
        let crowded = |block: usize| self.crowded[block].load(Ordering::Relaxed) >= PATIENCE;
        let skip = crowded(left) && crowded(right) && !(left + right).is_multiple_of(RETRY);
        if !self.filter || skip {
            self.exact_tile(left, right, scratch);
            return;
        }
        let (one, two) = (
            &self.run.layout.blocks[left],
            &self.run.layout.blocks[right],
        );
        self.thresholds(0, left, two, scratch);
        self.thresholds(1, right, one, scratch);
        scratch.integers.count = 0;
        scratch.floats.count = 0;
        let most = one.rows * two.rows / HITS;
        for group in 0..one.rows.div_ceil(GROUP) {
            self.strip(one, two, group, scratch);
            if scratch.hits() > most {
                for block in [left, right] {
                    self.crowded[block].fetch_add(1, Ordering::Relaxed);
                }
                self.exact_tile(left, right, scratch);
                return;
            }
        }
        let unit = unit(one, two);
        let residuals = [one, two].map(|block| self.run.layout.residuals(block));
        let error = |row: usize, column: usize| {
            two.norm * residuals[0][row] + one.norm * residuals[1][column] + UNDERFLOW
        };
        let mut lists = self.lists(left);
        for at in 0..scratch.hits() {
            let (row, column, score) = scratch.hit(at, unit);
            let error = error(row, column);
            if score + error >= lists.base(row) {
                lists.push(row, (two.first + column) as u32, score - error, &self.run);
            }
        }
        drop(lists);
        let mut lists = self.lists(right);
        for at in 0..scratch.hits() {
            let (row, column, score) = scratch.hit(at, unit);
            let error = error(row, column);
            if score + error >= lists.base(column) {
                lists.push(column, (one.first + row) as u32, score - error, &self.run);
            }
        }
    }

    /// Turns the bases of a block's rows into minus the thresholds of a tile with another block.
    fn thresholds(&self, side: usize, at: usize, other: &Block, scratch: &mut Scratch) {
        let block = &self.run.layout.blocks[at];
        let columns = block.rows.next_multiple_of(super::strip::PANEL);
        let bases = &mut scratch.bases[side];
        bases.clear();
        bases.resize(block.rows, 0.0);
        self.lists(at).bases(bases);
        let residuals = self.run.layout.residuals(block);
        let least = bases.iter().zip(residuals).map(|(base, residual)| {
            base - (other.norm * residual + block.norm * other.residual + UNDERFLOW)
        });
        match block.values {
            Values::Integers(_) => {
                let unit = unit(block, other);
                let beyond = f64::from(BEYOND);
                let minus = least.map(|least| {
                    let units = (f64::from(least) / unit).floor() - 1.0;
                    -(units.clamp(-beyond, beyond) as i32)
                });
                let from = &mut scratch.integer_from[side];
                from.clear();
                from.extend(minus);
                from.resize(columns, -BEYOND);
            }
            Values::Floats(_) => {
                // A sum that begins far from the scores would lose their last bits.
                let most = 2.0 * block.norm * other.norm;
                let from = &mut scratch.float_from[side];
                from.clear();
                from.extend(least.map(|least| -least.clamp(-most, most)));
                from.resize(columns, -(2.0 * most + 1.0));
            }
        }
    }

    /// Adds the hits of a group of the left block.
    fn strip(&self, left: &Block, right: &Block, group: usize, scratch: &mut Scratch) {
        let columns = right.rows.next_multiple_of(super::strip::PANEL);
        scratch.sparse.clear();
        if let (Some(_), Some(terms)) = (&left.terms, &right.terms) {
            scratch.sparse.resize(GROUP * columns, 0.0);
            let first = left.first + group * GROUP;
            let rows = first..(first + GROUP).min(left.first + left.rows);
            for (row, sums) in rows.zip(scratch.sparse.chunks_exact_mut(columns)) {
                if let Some((ids, weights)) = self.run.scorer.sparse(row) {
                    self.kernel.sparse_dots(terms, ids, weights, sums);
                }
            }
        }
        let length = self.run.layout.length;
        let rows = group * GROUP..(group + 1) * GROUP;
        match (&left.values, &right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = Strip {
                    left: &scratch.left,
                    group,
                    right: values.get(),
                    length,
                    from_left: whole(&scratch.integer_from[0][rows.clone()]),
                    offsets: whole(&left.offsets[rows]),
                    from_right: &scratch.integer_from[1],
                    sparse: &scratch.sparse,
                    per_unit: (1.0 / unit(left, right)) as f32,
                };
                Kernel::integer_strip(&strip, &mut scratch.integers);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = Strip {
                    left: own.get(),
                    group,
                    right: values.get(),
                    length,
                    from_left: whole(&scratch.float_from[0][rows]),
                    offsets: &[0.0; GROUP],
                    from_right: &scratch.float_from[1],
                    sparse: &scratch.sparse,
                    per_unit: 1.0,
                };
                self.kernel.strip(&strip, &mut scratch.floats);
            }
            _ => unreachable!("all blocks of a layout are alike"),
        }
    }

    /// Two different blocks by canonical scores.
    fn exact_tile(&self, left: usize, right: usize, scratch: &mut Scratch) {
        // Always in one order, or two threads could wait for each other.
        let (low, high) = (left.min(right), left.max(right));
        let (mut low_lists, mut high_lists) = (self.lists(low), self.lists(high));
        let (one, two) = (&self.run.layout.blocks[low], &self.run.layout.blocks[high]);
        self.begin(one, &low_lists, two.least, scratch);
        for column in 0..two.rows {
            self.score(one, two.first + column, one.rows, scratch);
            let threshold = high_lists.threshold(column, one.least);
            let Scratch {
                scores, thresholds, ..
            } = &mut *scratch;
            for_hits(scores, thresholds, threshold, |row, score, own| {
                if score >= *own {
                    low_lists.push_exact(row, (two.first + column) as u32, score, &self.run);
                    *own = low_lists.threshold(row, two.least);
                }
                high_lists.push_exact(column, (one.first + row) as u32, score, &self.run);
                high_lists.threshold(column, one.least)
            });
        }
    }

    /// A block with itself by canonical scores.
    fn exact_diagonal(&self, at: usize, scratch: &mut Scratch) {
        let block = &self.run.layout.blocks[at];
        let mut lists = self.lists(at);
        self.begin(block, &lists, 0, scratch);
        for column in 0..block.rows {
            self.score(block, block.first + column, column, scratch);
            let Scratch {
                scores, thresholds, ..
            } = &mut *scratch;
            for_hits(
                scores,
                &mut thresholds[..column],
                lists.base(column),
                |row, score, own| {
                    lists.push_exact(row, (block.first + column) as u32, score, &self.run);
                    *own = lists.base(row);
                    lists.push_exact(column, (block.first + row) as u32, score, &self.run);
                    lists.base(column)
                },
            );
            scratch.thresholds[column] = lists.base(column);
        }
    }

    fn begin(&self, block: &Block, lists: &Lists, least: u32, scratch: &mut Scratch) {
        scratch.thresholds.clear();
        let thresholds = (0..block.rows).map(|row| lists.threshold(row, least));
        scratch.thresholds.extend(thresholds);
        scratch.others.clear();
        let rows = block.first..block.first + block.rows;
        scratch.others.extend(rows.map(|row| row as u32));
    }

    /// The canonical scores of a row with the first `count` of a block.
    fn score(&self, block: &Block, row: usize, count: usize, scratch: &mut Scratch) {
        scratch.scores.clear();
        scratch.scores.resize(count, 0.0);
        let scorer = self.run.scorer;
        scorer.dense_scores(row as u32, &scratch.others[..count], &mut scratch.scores);
        if scorer.has_sparse() {
            scratch.sums.clear();
            scratch.sums.resize(count, 0.0);
            if let (Some(terms), Some((ids, weights))) = (&block.terms, scorer.sparse(row)) {
                self.kernel
                    .sparse_dots(terms, ids, weights, &mut scratch.sums);
            }
            for (score, sum) in scratch.scores.iter_mut().zip(&scratch.sums) {
                *score += *sum;
            }
        }
    }
}

impl Scratch {
    fn hits(&self) -> usize {
        self.integers.count + self.floats.count
    }

    /// Left row, right row and approximate score of a hit.
    #[inline(always)]
    fn hit(&self, at: usize, unit: f64) -> (usize, usize, f32) {
        let split = |pair: u32| ((pair >> 16) as usize, (pair & 0xFFFF) as usize);
        if self.integers.count > 0 {
            let (row, column) = split(self.integers.pairs[at]);
            let from = self.integer_from[0][row].max(self.integer_from[1][column]);
            let units = self.integers.values[at] - from;
            (row, column, (f64::from(units) * unit) as f32)
        } else {
            let (row, column) = split(self.floats.pairs[at]);
            let from = self.float_from[0][row].max(self.float_from[1][column]);
            (row, column, self.floats.values[at] - from)
        }
    }
}

/// Score of one integer unit.
fn unit(left: &Block, right: &Block) -> f64 {
    f64::from(left.scale) * f64::from(right.scale)
}

fn whole<T>(group: &[T]) -> &[T; GROUP] {
    group
        .try_into()
        .expect("a group has as many rows as it is cut to")
}

/// Calls `hit` for every score that reaches its own threshold or the common one; `hit` may change
/// the own one and answers with the common one from there on.
fn for_hits(
    scores: &[f32],
    thresholds: &mut [f32],
    mut common: f32,
    mut hit: impl FnMut(usize, f32, &mut f32) -> f32,
) {
    const TOGETHER: usize = 16;
    let chunks = scores.chunks(TOGETHER).zip(thresholds.chunks_mut(TOGETHER));
    for (chunk, (scores, thresholds)) in chunks.enumerate() {
        let reach = |(score, own): (&f32, &f32)| (*score >= *own) | (*score >= common);
        let any = scores.iter().zip(&*thresholds).map(reach);
        if !any.fold(false, |any, one| any | one) {
            continue;
        }
        for (at, (&score, own)) in scores.iter().zip(thresholds).enumerate() {
            if score >= *own || score >= common {
                common = hit(chunk * TOGETHER + at, score, own);
            }
        }
    }
}
