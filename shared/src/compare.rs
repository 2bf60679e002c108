//! Connects jobs to the comparison engine: what a job asks of the tables of its blocks, and the results as a reply.

use std::cmp::Ordering;
use std::sync::atomic::AtomicBool;

use kindred_similarity::{
    self as similarity, Candidate, Error, Found, Kernel, RowMask, RowRef, Table, TableBuilder,
};

use crate::block::Block;
use crate::job::{CompareReply, CompareTask, Floor, Side};
use crate::name::ItemId;

/// The lowest score that counts: the smallest one above 0.
const LEAST: f32 = f32::from_bits(1);

/// For every live row of some blocks of one space, finds its best `keep` other rows and the best one that was dropped,
/// with the same result as comparing all of them in jobs; on the current rayon pool. `RowRef::side` is the number of a
/// block. Results are ordered by side, then row. Each item has at most one live row.
///
/// # Errors
/// When the kernel cannot run here, or `cancelled` became true.
///
/// # Panics
/// When a mask does not fit its block, or the blocks belong to several spaces.
pub fn compare_all(
    kernel: Kernel,
    blocks: &[(&Block, &RowMask)],
    keep: usize,
    cancelled: &AtomicBool,
) -> Result<Vec<Found>, Error> {
    let tables: Vec<(&Table, &RowMask)> = (blocks.iter())
        .map(|(block, live)| (block.table(), *live))
        .collect();
    let id = |row: RowRef| blocks[usize::from(row.side)].0.id(row.row as usize);
    let by_id = |a: RowRef, b: RowRef| id(a).cmp(id(b));
    similarity::all_pairs(kernel, &tables, keep, LEAST, &by_id, cancelled)
}

impl CompareTask {
    /// Performs the comparison on the current rayon pool.
    ///
    /// Every live left row meets every live row of each right side; with `within_left`, every pair of live left rows
    /// meets once. Each pair feeds both its rows. Rows of one item do not meet. `found` is ordered by side, then row.
    /// The result depends neither on the kernel nor on the number of threads. Once `cancelled` is true, the call ends
    /// soon.
    ///
    /// # Errors
    /// When the kernel cannot run here, or the call was cancelled.
    ///
    /// # Panics
    /// When sides differ in dimension (except for a side without dense parts), floors or masks do not fit their block,
    /// or there are more than 65,535 right sides: no code of this project makes such a task.
    pub fn compare(&self, kernel: Kernel, cancelled: &AtomicBool) -> Result<CompareReply, Error> {
        let left = &self.left;
        let picked = Picked::of(left);
        let repeated = left.block.repeated_items();
        let mut task = similarity::Task {
            left: side(left, left, repeated),
            within_left: self.within_left,
            rights: (self.rights.iter())
                .map(|right| side(left, right, left.block.same_items(&right.block)))
                .collect(),
            keep: self.keep,
        };
        if let Some(picked) = &picked {
            picked.replace_left(&mut task);
        }
        let of_block = |row: RowRef| picked.as_ref().map_or(row, |picked| picked.of_block(row));
        let by_id = |a: RowRef, b: RowRef| self.id(of_block(a)).cmp(self.id(of_block(b)));
        let compared = similarity::compare(kernel, &task, &by_id, cancelled)?;
        let found = compared.found.into_iter().map(|mut found| {
            found.row = of_block(found.row);
            let candidates = found.candidates.iter_mut().chain(&mut found.dropped);
            candidates.for_each(|candidate| candidate.row = of_block(candidate.row));
            found
        });
        Ok(CompareReply {
            pairs: compared.pairs,
            found: found.filter_map(|found| self.above_floor(found)).collect(),
        })
    }

    fn side(&self, number: u16) -> &Side {
        match usize::from(number).checked_sub(1) {
            Some(right) => &self.rights[right],
            None => &self.left,
        }
    }

    fn id(&self, row: RowRef) -> &ItemId {
        self.side(row.side).block.id(row.row as usize)
    }

    /// Keeps the candidates of a row that rank at its floor or above. The engine compares scores only, so it may return
    /// some with the floor's own score whose ids rank below it.
    fn above_floor(&self, mut found: Found) -> Option<Found> {
        let floors = &self.side(found.row.side).floors;
        if let Some(Floor::At(score, last)) = floors.get(found.row.row as usize) {
            let is_above = |one: &Candidate| {
                one.score > *score || self.id(one.row).cmp(last) != Ordering::Greater
            };
            found.dropped = found.dropped.filter(is_above);
            let count = found.candidates.partition_point(is_above);
            found.candidates.truncate(count);
        }
        let is_some = !found.candidates.is_empty() || found.dropped.is_some();
        is_some.then_some(found)
    }
}

/// The participating rows of the left side as a table of their own. In a table that is laid out, rows are compared
/// together with the rows around them, so a few cost nearly as much as all.
struct Picked {
    table: Table,
    live: RowMask,
    /// The block's row of each, ascending.
    rows: Vec<u32>,
}

impl Picked {
    /// `None` if more than half of the block's rows take part, or none.
    fn of(side: &Side) -> Option<Self> {
        let count = side.live.count();
        if count == 0 || 2 * count > side.block.rows() {
            return None;
        }
        let table = side.block.table();
        let mut builder = TableBuilder::new(table.dimension());
        for row in side.live.iter() {
            let (ids, weights) = table.sparse(row);
            builder
                .push(&table.dense(row)[..table.dimension()], ids, weights)
                .expect("a row of a table is one of its pick");
        }
        Some(Self {
            table: builder.build(),
            live: RowMask::all(count),
            rows: side.live.iter().map(|row| row as u32).collect(),
        })
    }

    /// Replaces the block's rows by these rows.
    fn replace_left<'a>(&'a self, task: &mut similarity::Task<'a>) {
        let place = |row: &mut u32| {
            let place = self.rows.binary_search(row);
            *row = place.expect("who does not meet another takes part") as u32;
        };
        let left = &mut task.left;
        (left.table, left.live) = (&self.table, &self.live);
        if !left.floors.is_empty() {
            let floors = self.rows.iter().map(|row| left.floors[*row as usize]);
            left.floors = floors.collect();
        }
        for (one, other) in &mut left.apart {
            place(one);
            place(other);
        }
        for right in &mut task.rights {
            right.apart.iter_mut().for_each(|(one, _)| place(one));
        }
    }

    /// Maps a row of the comparison back to a row of the task's blocks.
    fn of_block(&self, mut row: RowRef) -> RowRef {
        if row.side == 0 {
            row.row = self.rows[row.row as usize];
        }
        row
    }
}

/// A side in the form that the engine takes; `same` are pairs of rows of one item.
fn side<'a>(left: &Side, side: &'a Side, mut same: Vec<(u32, u32)>) -> similarity::Side<'a> {
    same.retain(|&(a, b)| left.live.contains(a as usize) && side.live.contains(b as usize));
    same.sort_unstable();
    similarity::Side {
        table: side.block.table(),
        live: &side.live,
        floors: (side.floors.iter())
            .map(|floor| match floor {
                Floor::Open => LEAST,
                // `max` returns LEAST for NaN, too.
                Floor::At(score, _) => score.max(LEAST),
                Floor::Closed => f32::INFINITY,
            })
            .collect(),
        apart: same,
    }
}
