//! Some rows with some other rows, each pair once, feeding the lists of both sides.
//!
//! Rows are processed in tiles: a few hundred rows that are laid out together and kept with their table (`laid`). All
//! threads share the lists of the left tiles. A thread takes a right tile, compares it with all left ones and finishes
//! its lists, so that there are never more right-hand lists in memory than threads. A row without candidates or floor
//! takes its first base from a whole tile. Tables that meet few rows are not laid out, and all their pairs are scored.
//!
//! Memory: the lists of the left rows, the lists of one right tile per thread, the results, and what is kept with the
//! tables.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use super::Error;
use super::candidates::TieOrder;
use super::filter::PreparedLeft;
use super::found::{Candidate, Found, RowRef};
use super::kernel::{Isa, Kernel};
use super::lists::Lists;
use super::meeting::{Meeting, Scratch, lock};
use super::pieces::each;
use super::table::MAX_ROWS;
use super::table::{RowMask, Table};
use super::tile::{Tile, pair};

/// A row's first base comes from at least this many times as many rows as it keeps candidates.
const SAMPLE: usize = 3;
/// A floor this low rules nothing out: it is the lowest score above 0.
const OPEN: f32 = f32::from_bits(1);

/// Rows of one table that take part in a comparison.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    /// The table.
    pub table: &'a Table,
    /// Which of its rows take part.
    pub live: &'a RowMask,
    /// The lowest score that each row of the table wants, live or not; infinity: the row wants none. Empty: no row of
    /// this side wants any.
    pub floors: Vec<f32>,
    /// Pairs of live rows, the left table's row first, that do not meet because they belong to one item; ascending. For
    /// the left side itself, the lower row comes first.
    pub apart: Vec<(u32, u32)>,
}

/// Some rows to compare with some other rows.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// The left rows.
    pub left: Side<'a>,
    /// Whether pairs of two left rows are compared too (each once, feeding both).
    pub within_left: bool,
    /// The right rows.
    pub rights: Vec<Side<'a>>,
    /// Candidates kept per row.
    pub keep: usize,
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Pairs of rows that met.
    pub pairs: u64,
    /// The rows that got candidates, by side, then row.
    pub found: Vec<Found>,
}

