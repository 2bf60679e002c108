//! Merging: putting the results of comparisons into the lists, and showing the lists to readers.

use std::sync::Arc;
use std::time::Duration;

use super::{Domain, Phase};
use crate::comparison::Comparison;
use crate::effect::{Effect, Observation};
use crate::flush::Urgency;
use crate::lists::ListChanges;
use crate::rebuild::Rebuild;
use crate::slot::{Slot, SlotSet};
use crate::time::Now;
use crate::view_change::ViewChange;

impl Domain {
    /// Puts the results of a whole comparison into the lists in one step.
    pub(super) fn merge(&mut self, now: Now, mut comparison: Comparison) {
        let mut changes = ListChanges::default();
        // Items that left may be among those that are compared.
        self.lists.scrub_some(usize::MAX, &mut changes);
        changes.urgent.extend(changes.changed.keys());
        if !comparison.moved.is_empty() {
            let moved = comparison.moved.iter().copied().collect();
            self.lists.scrub(&moved, &mut changes);
        }
        for &slot in comparison.fresh.keys().chain(&comparison.repaired) {
            if self.catalogue.item(slot).is_current() {
                self.lists.renew(slot, &mut changes);
            }
        }
        changes.urgent.extend(comparison.fresh.keys());
        if !comparison.repaired.is_empty() {
            let repaired = comparison.repaired.len();
            self.outbox.observe(Observation::Recomputed(repaired));
        }
        for (&slot, &since) in &comparison.fresh {
            if self.catalogue.item(slot).is_current() {
                self.list(now, slot, since);
            }
        }
        self.insert_found(&mut comparison, &SlotSet::default(), &mut changes);
        self.apply(now, changes);
    }

    /// Sets up the item's list, for an event that arrived at `since`.
    fn list(&mut self, now: Now, slot: Slot, since: Option<Duration>) {
        self.catalogue.set_listed(slot, true);
        if let Some(since) = since {
            let age = now.monotonic.saturating_sub(since);
            let id = self.catalogue.id(slot).clone();
            self.outbox.observe(Observation::Served(id, age));
        }
    }

    /// All rows have been compared with each other: all missing lists are complete, in one step.
    pub(super) fn merge_rebuilt(&mut self, now: Now, mut rebuild: Rebuild) {
        let mut changes = ListChanges::default();
        let mut comparison = std::mem::take(&mut rebuild.comparison);
        self.insert_found(&mut comparison, rebuild.outdated(), &mut changes);
        self.outbox.observe(Observation::Rebuilt);
        if !self.lists.are_served() {
            return self.serve_all(now, &rebuild, &changes);
        }
        for (slot, since) in comparison.fresh {
            let item = self.catalogue.item(slot);
            // An item that has a new row meanwhile gets its list from the window of that row.
            if item.is_current() && !item.listed && !rebuild.outdated().contains(slot) {
                changes.changing(slot, self.lists.of(slot).entries());
                changes.urgent.insert(slot);
                self.list(now, slot, since);
            }
        }
        self.apply(now, changes);
    }

    /// The domain is loaded: readers see all lists at once. If the lists must be rewritten, every list is stored at
    /// this epoch, and deleted where no item is visible; whatever a former owner wrote, or writes late, loses.
    /// Otherwise the store has them already, except those that lost or gained an item since.
    fn serve_all(&mut self, now: Now, rebuild: &Rebuild, found: &ListChanges) {
        let mut change = ViewChange {
            replace: true,
            model: self.row.is_some().then(|| self.model().clone()),
            ..ViewChange::default()
        };
        self.lists.serve();
        for slot in self.catalogue.slots() {
            let is_being_made = self.is_being_made(slot);
            if self.catalogue.item(slot).is_current() && !is_being_made {
                self.catalogue.set_listed(slot, true);
            }
            change
                .listed
                .extend(self.lists.listing(&self.catalogue, slot));
            if self.catalogue.item(slot).is_listed() {
                self.lists.repair_if_short(slot);
            }
            if is_being_made {
                // It is stored when the window that compares it is done.
            } else if found.lost.contains(&slot) || rebuild.is_touched(slot) {
                self.flush.add(slot, now.monotonic, Urgency::Urgent);
            } else if rebuild.rewrite {
                self.flush.add(slot, now.monotonic, Urgency::Later);
            }
        }
        self.serve(change);
    }

    /// Shows a change to readers, together with what belongs to it: the current features, settings and habits.
    pub(super) fn serve(&mut self, mut change: ViewChange) {
        if change.model.is_none() && self.row.is_some() {
            change.model = Some(self.model().clone());
        }
        change.name = change.model.as_ref().map(|_| self.model_name().clone());
        self.must_tell &= change.model.is_none();
        // Until then readers may see an older view, with different slots.
        if self.lists.are_served() {
            change.features = Some(self.catalogue.blocks().features());
            change.settings = Some(Arc::clone(&self.text_settings));
            change.habits = Some(Arc::clone(&self.surveying.habits));
        }
        self.outbox.push(Effect::Serve(change));
    }

    /// Whether a window is computing the slot's list.
    fn is_being_made(&self, slot: Slot) -> bool {
        match &self.phase {
            Phase::Comparing { comparison, .. } => comparison.fresh.contains_key(&slot),
            _ => false,
        }
    }

    /// Puts candidates into the lists; adds the lists that changed.
    fn insert_found(
        &mut self,
        comparison: &mut Comparison,
        outdated: &SlotSet,
        changes: &mut ListChanges,
    ) {
        for (plan, reply) in comparison.take_found() {
            let catalogue = &self.catalogue;
            self.lists
                .insert_found(catalogue, &plan, reply, outdated, changes);
        }
    }

    /// Serves changed lists, arranges for those that are too short now, and has them stored: what readers see first
    /// before the rest.
    pub(super) fn apply(&mut self, now: Now, changes: ListChanges) {
        let mut change = ViewChange::default();
        for (slot, had) in changes.changed {
            if !self.catalogue.item(slot).is_listed() {
                if let Some(rebuild) = &mut self.rebuild {
                    rebuild.touch(slot);
                }
                continue;
            }
            let urgency = if changes.urgent.contains(&slot) {
                Some(Urgency::Urgent)
            } else {
                Urgency::of_change(&had, self.lists.of(slot).entries())
            };
            if let Some(urgency) = urgency {
                self.flush.add(slot, now.monotonic, urgency);
            }
            change
                .listed
                .extend(self.lists.listing(&self.catalogue, slot));
            self.lists.repair_if_short(slot);
        }
        for slot in changes.gone {
            change.gone.push(self.catalogue.id(slot).clone());
            self.flush.add(slot, now.monotonic, Urgency::Urgent);
        }
        if !change.is_empty() {
            self.serve(change);
        }
    }
}
