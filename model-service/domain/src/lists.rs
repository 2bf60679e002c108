//! The lists of a loaded domain, and which of them need repair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::job::{CompareReply, Floor};
use kindred_similarity::RowRef;

use crate::catalogue::Catalogue;
use crate::comparison::TaskPlan;
use crate::item::Placement;
use crate::list::{List, ListEntry};
use crate::slot::{Slot, SlotSet};
use crate::view_change::{Listed, ServedList};

/// Every item's list, by slot.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lists: Vec<List>,
    /// The list of slots beyond them.
    empty: List,
    /// Lists to recompute from the item's current feature.
    repairs: BTreeSet<Slot>,
    /// Slots that are being removed from all lists; done up to list `scrubbed`.
    leaving: SlotSet,
    scrubbed: usize,
    /// Slots that left since that pass began.
    left: Vec<Slot>,
    is_scrubbing: bool,
    /// Whether all lists have been computed once, so that readers see them under these slots.
    are_served: bool,
}

/// Differences between the lists here and what readers see and the store has.
#[derive(Debug, Default)]
pub(crate) struct ListChanges {
    /// Slots whose list may have changed, with the entries it had before.
    pub(crate) changed: BTreeMap<Slot, Arc<[ListEntry]>>,
    /// Those that must be stored soon in any case: new lists, and lists that named a removed item.
    pub(crate) urgent: BTreeSet<Slot>,
    /// Slots some of whose candidates left, or changed, while they were being compared.
    pub(crate) lost: BTreeSet<Slot>,
    /// Slots that no longer have a list.
    pub(crate) gone: Vec<Slot>,
}

impl ListChanges {
    /// Records that a list changes, and the entries it had before its first change.
    pub(crate) fn changing(&mut self, slot: Slot, had: &Arc<[ListEntry]>) {
        self.changed.entry(slot).or_insert_with(|| Arc::clone(had));
    }
}

/// Removes rows from some lists, the first of which belongs to slot number `from`.
fn scrub(lists: &mut [List], from: usize, gone: &SlotSet, changes: &mut ListChanges) {
    for (slot, list) in (from as u32..).map(Slot).zip(lists) {
        let had = Arc::clone(list.entries());
        if list.remove(|slot| gone.contains(slot)) {
            changes.changing(slot, &had);
        }
    }
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

    /// Makes the list empty and open.
    pub(crate) fn clear(&mut self, slot: Slot) {
        *self.of_mut(slot) = List::default();
    }

    /// Makes the list empty and open because it will be recomputed.
    pub(crate) fn renew(&mut self, slot: Slot, changes: &mut ListChanges) {
        changes.changing(slot, self.of(slot).entries());
        self.clear(slot);
    }

    /// Removes rows from every list.
    pub(crate) fn scrub(&mut self, gone: &SlotSet, changes: &mut ListChanges) {
        scrub(&mut self.lists, 0, gone, changes);
    }

    /// Schedules rows for removal from every list by [`Self::scrub_some`].
    pub(crate) fn leave(&mut self, departed: impl Iterator<Item = Slot>) {
        self.left.extend(departed);
    }

    /// Whether removed rows may still be in a list.
    pub(crate) fn must_scrub(&self) -> bool {
        self.is_scrubbing || !self.left.is_empty()
    }

    /// Removes them from the next `most` lists.
    pub(crate) fn scrub_some(&mut self, most: usize, changes: &mut ListChanges) {
        let mut most = most.max(1);
        while most > 0 && self.must_scrub() {
            if !self.is_scrubbing {
                self.leaving = self.left.drain(..).collect();
                (self.scrubbed, self.is_scrubbing) = (0, true);
            }
            let (from, len) = (self.scrubbed, self.lists.len());
            let to = len.min(from.saturating_add(most));
            if let Some(lists) = self.lists.get_mut(from..to) {
                scrub(lists, from, &self.leaving, changes);
            }
            most -= to.saturating_sub(from).max(1).min(most);
            self.scrubbed = to;
            self.is_scrubbing = to < len;
        }
    }

    /// Inserts the candidates of one reply into the lists. Ignores rows that left meanwhile, and rows of `outdated`
    /// items, which another row represents in the comparison.
    pub(crate) fn insert_found(
        &mut self,
        catalogue: &Catalogue,
        plan: &TaskPlan,
        reply: CompareReply,
        outdated: &SlotSet,
        changes: &mut ListChanges,
    ) {
        let counts = |slot: Slot| catalogue.item(slot).is_current() && !outdated.contains(slot);
        let entry = |row: RowRef, score: f32| plan.slot(row).map(|slot| ListEntry { slot, score });
        for found in reply.found {
            let Some(target) = plan.slot(found.row) else {
                continue;
            };
            if !counts(target) {
                continue;
            }
            let mut has_lost = false;
            let candidates = found
                .candidates
                .iter()
                .filter_map(|candidate| entry(candidate.row, candidate.score))
                .filter(|entry| {
                    let counts = counts(entry.slot);
                    has_lost |= !counts;
                    counts && entry.slot != target
                });
            let dropped = found
                .dropped
                .and_then(|dropped| entry(dropped.row, dropped.score));
            let list = self.of_mut(target);
            let had = Arc::clone(list.entries());
            if list.insert(catalogue, candidates, dropped) {
                changes.changing(target, &had);
            }
            if has_lost {
                changes.lost.insert(target);
            }
        }
    }

    /// Schedules the list for recomputation if an entry may be missing.
    pub(crate) fn repair_if_short(&mut self, slot: Slot) {
        if self.of(slot).needs_recomputation() {
            self.repairs.insert(slot);
        }
    }

    /// Cancels the recomputation of the list.
    pub(crate) fn cancel_repair(&mut self, slot: Slot) {
        self.repairs.remove(&slot);
    }

    /// Whether any lists must be recomputed.
    pub(crate) fn need_repair(&self) -> bool {
        !self.repairs.is_empty()
    }

    /// Takes the lists to recompute; from now on they count as in progress.
    pub(crate) fn take_repairs(&mut self) -> BTreeSet<Slot> {
        std::mem::take(&mut self.repairs)
    }

    /// The bound of a list, as the floor for new candidates.
    pub(crate) fn floor(&self, catalogue: &Catalogue, slot: Slot) -> Floor {
        self.of(slot).bound().map_or(Floor::Open, |bound| {
            Floor::At(bound.score, catalogue.id(bound.slot).clone())
        })
    }

    /// From now on readers see the lists.
    pub(crate) fn serve(&mut self) {
        self.are_served = true;
    }

    /// Whether readers see the lists.
    pub(crate) fn are_served(&self) -> bool {
        self.are_served
    }

    /// An item as readers see it; `None` if they do not.
    pub(crate) fn listing(&self, catalogue: &Catalogue, slot: Slot) -> Option<Listed> {
        let item = catalogue.item(slot);
        if !self.are_served || !item.is_visible() {
            return None;
        }
        let list = item.is_listed().then(|| ServedList {
            version: item.placed_version,
            entries: self.of(slot).entries().clone(),
            bound: self.of(slot).bound().map(|bound| bound.score),
            zero: matches!(item.placement, Some(Placement::Zero(_))),
        });
        Some(Listed {
            slot,
            id: catalogue.id(slot).clone(),
            expires_at: item.expires_at,
            shown: Arc::clone(item.shown.as_ref()?),
            space: catalogue.space_of(slot).cloned(),
            list,
        })
    }
}