/// Compares some rows with some other rows, on the current rayon pool.
///
/// Every live left row meets every live row of each right side; with `within_left`, every pair of live left rows meets
/// once. Each pair feeds both its rows. `by_id` orders rows with equal scores; rows that it considers equal are ordered
/// by side, then row. Once `cancelled` is true, the call ends within two tiles.
///
/// # Errors
/// When the kernel cannot run here, or the call was cancelled.
///
/// # Panics
/// When sides differ in dimension (except for a side without dense parts), floors or masks do not fit their table,
/// there are more than 65,535 right sides, or 2^32 − 1 rows.
pub fn compare(
    kernel: Kernel,
    task: &Task<'_>,
    by_id: &(dyn Fn(RowRef, RowRef) -> Ordering + Sync),
    cancelled: &AtomicBool,
) -> Result<Compared, Error> {
    // Each kernel has its own layouts.
    let isa = kernel.instructions()?;
    let sides = Sides::new(task);
    let by_id = |a: u32, b: u32| by_id(sides.row(a), sides.row(b)).then_with(|| a.cmp(&b));
    let live = sides.sides.iter().map(|side| side.live.count());
    let live: Vec<usize> = live.collect();
    let total: usize = live.iter().sum();
    let tiles = sides.sides.par_iter().enumerate().map(|(number, side)| {
        let met = if number == 0 { total } else { live[0] };
        sides.tiles(isa, number, met, side.table)
    });
    let tiles: Vec<Vec<Tile<'_>>> = tiles.collect();
    let limit = task.keep.min(total).saturating_add(1);
    let ranks = OnceLock::new();
    let by_rank = |a: u32, b: u32| {
        let ranks: &Vec<u32> = ranks.get_or_init(|| sides.left_ranks(by_id));
        ranks[a as usize].cmp(&ranks[b as usize])
    };
    let run = Run {
        isa,
        sides: &sides,
        order: Some(&by_rank),
        keep: task.keep,
        limit,
        left: &tiles[0],
        lists: (tiles[0].iter())
            .map(|tile| {
                let mut lists = Lists::new(isa, sides.floors(0, tile), limit, Some(&by_id));
                lists.fresh = is_fresh(tile, &lists);
                Mutex::new(lists)
            })
            .collect(),
        prepared: tiles[0].iter().map(|_| OnceLock::new()).collect(),
        cancelled,
    };
    if task.within_left {
        run.within_left();
    }
    let rights: Vec<(usize, &Tile<'_>)> = (tiles.iter().enumerate().skip(1))
        .flat_map(|(side, tiles)| tiles.iter().map(move |tile| (side, tile)))
        .collect();
    let mut found: Vec<Found> = run
        .each(rights.len(), |at, thread| {
            let (side, tile) = rights[at];
            run.right(side, tile, thread)
        })
        .into_iter()
        .flatten()
        .collect();
    if run.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let left = (0..tiles[0].len()).into_par_iter().flat_map_iter(|at| {
        let mut lists = lock(&run.lists[at]);
        run.finish(0, &tiles[0][at], &mut lists)
    });
    found.par_extend(left);
    found.par_sort_unstable_by_key(|found| found.row);
    let pairs = |(side, rows): (&Side<'_>, &usize)| (live[0] * rows - side.apart.len()) as u64;
    let within = match task.within_left {
        true => (live[0] * live[0].saturating_sub(1) / 2 - task.left.apart.len()) as u64,
        false => 0,
    };
    Ok(Compared {
        pairs: within + task.rights.iter().zip(&live[1..]).map(pairs).sum::<u64>(),
        found,
    })
}

/// The sides of a task. A row's id is its number in the concatenation of all tables.
struct Sides<'a> {
    sides: Vec<&'a Side<'a>>,
    /// The id of each table's first row.
    firsts: Vec<u32>,
}

impl<'a> Sides<'a> {
    fn new(task: &'a Task<'a>) -> Self {
        let sides: Vec<&Side<'_>> = std::iter::once(&task.left).chain(&task.rights).collect();
        assert!(sides.len() <= 1 << 16, "a side has a 16-bit number");
        let mut end = 0_u32;
        let mut firsts = Vec::with_capacity(sides.len());
        for side in &sides {
            let rows = side.table.rows();
            assert_eq!(side.live.rows(), rows, "a mask speaks of its table's rows");
            assert!(
                side.floors.is_empty() || side.floors.len() == rows,
                "there is one floor a row, or none at all"
            );
            assert!(
                side.table.is_comparable(task.left.table),
                "rows of one space are equally long"
            );
            firsts.push(end);
            let rows = u32::try_from(rows).ok();
            // The last number is reserved for `NOBODY`.
            end = rows
                .and_then(|rows| end.checked_add(rows))
                .filter(|end| *end < u32::MAX)
                .expect("rows are counted in 32 bits");
        }
        Self { sides, firsts }
    }

    fn row(&self, id: u32) -> RowRef {
        let side = self.firsts.partition_point(|first| *first <= id) - 1;
        RowRef {
            side: side as u16,
            row: id - self.firsts[side],
        }
    }

    /// The rank of each live left row in the tie order, by id. Asking the caller once up front avoids asking again for
    /// every row that meets many with one score. The ids of left rows equal their numbers.
    fn left_ranks(&self, by_id: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
        let live = self.sides[0].live;
        let mut rows: Vec<u32> = live.iter().map(|row| row as u32).collect();
        rows.sort_unstable_by(|a, b| by_id(*a, *b));
        let mut ranks = vec![0; live.rows()];
        for (row, rank) in rows.into_iter().zip(0..) {
            ranks[row as usize] = rank;
        }
        ranks
    }

    /// A side's rows as tiles: in the order of its layout if it has one, else its live rows.
    fn tiles(&self, isa: Isa, number: usize, met: usize, table: &'a Table) -> Vec<Tile<'a>> {
        let first = self.firsts[number];
        let live = self.sides[number].live;
        let tile = |rows: &[u32], block, length| {
            let of = || rows.iter().map(|row| *row as usize);
            let sparse = if table.terms() > 0 {
                of().map(|row| table.sparse(row)).collect()
            } else {
                Vec::new()
            };
            let ids = rows.iter().map(|row| first + row).collect();
            let dense = of().map(|row| table.dense(row)).collect();
            let live = of().map(|row| live.contains(row)).collect();
            Tile::new(ids, dense, sparse, block, length).with_live(live)
        };
        let Some(laid) = table.laid(isa, met) else {
            let rows: Vec<u32> = live.iter().map(|row| row as u32).collect();
            return rows
                .chunks(MAX_ROWS)
                .map(|rows| tile(rows, None, 0))
                .collect();
        };
        let tiles = laid.tiles.iter().zip(laid.rows.chunks(laid.tile_rows));
        let tiles = tiles.map(|(block, rows)| tile(rows, Some(block), laid.length));
        tiles.filter(|tile| tile.count > 0).collect()
    }

    /// The lowest score that each row of a tile wants.
    fn floors(&self, side: usize, tile: &Tile<'_>) -> impl Iterator<Item = f32> {
        let (floors, first) = (&self.sides[side].floors, self.firsts[side]);
        let floor = move |place: usize| match floors.get((tile.ids[place] - first) as usize) {
            Some(floor) if tile.is_live(place) => *floor,
            _ => f32::INFINITY,
        };
        (0..tile.rows()).map(floor)
    }

    /// The rows that do not meet, by id.
    fn apart(&self, side: usize) -> Vec<(u32, u32)> {
        let pairs = self.sides[side].apart.iter();
        let first = self.firsts[side];
        pairs.map(|(left, right)| (*left, first + right)).collect()
    }
}

/// Whether most rows of a tile take any candidate.
fn is_fresh(tile: &Tile<'_>, lists: &Lists<'_>) -> bool {
    let open = lists.bases().iter().filter(|floor| **floor <= OPEN);
    2 * open.count() > tile.count
}

/// What all threads of a comparison share.
struct Run<'a> {
    isa: Isa,
    sides: &'a Sides<'a>,
    /// The tie order of left rows, the only rows that right ones meet.
    order: TieOrder<'a>,
    keep: usize,
    /// Candidates per row: those kept, and the best one dropped.
    limit: usize,
    left: &'a [Tile<'a>],
    /// The lists of the left tiles, and those tiles prepared to be the left one.
    lists: Vec<Mutex<Lists<'a>>>,
    prepared: Vec<OnceLock<PreparedLeft>>,
    cancelled: &'a AtomicBool,
}

