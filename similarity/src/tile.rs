//! Two tiles meet: which of their pairs matter to whom.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::best::{Best, Ids};
use super::columns::TermColumns;
use super::compare::{Candidate, Found, RowRef, Side};
use super::crowd::Crowd;
use super::filter::{Filter, Held, Pair};
use super::kernel::Isa;
use super::laid::{Laid, MAX_ROWS};
use super::layout::{self, Projected};
use super::products::Places;
use super::strip::{GROUP, PANEL, split};
use super::table::{Sparse, Table};
use super::terms::TermIndex;

/// Hits after which they are scored, so that later ones face higher thresholds.
const SETTLE: usize = 1024;
/// A row's first threshold comes from so many times as many rows as it keeps candidates, at least.
const SAMPLE: usize = 3;
/// A floor no higher than this one rules nothing out: the lowest score above 0.
const OPEN: f32 = f32::from_bits(1);
/// Scores looked at together; almost always none of them matters.
const TOGETHER: usize = 16;
/// Blocks by whose columns a tile's terms are held at a time.
const PROJECTIONS: usize = 4;

/// A tile laid out.
struct Panels<'a> {
    block: &'a layout::Block,
    /// Values of a laid out row.
    length: usize,
}

/// Rows of one side that are compared together.
pub(super) struct Tile<'a> {
    side: u16,
    table: &'a Table,
    /// The table's row at each place.
    rows: &'a [u32],
    /// Which places are of live rows.
    live: Vec<bool>,
    /// How many those are.
    count: usize,
    dense: Vec<&'a [f32]>,
    /// One a row, or none if no row has one.
    sparse: Vec<Sparse<'a>>,
    panels: Option<Panels<'a>>,
    crowd: Crowd,
    /// Made when the tile is first the left one of a filter.
    held: OnceLock<Held>,
    /// Made when a tile of other columns is first met, for all of its block.
    projections: Mutex<Vec<(Arc<TermColumns>, Arc<Projected>)>>,
    /// All terms; made when exact scores first need it.
    terms: OnceLock<TermIndex>,
}

impl<'a> Tile<'a> {
    /// A side's rows: those of its layout in the layout's order, or else `live`, its live rows.
    pub(super) fn all(
        number: u16,
        side: &'a Side<'_>,
        laid: Option<&'a Laid>,
        live: &'a [u32],
    ) -> Vec<Self> {
        let tile = |rows: &'a [u32], panels| {
            let is_live = |row: &u32| side.live.contains(*row as usize);
            let live: Vec<bool> = rows.iter().map(is_live).collect();
            Self {
                side: number,
                table: side.table,
                rows,
                count: live.iter().filter(|live| **live).count(),
                live,
                dense: rows
                    .iter()
                    .map(|row| side.table.dense(*row as usize))
                    .collect(),
                sparse: if side.table.terms() > 0 {
                    rows.iter()
                        .map(|row| side.table.sparse(*row as usize))
                        .collect()
                } else {
                    Vec::new()
                },
                panels,
                crowd: Crowd::default(),
                held: OnceLock::new(),
                projections: Mutex::default(),
                terms: OnceLock::new(),
            }
        };
        let Some(laid) = laid else {
            return live.chunks(MAX_ROWS).map(|rows| tile(rows, None)).collect();
        };
        let panels = |block| Panels {
            block,
            length: laid.length,
        };
        let tiles = laid.tiles.iter().zip(laid.rows.chunks(laid.tile_rows));
        let tiles = tiles.map(|(block, rows)| tile(rows, Some(panels(block))));
        tiles.filter(|tile| tile.count > 0).collect()
    }

    fn row(&self, place: usize) -> RowRef {
        RowRef {
            side: self.side,
            row: self.rows[place],
        }
    }

    /// The tile's terms by other columns than its own.
    fn projected(&self, isa: Isa, columns: &Arc<TermColumns>) -> Option<Arc<Projected>> {
        let scale = self.panels.as_ref()?.block.scale;
        let locked = || {
            self.projections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = |projections: &[(Arc<TermColumns>, Arc<Projected>)]| {
            let known = projections.iter().find(|(of, _)| Arc::ptr_eq(of, columns));
            known.map(|(_, projected)| Arc::clone(projected))
        };
        if let Some(projected) = known(&locked()) {
            return Some(projected);
        }
        let rows = self.sparse.iter().copied();
        let made = Arc::new(Projected::new(columns, rows, scale, isa));
        let mut projections = locked();
        // Another thread may have been faster; then there are two for a while.
        if projections.len() >= PROJECTIONS {
            projections.remove(0);
        }
        projections.push((Arc::clone(columns), Arc::clone(&made)));
        Some(made)
    }

    /// Adds to `sums`, a row of `other` after the other, the sparse products of both tiles' rows.
    fn sparse_products(&self, isa: Isa, other: &Self, sums: &mut [f32]) {
        if self.sparse.is_empty() || other.sparse.is_empty() {
            return;
        }
        let columns = self.rows.len();
        let of = || TermIndex::of(other.sparse.iter().copied());
        let terms = other.terms.get_or_init(of);
        let mut one = vec![0.0; other.rows.len()];
        for (column, (ids, weights)) in self.sparse.iter().enumerate() {
            one.fill(0.0);
            (isa.sparse_dots)(terms, ids, weights, &mut one);
            for (sums, sum) in sums.chunks_exact_mut(columns).zip(&one) {
                sums[column] = *sum;
            }
        }
    }
}

