//! Two tiles meet: which of their pairs matter to whom.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kindred_shared::Block;
use kindred_shared::job::{Candidate, Floor, Found, RowRef, Side};

use super::Kernel;
use super::best::{Best, Ids};
use super::filter::{Filter, Held, Hit, Panels};
use super::resident::Laid;
use super::rows::Sparse;
use super::scalar;
use super::strip::GROUP;
use super::terms::TermIndex;

/// Rows of a tile that is not laid out, at most.
const ROWS: usize = 384;
/// One in so many pairs of two tiles may be a hit; with more, exact scores are as fast.
const HITS: usize = 6;
/// A row's first threshold comes from so many times as many rows as it keeps candidates, at least.
const SAMPLE: usize = 3;
/// Scores looked at together; almost always none of them matters.
const TOGETHER: usize = 16;

/// Rows of one side that are compared together.
pub(super) struct Tile<'a> {
    side: u16,
    block: &'a Block,
    /// The block's row at each place.
    rows: &'a [u32],
    /// Which places are of live rows.
    live: Vec<bool>,
    /// How many those are.
    count: usize,
    dense: Vec<&'a [f32]>,
    panels: Option<Panels<'a>>,
    /// Made when the tile is first the left one of a filter.
    held: OnceLock<Held>,
    /// Made when a tile without panels first needs it.
    terms: OnceLock<TermIndex>,
}

impl<'a> Tile<'a> {
    /// A side's rows: those of its layout in the layout's order, or else `live`, its live rows.
    pub(super) fn all(number: u16, side: &'a Side, laid: Option<&'a Laid>, live: &'a [u32]) -> Vec<Self> {
        let tile = |rows: &'a [u32], panels| {
            let is_live = |row: &u32| side.live.contains(*row as usize);
            let live: Vec<bool> = rows.iter().map(is_live).collect();
            Self {
                side: number,
                block: &side.block,
                rows,
                count: live.iter().filter(|live| **live).count(),
                live,
                dense: rows.iter().map(|row| side.block.dense(*row as usize)).collect(),
                panels,
                held: OnceLock::new(),
                terms: OnceLock::new(),
            }
        };
        let Some(laid) = laid else {
            return live.chunks(ROWS).map(|rows| tile(rows, None)).collect();
        };
        let panels = laid.layout.blocks.iter().map(|block| Panels {
            block,
            residuals: laid.layout.residuals(block),
            length: laid.layout.length,
        });
        let of = |panels: Panels<'a>| {
            let block = panels.block;
            tile(&laid.rows[block.first..block.first + block.rows], Some(panels))
        };
        panels.map(of).filter(|tile| tile.count > 0).collect()
    }

    fn row(&self, place: usize) -> RowRef {
        RowRef { side: self.side, row: self.rows[place] }
    }

    fn sparse(&self, place: usize) -> Sparse<'a> {
        self.block.sparse(self.rows[place] as usize)
    }

    fn held(&self, panels: &Panels<'_>) -> &Held {
        self.held.get_or_init(|| Held::new(panels))
    }

    /// Adds to `sums`, a row of `other` after the other, the sparse products of both tiles' rows.
    fn sparse_products(&self, kernel: Kernel, other: &Self, sums: &mut [f32]) {
        let columns = self.rows.len();
        if let Some(panels) = &self.panels {
            if let Some(terms) = &panels.block.terms {
                for (row, sums) in sums.chunks_exact_mut(columns).enumerate() {
                    let (ids, weights) = other.sparse(row);
                    kernel.sparse_dots(terms, ids, weights, sums);
                }
            }
            return;
        }
        let rows = other.rows.len();
        let laid = other.panels.as_ref().and_then(|panels| panels.block.terms.as_ref());
        let of = || TermIndex::of((0..rows).map(|row| other.sparse(row)));
        let terms = laid.unwrap_or_else(|| other.terms.get_or_init(of));
        let mut one = vec![0.0; rows];
        for column in 0..columns {
            one.fill(0.0);
            let (ids, weights) = self.sparse(column);
            kernel.sparse_dots(terms, ids, weights, &mut one);
            for (sums, sum) in sums.chunks_exact_mut(columns).zip(&one) {
                sums[column] = *sum;
            }
        }
    }
}

