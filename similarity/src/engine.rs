//! All with all, once a pair, feeding both sides.
//!
//! First every block meets itself, which gives each row a first base. Then pairs of blocks are
//! handed out, near ones first, so that all bases rise evenly. Upper bounds of scores rule out almost
//! all pairs (`filter`); the rest gets canonical scores. Bases are read now and then: they only rise,
//! so an old one lets too much through, never too little.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::crowd::Crowd;
use super::filter::{Filter, Held, Pair};
use super::kernel::Isa;
use super::layout::Block;
use super::lists::{Candidates, Lists};
use super::products::Places;
use super::rows::Scorer;
use super::steps::Steps;
use super::strip::{GROUP, PANEL, split};

/// Hits after which they are scored, so that later ones face higher bases.
const SETTLE: usize = 1024;
/// Rows of a block that first meet each other: a sample large enough to guess bases from.
const PART_ROWS: usize = 8 * PANEL;
/// Blocks to the right of a block that are met in one go, at most.
const MAX_BAND: usize = 8;

/// A comparison of all rows with all.
pub(super) struct Engine<'a> {
    pub(super) isa: Isa,
    pub(super) scorer: &'a Scorer<'a>,
    /// Rows of every block but the last.
    pub(super) block_rows: usize,
    /// Laid out rows, if approximate scores come first.
    pub(super) blocks: Vec<Block>,
    /// Values of a laid out row.
    pub(super) length: usize,
    pub(super) lists: Vec<Mutex<Lists<'static>>>,
    /// One a block.
    pub(super) crowds: Vec<Crowd>,
    pub(super) cancelled: Option<&'a AtomicBool>,
    pub(super) steps: &'a Steps<'a>,
}

/// What a thread needs for a tile.
#[derive(Default)]
pub(super) struct Scratch {
    /// The left block of tiles.
    held: Held,
    filter: Filter,
    products: Products,
    pub(super) others: Vec<u32>,
    pub(super) scores: Vec<f32>,
    pub(super) sums: Vec<f32>,
    pub(super) thresholds: Vec<f32>,
}

/// Canonical scores of pairs.
#[derive(Default)]
struct Products {
    places: Places,
    scores: Vec<f32>,
}

impl Products {
    /// Those of some rows with some others; see `Scorer::pairs`.
    fn of(
        &mut self,
        scorer: &Scorer<'_>,
        left: Range<usize>,
        right: Range<usize>,
        pairs: &[u32],
    ) -> &[f32] {
        self.scores.clear();
        self.scores.resize(pairs.len(), 0.0);
        scorer.pairs(left, right, pairs, &mut self.scores, &mut self.places);
        &self.scores
    }
}

