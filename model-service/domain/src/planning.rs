//! Planning: assigns pairs of rows to compare tasks.
//!
//! A task is a piece of work with a bounded number of pairs, so that a worker finishes it soon and machines can be
//! shared. A left block with too many rows is compared in parts; right blocks are grouped into strips. All parts name
//! the same block, so it is transferred only once.
//!
//! A cycle of m new rows among N has nearly as many tasks as its pairs fill pieces, at most twice as many, plus one per
//! part for every 12,000 right rows. A task finds at most `KEEP` + 1 candidates per row.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use kindred_shared::block::MAX_ROWS;
use kindred_shared::job::{Floor, KEEP, Side};
use kindred_shared::wire::{MAX_SIDES, rows_per_reply};
use kindred_shared::{Block, Space, effort};
use kindred_similarity::RowMask;

use crate::blocks::{BlockKey, NewRow, pack};
use crate::catalogue::Catalogue;
use crate::comparison::Comparison;
use crate::lists::Lists;
use crate::slot::Slot;

/// Most right rows with a floor in one task. Each floor contains an id of up to 256 bytes, so a job stays below 5 MiB.
const MOST_FLOORS: usize = 4 * MAX_ROWS;

/// Most bytes of one task's right blocks: 128 MiB, which a worker reads and holds at once. Workers refuse jobs whose
/// blocks exceed their cache.
const MOST_BYTES: usize = 128 << 20;

/// Plans tasks over the blocks and lists of a domain.
pub(crate) struct Planner<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) lists: &'a Lists,
    /// Most pairs of one task, except for a single row with a single block.
    pub(crate) task_pairs: usize,
}

/// A block to the right of a part, starting at this row.
#[derive(Debug, Clone, Copy)]
struct Right {
    key: BlockKey,
    from: usize,
}

/// The bounded quantities of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    pairs: usize,
    /// Rows that want candidates.
    wanted: usize,
    floors: usize,
    blocks: usize,
    /// Of the blocks' values.
    bytes: usize,
}

impl Size {
    fn and(self, more: Self) -> Self {
        Self {
            pairs: self.pairs.saturating_add(more.pairs),
            wanted: self.wanted + more.wanted,
            floors: self.floors + more.floors,
            blocks: self.blocks + more.blocks,
            bytes: self.bytes + more.bytes,
        }
    }

    fn is_within(self, most: Self) -> bool {
        self.pairs <= most.pairs
            && self.wanted <= most.wanted
            && self.floors <= most.floors
            && self.blocks <= most.blocks
            && self.bytes <= most.bytes
    }
}