/// What was found for the rows of a tile so far.
pub(super) struct Lists<'a> {
    best: Vec<Best<'a>>,
    /// Whether most rows take anything yet.
    fresh: bool,
}

impl<'a> Lists<'a> {
    pub(super) fn new(tile: &Tile<'a>, side: &'a Side) -> Self {
        let floor = |(row, live): (&u32, &bool)| match side.floors.get(*row as usize) {
            Some(floor) if *live => floor,
            _ => &Floor::Closed,
        };
        let floors = tile.rows.iter().zip(&tile.live).map(floor);
        let open = floors.clone().filter(|floor| **floor == Floor::Open).count();
        Self { best: floors.map(Best::new).collect(), fresh: 2 * open > tile.count }
    }

    /// What was found for each of the rows.
    pub(super) fn finish(&self, tile: &Tile<'_>, limit: usize, ids: &impl Ids) -> Vec<Found> {
        let mut keys = Vec::new();
        let best = self.best.iter().enumerate();
        best.filter_map(|(place, best)| best.finish(tile.row(place), limit, ids, &mut keys)).collect()
    }

    fn is_closed(&self) -> bool {
        self.best.iter().all(|best| best.threshold() == f32::INFINITY)
    }
}

/// Lists that threads share.
pub(super) type Shared<'a> = Mutex<Lists<'a>>;

fn lock<'m, 'a>(lists: &'m Shared<'a>) -> MutexGuard<'m, Lists<'a>> {
    lists.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread needs where tiles meet.
#[derive(Default)]
pub(super) struct Scratch {
    filter: Filter,
    bases: [Vec<f32>; 2],
    /// Right places by left row of a group, for scoring.
    columns: [Vec<u32>; GROUP],
    others: Vec<u32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    lower: Vec<f32>,
    upper: Vec<f32>,
    /// Candidates of left and of right places.
    found: [Vec<(u32, Candidate)>; 2],
}

/// What is the same for all tiles of two sides.
pub(super) struct Meeting<'a, I> {
    pub(super) kernel: Kernel,
    pub(super) limit: usize,
    pub(super) ids: &'a I,
    /// Live rows of the left and the right block, or of one block with the lower one first, that
    /// are of one item; ascending.
    pub(super) same: &'a [(u32, u32)],
}

