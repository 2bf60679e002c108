//! Two tiles meet: finds the pairs that matter to a list.
//!
//! Upper bounds of scores rule out almost all pairs (`filter`); the rest get canonical scores. Bases are read from time
//! to time: since they only rise, an old one lets too much through, never too little. All pairs are scored where bounds
//! would rule out little, because rows are equal or nearly so, and where there are no bounds, because values are too
//! large or rows are not laid out.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::candidates::Candidates;
use super::filter::{Filter, Pair};
use super::filter_backoff::FilterBackoff;
use super::kernel::Isa;
use super::lists::Lists;
use super::products::Places;
use super::strip::{GROUP, PANEL, split};
use super::tile::Tile;

/// Hits collected before they are scored, so that later pairs face higher bases.
const SETTLE: usize = 1024;
/// Scores checked together; almost always none of them matters.
const TOGETHER: usize = 16;

/// Per-thread scratch space for meetings.
#[derive(Default)]
pub(super) struct Scratch {
    filter: Filter,
    products: Products,
    others: Vec<u32>,
    sums: Vec<f32>,
    bases: [Vec<f32>; 2],
}

impl Scratch {
    /// Finds the rare terms that two tiles share.
    pub(super) fn share(&mut self, pair: &Pair<'_>) {
        self.filter.share(pair);
    }
}

/// Canonical scores of pairs.
#[derive(Default)]
struct Products {
    places: Places,
    scores: Vec<f32>,
}