/// Per-thread state.
struct Thread<'a> {
    scratch: Scratch,
    /// The lists of the right tile in progress.
    lists: Mutex<Lists<'a>>,
}

impl<'a> Run<'a> {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(atomic::Ordering::Relaxed)
    }

    fn each<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize, &mut Thread<'a>) -> T + Sync,
    ) -> Vec<T> {
        let thread = || Thread {
            scratch: Scratch::default(),
            lists: Mutex::new(Lists::new(self.isa, [], self.limit, self.order)),
        };
        each(count, &|| self.is_cancelled(), thread, work)
    }

    /// Compares the left rows among themselves.
    fn within_left(&self) {
        let apart = self.sides.apart(0);
        // First each tile with itself, which gives all rows a base.
        self.each(self.left.len(), |at, thread| {
            let meeting = Meeting {
                isa: self.isa,
                tiles: [&self.left[at]; 2],
                lists: [&self.lists[at]; 2],
                // Each pair comes up twice, once for either row.
                wanted: [true, false],
                apart: &apart,
            };
            self.meet(&meeting, at, &mut thread.scratch);
        });
        let pairs: Vec<[usize; 2]> = (0..self.left.len())
            .flat_map(|later| (0..later).map(move |earlier| [earlier, later]))
            .collect();
        self.each(pairs.len(), |at, thread| {
            let both = pairs[at];
            let meeting = Meeting {
                isa: self.isa,
                tiles: both.map(|at| &self.left[at]),
                lists: both.map(|at| &self.lists[at]),
                wanted: [true; 2],
                apart: &apart,
            };
            self.meet(&meeting, both[0], &mut thread.scratch);
        });
    }

    /// Compares a right tile with all left ones; returns what its rows found.
    fn right(&self, side: usize, tile: &Tile<'_>, thread: &mut Thread<'a>) -> Vec<Found> {
        let apart = self.sides.apart(side);
        let Thread { scratch, lists } = thread;
        let own = lists.get_mut().unwrap_or_else(PoisonError::into_inner);
        let met: usize = self.left.iter().map(|left| left.count).sum();
        // No more can be found than there are rows to meet.
        own.reset(self.sides.floors(side, tile), self.limit.min(met.max(1)));
        own.fresh = is_fresh(tile, own);
        for (at, left) in self.left.iter().enumerate() {
            if self.is_cancelled() {
                return Vec::new();
            }
            let meeting = Meeting {
                isa: self.isa,
                tiles: [left, tile],
                lists: [&self.lists[at], lists],
                wanted: [true; 2],
                apart: &apart,
            };
            self.meet(&meeting, at, scratch);
        }
        let own = lists.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.finish(side, tile, own)
    }
    /// Two tiles meet, of which the left one is a left tile of the task, or a tile meets itself.
    fn meet(&self, meeting: &Meeting<'_, '_>, left: usize, scratch: &mut Scratch) {
        let tiles = meeting.tiles;
        let prepare = || match tiles[0].block {
            Some(block) => PreparedLeft::new(self.isa, block),
            None => PreparedLeft::default(),
        };
        let prepared = self.prepared[left].get_or_init(prepare);
        let mut projected = None;
        let both = pair(self.isa, tiles, prepared, &mut projected);
        let fresh = [0, 1].map(|side| meeting.wanted[side] && lock(meeting.lists[side]).fresh);
        let enough = |side: usize| tiles[1 - side].count >= SAMPLE * self.limit;
        let Some(both) = both.filter(|_| (0..2).all(|side| !fresh[side] || enough(side))) else {
            return meeting.exact(scratch);
        };
        if fresh[0] {
            scratch.share(&both);
            meeting.sample(&both, 0..tiles[0].rows(), 0..tiles[1].rows(), scratch);
        }
        if fresh[1] {
            let swapped = meeting.swapped();
            let (prepared, mut projected) = (PreparedLeft::new(self.isa, both.right), None);
            if let Some(both) = pair(self.isa, swapped.tiles, &prepared, &mut projected) {
                scratch.share(&both);
                swapped.sample(&both, 0..tiles[1].rows(), 0..tiles[0].rows(), scratch);
            }
        }
        let wanted = [0, 1].map(|side| meeting.wanted[side] && !fresh[side]);
        if wanted != [false, false] {
            Meeting { wanted, ..*meeting }.all(Some(&both), scratch);
        }
    }

    /// The results of the rows of a tile.
    fn finish(&self, side: usize, tile: &Tile<'_>, lists: &mut Lists<'_>) -> Vec<Found> {
        let first = self.sides.firsts[side];
        let found = |place: usize| {
            if lists.is_empty(place) {
                return None;
            }
            let (ids, scores) = lists.best(place);
            let best = ids.iter().zip(scores).map(|(&id, &score)| Candidate {
                row: self.sides.row(id),
                score,
            });
            let row = RowRef {
                side: side as u16,
                row: tile.ids[place] - first,
            };
            Found::new(row, self.keep, best)
        };
        (0..tile.rows()).filter_map(found).collect()
    }
}
