//! Planning: which blocks meet in which compare task.

use std::collections::BTreeSet;
use std::sync::Arc;

use kindred_shared::Space;
use kindred_shared::job::{Floor, Side};
use kindred_similarity::RowMask;

use crate::blocks::{BlockKey, NewRow, pack};
use crate::catalogue::Catalogue;
use crate::comparison::Comparison;
use crate::lists::Lists;
use crate::slot::Slot;

/// Plans tasks over the blocks and lists of a domain.
pub(crate) struct Planner<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) lists: &'a Lists,
    /// Most right blocks of one task: what bounds the size of a reply.
    pub(crate) strip_blocks: usize,
}

impl Planner<'_> {
    /// New rows × all rows, both sides fed; but lists that are repaired are fed otherwise.
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
        for (at, &left) in new.iter().enumerate() {
            let rights: Vec<BlockKey> = existing.iter().chain(&new[at + 1..]).copied().collect();
            for (strip, keys) in self.strips(&rights).enumerate() {
                let mut sides = vec![self.side(left, |_| Floor::Open)];
                sides.extend(keys.iter().map(|key| self.side(*key, floor)));
                comparison.add(sides, strip == 0);
            }
        }
    }

    /// Rows whose lists are too short × all rows; only their own side is fed.
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
        for (block, slots) in pack(space, rows) {
            let block = Arc::new(block);
            for keys in self.strips(blocks) {
                let left = Side {
                    block: Arc::clone(&block),
                    live: RowMask::all(block.rows()),
                    floors: vec![Floor::Open; block.rows()],
                };
                let mut sides = vec![(left, Arc::clone(&slots))];
                // Rows meet themselves on the right; the worker leaves such pairs out.
                sides.extend(keys.iter().map(|key| {
                    let (mut side, slots) = self.side(*key, |_| Floor::Closed);
                    side.floors = Vec::new();
                    (side, slots)
                }));
                comparison.add(sides, false);
            }
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
            live: resident.live.clone(),
            floors: floors.collect(),
        };
        (side, Arc::clone(&resident.slots))
    }

    /// Right blocks in strips; one empty strip when there are none, for the pairs within the left.
    fn strips<'a>(&self, rights: &'a [BlockKey]) -> impl Iterator<Item = &'a [BlockKey]> + use<'a> {
        let none: Option<&[BlockKey]> = rights.is_empty().then_some(&[]);
        none.into_iter()
            .chain(rights.chunks(self.strip_blocks.max(1)))
    }
}