impl Products {
    /// The canonical scores of pairs of two tiles (see `strip::split`). With sparse parts, fastest when the pairs of a
    /// left row are adjacent.
    fn of(&mut self, isa: Isa, [left, right]: [&Tile<'_>; 2], pairs: &[u32]) -> &[f32] {
        self.scores.clear();
        self.scores.resize(pairs.len(), 0.0);
        let scores = &mut self.scores[..];
        if have_dense([left, right]) {
            (isa.pairs)(&left.dense, &right.dense, pairs, scores);
        }
        if !(left.sparse.is_empty() || right.sparse.is_empty()) {
            let places = &mut self.places;
            (isa.sparse_pairs)(&left.sparse, &right.sparse, pairs, scores, places);
        }
        scores
    }
}

/// Whether both tiles have dense parts; within a tile either all rows have one or none has.
fn have_dense(tiles: [&Tile<'_>; 2]) -> bool {
    let length = |tile: &Tile<'_>| tile.dense.first().map_or(0, |row| row.len());
    tiles.into_iter().all(|tile| length(tile) > 0)
}

/// Two tiles, or one with itself, and their lists.
#[derive(Clone, Copy)]
pub(super) struct Meeting<'m, 'a> {
    pub(super) isa: Isa,
    pub(super) tiles: [&'m Tile<'m>; 2],
    pub(super) lists: [&'m Mutex<Lists<'a>>; 2],
    /// Which tiles' lists are fed. When a tile meets itself and each pair comes up twice, only the left one's.
    pub(super) wanted: [bool; 2],
    /// Ids of rows that do not meet, lower id first; ascending.
    pub(super) apart: &'m [(u32, u32)],
}

pub(super) fn lock<'m, 'a>(lists: &'m Mutex<Lists<'a>>) -> MutexGuard<'m, Lists<'a>> {
    lists.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meeting<'_, '_> {
    /// The same from the other side.
    pub(super) fn swapped(&self) -> Self {
        let ([left, right], [own, other], [one, two]) = (self.tiles, self.lists, self.wanted);
        Self {
            tiles: [right, left],
            lists: [other, own],
            wanted: [two, one],
            ..*self
        }
    }

    /// Whether every row of one tile meets every row of the other, except itself.
    fn all_meet(&self) -> bool {
        let [left, right] = self.tiles;
        left.live.is_empty() && right.live.is_empty() && self.apart.is_empty()
    }

    /// Whether two rows meet.
    #[inline(always)]
    fn meet(&self, row: usize, column: usize) -> bool {
        let [left, right] = self.tiles;
        if !(left.is_live(row) && right.is_live(column)) {
            return false;
        }
        let (a, b) = (left.ids[row], right.ids[column]);
        a != b && {
            let pair = if a < b { (a, b) } else { (b, a) };
            self.apart.is_empty() || self.apart.binary_search(&pair).is_err()
        }
    }

    /// The bases of the lists that are fed; infinity for the others.
    fn bases(&self, bases: &mut [Vec<f32>; 2]) {
        for (side, bases) in bases.iter_mut().enumerate() {
            bases.clear();
            if self.wanted[side] {
                bases.extend_from_slice(lock(self.lists[side]).bases());
            } else {
                bases.resize(self.tiles[side].rows(), f32::INFINITY);
            }
        }
    }

    /// All pairs of two different tiles, filtered by bounds if that pays off.
    pub(super) fn all(&self, pair: Option<&Pair<'_>>, scratch: &mut Scratch) {
        let backoffs = self.tiles.map(|tile| &tile.backoff);
        let (Some(pair), false) = (pair, FilterBackoff::skips(backoffs)) else {
            return self.exact(scratch);
        };
        let rows = self.tiles.map(Tile::rows);
        scratch.filter.share(pair);
        let (groups, columns) = (rows[0].div_ceil(GROUP), rows[1].next_multiple_of(PANEL));
        let hits = self.filtered(pair, 0..groups, 0..columns, scratch);
        FilterBackoff::note(backoffs, hits, rows[0] * rows[1]);
    }

    /// Some groups of the left tile with some panels of the right one; no row may meet itself, and the shared terms
    /// must have been found. Returns the number of hits.
    pub(super) fn filtered(
        &self,
        pair: &Pair<'_>,
        groups: Range<usize>,
        columns: Range<usize>,
        scratch: &mut Scratch,
    ) -> usize {
        let Scratch {
            filter,
            products,
            bases,
            ..
        } = scratch;
        let mut want = |filter: &mut Filter| {
            self.bases(bases);
            (0..2).for_each(|side| filter.want(side, pair, &bases[side]));
        };
        want(filter);
        filter.clear();
        let mut total = 0;
        for group in groups {
            filter.find(pair, group, columns.clone());
            let hits = filter.pairs().len();
            if hits >= SETTLE {
                total += hits;
                self.settle(pair, filter, products);
                want(filter);
            }
        }
        total += filter.pairs().len();
        self.settle(pair, filter, products);
        total
    }

    /// Scores the hits of a tile and passes them to the lists.
    fn settle(&self, pair: &Pair<'_>, filter: &mut Filter, products: &mut Products) {
        let [left, right] = self.tiles;
        filter.drop_beyond(left.rows(), right.rows());
        if !self.all_meet() {
            filter.retain(|pair| {
                let (row, column) = split(pair);
                self.meet(row, column)
            });
        } else if std::ptr::eq(left, right) {
            filter.retain(|pair| {
                let (row, column) = split(pair);
                row != column
            });
        }
        if filter.pairs().is_empty() {
            return;
        }
        filter.order(pair);
        self.push(filter.pairs(), products);
        filter.clear();
    }

    /// Scores pairs and passes them to the lists that are fed.
    fn push(&self, pairs: &[u32], products: &mut Products) {
        let scores = products.of(self.isa, self.tiles, pairs);
        for side in (0..2).filter(|side| self.wanted[*side]) {
            lock(self.lists[side]).push_all(Candidates {
                pairs,
                scores,
                of_left: side == 0,
                others: &self.tiles[1 - side].ids,
            });
        }
    }

    /// Some rows of the left tile that have no bases yet with some rows of the right tile, row by row: the pairs with
    /// the highest bounds give the row a base, and then all pairs that may reach it are scored. Feeds only the left
    /// lists. `columns` must begin with a panel, and the shared terms must have been found.
    pub(super) fn sample(
        &self,
        pair: &Pair<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Scratch {
            filter,
            products,
            others,
            sums,
            ..
        } = scratch;
        let [left, right] = self.tiles;
        let panels = columns.start..columns.end.next_multiple_of(PANEL);
        let unit = pair.unit() as f32;
        others.resize(panels.len(), 0);
        let mut lists = lock(self.lists[0]);
        let keep = lists.keep();
        for group in rows.start / GROUP..rows.end.div_ceil(GROUP) {
            filter.sums(pair, group, panels.clone(), sums);
            let of_group = group * GROUP..((group + 1) * GROUP).min(rows.end);
            for (row, sums) in of_group.zip(sums.chunks_exact_mut(panels.len())) {
                if !left.is_live(row) {
                    continue;
                }
                let sums = &mut sums[..columns.len()];
                if !self.all_meet() {
                    for (column, sum) in columns.clone().zip(&mut *sums) {
                        if !self.meet(row, column) {
                            *sum = f32::NEG_INFINITY;
                        }
                    }
                } else if std::ptr::eq(left, right) {
                    sums[row - columns.start] = f32::NEG_INFINITY;
                }
                // Finds the pairs that reach a base, and scores them.
                let mut take = |lists: &mut Lists<'_>, sums: &mut [f32], base: f32| {
                    let mut count = 0;
                    for at in 0..(self.isa.reaching_places)(sums, base, others) {
                        let place = others[at] as usize;
                        others[count] = (row << 16 | (columns.start + place)) as u32;
                        count += usize::from(sums[place] > f32::NEG_INFINITY);
                        sums[place] = f32::NEG_INFINITY;
                    }
                    let pairs = &others[..count];
                    let scores = products.of(self.isa, self.tiles, pairs);
                    lists.push_all(Candidates {
                        pairs,
                        scores,
                        of_left: true,
                        others: &right.ids,
                    });
                    lists.rise(row);
                };
                let high = if sums.len() > keep {
                    (self.isa.kth)(sums, keep)
                } else {
                    f32::NEG_INFINITY
                };
                take(&mut lists, sums, high);
                let low = (lists.bases()[row] - pair.error(row)) / unit - 1.0;
                let low = low.next_down();
                if low < high {
                    take(&mut lists, sums, low);
                }
            }
        }
        lists.fresh = false;
    }

    /// All pairs by their canonical scores.
    pub(super) fn exact(&self, scratch: &mut Scratch) {
        let [left, right] = self.tiles;
        let columns = right.rows();
        let Scratch {
            bases,
            sums,
            others,
            products: Products { scores, .. },
            ..
        } = scratch;
        self.bases(bases);
        let [bases, thresholds] = bases;
        others.clear();
        others.extend(0..columns as u32);
        self.sparse_products(scores, sums);
        let mut found = Vec::new();
        let all_meet = self.all_meet() && !std::ptr::eq(left, right);
        {
            let mut own = self.wanted[1].then(|| lock(self.lists[1]));
            scores.clear();
            scores.resize(columns, 0.0);
            for (row, sums) in sums.chunks_exact(columns.max(1)).enumerate() {
                if !left.is_live(row) {
                    continue;
                }
                scores.fill(0.0);
                if have_dense(self.tiles) {
                    (self.isa.gather)(left.dense[row], &right.dense, others, scores);
                }
                scores
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(score, sum)| *score += *sum);
                let base = bases[row];
                for_hits(scores, thresholds, base, |column, score, threshold| {
                    if !(all_meet || self.meet(row, column)) {
                        return;
                    }
                    if score >= base {
                        found.push(((row << 16) as u32 | column as u32, score));
                    }
                    if let Some(lists) = &mut own {
                        lists.push(column, left.ids[row], score);
                        *threshold = lists.bases()[column];
                    }
                });
            }
        }
        if self.wanted[0] {
            let mut lists = lock(self.lists[0]);
            for (pair, score) in found {
                let (row, column) = split(pair);
                lists.push(row, right.ids[column], score);
            }
        }
    }

    /// The sparse products of all rows of both tiles, one left row after another.
    fn sparse_products(&self, one: &mut Vec<f32>, sums: &mut Vec<f32>) {
        let [left, right] = self.tiles;
        let columns = right.rows();
        sums.clear();
        sums.resize(left.rows() * columns, 0.0);
        if left.sparse.is_empty() || right.sparse.is_empty() {
            return;
        }
        for (column, (ids, weights)) in right.sparse.iter().enumerate() {
            one.clear();
            one.resize(left.rows(), 0.0);
            (self.isa.sparse_dots)(left.terms(), ids, weights, one);
            for (sums, sum) in sums.chunks_exact_mut(columns).zip(&*one) {
                sums[column] = *sum;
            }
        }
    }
}

/// Calls `hit` for every score that reaches its own threshold, which `hit` may raise, or the common one.
#[inline(always)]
fn for_hits(
    scores: &[f32],
    thresholds: &mut [f32],
    common: f32,
    mut hit: impl FnMut(usize, f32, &mut f32),
) {
    let groups = scores.chunks(TOGETHER).zip(thresholds.chunks_mut(TOGETHER));
    for (group, (scores, thresholds)) in groups.enumerate() {
        let reach = |(score, own): (&f32, &f32)| (*score >= *own) | (*score >= common);
        let any = scores.iter().zip(&*thresholds).map(reach);
        if !any.fold(false, |any, one| any | one) {
            continue;
        }
        for (at, (&score, own)) in scores.iter().zip(thresholds).enumerate() {
            if score >= *own || score >= common {
                hit(group * TOGETHER + at, score, own);
            }
        }
    }
}
