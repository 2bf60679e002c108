//! Compares rows with rows: exact, in tiles, each pair once for both sides.
//!
//! Rows are taken a tile at a time, some hundred that were laid out together and stay so with
//! their block (`resident`). The left tiles' lists are shared by all threads. A thread takes a
//! right tile, compares it with all left ones and finishes its lists, so that there are never
//! more of them than threads. Where two tiles meet, approximate scores rule out almost all pairs
//! (`filter`), and only the rest gets its canonical score. A row that has nothing yet, and no
//! floor, takes its first threshold from a whole tile.
//!
//! Where approximate scores do not pay, all pairs of two tiles are scored: blocks that meet few
//! rows are not laid out (`resident`), and of tiles of many equal rows nothing can be ruled out.
//!
//! The order in which candidates come does not matter (`Best`), so the answer is the same for
//! any number of threads.
//!
//! Memory: 2·(keep + 1) candidates of 12 bytes a left row, as many for each row of one tile a
//! thread, what was found, and what is kept with the blocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kindred_shared::job::{CompareReply, CompareTask, Found, RowRef, Side};
use kindred_shared::{Block, ItemId};
use rayon::prelude::*;

use super::Kernel;
use super::best::Ids;
use super::resident::{Names, Resident};
use super::tile::{Lists, Meeting, Scratch, Shared, Tile};

/// Does a comparison on the current rayon pool.
///
/// Every live left row meets every live row of each right side, and with `within_left` every
/// pair of live left rows meets once. Each pair feeds both its rows. Rows of one item do not
/// meet. `found` is ordered by side, then row.
///
/// # Panics
/// When sides differ in dimension (but for a side without dense parts), floors or masks do not fit their block, or there are more
/// than 65,535 right sides: such a task was not made by this project.
pub fn compare(kernel: Kernel, task: &CompareTask) -> CompareReply {
    compare_unless(kernel, task, &AtomicBool::new(false)).expect("nobody cancels it")
}

/// The same, but it ends without an answer soon (two tiles) after `cancelled` becomes true.
///
/// # Panics
/// As [`compare`].
pub fn compare_unless(
    kernel: Kernel,
    task: &CompareTask,
    cancelled: &AtomicBool,
) -> Option<CompareReply> {
    // Layouts are a kernel's own.
    let kernel = kernel.usable();
    let sides = Sides::new(task);
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
            let resident = Resident::of(&side.block);
            resident.names(&side.block);
            Tile::all(
                number as u16,
                side,
                resident.laid(&side.block, kernel, met),
                live_rows,
            )
        })
        .collect();
    let run = Run {
        kernel,
        sides: &sides,
        limit: task.keep.min(total).saturating_add(1),
        left: tiles[0]
            .iter()
            .map(|tile| Mutex::new(Lists::new(tile, &task.left)))
            .collect(),
        cancelled,
        tiles: &tiles,
    };
    tracing::debug!(%kernel, left = live[0].len(), rights = task.rights.len(), "compare");
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
        return None;
    }
    found[0] = run.finish_left();
    Some(CompareReply {
        pairs,
        found: found.into_iter().flatten().collect(),
    })
}

/// The sides of a task by their number.
pub(super) struct Sides<'a> {
    sides: Vec<&'a Side>,
}

impl<'a> Sides<'a> {
    fn new(task: &'a CompareTask) -> Self {
        let sides: Vec<&Side> = std::iter::once(&task.left).chain(&task.rights).collect();
        assert!(sides.len() <= 1 << 16, "a side has a 16-bit number");
        for side in &sides {
            let rows = side.block.rows();
            assert_eq!(side.live.rows(), rows, "a mask speaks of its block's rows");
            assert!(
                side.floors.is_empty() || side.floors.len() == rows,
                "there is one floor a row, or none at all"
            );
            assert!(
                side.block.is_comparable(&task.left.block),
                "rows of one space are equally long"
            );
        }
        Self { sides }
    }
}

impl Ids for Sides<'_> {
    fn id(&self, row: RowRef) -> &ItemId {
        self.sides[usize::from(row.side)].block.id(row.row as usize)
    }
}

/// What all threads of a comparison share.
struct Run<'a> {
    kernel: Kernel,
    sides: &'a Sides<'a>,
    /// The tiles of each side.
    tiles: &'a [Vec<Tile<'a>>],
    limit: usize,
    /// The lists of the left tiles.
    left: Vec<Shared<'a>>,
    cancelled: &'a AtomicBool,
}

impl<'a> Run<'a> {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn names(&self, side: usize) -> (&'a Block, &'a Names) {
        let block: &'a Block = &self.sides.sides[side].block;
        (block, Resident::of(block).names(block))
    }

    /// Compares the left rows among themselves; how many pairs there are.
    fn within_left(&self) -> u64 {
        let (block, names) = self.names(0);
        let live = &self.sides.sides[0].live;
        let mut same = names.repeated(block);
        same.retain(|&(a, b)| live.contains(a as usize) && live.contains(b as usize));
        same.sort_unstable();
        let tiles = &self.tiles[0];
        let meeting = Meeting {
            kernel: self.kernel,
            limit: self.limit,
            ids: self.sides,
            same: &same,
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
        rows * rows.saturating_sub(1) / 2 - same.len() as u64
    }

    /// Compares a right side with all left rows: how many pairs there are, and what was found for
    /// its rows.
    fn right(&self, number: usize) -> (u64, Vec<Found>) {
        let (left, right) = (self.sides.sides[0], self.sides.sides[number]);
        let ((one, names), (two, others)) = (self.names(0), self.names(number));
        let mut same = names.shared(one, two, others);
        same.retain(|&(a, b)| left.live.contains(a as usize) && right.live.contains(b as usize));
        same.sort_unstable();
        let meeting = Meeting {
            kernel: self.kernel,
            limit: self.limit,
            ids: self.sides,
            same: &same,
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
        (pairs - same.len() as u64, found)
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
