//! Merging: what comparisons found, into the lists, and from there to readers.

use std::time::Duration;

use super::Domain;
use crate::comparison::Comparison;
use crate::effect::{Effect, Observation};
use crate::flush::UNDER_LOAD;
use crate::lists::{Inserted, ListChanges};
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
                self.lists.clear(slot);
                changes.changed.insert(slot);
            }
        }
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
        let mut inserted = self.insert_found(&mut comparison);
        changes.changed.append(&mut inserted.changed);
        self.apply(now, changes, UNDER_LOAD);
    }

    /// All lists are made anew, and readers see them at once. `rewrite`: every row is stored at our
    /// epoch, and deleted where no item is visible; what a former owner wrote, or writes late, loses.
    /// Else the store has them already, but for those that lost somebody since.
    pub(super) fn merge_rebuilt(&mut self, mut comparison: Comparison, rewrite: bool) {
        let lost = self.insert_found(&mut comparison).lost;
        self.outbox.observe(Observation::Rebuilt);
        let mut change = ViewChange {
            replace: true,
            ..ViewChange::default()
        };
        for slot in self.catalogue.slots() {
            if self.catalogue.item(slot).is_current() {
                self.catalogue.set_listed(slot, true);
            }
            if let Some(listed) = self.lists.listing(&self.catalogue, slot) {
                change.listed.push(listed);
                self.lists.repair_if_short(slot);
            }
            if rewrite || lost.contains(&slot) {
                self.flush.add(slot, Duration::ZERO);
            }
        }
        self.outbox.push(Effect::Serve(change));
    }

    /// Puts what was found into the lists.
    fn insert_found(&mut self, comparison: &mut Comparison) -> Inserted {
        let mut inserted = Inserted::default();
        for (plan, reply) in comparison.take_found() {
            let catalogue = &self.catalogue;
            self.lists
                .insert_found(catalogue, &plan, reply, &mut inserted);
        }
        inserted
    }

    /// Serves changed lists, sees to those that are too short now, and has them stored within
    /// `due`.
    pub(super) fn apply(&mut self, now: Now, changes: ListChanges, due: Duration) {
        let mut change = ViewChange::default();
        for slot in changes.changed {
            if let Some(listed) = self.lists.listing(&self.catalogue, slot) {
                change.listed.push(listed);
                self.lists.repair_if_short(slot);
                self.flush.add(slot, now.monotonic + due);
            }
        }
        for slot in changes.gone {
            change.gone.push(self.catalogue.id(slot).clone());
            self.flush.add(slot, now.monotonic + due);
        }
        if !change.is_empty() {
            self.outbox.push(Effect::Serve(change));
        }
    }
}
