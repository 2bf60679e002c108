//! All with all, once a pair, feeding both sides.
//!
//! First every block meets itself, which gives each row a first base. Then pairs of blocks are
//! handed out, near ones first, so that all bases rise evenly. Approximate scores rule out almost
//! all pairs; the rest gets canonical scores. Bases are read now and then: they only rise, so an
//! old one lets too much through, never too little.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Kernel;
use super::layout::{Block, UNDERFLOW, Values, sparse_error};
use super::lists::Lists;
use super::rows::Scorer;
use super::steps::Steps;
use super::strip::{GROUP, Hits, PANEL, Strip, split};
use super::terms::Shared;

/// A threshold that no integer score reaches.
const BEYOND: i32 = 1 << 29;
/// One in so many pairs of a tile may be a hit; with more, exact scores are as fast.
const HITS: usize = 6;
/// Hits after which they are scored, so that later ones face higher bases.
const SETTLE: usize = 1024;
/// Tiles in which a block had too many hits before filtering it is no longer tried each time.
const PATIENCE: u32 = 2;
/// Then it is tried for one in so many.
const RETRY: usize = 8;
/// Blocks to the right of a block that are met in one go, at most.
const MAX_BAND: usize = 4;

/// A comparison of all rows with all.
pub(super) struct Engine<'a> {
    pub(super) kernel: Kernel,
    pub(super) scorer: &'a Scorer<'a>,
    /// Rows of every block but the last.
    pub(super) block_rows: usize,
    /// Laid out rows, if approximate scores come first.
    pub(super) blocks: Vec<Block>,
    /// Values of a laid out row.
    pub(super) length: usize,
    pub(super) lists: Vec<Mutex<Lists>>,
    /// For each block, in how many tiles hits were too many.
    pub(super) crowded: Vec<AtomicU32>,
    pub(super) cancelled: Option<&'a AtomicBool>,
    pub(super) steps: &'a Steps<'a>,
}

/// What a thread needs for a tile.
#[derive(Default)]
pub(super) struct Scratch {
    left: Vec<u8>,
    integers: Hits<i32>,
    floats: Hits<f32>,
    integer_from: [Vec<i32>; 2],
    float_from: [Vec<f32>; 2],
    sparse: Vec<f32>,
    shared: Shared,
    /// The approximate sparse score of each hit, if there are any.
    near: Vec<f32>,
    bases: [Vec<f32>; 2],
    pub(super) others: Vec<u32>,
    pub(super) scores: Vec<f32>,
    pub(super) sums: Vec<f32>,
    pub(super) thresholds: Vec<f32>,
}