impl<I: Ids> Meeting<'_, I> {
    /// All pairs of two different tiles; feeds both.
    pub(super) fn both(&self, tiles: [&Tile<'_>; 2], lists: [&Shared<'_>; 2], scratch: &mut Scratch) {
        let fresh = lists.map(|lists| lock(lists).fresh);
        let enough = |side: usize| tiles[1 - side].count >= SAMPLE * self.limit;
        if self.panels(tiles).is_none() || (0..2).any(|side| fresh[side] && !enough(side)) {
            self.exact(tiles, lists, [true, true], scratch);
        } else if fresh == [false, false] {
            self.filtered(tiles, lists, [true, true], scratch);
        } else {
            for side in 0..2 {
                if fresh[side] {
                    self.sample([tiles[side], tiles[1 - side]], lists[side], scratch);
                } else {
                    self.filtered(tiles, lists, [side == 0, side == 1], scratch);
                }
            }
        }
    }

    /// All pairs of a tile with itself.
    pub(super) fn within(&self, tile: &Tile<'_>, lists: &Shared<'_>, scratch: &mut Scratch) {
        let tiles = [tile, tile];
        // Each pair comes twice, once for either row.
        let one = [true, false];
        if tile.panels.is_none() {
            self.exact(tiles, [lists, lists], one, scratch);
        } else if !lock(lists).fresh {
            self.filtered(tiles, [lists, lists], one, scratch);
        } else if tile.count > SAMPLE * self.limit {
            self.sample(tiles, lists, scratch);
        } else {
            self.exact(tiles, [lists, lists], one, scratch);
        }
    }

    /// Whether two live rows meet.
    #[inline(always)]
    fn meet(&self, tiles: [&Tile<'_>; 2], row: usize, column: usize) -> bool {
        let [left, right] = tiles;
        if !(left.live[row] && right.live[column]) || (std::ptr::eq(left, right) && row == column) {
            return false;
        }
        self.same.is_empty() || {
            let (a, b) = (left.rows[row], right.rows[column]);
            let is_swapped = left.side > right.side || (left.side == right.side && a > b);
            let pair = if is_swapped { (b, a) } else { (a, b) };
            self.same.binary_search(&pair).is_err()
        }
    }

    fn panels<'p>(&self, tiles: [&'p Tile<'_>; 2]) -> Option<[&'p Panels<'p>; 2]> {
        match tiles.map(|tile| tile.panels.as_ref()) {
            [Some(left), Some(right)] if left.length == right.length => Some([left, right]),
            _ => None,
        }
    }

    /// All pairs that reach a threshold by their approximate scores; `wanted` tells for which
    /// sides.
    fn filtered(
        &self,
        tiles: [&Tile<'_>; 2],
        lists: [&Shared<'_>; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        let Some([left, right]) = self.panels(tiles) else {
            return self.exact(tiles, lists, wanted, scratch);
        };
        for side in 0..2 {
            let bases = &mut scratch.bases[side];
            bases.clear();
            if wanted[side] {
                bases.extend(lock(lists[side]).best.iter().map(Best::threshold));
            } else {
                bases.resize(tiles[side].rows.len(), f32::INFINITY);
            }
        }
        scratch.filter.want(0, left, right, &scratch.bases[0]);
        scratch.filter.want(1, right, left, &scratch.bases[1]);
        let held = tiles[0].held(left);
        let most = tiles[0].rows.len() * tiles[1].rows.len() / HITS;
        let mut hits = 0;
        for group in 0..left.block.rows.div_ceil(GROUP) {
            scratch.filter.clear();
            let sparse = |row| tiles[0].sparse(row);
            scratch.filter.group(self.kernel, (left, held), right, group, sparse);
            hits += scratch.filter.count();
            if hits > most {
                scratch.found.iter_mut().for_each(Vec::clear);
                return self.exact(tiles, lists, wanted, scratch);
            }
            for Hit { row, column, upper, .. } in scratch.filter.hits(left, right) {
                let reaches = upper >= scratch.bases[0][row] || upper >= scratch.bases[1][column];
                if reaches && self.meet(tiles, row, column) {
                    scratch.columns[row % GROUP].push(column as u32);
                }
            }
            self.score(tiles, group, scratch);
        }
        self.give(lists, scratch);
    }

    /// All pairs of the rows of a left tile without thresholds; feeds the left tile only.
    fn sample(&self, tiles: [&Tile<'_>; 2], lists: &Shared<'_>, scratch: &mut Scratch) {
        let Some([left, right]) = self.panels(tiles) else {
            return self.exact(tiles, [lists, lists], [true, false], scratch);
        };
        let rows = tiles.map(|tile| tile.rows.len());
        for side in 0..2 {
            scratch.bases[side].clear();
            scratch.bases[side].resize(rows[side], f32::NEG_INFINITY);
        }
        scratch.filter.want(0, left, right, &scratch.bases[0]);
        scratch.filter.want(1, right, left, &scratch.bases[1]);
        scratch.bases[0].clear();
        scratch.bases[0].extend(lock(lists).best.iter().map(Best::threshold));
        scratch.bases[1].fill(f32::INFINITY);
        let held = tiles[0].held(left);
        for group in 0..left.block.rows.div_ceil(GROUP) {
            scratch.filter.clear();
            let sparse = |row| tiles[0].sparse(row);
            scratch.filter.group(self.kernel, (left, held), right, group, sparse);
            for bounds in [&mut scratch.lower, &mut scratch.upper] {
                bounds.clear();
                bounds.resize(GROUP * rows[1], f32::NEG_INFINITY);
            }
            for Hit { row, column, lower, upper } in scratch.filter.hits(left, right) {
                if self.meet(tiles, row, column) {
                    let at = row % GROUP * rows[1] + column;
                    (scratch.lower[at], scratch.upper[at]) = (lower, upper);
                }
            }
            let bounds = scratch.lower.chunks_exact(rows[1]).zip(scratch.upper.chunks_exact(rows[1]));
            let bases = scratch.bases[0].iter_mut().skip(group * GROUP);
            for ((base, (lower, upper)), columns) in bases.zip(bounds).zip(&mut scratch.columns) {
                // So many others reach it for certain.
                *base = base.max(self.kernel.kth(lower, self.limit));
                let reaching = (0..).zip(upper).filter(|(_, upper)| **upper >= *base);
                columns.extend(reaching.map(|(column, _)| column));
            }
            self.score(tiles, group, scratch);
        }
        let mut held = lock(lists);
        held.fresh = false;
        for (best, base) in held.best.iter_mut().zip(&scratch.bases[0]) {
            best.raise(*base);
        }
        drop(held);
        self.give([lists, lists], scratch);
    }

    /// The canonical scores of a group's pairs, and for whom they are candidates.
    fn score(&self, tiles: [&Tile<'_>; 2], group: usize, scratch: &mut Scratch) {
        let [left, right] = tiles;
        let has_dense = left.block.dimension() == right.block.dimension();
        let Scratch { columns, scores, bases, found, .. } = scratch;
        for (row, columns) in (group * GROUP..).zip(columns) {
            if columns.is_empty() {
                continue;
            }
            scores.clear();
            scores.resize(columns.len(), 0.0);
            if has_dense {
                self.kernel.gather::<true>(left.dense[row], &right.dense, columns, scores);
            }
            let own = left.sparse(row);
            for (&column, &dense) in columns.iter().zip(&*scores) {
                let at = column as usize;
                let score = dense + scalar::sparse_dot(own, right.sparse(at));
                if score >= bases[0][row] {
                    found[0].push((row as u32, Candidate { row: right.row(at), score }));
                }
                if score >= bases[1][at] {
                    found[1].push((column, Candidate { row: left.row(row), score }));
                }
            }
            columns.clear();
        }
    }

    /// Puts candidates into the lists.
    fn give(&self, lists: [&Shared<'_>; 2], scratch: &mut Scratch) {
        for (lists, found) in lists.into_iter().zip(&mut scratch.found) {
            if found.is_empty() {
                continue;
            }
            let mut lists = lock(lists);
            for (place, candidate) in found.drain(..) {
                lists.best[place as usize].push(candidate, self.limit, self.ids);
            }
        }
    }

    /// All pairs by their canonical scores.
    fn exact(
        &self,
        tiles: [&Tile<'_>; 2],
        lists: [&Shared<'_>; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        let [left, right] = tiles;
        let columns = right.rows.len();
        let Scratch { bases, scores, sums, others, found, .. } = scratch;
        bases[0].clear();
        bases[1].clear();
        if wanted[0] {
            bases[0].extend(lock(lists[0]).best.iter().map(Best::threshold));
        } else {
            bases[0].resize(left.rows.len(), f32::INFINITY);
        }
        let mut own = wanted[1].then(|| lock(lists[1]));
        match &own {
            Some(lists) => bases[1].extend(lists.best.iter().map(Best::threshold)),
            None => bases[1].resize(columns, f32::INFINITY),
        }
        others.clear();
        others.extend(0..columns as u32);
        let has_dense = left.block.dimension() == right.block.dimension();
        sums.clear();
        sums.resize(left.rows.len() * columns, 0.0);
        right.sparse_products(self.kernel, left, sums);
        scores.clear();
        scores.resize(columns, 0.0);
        for (row, sums) in sums.chunks_exact(columns).enumerate() {
            if !left.live[row] {
                continue;
            }
            scores.fill(0.0);
            if has_dense {
                self.kernel.gather::<false>(left.dense[row], &right.dense, others, scores);
            }
            for (score, sum) in scores.iter_mut().zip(sums) {
                *score += *sum;
            }
            let base = bases[0][row];
            for_hits(scores, &mut bases[1], base, |column, score, threshold| {
                if !self.meet(tiles, row, column) {
                    return;
                }
                if score >= base {
                    found[0].push((row as u32, Candidate { row: right.row(column), score }));
                }
                if let Some(lists) = &mut own
                    && score >= *threshold
                {
                    let best = &mut lists.best[column];
                    best.push(Candidate { row: left.row(row), score }, self.limit, self.ids);
                    *threshold = best.threshold();
                }
            });
        }
        drop(own);
        self.give(lists, scratch);
    }
}

/// Calls `hit` for every score that reaches its own threshold, which `hit` may raise, or the common
/// one.
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
