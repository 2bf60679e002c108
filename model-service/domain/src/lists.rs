//! The lists of a loaded domain, and which of them are too short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::job::{CompareReply, Floor};
use kindred_similarity::RowRef;

use crate::catalogue::Catalogue;
use crate::comparison::TaskPlan;
use crate::item::Placement;
use crate::list::{Entry, List};
use crate::slot::{Slot, SlotSet};
use crate::view_change::{Listed, ServedList};

/// Every item's list, by slot.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lists: Vec<List>,
    /// That of slots beyond them.
    empty: List,
    /// Lists to be made anew with the feature their item has.
    repairs: BTreeSet<Slot>,
    /// Slots that are being taken out of all lists, up to the list `scrubbed`.
    leaving: SlotSet,
    scrubbed: usize,
    /// Slots that left since that began.
    left: Vec<Slot>,
    is_scrubbing: bool,
    /// Whether all were made once, so that readers see them by these slots.
    are_served: bool,
}

/// Lists that are not what readers see and the store has.
#[derive(Debug, Default)]
pub(crate) struct ListChanges {
    /// Slots whose list may be another, and what was in it.
    pub(crate) changed: BTreeMap<Slot, Arc<[Entry]>>,
    /// Of them, those to be stored soon whatever changed: new lists, and those that named who is gone.
    pub(crate) urgent: BTreeSet<Slot>,
    /// Slots of whose candidates some left, or became others, while they were compared.
    pub(crate) lost: BTreeSet<Slot>,
    /// Slots that have no list any more.
    pub(crate) gone: Vec<Slot>,
}

impl ListChanges {
    /// The list changes, and had these entries; those of its first change count.
    pub(crate) fn changing(&mut self, slot: Slot, had: &Arc<[Entry]>) {
        self.changed.entry(slot).or_insert_with(|| Arc::clone(had));
    }
}

/// Takes rows out of some lists, the first of which is that of slot number `from`.
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

    /// The list is empty and open.
    pub(crate) fn clear(&mut self, slot: Slot) {
        *self.of_mut(slot) = List::default();
    }

    /// The list is empty and open, to be made anew.
    pub(crate) fn renew(&mut self, slot: Slot, changes: &mut ListChanges) {
        changes.changing(slot, self.of(slot).entries());
        self.clear(slot);
    }

    /// Takes rows out of every list.
    pub(crate) fn scrub(&mut self, gone: &SlotSet, changes: &mut ListChanges) {
        scrub(&mut self.lists, 0, gone, changes);
    }

    /// Rows are to be taken out of every list: [`Self::scrub_some`] does.
    pub(crate) fn leave(&mut self, departed: impl Iterator<Item = Slot>) {
        self.left.extend(departed);
    }

    /// Whether rows that left may still be in a list.
    pub(crate) fn must_scrub(&self) -> bool {
        self.is_scrubbing || !self.left.is_empty()
    }

    /// Takes those that left out of the next `most` lists.
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

    /// Puts the candidates of one reply into the lists. Rows that left meanwhile are left out, and those
    /// that are `outdated`: their items are compared by another row.
    pub(crate) fn insert_found(
        &mut self,
        catalogue: &Catalogue,
        plan: &TaskPlan,
        reply: CompareReply,
        outdated: &SlotSet,
        changes: &mut ListChanges,
    ) {
        let counts = |slot: Slot| catalogue.item(slot).is_current() && !outdated.contains(slot);
        let entry = |row: RowRef, score: f32| plan.slot(row).map(|slot| Entry { slot, score });
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

    /// Readers see the lists from now on.
    pub(crate) fn serve(&mut self) {
        self.are_served = true;
    }

    /// Whether readers see the lists.
    pub(crate) fn are_served(&self) -> bool {
        self.are_served
    }

    /// An item as readers see it; `None`: they do not.
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
