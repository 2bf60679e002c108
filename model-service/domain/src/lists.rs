//! The lists of a loaded domain, and which of them are too short.

use std::collections::BTreeSet;

use kindred_shared::job::{CompareReply, Floor};
use kindred_similarity::RowRef;

use crate::catalogue::Catalogue;
use crate::comparison::TaskPlan;
use crate::item::Placement;
use crate::list::{Entry, List};
use crate::slot::Slot;
use crate::view_change::Listed;

/// Every item's list, by slot.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lists: Vec<List>,
    /// That of slots beyond them.
    empty: List,
    /// Lists to be made anew with the feature their item has.
    repairs: BTreeSet<Slot>,
}

/// Lists that are not what readers see and the store has.
#[derive(Debug, Default)]
pub(crate) struct ListChanges {
    /// Slots whose list is another.
    pub(crate) changed: BTreeSet<Slot>,
    /// Slots that have no list any more.
    pub(crate) gone: Vec<Slot>,
}

/// Which lists took what a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Inserted {
    /// Slots whose list is another.
    pub(crate) changed: BTreeSet<Slot>,
    /// Slots of whose candidates some left while they were compared.
    pub(crate) lost: BTreeSet<Slot>,
}

impl Lists {
    /// The list of a slot.
    pub(crate) fn of(&self, slot: Slot) -> &List {
        self.lists.get(slot.index()).unwrap_or(&self.empty)
    }

    fn of_mut(&mut self, slot: Slot) -> &mut List {
        let at = slot.index();
        if self.lists.len() <= at {
            self.lists.resize_with(at + 1, List::default);
        }
        &mut self.lists[at]
    }

    /// The list is empty and open.
    pub(crate) fn clear(&mut self, slot: Slot) {
        *self.of_mut(slot) = List::default();
    }

    /// Takes rows out of every list.
    pub(crate) fn scrub(&mut self, is_gone: impl Fn(Slot) -> bool, changes: &mut ListChanges) {
        for (index, list) in self.lists.iter_mut().enumerate() {
            if list.remove(&is_gone) {
                changes.changed.insert(Slot(index as u32));
            }
        }
    }

    /// Puts the candidates of one reply into the lists. Rows that left meanwhile are left out.
    pub(crate) fn insert_found(
        &mut self,
        catalogue: &Catalogue,
        plan: &TaskPlan,
        reply: CompareReply,
        inserted: &mut Inserted,
    ) {
        let entry = |row: RowRef, score: f32| plan.slot(row).map(|slot| Entry { slot, score });
        for found in reply.found {
            let Some(target) = plan.slot(found.row) else {
                continue;
            };
            if !catalogue.item(target).is_current() {
                continue;
            }
            let mut has_lost = false;
            let candidates = found
                .candidates
                .iter()
                .filter_map(|candidate| entry(candidate.row, candidate.score))
                .filter(|entry| {
                    let is_current = catalogue.item(entry.slot).is_current();
                    has_lost |= !is_current;
                    is_current && entry.slot != target
                });
            let dropped = found
                .dropped
                .and_then(|dropped| entry(dropped.row, dropped.score));
            if self.of_mut(target).insert(catalogue, candidates, dropped) {
                inserted.changed.insert(target);
            }
            if has_lost {
                inserted.lost.insert(target);
            }
        }
    }

    /// The list is to be made anew if it may lack somebody.
    pub(crate) fn repair_if_short(&mut self, slot: Slot) {
        if self.of(slot).needs_recomputation() {
            self.repairs.insert(slot);
        }
    }

    /// The list need not be made anew.
    pub(crate) fn cancel_repair(&mut self, slot: Slot) {
        self.repairs.remove(&slot);
    }

    /// Whether lists are to be made anew.
    pub(crate) fn need_repair(&self) -> bool {
        !self.repairs.is_empty()
    }

    /// The lists to be made anew; from now on they count as being made.
    pub(crate) fn take_repairs(&mut self) -> BTreeSet<Slot> {
        std::mem::take(&mut self.repairs)
    }

    /// A list's bound, as the floor of what may enter it.
    pub(crate) fn floor(&self, catalogue: &Catalogue, slot: Slot) -> Floor {
        self.of(slot).bound().map_or(Floor::Open, |bound| {
            Floor::At(bound.score, catalogue.id(bound.slot).clone())
        })
    }

    /// A row as readers see it; `None` while it is not served.
    pub(crate) fn listing(&self, catalogue: &Catalogue, slot: Slot) -> Option<Listed> {
        let item = catalogue.item(slot);
        if !item.listed || !item.is_current() {
            return None;
        }
        Some(Listed {
            slot,
            id: catalogue.id(slot).clone(),
            expires_at: item.expires_at,
            version: item.placed_version,
            entries: self.of(slot).entries().clone(),
            zero: matches!(item.placement, Some(Placement::Zero(_))),
        })
    }
}
