//! Compares rows with rows: exact, in tiles, each pair once for both sides.
//!
//! Rows are taken a tile at a time, some hundred that were laid out together and stay so with
//! their table (`laid`). The left tiles' lists are shared by all threads. A thread takes a
//! right tile, compares it with all left ones and finishes its lists, so that there are never
//! more of them than threads. Where two tiles meet, approximate scores rule out almost all pairs
//! (`filter`), and only the rest gets its canonical score. A row that has nothing yet, and no
//! floor, takes its first threshold from a whole tile.
//!
//! Where approximate scores do not pay, all pairs of two tiles are scored: tables that meet few
//! rows are not laid out, and of tiles of many equal rows nothing can be ruled out.
//!
//! The order in which candidates come does not matter (`Best`), so the answer is the same for
//! any number of threads.
//!
//! Memory: 2·(keep + 1) candidates of 12 bytes a left row, as many for each row of one tile a
//! thread, what was found, and what is kept with the tables.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::best::Ids;
use super::kernel::Isa;
use super::tile::{Lists, Meeting, Scratch, Shared, Tile};
use super::{Error, Kernel, RowMask, Table};

/// A row of a comparison: of the left table, or of one of the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// 0 is the left table, n is `rights[n - 1]`.
    pub side: u16,
    /// Row in that table.
    pub row: u32,
}

/// Another row and the pair's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The other row.
    pub row: RowRef,
    /// The canonical score.
    pub score: f32,
}

/// The candidates of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row the candidates are for.
    pub row: RowRef,
    /// At most `keep`, best first: score descending, then in the order of ties.
    pub candidates: Vec<Candidate>,
    /// The best candidate that was dropped because `keep` better ones were there.
    pub dropped: Option<Candidate>,
}

/// Rows of one table that take part in a comparison.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    /// The table.
    pub table: &'a Table,
    /// Which of its rows take part.
    pub live: &'a RowMask,
    /// The lowest score that each row of the table wants, live or not; infinity: it wants none. Empty: no
    /// row of this side wants any.
    pub floors: Vec<f32>,
    /// Live rows, the left table's first, that do not meet, because they are of one item; ascending. Of the
    /// left side itself those with the lower one first.
    pub apart: Vec<(u32, u32)>,
}

/// Some rows to compare with some others.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// The left rows.
    pub left: Side<'a>,
    /// Whether pairs of two left rows are compared too (each once, feeding both).
    pub within_left: bool,
    /// The right rows.
    pub rights: Vec<Side<'a>>,
    /// Candidates kept a row.
    pub keep: usize,
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Pairs of rows that met.
    pub pairs: u64,
    /// Rows that got candidates, by side, then row.
    pub found: Vec<Found>,
}

/// Compares some rows with some others, on the current rayon pool.
///
/// Every live left row meets every live row of each right side, and with `within_left` every
/// pair of live left rows meets once. Each pair feeds both its rows. `by_id` puts rows with equal scores
/// into their order; two rows of one item are equal to it. Once `cancelled` is true, it ends soon (two tiles).
///
/// # Errors
/// When the kernel cannot run here, or it was cancelled.
///
/// # Panics
/// When sides differ in dimension (but for a side without dense parts), floors or masks do not fit their
/// table, or there are more than 65,535 right sides.
pub fn compare(
    kernel: Kernel,
    task: &Task<'_>,
    by_id: &(dyn Fn(RowRef, RowRef) -> Ordering + Sync),
    cancelled: &AtomicBool,
) -> Result<Compared, Error> {
    // Layouts are a kernel's own.
    let isa = kernel.instructions()?;
    let sides = Sides::new(task, by_id);
    let live: Vec<Vec<u32>> = sides
        .sides
        .iter()
        .map(|side| side.live.iter().map(|row| row as u32).collect())
        .collect();
    let total: usize = live.iter().map(Vec::len).sum();
    let tiles: Vec<Vec<Tile<'_>>> = sides
        .sides
        .par_iter()
        .zip(&live)
        .enumerate()
        .map(|(number, (&side, live_rows))| {
            let met = if number == 0 { total } else { live[0].len() };
            Tile::all(number as u16, side, side.table.laid(isa, met), live_rows)
        })
        .collect();
    let run = Run {
        isa,
        sides: &sides,
        limit: task.keep.min(total).saturating_add(1),
        left: tiles[0]
            .iter()
            .map(|tile| Mutex::new(Lists::new(tile, &task.left)))
            .collect(),
        cancelled,
        tiles: &tiles,
    };
    let mut pairs = 0;
    if task.within_left {
        pairs += run.within_left();
    }
    let mut found: Vec<Vec<Found>> = vec![Vec::new()];
    let rights: Vec<(u64, Vec<Found>)> = (1..tiles.len())
        .into_par_iter()
        .map(|side| run.right(side))
        .collect();
    for (met, right) in rights {
        pairs += met;
        found.push(right);
    }
    if run.is_cancelled() {
        return Err(Error::Cancelled);
    }
    found[0] = run.finish_left();
    Ok(Compared {
        pairs,
        found: found.into_iter().flatten().collect(),
    })
}