/// What was found for the rows of a tile so far.
pub(super) struct Lists {
    best: Vec<Best>,
    /// Whether most rows take anything yet.
    fresh: bool,
}

impl Lists {
    pub(super) fn new(tile: &Tile<'_>, side: &Side<'_>) -> Self {
        let floor = |(row, live): (&u32, &bool)| match side.floors.get(*row as usize) {
            Some(floor) if *live => *floor,
            _ => f32::INFINITY,
        };
        let floors = tile.rows.iter().zip(&tile.live).map(floor);
        let open = floors.clone().filter(|floor| *floor <= OPEN).count();
        Self {
            best: floors.map(Best::new).collect(),
            fresh: 2 * open > tile.count,
        }
    }

    /// What was found for each of the rows.
    pub(super) fn finish(self, tile: &Tile<'_>, limit: usize, ids: &impl Ids) -> Vec<Found> {
        let best = self.best.into_iter().enumerate();
        best.filter_map(|(place, best)| best.finish(tile.row(place), limit, ids))
            .collect()
    }

    #[inline(always)]
    fn push<I: Ids>(&mut self, place: usize, row: RowRef, score: f32, meeting: &Meeting<'_, I>) {
        self.best[place].push(
            meeting.isa,
            Candidate { row, score },
            meeting.limit,
            meeting.ids,
        );
    }
}

/// Lists that threads share.
pub(super) type Shared = Mutex<Lists>;

fn lock(lists: &Shared) -> MutexGuard<'_, Lists> {
    lists.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread needs where tiles meet.
#[derive(Default)]
pub(super) struct Scratch {
    filter: Filter,
    pairs: Vec<u32>,
    scores: Vec<f32>,
    places: Places,
    sums: Vec<f32>,
    others: Vec<u32>,
    bases: [Vec<f32>; 2],
    /// Candidates of left places.
    found: Vec<(u32, Candidate)>,
}

/// What is the same for all tiles of two sides.
pub(super) struct Meeting<'a, I> {
    pub(super) isa: Isa,
    pub(super) limit: usize,
    pub(super) ids: &'a I,
    /// Live rows of the left and the right block, or of one block with the lower one first, that
    /// are of one item; ascending.
    pub(super) apart: &'a [(u32, u32)],
}