impl Planner<'_> {
    /// All new rows with all rows, feeding both sides; lists under repair are not fed here.
    pub(crate) fn fresh(
        &self,
        existing: &[BlockKey],
        new: &[BlockKey],
        repaired: &BTreeSet<Slot>,
        comparison: &mut Comparison,
    ) {
        let floor = |slot: Slot| {
            if repaired.contains(&slot) {
                Floor::Closed
            } else {
                self.lists.floor(self.catalogue, slot)
            }
        };
        let is_new = |key: BlockKey| new.contains(&key);
        let pair = |left: &Block, right: BlockKey| {
            let counts = if is_new(right) { effort::FRESH } else { 1 };
            effort::of_pair(left, self.block(right)) * counts
        };
        for (at, &left) in new.iter().enumerate() {
            let others = existing.iter().chain(&new[at + 1..]);
            let others: Vec<Right> = others.map(|&key| Right { key, from: 0 }).collect();
            let block = self.block(left);
            let rows = block.rows();
            let met = existing.iter().chain(&new[at..]);
            let widest = widest(met.map(|&right| (self.block(right), pair(block, right))));
            for part in parts(rows, widest, self.task_pairs) {
                // The rows of later parts meet this part here.
                let later = Right {
                    key: left,
                    from: part.end,
                };
                let mut rights = others.clone();
                rights.extend((part.end < rows).then_some(later));
                let sizes = rights.iter().map(|right| {
                    let of = self.block(right.key);
                    Size {
                        pairs: part.len() * of.rows() * pair(block, right.key),
                        wanted: of.rows() - right.from,
                        floors: of.rows(),
                        blocks: 1,
                        bytes: of.bytes(),
                    }
                });
                let within = Size {
                    pairs: part.len() * (part.len() - 1) / 2 * pair(block, left),
                    ..Size::default()
                };
                let strips = strips(within, sizes, self.most(part.len()));
                for (strip, rights) in strips.into_iter().map(|at| &rights[at]).enumerate() {
                    let (mut side, slots) = self.side(left, |_| Floor::Open);
                    side.live = some(rows, part.clone());
                    let mut sides = vec![(side, slots)];
                    sides.extend(rights.iter().map(|right| {
                        // A new row's list is built from scratch; its previous contents set no bound.
                        let (mut side, slots) = if is_new(right.key) {
                            self.side(right.key, |_| Floor::Open)
                        } else {
                            self.side(right.key, floor)
                        };
                        if right.from > 0 {
                            side.live = some(rows, right.from..rows);
                        }
                        (side, slots)
                    }));
                    comparison.add(sides, strip == 0);
                }
            }
        }
    }

    /// Rows whose lists need repair with all rows, feeding only their own side.
    pub(crate) fn repairs(
        &self,
        space: &Space,
        blocks: &[BlockKey],
        repaired: &BTreeSet<Slot>,
        comparison: &mut Comparison,
    ) {
        let rows = repaired.iter().filter_map(|slot| self.catalogue.row(*slot));
        let rows: Vec<NewRow> = rows
            .filter(|(of, _)| *of == space)
            .map(|(_, row)| row)
            .collect();
        let rights: Vec<Right> = blocks.iter().map(|&key| Right { key, from: 0 }).collect();
        for (block, slots) in pack(space, rows) {
            let (block, rows) = (Arc::new(block), slots.len());
            let pair = |right: &Block| effort::of_pair(&block, right);
            let met = blocks.iter().map(|&right| self.block(right));
            let widest = widest(met.map(|right| (right, pair(right))));
            for part in parts(rows, widest, self.task_pairs) {
                let sizes = rights.iter().map(|right| {
                    let of = self.block(right.key);
                    Size {
                        pairs: part.len() * of.rows() * pair(of),
                        blocks: 1,
                        bytes: of.bytes(),
                        ..Size::default()
                    }
                });
                let strips = strips(Size::default(), sizes, self.most(part.len()));
                for rights in strips.into_iter().map(|at| &rights[at]) {
                    let left = Side {
                        block: Arc::clone(&block),
                        live: some(rows, part.clone()),
                        floors: vec![Floor::Open; rows],
                    };
                    let mut sides = vec![(left, Arc::clone(&slots))];
                    // Rows meet themselves on the right; the worker skips such pairs.
                    sides.extend(rights.iter().map(|right| {
                        let (mut side, slots) = self.side(right.key, |_| Floor::Closed);
                        side.floors = Vec::new();
                        (side, slots)
                    }));
                    comparison.add(sides, false);
                }
            }
        }
    }

    fn block(&self, key: BlockKey) -> &Block {
        &self.catalogue.blocks().get(key).block
    }

    /// How much a task with this many left rows may contain besides them.
    fn most(&self, left: usize) -> Size {
        Size {
            pairs: self.task_pairs,
            wanted: rows_per_reply(KEEP) - left,
            floors: MOST_FLOORS,
            blocks: MAX_SIDES - 1,
            bytes: MOST_BYTES,
        }
    }

    /// A resident block as one side of a comparison.
    fn side(&self, key: BlockKey, floor: impl Fn(Slot) -> Floor) -> (Side, Arc<[Slot]>) {
        let resident = self.catalogue.blocks().get(key);
        let rows = resident.slots.iter().enumerate();
        let floors = rows.map(|(row, slot)| {
            if resident.live.contains(row) {
                floor(*slot)
            } else {
                Floor::Closed
            }
        });
        let side = Side {
            block: Arc::clone(&resident.block),
            live: RowMask::clone(&resident.live),
            floors: floors.collect(),
        };
        (side, Arc::clone(&resident.slots))
    }
}

/// A mask of a range of rows of a block.
fn some(rows: usize, some: Range<usize>) -> RowMask {
    let mut mask = RowMask::none(rows);
    some.for_each(|row| mask.insert(row));
    mask
}

/// The number of pairs that one left row has with the widest strip; Each of the `blocks` comes with the weight of a
/// pair with it. Strips are made as wide as possible and parts of left rows small, because each strip searches for
/// candidates of its left rows anew.
fn widest<'a>(blocks: impl Iterator<Item = (&'a Block, usize)>) -> usize {
    let (mut all, mut most) = (0_usize, 0);
    for (block, pair) in blocks {
        all = all.saturating_add(block.rows() * pair);
        most = most.max(pair);
    }
    all.min(MOST_FLOORS * most)
}

/// Splits the rows of a left block into parts of similar size, each with at most `pairs` pairs with the `widest` strip,
/// but at least one row.
fn parts(rows: usize, widest: usize, pairs: usize) -> impl Iterator<Item = Range<usize>> {
    let most = (pairs / widest.max(1)).max(1);
    let each = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
    let firsts = (0..rows).step_by(each);
    firsts.map(move |first| first..rows.min(first + each))
}