/// The sides of a task by their number.
pub(super) struct Sides<'a> {
    sides: Vec<&'a Side<'a>>,
    by_id: &'a (dyn Fn(RowRef, RowRef) -> Ordering + Sync),
}

impl<'a> Sides<'a> {
    fn new(task: &'a Task<'a>, by_id: &'a (dyn Fn(RowRef, RowRef) -> Ordering + Sync)) -> Self {
        let sides: Vec<&Side<'_>> = std::iter::once(&task.left).chain(&task.rights).collect();
        assert!(sides.len() <= 1 << 16, "a side has a 16-bit number");
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
        }
        Self { sides, by_id }
    }
}

impl Ids for Sides<'_> {
    fn by_id(&self, a: RowRef, b: RowRef) -> Ordering {
        (self.by_id)(a, b).then_with(|| a.cmp(&b))
    }
}

/// What all threads of a comparison share.
struct Run<'a> {
    isa: Isa,
    sides: &'a Sides<'a>,
    /// The tiles of each side.
    tiles: &'a [Vec<Tile<'a>>],
    limit: usize,
    /// The lists of the left tiles.
    left: Vec<Shared>,
    cancelled: &'a AtomicBool,
}

impl<'a> Run<'a> {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(atomic::Ordering::Relaxed)
    }

    /// Compares the left rows among themselves; how many pairs there are.
    fn within_left(&self) -> u64 {
        let Side { live, apart, .. } = self.sides.sides[0];
        let tiles = &self.tiles[0];
        let meeting = Meeting {
            isa: self.isa,
            limit: self.limit,
            ids: self.sides,
            apart,
        };
        // First each tile with itself, which gives all rows a threshold.
        tiles
            .par_iter()
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (at, tile)| {
                if !self.is_cancelled() {
                    meeting.within(tile, &self.left[at], scratch);
                }
            });
        let pairs: Vec<(usize, usize)> = (0..tiles.len())
            .flat_map(|later| (0..later).map(move |earlier| (earlier, later)))
            .collect();
        pairs
            .par_iter()
            .for_each_init(Scratch::default, |scratch, &(earlier, later)| {
                if !self.is_cancelled() {
                    let lists = [&self.left[earlier], &self.left[later]];
                    meeting.both([&tiles[earlier], &tiles[later]], lists, scratch);
                }
            });
        let rows = live.count() as u64;
        rows * rows.saturating_sub(1) / 2 - apart.len() as u64
    }

    /// Compares a right side with all left rows: how many pairs there are, and what was found for
    /// its rows.
    fn right(&self, number: usize) -> (u64, Vec<Found>) {
        let (left, right) = (self.sides.sides[0], self.sides.sides[number]);
        let apart = &right.apart;
        let meeting = Meeting {
            isa: self.isa,
            limit: self.limit,
            ids: self.sides,
            apart,
        };
        let mut found: Vec<Found> = self.tiles[number]
            .par_iter()
            .map_init(Scratch::default, |scratch, tile| {
                let lists = Mutex::new(Lists::new(tile, right));
                for (at, other) in self.tiles[0].iter().enumerate() {
                    if self.is_cancelled() {
                        return Vec::new();
                    }
                    meeting.both([other, tile], [&self.left[at], &lists], scratch);
                }
                let lists = lists.into_inner().unwrap_or_else(PoisonError::into_inner);
                lists.finish(tile, self.limit, self.sides)
            })
            .flatten_iter()
            .collect();
        found.sort_unstable_by_key(|found| found.row.row);
        let pairs = left.live.count() as u64 * right.live.count() as u64;
        (pairs - apart.len() as u64, found)
    }

    fn finish_left(self) -> Vec<Found> {
        let mut found: Vec<Found> = self.tiles[0]
            .par_iter()
            .zip(self.left)
            .flat_map_iter(|(tile, lists)| {
                let lists = lists.into_inner().unwrap_or_else(PoisonError::into_inner);
                lists.finish(tile, self.limit, self.sides)
            })
            .collect();
        found.sort_unstable_by_key(|found| found.row.row);
        found
    }
}