impl<I: Ids> Meeting<'_, I> {
    /// All pairs of two different tiles; feeds both.
    pub(super) fn both(&self, tiles: [&Tile<'_>; 2], lists: [&Shared; 2], scratch: &mut Scratch) {
        let fresh = lists.map(|lists| lock(lists).fresh);
        let enough = |side: usize| tiles[1 - side].count >= SAMPLE * self.limit;
        if !Self::can_filter(tiles) || (0..2).any(|side| fresh[side] && !enough(side)) {
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
    pub(super) fn within(&self, tile: &Tile<'_>, lists: &Shared, scratch: &mut Scratch) {
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
        self.apart.is_empty() || {
            let (a, b) = (left.rows[row], right.rows[column]);
            let is_swapped = left.side > right.side || (left.side == right.side && a > b);
            let pair = if is_swapped { (b, a) } else { (a, b) };
            self.apart.binary_search(&pair).is_err()
        }
    }

    /// Whether the filter takes two tiles.
    fn can_filter([left, right]: [&Tile<'_>; 2]) -> bool {
        let length = |tile: &Tile<'_>| Some(tile.panels.as_ref()?.length);
        length(left).is_some() && length(left) == length(right)
    }

    /// Two tiles as the filter takes them, if it does.
    fn pair<'p>(
        &self,
        [left, right]: [&'p Tile<'_>; 2],
        projected: &'p mut Option<Arc<Projected>>,
    ) -> Option<Pair<'p>> {
        let (one, two) = (left.panels.as_ref()?, right.panels.as_ref()?);
        let left_terms = match (&one.block.terms, &two.block.terms) {
            (Some(own), Some(other)) if Arc::ptr_eq(&own.columns, &other.columns) => Some(&own.own),
            (Some(_), Some(other)) => {
                *projected = left.projected(self.isa, &other.columns);
                projected.as_deref()
            }
            _ => None,
        };
        (one.length == two.length).then(|| Pair {
            isa: self.isa,
            left: one.block,
            held: left.held.get_or_init(|| Held::new(self.isa, one.block)),
            right: two.block,
            left_terms,
            length: one.length,
        })
    }

    /// All pairs that reach a threshold by their approximate scores; `wanted` tells for which
    /// sides.
    fn filtered(
        &self,
        tiles: [&Tile<'_>; 2],
        lists: [&Shared; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        let crowds = tiles.map(|tile| &tile.crowd);
        let mut projected = None;
        let (Some(pair), false) = (self.pair(tiles, &mut projected), Crowd::skips(crowds)) else {
            return self.exact(tiles, lists, wanted, scratch);
        };
        let want = |scratch: &mut Scratch| {
            for side in 0..2 {
                let bases = &mut scratch.bases[side];
                bases.clear();
                if wanted[side] {
                    bases.extend(lock(lists[side]).best.iter().map(Best::threshold));
                } else {
                    bases.resize(tiles[side].rows.len(), f32::INFINITY);
                }
                scratch.filter.want(side, &pair, bases);
            }
        };
        want(scratch);
        scratch.filter.share(&pair);
        let mut total = 0;
        for group in 0..pair.left.rows.div_ceil(GROUP) {
            let columns = pair.right.rows.next_multiple_of(PANEL);
            scratch.filter.find(&pair, group, 0..columns);
            let hits = scratch.filter.pairs().len();
            if hits >= SETTLE {
                total += hits;
                self.settle(tiles, &pair, lists, wanted, scratch);
                want(scratch);
            }
        }
        total += scratch.filter.pairs().len();
        self.settle(tiles, &pair, lists, wanted, scratch);
        Crowd::note(crowds, total, pair.left.rows * pair.right.rows);
    }

    /// Scores what the filter found and puts it into the lists of the sides that want it.
    fn settle(
        &self,
        tiles: [&Tile<'_>; 2],
        pair: &Pair<'_>,
        lists: [&Shared; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        scratch.filter.order(pair);
        let rows = tiles.map(|tile| tile.rows.len());
        let there = |pair: &u32| {
            let (row, column) = split(*pair);
            row < rows[0] && column < rows[1] && self.meet(tiles, row, column)
        };
        scratch.pairs.clear();
        scratch
            .pairs
            .extend(scratch.filter.pairs().iter().copied().filter(there));
        scratch.filter.clear();
        self.score(tiles, lists, wanted, scratch);
    }

    /// Puts pairs with their canonical scores into the lists of the sides that want them.
    fn score(
        &self,
        tiles: [&Tile<'_>; 2],
        lists: [&Shared; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        let Scratch {
            pairs,
            scores,
            places,
            ..
        } = scratch;
        let [left, right] = tiles;
        scores.clear();
        scores.resize(pairs.len(), 0.0);
        if left.table.dimension() == right.table.dimension() {
            (self.isa.pairs)(&left.dense, &right.dense, pairs, scores);
        }
        if !(left.sparse.is_empty() || right.sparse.is_empty()) {
            (self.isa.sparse_pairs)(&left.sparse, &right.sparse, pairs, scores, places);
        }
        if wanted[0] {
            let mut lists = lock(lists[0]);
            for (&pair, &score) in pairs.iter().zip(&*scores) {
                let (row, column) = split(pair);
                lists.push(row, right.row(column), score, self);
            }
        }
        if wanted[1] {
            let mut lists = lock(lists[1]);
            for (&pair, &score) in pairs.iter().zip(&*scores) {
                let (row, column) = split(pair);
                lists.push(column, left.row(row), score, self);
            }
        }
    }

    /// All pairs of the rows of a left tile, of which there is nothing yet to compare with; feeds
    /// the left tile only.
    ///
    /// Those with the highest bounds give each row a threshold, and then all that may reach it are
    /// looked for.
    fn sample(&self, tiles: [&Tile<'_>; 2], lists: &Shared, scratch: &mut Scratch) {
        let mut projected = None;
        let Some(pair) = self.pair(tiles, &mut projected) else {
            return self.exact(tiles, [lists, lists], [true, false], scratch);
        };
        let [left, right] = tiles;
        let columns = right.rows.len();
        let padded = columns.next_multiple_of(PANEL);
        let unit = pair.unit() as f32;
        let all_meet =
            right.count == columns && self.apart.is_empty() && !std::ptr::eq(left, right);
        let mut sums = std::mem::take(&mut scratch.sums);
        scratch.others.resize(padded, 0);
        scratch.filter.share(&pair);
        for group in 0..pair.left.rows.div_ceil(GROUP) {
            scratch.filter.sums(&pair, group, 0..padded, &mut sums);
            let rows = group * GROUP..left.rows.len().min((group + 1) * GROUP);
            let live = || rows.clone().filter(|row| left.live[*row]);
            let of = |row: usize| {
                let start = row % GROUP * padded;
                start..start + columns
            };
            let mut highs = [f32::NEG_INFINITY; GROUP];
            scratch.pairs.clear();
            for row in live() {
                let sums = &mut sums[of(row)];
                if !all_meet {
                    for (column, sum) in sums.iter_mut().enumerate() {
                        if !self.meet(tiles, row, column) {
                            *sum = f32::NEG_INFINITY;
                        }
                    }
                }
                let high = (self.isa.kth)(sums, self.limit);
                highs[row % GROUP] = high;
                self.take(row, sums, high, scratch);
            }
            self.score_meeting(tiles, all_meet, lists, scratch);
            scratch.bases[0].clear();
            let mut held = lock(lists);
            for row in live() {
                let best = &mut held.best[row];
                best.rise(self.isa, self.limit, self.ids);
                scratch.bases[0].push(best.threshold());
            }
            drop(held);
            scratch.pairs.clear();
            for (at, row) in live().enumerate() {
                let low = (scratch.bases[0][at] - pair.error(row)) / unit - 1.0;
                if low < highs[row % GROUP] {
                    self.take(row, &mut sums[of(row)], low.next_down(), scratch);
                }
            }
            self.score_meeting(tiles, all_meet, lists, scratch);
        }
        scratch.sums = sums;
        let mut lists = lock(lists);
        lists.fresh = false;
        for best in &mut lists.best {
            best.rise(self.isa, self.limit, self.ids);
        }
    }

    /// Makes pairs of a row and all whose sums reach a base; their sums are gone then.
    fn take(&self, row: usize, sums: &mut [f32], base: f32, scratch: &mut Scratch) {
        let count = (self.isa.reaching_places)(sums, base, &mut scratch.others);
        let places = &scratch.others[..count];
        let pairs = places.iter().map(|column| (row as u32) << 16 | column);
        scratch.pairs.extend(pairs);
        for &column in places {
            sums[column as usize] = f32::NEG_INFINITY;
        }
    }

    /// Scores the pairs of a sample that meet.
    fn score_meeting(
        &self,
        tiles: [&Tile<'_>; 2],
        all_meet: bool,
        lists: &Shared,
        scratch: &mut Scratch,
    ) {
        if !all_meet {
            scratch.pairs.retain(|&pair| {
                let (row, column) = split(pair);
                self.meet(tiles, row, column)
            });
        }
        self.score(tiles, [lists, lists], [true, false], scratch);
    }

    /// All pairs by their canonical scores.
    fn exact(
        &self,
        tiles: [&Tile<'_>; 2],
        lists: [&Shared; 2],
        wanted: [bool; 2],
        scratch: &mut Scratch,
    ) {
        let [left, right] = tiles;
        let columns = right.rows.len();
        let Scratch {
            bases,
            scores,
            sums,
            others,
            found,
            ..
        } = scratch;
        for side in 0..2 {
            bases[side].clear();
            if wanted[side] {
                bases[side].extend(lock(lists[side]).best.iter().map(Best::threshold));
            } else {
                bases[side].resize(tiles[side].rows.len(), f32::INFINITY);
            }
        }
        let mut own = wanted[1].then(|| lock(lists[1]));
        others.clear();
        others.extend(0..columns as u32);
        let has_dense = left.table.dimension() == right.table.dimension();
        sums.clear();
        sums.resize(left.rows.len() * columns, 0.0);
        right.sparse_products(self.isa, left, sums);
        scores.clear();
        scores.resize(columns, 0.0);
        for (row, sums) in sums.chunks_exact(columns.max(1)).enumerate() {
            if !left.live[row] {
                continue;
            }
            scores.fill(0.0);
            if has_dense {
                (self.isa.gather)(left.dense[row], &right.dense, others, scores);
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
                    found.push((
                        row as u32,
                        Candidate {
                            row: right.row(column),
                            score,
                        },
                    ));
                }
                if let Some(lists) = &mut own {
                    lists.push(column, left.row(row), score, self);
                    *threshold = lists.best[column].threshold();
                }
            });
        }
        drop(own);
        if wanted[0] {
            let mut lists = lock(lists[0]);
            for (row, candidate) in found.drain(..) {
                lists.push(row as usize, candidate.row, candidate.score, self);
            }
        }
        found.clear();
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