impl Engine<'_> {
    /// Compares, and gives up all but the lists, which are not sorted; `None` if it was cancelled.
    pub(super) fn compare(self) -> Option<Vec<Mutex<Lists<'static>>>> {
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

    pub(super) fn lists(&self, block: usize) -> MutexGuard<'_, Lists<'static>> {
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
        if let Some(block) = self.blocks.get(block) {
            scratch.held.hold(self.isa, block);
        }
    }

    /// The left block, which is held, and a right one. All blocks have the same columns.
    fn pair<'p>(&self, left: &'p Block, right: &'p Block, held: &'p Held) -> Pair<'p> {
        let terms = left.terms.as_ref().filter(|_| right.terms.is_some());
        Pair {
            isa: self.isa,
            left,
            held,
            right,
            left_terms: terms.map(|terms| &terms.own),
            length: self.length,
        }
    }

    /// A block with itself: first each part of it, which gives each row a first base, then each with
    /// those behind it.
    fn diagonal(&self, at: usize, scratch: &mut Scratch) {
        let Some(block) = self.blocks.get(at) else {
            self.exact_diagonal(at, scratch);
            return;
        };
        self.hold(at, scratch);
        let held = std::mem::take(&mut scratch.held);
        let pair = self.pair(block, block, &held);
        scratch.filter.share(&pair);
        let parts = || (0..block.rows).step_by(PART_ROWS);
        for first in parts() {
            let part = first..block.rows.min(first + PART_ROWS);
            self.sample(at, &pair, part, scratch);
        }
        let end = block.rows.next_multiple_of(PANEL);
        for behind in parts().skip(1) {
            let groups = (behind - PART_ROWS) / GROUP..behind / GROUP;
            self.filtered(at, at, &pair, groups, behind..end, scratch);
        }
        scratch.held = held;
    }

    /// A part of a block with itself, row by row: those with the highest bounds give the row a base, and
    /// then all that may reach it are looked for.
    fn sample(&self, at: usize, pair: &Pair<'_>, part: Range<usize>, scratch: &mut Scratch) {
        let Scratch {
            filter,
            products,
            others,
            sums,
            ..
        } = scratch;
        let columns = part.start..part.end.next_multiple_of(PANEL);
        let unit = pair.unit() as f32;
        others.resize(columns.len(), 0);
        let mut lists = self.lists(at);
        let keep = lists.keep();
        for group in part.start / GROUP..part.end.div_ceil(GROUP) {
            filter.sums(pair, group, columns.clone(), sums);
            let rows = group * GROUP..((group + 1) * GROUP).min(part.end);
            for (row, sums) in rows.zip(sums.chunks_exact_mut(columns.len())) {
                let sums = &mut sums[..part.len()];
                sums[row - part.start] = f32::NEG_INFINITY;
                let high = if part.len() > keep {
                    (self.isa.kth)(sums, keep)
                } else {
                    f32::NEG_INFINITY
                };
                let count = self.reaching(row - part.start, sums, high, others);
                let places = &mut others[..count];
                self.push_all(at, row, part.start, places, products, &mut lists);
                lists.rise(row);
                let low = (lists.base(row) - pair.error(row)) / unit - 1.0;
                let low = low.next_down();
                if low < high {
                    for pair in &others[..count] {
                        sums[split(*pair).1 - part.start] = f32::NEG_INFINITY;
                    }
                    let count = self.reaching(row - part.start, sums, low, others);
                    let places = &mut others[..count];
                    self.push_all(at, row, part.start, places, products, &mut lists);
                    lists.rise(row);
                }
            }
        }
    }

    /// The places of the sums that reach a base, but for a row's own; says how many.
    fn reaching(&self, own: usize, sums: &[f32], base: f32, places: &mut [u32]) -> usize {
        let count = (self.isa.reaching_places)(sums, base, places);
        let at = places[..count]
            .iter()
            .position(|place| *place as usize == own);
        let Some(at) = at else { return count };
        places.copy_within(at + 1..count, at);
        count - 1
    }

    /// Scores a row of a block with some others of it, and puts them into its list. `places`, counted
    /// from the row `first` on, become pairs.
    fn push_all(
        &self,
        at: usize,
        row: usize,
        first: usize,
        places: &mut [u32],
        products: &mut Products,
        lists: &mut Lists<'_>,
    ) {
        let pair = (row << 16 | first) as u32;
        places.iter_mut().for_each(|place| *place += pair);
        let span = self.span(at);
        let scores = products.of(self.scorer, span.clone(), span, places);
        lists.push_all(Candidates {
            pairs: places,
            scores,
            of_left: true,
            others: self.ids(at),
        });
    }

    /// Two different blocks.
    fn tile(&self, left: usize, right: usize, scratch: &mut Scratch) {
        let crowds = [left, right].map(|block| &self.crowds[block]);
        let blocks = (self.blocks.get(left), self.blocks.get(right));
        let (Some(one), Some(two), false) = (blocks.0, blocks.1, Crowd::skips(crowds)) else {
            self.exact_tile(left, right, scratch);
            return;
        };
        let held = std::mem::take(&mut scratch.held);
        let pair = self.pair(one, two, &held);
        scratch.filter.share(&pair);
        let (groups, columns) = (one.rows.div_ceil(GROUP), two.rows.next_multiple_of(PANEL));
        let hits = self.filtered(left, right, &pair, 0..groups, 0..columns, scratch);
        Crowd::note(crowds, hits, one.rows * two.rows);
        scratch.held = held;
    }

    /// Some groups of a block with some panels of another or of its own, but none that meets itself;
    /// what they share is known. Says how many hits there were.
    fn filtered(
        &self,
        left: usize,
        right: usize,
        pair: &Pair<'_>,
        groups: Range<usize>,
        columns: Range<usize>,
        scratch: &mut Scratch,
    ) -> usize {
        let Scratch {
            filter, products, ..
        } = scratch;
        let want = |filter: &mut Filter| {
            for (side, block) in [left, right].into_iter().enumerate() {
                filter.want(side, pair, self.lists(block).bases());
            }
        };
        want(filter);
        filter.clear();
        let mut total = 0;
        for group in groups {
            filter.find(pair, group, columns.clone());
            let hits = filter.pairs().len();
            if hits >= SETTLE {
                total += hits;
                self.settle(left, right, pair, filter, products);
                want(filter);
            }
        }
        total += filter.pairs().len();
        self.settle(left, right, pair, filter, products);
        total
    }

    /// Scores the hits of a tile and hands them to the lists of both sides.
    fn settle(
        &self,
        left: usize,
        right: usize,
        pair: &Pair<'_>,
        filter: &mut Filter,
        products: &mut Products,
    ) {
        let (one, two) = (self.span(left), self.span(right));
        filter.drop_beyond(one.len(), two.len());
        filter.order(pair);
        let pairs = filter.pairs();
        let scores = products.of(self.scorer, one, two, pairs);
        let (one, two) = (self.ids(left), self.ids(right));
        let candidates = |of_left, others| Candidates {
            pairs,
            scores,
            of_left,
            others,
        };
        self.lists(left).push_all(candidates(true, two));
        self.lists(right).push_all(candidates(false, one));
        filter.clear();
    }
}
