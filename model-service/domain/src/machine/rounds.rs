//! Rounds: accepted events are stored together, and acknowledged after that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Domain;
use crate::effect::{CommitStep, Ticket};
use crate::intake::Outcome;
use crate::lists::ListChanges;
use crate::outbox::Mark;
use crate::round::Renewal;
use crate::slot::Slot;
use crate::time::Now;
use crate::view_change::{Renewed, ViewChange};

impl Domain {
    /// Stores what was accepted, unless a round is in flight or the domain is being marked clean: only the outcome of
    /// that mark tells whether this round must mark it dirty again.
    pub(super) fn send_round(&mut self) {
        let is_being_cleaned = matches!(self.outbox.mark(), Mark::Cleaning(_));
        if !self.acceptance.is_due() || is_being_cleaned {
            return;
        }
        let rows = self.acceptance.take_rows();
        let ticket = self.commit(CommitStep::Events, true, rows);
        self.acceptance.sent(ticket);
    }

    /// The round in flight is durable. Readers stop seeing items that are gone; then deliveries are settled, and
    /// features of the other items may be made.
    pub(super) fn round_stored(&mut self, now: Now, ticket: Ticket) {
        let Some((round, settled)) = self.acceptance.stored(ticket) else {
            return;
        };
        self.depart_now(now, &round.departed);
        self.renew(now, round.renewed);
        if self.must_tell {
            // The domain began with an item that readers do not see: deleted or hidden.
            self.serve(ViewChange::default());
        }
        // Items may have reached their time of publication while they were being stored.
        self.publish(now);
        for (slot, pending) in round.arrivals {
            let item = self.catalogue.item(slot);
            if item.wants_feature_of(pending.version, pending.content_hash) {
                self.backlog.add(slot, pending);
            }
        }
        let settled = settled.into_iter();
        let settled = settled.map(|(tag, version)| (tag, Outcome::Stored(Some(version))));
        self.pass(round.passed, settled.collect());
    }

    /// Shows readers what is durable now. While lists are being computed on loading, readers may see an older view with
    /// different slots.
    pub(super) fn renew(&mut self, now: Now, renewed: BTreeMap<Slot, Renewal>) {
        let mut change = ViewChange {
            model: Some(self.model().clone()),
            ..ViewChange::default()
        };
        for (slot, Renewal { version, shown }) in renewed {
            let item = self.catalogue.item(slot);
            let publish_at = shown.publish_at.map(|at| at.timestamp_millis());
            if item.publish_at.is_some() || publish_at.is_some_and(|at| at > now.unix_ms) {
                // A later event may have made it visible, or hidden it.
                if item.is_live_at(version) {
                    // From now on it appears by itself.
                    self.catalogue.show(slot, Some(shown));
                }
                continue;
            }
            if !item.is_visible() {
                // A later event withdrew or hid it, or it expired before it was stored. Then both are acknowledged
                // together, and readers still see its earlier state.
                if !item.live && item.version == Some(version) {
                    change.gone.push(self.catalogue.id(slot).clone());
                }
                continue;
            }
            if !self.lists.are_served() {
                change.renewed.push(Renewed {
                    id: self.catalogue.id(slot).clone(),
                    expires_at: item.expires_at,
                    shown: Arc::clone(&shown),
                });
            }
            self.catalogue.show(slot, Some(shown));
            change
                .listed
                .extend(self.lists.listing(&self.catalogue, slot));
        }
        if !change.is_empty() {
            self.serve(change);
        }
    }

    /// Removes departed items from what readers see; lists that name them are shortened later.
    pub(super) fn depart_now(&mut self, now: Now, departed: &BTreeSet<Slot>) {
        if departed.is_empty() {
            return;
        }
        let mut changes = ListChanges::default();
        for &slot in departed {
            // The slot may have a new list by now; only slots without one are removed.
            if !self.catalogue.item(slot).listed {
                self.lists.clear(slot);
                changes.gone.push(slot);
            }
        }
        self.lists.leave(departed.iter().copied());
        self.apply(now, changes);
    }

    /// Takes departed items out of further lists. Each step is short, because machines of other domains run on the same
    /// thread.
    pub(super) fn scrub_some(&mut self, now: Now) {
        if !self.lists.must_scrub() {
            return;
        }
        let mut changes = ListChanges::default();
        let most = self.settings.scrub_lists;
        self.lists.scrub_some(most, &mut changes);
        changes.urgent.extend(changes.changed.keys());
        self.apply(now, changes);
    }
}