impl Engine<'_> {
    /// Compares, and gives up all but the lists, which are not sorted; `None` if it was cancelled.
    pub(super) fn compare(self) -> Option<Vec<Mutex<Lists>>> {
        let blocks = self.lists.len();
        self.each(blocks, |block, scratch| {
            self.diagonal(block, scratch);
            self.steps.done(1);
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
                self.steps.done(1);
            }
        });
        (!self.is_cancelled()).then_some(self.lists)
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

    /// Whether to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled
            .is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }

    pub(super) fn lists(&self, block: usize) -> MutexGuard<'_, Lists> {
        self.lists[block]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The positions of a block's rows.
    pub(super) fn span(&self, block: usize) -> Range<usize> {
        let first = block * self.block_rows;
        first..(first + self.block_rows).min(self.scorer.rows())
    }

    /// The ids of a block's rows.
    pub(super) fn ids(&self, block: usize) -> &[u32] {
        self.scorer.ids(self.span(block))
    }

    /// Gets a block ready to be the left one of tiles.
    fn hold(&self, block: usize, scratch: &mut Scratch) {
        let Some(Values::Integers(values)) = self.blocks.get(block).map(|block| &block.values)
        else {
            return;
        };
        let middle = self.kernel.grid().map_or(0, |grid| grid.middle);
        scratch.left.clear();
        // Left values are signed.
        let signed = values.get().iter().map(|value| value.wrapping_sub(middle));
        scratch.left.extend(signed);
    }

    /// A block with itself.
    fn diagonal(&self, at: usize, scratch: &mut Scratch) {
        let Some(block) = self.blocks.get(at) else {
            self.exact_diagonal(at, scratch);
            return;
        };
        self.hold(at, scratch);
        let columns = block.rows.next_multiple_of(PANEL);
        for side in 0..2 {
            scratch.integer_from[side].clear();
            scratch.integer_from[side].resize(columns, 0);
            scratch.float_from[side].clear();
            scratch.float_from[side].resize(columns, 0.0);
        }
        Self::share(block, block, scratch);
        let unit = unit(block, block) as f32;
        let ids = self.ids(at);
        let mut sums = std::mem::take(&mut scratch.sums);
        sums.resize(GROUP * columns, 0.0);
        let mut others = std::mem::take(&mut scratch.others);
        others.resize(columns, 0);
        let mut lists = self.lists(at);
        let keep = lists.keep();
        for group in 0..block.rows.div_ceil(GROUP) {
            self.sums(at, group, scratch, &mut sums);
            let rows = group * GROUP..((group + 1) * GROUP).min(block.rows);
            for (row, sums) in rows.zip(sums.chunks_exact_mut(columns)) {
                let sums = &mut sums[..block.rows];
                sums[row] = f32::NEG_INFINITY;
                let base = if block.rows > keep {
                    self.kernel.kth(sums, keep)
                } else {
                    f32::NEG_INFINITY
                };
                // Twice: for the K that are near it and for one that may be better.
                let error = block.norm * (block.residuals[row] + block.residual) + UNDERFLOW;
                let floor = (lists.threshold(row, 0) - error) / unit;
                let base = (base - 2.0 * error / unit).max(floor).next_down();
                let count = self.kernel.reaching_places(sums, base, &mut others);
                let pairs = &mut others[..count];
                let upper = (row as u32) << 16;
                pairs.iter_mut().for_each(|other| *other |= upper);
                scratch.scores.clear();
                scratch.scores.resize(count, 0.0);
                let span = self.span(at);
                self.scorer
                    .pairs(span.clone(), span, pairs, &mut scratch.scores);
                for (&pair, &score) in pairs.iter().zip(&scratch.scores) {
                    let (_, other) = split(pair);
                    if other != row {
                        lists.push(row, ids[other], score);
                    }
                }
                lists.rise(row);
            }
        }
        scratch.sums = sums;
        scratch.others = others;
    }

    /// Two different blocks.
    fn tile(&self, left: usize, right: usize, scratch: &mut Scratch) {
        let crowded = |block: usize| self.crowded[block].load(Ordering::Relaxed) >= PATIENCE;
        let skip = crowded(left) && crowded(right) && !(left + right).is_multiple_of(RETRY);
        let (Some(one), Some(two), false) = (self.blocks.get(left), self.blocks.get(right), skip)
        else {
            self.exact_tile(left, right, scratch);
            return;
        };
        self.thresholds(0, left, two, scratch);
        self.thresholds(1, right, one, scratch);
        Self::share(one, two, scratch);
        scratch.clear();
        let most = one.rows * two.rows / HITS;
        let (mut total, mut many) = (0, false);
        for group in 0..one.rows.div_ceil(GROUP) {
            self.strip(left, two, group, scratch);
            let hits = scratch.pairs().len();
            if !many && total + hits > most {
                many = true;
                for block in [left, right] {
                    self.crowded[block].fetch_add(1, Ordering::Relaxed);
                }
            }
            if hits >= SETTLE {
                total += hits;
                self.settle(left, right, scratch);
                self.thresholds(0, left, two, scratch);
                self.thresholds(1, right, one, scratch);
            }
        }
        self.settle(left, right, scratch);
    }

    /// Scores the hits of a tile and hands them to the lists of both sides.
    fn settle(&self, left: usize, right: usize, scratch: &mut Scratch) {
        let mut scores = std::mem::take(&mut scratch.scores);
        let (one, two) = (self.span(left), self.span(right));
        scratch.drop_beyond(one.len(), two.len());
        scores.clear();
        scores.resize(scratch.pairs().len(), 0.0);
        let (from, to) = (one.clone(), two.clone());
        self.scorer
            .dense_pairs(from, to, scratch.pairs(), &mut scores);
        if !scratch.near.is_empty() {
            for (bases, block) in scratch.bases.iter_mut().zip([left, right]) {
                bases.clear();
                bases.extend_from_slice(self.lists(block).bases());
            }
            let error = sparse_error(&self.blocks[left], &self.blocks[right]);
            scratch.drop_below(error, &mut scores);
        }
        let pairs = scratch.pairs();
        self.scorer.sparse_pairs(one, two, pairs, &mut scores);
        let ids = self.ids(right);
        let mut lists = self.lists(left);
        for (&pair, &score) in pairs.iter().zip(&scores) {
            let (row, column) = split(pair);
            lists.push(row, ids[column], score);
        }
        drop(lists);
        let ids = self.ids(left);
        let mut lists = self.lists(right);
        for (&pair, &score) in pairs.iter().zip(&scores) {
            let (row, column) = split(pair);
            lists.push(column, ids[row], score);
        }
        drop(lists);
        scratch.scores = scores;
        scratch.clear();
    }

    /// Turns the bases of a block's rows into minus the thresholds of a tile with another block.
    fn thresholds(&self, side: usize, at: usize, other: &Block, scratch: &mut Scratch) {
        let block = &self.blocks[at];
        let columns = block.rows.next_multiple_of(PANEL);
        let lists = self.lists(at);
        let rows = lists.bases().iter().zip(&block.residuals);
        // What a row's own ρ and the other block's largest add to a score, at most.
        let (own, others) = (other.norm, block.norm * other.residual + UNDERFLOW);
        match block.values {
            Values::Integers(_) => {
                let per_unit = (1.0 / unit(block, other)) as f32;
                let from = &mut scratch.integer_from[side];
                from.clear();
                from.resize(columns, -BEYOND);
                self.kernel.run(|| {
                    for (from, (base, residual)) in from.iter_mut().zip(rows) {
                        let units = (own * residual + others - base) * per_unit;
                        let units = units.clamp(-(BEYOND as f32), BEYOND as f32);
                        // Up, by what roundings may have taken, and by one for the sparse part's.
                        *from = (units + units.abs() * f32::EPSILON * 2.0 + 3.0) as i32;
                    }
                });
            }
            Values::Floats(_) => {
                // A sum that begins far from the scores would lose their last bits.
                let most = 2.0 * block.norm * other.norm;
                let from = &mut scratch.float_from[side];
                from.clear();
                let minus = rows.map(|(base, residual)| own * residual + others - base);
                from.extend(minus.map(|minus| minus.clamp(-most, most)));
                from.resize(columns, -(2.0 * most + 1.0));
            }
        }
    }

    /// Finds out which terms two blocks share; to be done before any of their groups.
    fn share(left: &Block, right: &Block, scratch: &mut Scratch) {
        if let (Some(one), Some(two)) = (&left.terms, &right.terms) {
            scratch.shared.find(one, two);
        }
    }

    /// The sparse scores of a group of the left block, if there are any.
    fn sparse(&self, at: usize, group: usize, right: &Block, scratch: &mut Scratch) {
        let left = &self.blocks[at];
        scratch.sparse.clear();
        let (Some(_), Some(terms)) = (&left.terms, &right.terms) else {
            return;
        };
        let columns = right.rows.next_multiple_of(PANEL);
        scratch.sparse.resize(GROUP * columns, 0.0);
        let rows = group * GROUP..((group + 1) * GROUP).min(left.rows);
        for (row, sums) in rows.zip(scratch.sparse.chunks_exact_mut(columns)) {
            self.kernel.sparse_sums(&scratch.shared, terms, row, sums);
        }
    }

    /// Adds the hits of a group of the left block.
    fn strip(&self, at: usize, right: &Block, group: usize, scratch: &mut Scratch) {
        self.sparse(at, group, right, scratch);
        let left = &self.blocks[at];
        let Scratch {
            integers, floats, ..
        } = scratch;
        let (mut integers, mut floats) = (std::mem::take(integers), std::mem::take(floats));
        match (&left.values, &right.values) {
            (Values::Integers(_), Values::Integers(values)) => {
                let strip = self.integer_strip(left, values.get(), right, group, scratch);
                self.kernel.integer_strip(&strip, &mut integers);
            }
            (Values::Floats(own), Values::Floats(values)) => {
                let strip = self.float_strip(own.get(), values.get(), group, scratch);
                self.kernel.strip(&strip, &mut floats);
            }
            _ => unreachable!("all blocks of a layout are alike"),
        }
        (scratch.integers, scratch.floats) = (integers, floats);
        scratch.remember_sparse();
    }

    /// The approximate scores of a group of a block with all of it, in the block's units.
    fn sums(&self, at: usize, group: usize, scratch: &mut Scratch, sums: &mut [f32]) {
        let block = &self.blocks[at];
        self.sparse(at, group, block, scratch);
        match &block.values {
            Values::Integers(values) => {
                let strip = self.integer_strip(block, values.get(), block, group, scratch);
                self.kernel.integer_sums(&strip, sums);
            }
            Values::Floats(values) => {
                let strip = self.float_strip(values.get(), values.get(), group, scratch);
                self.kernel.sums(&strip, sums);
            }
        }
    }

    fn integer_strip<'s>(
        &self,
        left: &'s Block,
        values: &'s [u8],
        right: &Block,
        group: usize,
        scratch: &'s Scratch,
    ) -> Strip<'s, u8, i32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        Strip {
            left: &scratch.left,
            group,
            right: values,
            length: self.length,
            from_left: whole(&scratch.integer_from[0][rows]),
            offsets: left.offsets(group),
            from_right: &scratch.integer_from[1],
            sparse: &scratch.sparse,
            per_unit: (1.0 / unit(left, right)) as f32,
        }
    }

    fn float_strip<'s>(
        &self,
        left: &'s [f32],
        right: &'s [f32],
        group: usize,
        scratch: &'s Scratch,
    ) -> Strip<'s, f32, f32> {
        let rows = group * GROUP..(group + 1) * GROUP;
        Strip {
            left,
            group,
            right,
            length: self.length,
            from_left: whole(&scratch.float_from[0][rows]),
            offsets: &[0.0; GROUP],
            from_right: &scratch.float_from[1],
            sparse: &scratch.sparse,
            per_unit: 1.0,
        }
    }
}

