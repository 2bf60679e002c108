//! Merging: what comparisons found, into the lists, and from there to readers.

use std::collections::BTreeSet;
use std::time::Duration;

use kindred_shared::job::CompareReply;
use kindred_similarity::RowRef;

use super::cycle::{Comparison, TaskPlan};
use super::effect::{Effect, Observation};
use super::item::Placement;
use super::list::{Entry, List};
use super::machine::Domain;
use super::slot::Slot;
use super::time::Now;
use crate::view_change::{Listed, ViewChange};

/// Lists that are not what readers see and the store has.
#[derive(Debug, Default)]
pub(super) struct ListChanges {
    changed: BTreeSet<Slot>,
    gone: Vec<Slot>,
}

impl ListChanges {
    /// The slot's list is another.
    pub(super) fn changed(&mut self, slot: Slot) {
        self.changed.insert(slot);
    }

    /// The slot has no list any more.
    pub(super) fn gone(&mut self, slot: Slot) {
        self.gone.push(slot);
    }
}

impl Domain {
    /// Puts all that a comparison found into the lists, at once.
    pub(super) fn merge(&mut self, now: Now, comparison: Comparison) {
        let mut changes = ListChanges::default();
        if !comparison.moved.is_empty() {
            self.scrub(|slot| comparison.moved.contains(&slot), &mut changes);
        }
        for &slot in comparison.fresh.keys().chain(&comparison.repaired) {
            if self.items[slot.index()].is_current() {
                self.lists[slot.index()] = List::default();
                changes.changed(slot);
            }
        }
        if !comparison.repaired.is_empty() {
            self.observe(Observation::Recomputed(comparison.repaired.len()));
        }
        for (&slot, &since) in &comparison.fresh {
            let item = &mut self.items[slot.index()];
            if item.is_current() {
                item.listed = true;
                if let Some(since) = since {
                    self.observe(Observation::Served(now.monotonic.saturating_sub(since)));
                }
            }
        }
        for slot in self.merge_found(comparison) {
            changes.changed(slot);
        }
        self.apply(now, changes, super::flush::UNDER_LOAD);
    }

    /// Puts what was found into the lists; whose entries changed.
    pub(super) fn merge_found(&mut self, comparison: Comparison) -> BTreeSet<Slot> {
        let mut changed = BTreeSet::new();
        for (plan, reply) in comparison
            .plans
            .iter()
            .zip(comparison.replies.into_iter().flatten())
        {
            self.insert_found(plan, reply, &mut changed);
        }
        changed
    }

    /// Puts the candidates of one reply into the lists. Rows that left meanwhile are left out.
    fn insert_found(&mut self, plan: &TaskPlan, reply: CompareReply, changed: &mut BTreeSet<Slot>) {
        let entry = |row: RowRef, score: f32| plan.slot(row).map(|slot| Entry { slot, score });
        for found in reply.found {
            let Some(target) = plan.slot(found.row) else {
                continue;
            };
            if !self.items[target.index()].is_current() {
                continue;
            }
            let items = &self.items;
            let candidates = found
                .candidates
                .iter()
                .filter_map(|candidate| entry(candidate.row, candidate.score))
                .filter(|entry| items[entry.slot.index()].is_current() && entry.slot != target);
            let dropped = found
                .dropped
                .and_then(|dropped| entry(dropped.row, dropped.score));
            if self.lists[target.index()].insert(&self.slots, candidates, dropped) {
                changed.insert(target);
            }
        }
    }

    /// Takes rows out of every list.
    pub(super) fn scrub(&mut self, is_gone: impl Fn(Slot) -> bool, changes: &mut ListChanges) {
        for (index, list) in self.lists.iter_mut().enumerate() {
            if list.remove(&is_gone) {
                changes.changed(Slot(index as u32));
            }
        }
    }

    /// Serves changed lists, sees to those that are too short now, and has them stored within
    /// `due`.
    pub(super) fn apply(&mut self, now: Now, changes: ListChanges, due: Duration) {
        let mut change = ViewChange::default();
        for &slot in &changes.changed {
            if let Some(listed) = self.listing(slot) {
                change.listed.push(listed);
                if self.lists[slot.index()].needs_recomputation() {
                    self.repairs.insert(slot);
                }
                self.flush.add(slot, now.monotonic + due);
            }
        }
        for &slot in &changes.gone {
            change.gone.push(self.slots.id(slot).clone());
            self.flush.add(slot, now.monotonic + due);
        }
        if !change.is_empty() {
            self.effects.push(Effect::Serve(change));
        }
    }

    /// A row as readers see it; `None` while it is not served.
    pub(super) fn listing(&self, slot: Slot) -> Option<Listed> {
        let item = &self.items[slot.index()];
        if !item.listed || !item.is_current() {
            return None;
        }
        Some(Listed {
            slot,
            id: self.slots.id(slot).clone(),
            expires_at: item.expires_at,
            version: item.placed_version,
            entries: self.lists[slot.index()].entries().clone(),
            zero: matches!(item.placement, Some(Placement::Zero(_))),
        })
    }
}
