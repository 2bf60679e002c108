//! Merging: what comparisons found, into the lists, and from there to readers.

use super::Domain;
use crate::comparison::Comparison;
use crate::effect::{Effect, Observation};
use crate::flush::Urgency;
use crate::lists::ListChanges;
use crate::time::Now;
use crate::view_change::ViewChange;

impl Domain {
    /// Puts all that a comparison found into the lists, at once.
    pub(super) fn merge(&mut self, now: Now, mut comparison: Comparison) {
        let mut changes = ListChanges::default();
        if !comparison.moved.is_empty() {
            let moved = &comparison.moved;
            self.lists.scrub(|slot| moved.contains(&slot), &mut changes);
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
                self.catalogue.set_listed(slot, true);
                if let Some(since) = since {
                    let age = now.monotonic.saturating_sub(since);
                    self.outbox.observe(Observation::Served(age));
                }
            }
        }
        self.insert_found(&mut comparison, &mut changes);
        self.apply(now, changes);
    }

    /// All lists are made anew, and readers see them at once. `rewrite`: every row is stored at our
    /// epoch, and deleted where no item is visible; what a former owner wrote, or writes late, loses.
    /// Else the store has them already, but for those that lost somebody since.
    pub(super) fn merge_rebuilt(&mut self, now: Now, mut comparison: Comparison, rewrite: bool) {
        let mut found = ListChanges::default();
        self.insert_found(&mut comparison, &mut found);
        self.outbox.observe(Observation::Rebuilt);
        let mut change = ViewChange {
            replace: true,
            model: self.row.is_some().then(|| self.model().clone()),
            ..ViewChange::default()
        };
        self.lists.serve();
        for slot in self.catalogue.slots() {
            if self.catalogue.item(slot).is_current() {
                self.catalogue.set_listed(slot, true);
            }
            change
                .listed
                .extend(self.lists.listing(&self.catalogue, slot));
            if self.catalogue.item(slot).is_listed() {
                self.lists.repair_if_short(slot);
            }
            if found.lost.contains(&slot) {
                self.flush.add(slot, now.monotonic, Urgency::Urgent);
            } else if rewrite {
                self.flush.add(slot, now.monotonic, Urgency::Later);
            }
        }
        self.outbox.push(Effect::Serve(change));
    }

    /// Puts what was found into the lists; adds which of them changed.
    fn insert_found(&mut self, comparison: &mut Comparison, changes: &mut ListChanges) {
        for (plan, reply) in comparison.take_found() {
            let catalogue = &self.catalogue;
            self.lists.insert_found(catalogue, &plan, reply, changes);
        }
    }

    /// Serves changed lists, sees to those that are too short now, and has them stored: what readers
    /// see first before the rest.
    pub(super) fn apply(&mut self, now: Now, changes: ListChanges) {
        let mut change = ViewChange::default();
        for (slot, had) in changes.changed {
            if !self.catalogue.item(slot).is_listed() {
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
            self.outbox.push(Effect::Serve(change));
        }
    }
}