impl Scratch {
    /// The hits there are.
    fn pairs(&self) -> &[u32] {
        if self.integers.count > 0 {
            &self.integers.pairs[..self.integers.count]
        } else {
            &self.floats.pairs[..self.floats.count]
        }
    }

    /// The hits there are, and how many count.
    fn pairs_mut(&mut self) -> (&mut [u32], &mut usize) {
        if self.integers.count > 0 {
            (&mut self.integers.pairs, &mut self.integers.count)
        } else {
            (&mut self.floats.pairs, &mut self.floats.count)
        }
    }

    /// Keeps the approximate sparse scores of a group's hits, which another group's take the place
    /// of.
    fn remember_sparse(&mut self) {
        if self.sparse.is_empty() {
            return;
        }
        let columns = self.sparse.len() / GROUP;
        let mut near = std::mem::take(&mut self.near);
        let hits = &self.pairs()[near.len()..];
        near.extend(hits.iter().map(|&pair| {
            let (row, column) = split(pair);
            self.sparse[row % GROUP * columns + column]
        }));
        self.near = near;
    }

    /// Drops the hits of rows that only fill up a block.
    fn drop_beyond(&mut self, rows: usize, columns: usize) {
        if rows.is_multiple_of(GROUP) && columns.is_multiple_of(PANEL) {
            return;
        }
        let mut near = std::mem::take(&mut self.near);
        let (pairs, count) = self.pairs_mut();
        let mut kept = 0;
        for at in 0..*count {
            let (row, column) = split(pairs[at]);
            pairs[kept] = pairs[at];
            if let Some(&sum) = near.get(at) {
                near[kept] = sum;
            }
            kept += usize::from(row < rows && column < columns);
        }
        *count = kept;
        near.truncate(kept);
        self.near = near;
    }

    /// Drops the hits that reach neither base, now that their dense scores are known. Their sparse
    /// ones are off by `error` at most.
    fn drop_below(&mut self, error: f32, scores: &mut Vec<f32>) {
        let (near, bases) = (
            std::mem::take(&mut self.near),
            std::mem::take(&mut self.bases),
        );
        let (pairs, count) = self.pairs_mut();
        let mut kept = 0;
        // Without a branch: half of them stay.
        for at in 0..*count {
            let (row, column) = split(pairs[at]);
            let most = scores[at] + near[at] + error;
            pairs[kept] = pairs[at];
            scores[kept] = scores[at];
            kept += usize::from((most >= bases[0][row]) | (most >= bases[1][column]));
        }
        *count = kept;
        scores.truncate(kept);
        (self.near, self.bases) = (near, bases);
    }

    /// Forgets the hits.
    fn clear(&mut self) {
        self.integers.count = 0;
        self.floats.count = 0;
        self.near.clear();
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