/// Groups right blocks of these sizes into strips, each within `most` or of a single block. `within` is what the first
/// strip contains anyway; there is one empty strip if nothing fits beside it, or if there are no blocks.
fn strips(within: Size, sizes: impl Iterator<Item = Size>, most: Size) -> Vec<Range<usize>> {
    let mut strips = Vec::new();
    let (mut strip, mut has) = (0..0, within);
    for size in sizes {
        let is_begun = !strip.is_empty() || has.pairs > 0;
        if is_begun && !has.and(size).is_within(most) {
            strips.push(strip.clone());
            (strip, has) = (strip.end..strip.end, Size::default());
        }
        strip.end += 1;
        has = has.and(size);
    }
    if strips.is_empty() || !strip.is_empty() {
        strips.push(strip);
    }
    strips
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::collections::BTreeMap;

    use kindred_shared::job::CompareReply;
    use kindred_shared::{Feature, ItemId};
    use kindred_similarity::{Candidate, Found, RowRef};
    use proptest::prelude::*;

    use super::*;
    use crate::comparison::TaskPlan;
    use crate::effect::{Comparing, Made};
    use crate::lists::ListChanges;
    use crate::slot::SlotSet;

    fn space() -> Space {
        Space::stored("words-1/en")
    }

    /// Adds items in blocks of these sizes; returns the blocks.
    fn add(catalogue: &mut Catalogue, blocks: &[usize]) -> Vec<BlockKey> {
        let mut keys = Vec::new();
        for rows in blocks {
            let rows = (0..*rows).map(|_| {
                let count = catalogue.slots().count();
                let slot = catalogue.slot(&ItemId::new(&format!("i{count}")).unwrap());
                catalogue.update(slot, |item| item.live = true);
                let made = Made {
                    slot,
                    version: 1,
                    space: space(),
                    habits: 0,
                    feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
                    row: None,
                };
                catalogue.give(made).unwrap().1
            });
            let rows = rows.collect();
            keys.extend(catalogue.add_rows(&space(), rows));
        }
        keys
    }

    /// How often the rows of each pair of slots meet, lower slot first. Also checks that no task has more than `most`
    /// pairs.
    fn meetings(comparison: &mut Comparison, most: usize) -> BTreeMap<(Slot, Slot), usize> {
        let tasks = comparison.tasks();
        for (number, _) in &tasks {
            comparison.answer(*number, Default::default());
        }
        let plans: Vec<TaskPlan> = comparison.take_found().map(|(plan, _)| plan).collect();
        let mut meetings = BTreeMap::new();
        for ((_, task), plan) in tasks.iter().zip(&plans) {
            let Comparing::Some(task) = task else {
                panic!("a window is compared by workers");
            };
            let rows = |number: usize, side: &Side| -> Vec<Slot> {
                let side = side.live.iter().map(|row| RowRef {
                    side: number as u16,
                    row: row as u32,
                });
                side.map(|row| plan.slot(row).unwrap()).collect()
            };
            let left = rows(0, &task.left);
            let rights = (1..).zip(&task.rights);
            let rights: Vec<Vec<Slot>> = rights.map(|(n, side)| rows(n, side)).collect();
            let pairs: usize = task
                .rights
                .iter()
                .map(|side| left.len() * side.block.rows())
                .sum();
            assert!(
                left.len() == 1 || pairs <= most,
                "{} × {rights:?}",
                left.len()
            );
            let mut meet = |a: Slot, b: Slot| {
                *meetings.entry((a.min(b), a.max(b))).or_default() += 1;
            };
            for (at, &one) in left.iter().enumerate() {
                let within = &left[at + 1..];
                let within = within.iter().filter(|_| task.within_left);
                within
                    .chain(rights.iter().flatten())
                    .for_each(|&other| meet(one, other));
            }
        }
        meetings
    }

    proptest! {
        #[test]
        fn every_pair_with_a_new_row_meets_once_however_it_is_split(
            existing in prop::collection::vec(1..12_usize, 0..4),
            new in prop::collection::vec(1..12_usize, 1..4),
            retired in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            task_pairs in 1..150_usize,
        ) {
            let mut catalogue = Catalogue::default();
            let existing = add(&mut catalogue, &existing);
            let old: Vec<Slot> = catalogue.slots().collect();
            let retired = retired.iter().filter(|_| !old.is_empty());
            let gone = retired.map(|n| old[n.index(old.len())]);
            let gone: BTreeSet<Slot> = gone.collect();
            gone.iter().for_each(|slot| assert!(catalogue.retire(*slot)));
            let new = add(&mut catalogue, &new);
            let lists = Lists::default();
            let planner = Planner { catalogue: &catalogue, lists: &lists, task_pairs };
            let mut comparison = Comparison::default();
            planner.fresh(&existing, &new, &BTreeSet::new(), &mut comparison);
            let got = meetings(&mut comparison, task_pairs);
            let all: Vec<Slot> = catalogue.slots().filter(|slot| !gone.contains(slot)).collect();
            let mut wanted = BTreeMap::new();
            for (at, &one) in all.iter().enumerate() {
                for &other in &all[at + 1..] {
                    if other.index() >= old.len() {
                        wanted.insert((one, other), 1);
                    }
                }
            }
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn every_row_to_repair_meets_each_row_once(
            blocks in prop::collection::vec(1..12_usize, 1..5),
            repaired in prop::collection::vec(any::<prop::sample::Index>(), 1..9),
            task_pairs in 1..150_usize,
        ) {
            let mut catalogue = Catalogue::default();
            let keys = add(&mut catalogue, &blocks);
            let all: Vec<Slot> = catalogue.slots().collect();
            let repaired = repaired.iter().map(|n| all[n.index(all.len())]);
            let repaired: BTreeSet<Slot> = repaired.collect();
            let lists = Lists::default();
            let planner = Planner { catalogue: &catalogue, lists: &lists, task_pairs };
            let mut comparison = Comparison::default();
            planner.repairs(&space(), &keys, &repaired, &mut comparison);
            for ((one, other), times) in meetings(&mut comparison, task_pairs) {
                let wanted = [one, other].into_iter().filter(|slot| repaired.contains(slot)).count();
                // A row on both sides meets itself, which the comparison skips.
                let wanted = if one == other { 1 } else { wanted };
                prop_assert_eq!(times, wanted, "{:?} and {:?}", one, other);
            }
        }
    }

    #[test]
    fn what_a_changed_item_had_in_its_list_bounds_nothing() {
        let mut catalogue = Catalogue::default();
        let new = add(&mut catalogue, &[3, 2]);
        let mut lists = Lists::default();
        let plan = TaskPlan::of(vec![catalogue.slots().collect()]);
        let row = |row| RowRef { side: 0, row };
        let found = (0..5).map(|of| Found {
            row: row(of),
            candidates: vec![],
            dropped: Some(Candidate {
                row: row((of + 1) % 5),
                score: 0.9,
            }),
        });
        let reply = CompareReply {
            pairs: 10,
            found: found.collect(),
        };
        let (outdated, mut changes) = (SlotSet::default(), ListChanges::default());
        lists.insert_found(&catalogue, &plan, reply, &outdated, &mut changes);
        assert_ne!(lists.floor(&catalogue, Slot(4)), Floor::Open);
        let planner = Planner {
            catalogue: &catalogue,
            lists: &lists,
            task_pairs: 6,
        };
        let mut comparison = Comparison::default();
        planner.fresh(&[], &new, &BTreeSet::new(), &mut comparison);
        for (_, task) in comparison.tasks() {
            let Comparing::Some(task) = task else {
                panic!("a window is compared by workers");
            };
            let sides = std::iter::once(&task.left).chain(&task.rights);
            let mut floors = sides.flat_map(|side| &side.floors);
            assert!(floors.all(|floor| *floor == Floor::Open));
        }
    }

    #[test]
    fn tasks_are_as_many_as_pieces_not_as_blocks() {
        let size = |pairs| Size {
            pairs,
            wanted: 10,
            floors: 10,
            blocks: 1,
            bytes: 10,
        };
        let most = Size {
            pairs: 100,
            wanted: 1_000,
            floors: 35,
            blocks: 100,
            bytes: 1_000,
        };
        let cut = |within, sizes: &[usize]| {
            let strips = strips(size(within), sizes.iter().map(|pairs| size(*pairs)), most);
            strips
                .iter()
                .map(ExactSizeIterator::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0, &[]), [0]);
        assert_eq!(cut(0, &[10, 10, 10, 10, 200, 10]), [2, 2, 1, 1]);
        assert_eq!(cut(50, &[60, 40, 70]), [0, 2, 1]);
        assert_eq!(cut(50, &[50, 40]), [1, 1]);
        let lengths = |rows, widest| {
            let parts = parts(rows, widest, 100);
            parts.map(|part| part.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(1, 1_000), [1]);
        assert_eq!(lengths(10, 10), [10]);
        assert_eq!(lengths(10, 12), [5, 5]);
        assert_eq!(lengths(7, 30), [3, 3, 1]);
    }
}
