//! Rounds: accepted events, written to the store together and then acknowledged.
//!
//! One round is in flight at a time; what is accepted meanwhile is the next one. So the store
//! decides how large rounds are: one event when it is idle, many when it is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::effect::{CommitStep, Effect, Material, Ticket};
use super::ledger::RoundNumber;
use super::machine::{Domain, Mark, Phase};
use super::merge::ListChanges;
use super::slot::Slot;
use super::time::Now;
use crate::intake::Outcome;
use crate::store::{FeatureRow, ItemRow, Write};
use crate::view_change::ViewChange;

/// What a round writes for one item: what its last accepted event says.
#[derive(Debug)]
pub struct ItemWrites {
    /// The item's row.
    pub row: ItemRow,
    /// The item's text or vector; `None`: it has none any more.
    pub content: Option<Arc<Material>>,
    /// Its feature.
    pub feature: FeatureWrite,
}

/// What becomes of an item's feature row.
#[derive(Debug)]
pub enum FeatureWrite {
    /// It stays; a later one is on its way.
    Keep,
    /// The same feature under the new version.
    Put(Box<FeatureRow>),
    /// It goes.
    Delete,
}

/// An item whose feature is to be made.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The version asked for.
    pub version: u64,
    /// Of what the feature is to be made of.
    pub content_hash: u64,
    /// When its event came.
    pub since: Duration,
    /// What the feature is made of; `None`: the store has it.
    pub material: Option<Arc<Material>>,
}

/// Accepted events that are being stored, or wait for that.
#[derive(Debug, Default)]
pub struct Round {
    /// By item.
    writes: BTreeMap<Slot, ItemWrites>,
    /// Items that leave all lists with this round.
    departed: BTreeSet<Slot>,
    /// Items whose feature is to be made once this round is stored.
    arrivals: BTreeMap<Slot, Pending>,
    /// Items that stay in their lists, under another version or expiry.
    renewed: BTreeSet<Slot>,
}

impl Round {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether features are to be made once it is stored.
    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Number of items whose feature is to be made once it is stored.
    pub fn arrivals(&self) -> usize {
        self.arrivals.len()
    }

    /// When the first of those came.
    pub fn first_arrival(&self) -> Option<Duration> {
        self.arrivals.values().map(|pending| pending.since).min()
    }

    /// What the item's last event says replaces what an earlier one in this round said.
    pub fn write(&mut self, slot: Slot, mut writes: ItemWrites) {
        self.arrivals.remove(&slot);
        self.renewed.remove(&slot);
        let earlier = self.writes.remove(&slot);
        if matches!(writes.feature, FeatureWrite::Keep)
            && earlier.is_some_and(|earlier| matches!(earlier.feature, FeatureWrite::Delete))
        {
            writes.feature = FeatureWrite::Delete;
        }
        self.writes.insert(slot, writes);
    }

    /// The item leaves all lists with this round.
    pub fn depart(&mut self, slot: Slot) {
        self.departed.insert(slot);
    }

    /// The item's feature is to be made once this round is stored.
    pub fn arrive(&mut self, slot: Slot, pending: Pending) {
        self.arrivals.insert(slot, pending);
    }

    /// The item stays served, as its new row says.
    pub fn renew(&mut self, slot: Slot) {
        self.renewed.insert(slot);
    }

    /// The rows. A text is written with every version, also when it is the same: a write of a
    /// former owner that comes late could replace it under the older stamp.
    fn rows(&mut self) -> Vec<Write> {
        let mut rows = Vec::with_capacity(3 * self.writes.len());
        for ItemWrites {
            row,
            content,
            feature,
        } in std::mem::take(&mut self.writes).into_values()
        {
            let id = row.id.clone();
            rows.push(match content {
                Some(material) => Write::Content(id.clone(), material.content.clone()),
                None => Write::DeleteContent(id.clone()),
            });
            match feature {
                FeatureWrite::Keep => {}
                FeatureWrite::Put(row) => rows.push(Write::Feature(*row)),
                FeatureWrite::Delete => rows.push(Write::DeleteFeature(id)),
            }
            rows.push(Write::Item(row));
        }
        rows
    }
}

/// The round in flight.
#[derive(Debug)]
pub struct RoundInFlight {
    number: RoundNumber,
    ticket: Ticket,
    round: Round,
}

impl RoundInFlight {
    /// Number of items whose feature is to be made once it is stored.
    pub fn arrivals(&self) -> usize {
        self.round.arrivals()
    }

    /// When the first of those came.
    pub fn first_arrival(&self) -> Option<Duration> {
        self.round.first_arrival()
    }
}

impl Domain {
    /// Sends what was accepted, unless a round is in flight or the domain is being marked clean:
    /// the outcome of that mark decides whether this round must mark it dirty again.
    pub(super) fn send_round(&mut self) {
        let is_ready = self.round_in_flight.is_none()
            && !self.round.is_empty()
            && !matches!(self.mark, Mark::Cleaning(_))
            && !matches!(
                self.phase,
                Phase::Loading { .. } | Phase::Unloaded { .. } | Phase::Lost
            );
        if !is_ready {
            return;
        }
        let mut round = std::mem::take(&mut self.round);
        let number = self.round_number;
        self.round_number = RoundNumber(number.0 + 1);
        let rows = round.rows();
        let ticket = self.commit(CommitStep::Events, true, rows);
        self.round_in_flight = Some(RoundInFlight {
            number,
            ticket,
            round,
        });
    }

    /// The round in flight is durable: deliveries are settled, gone items are gone for readers
    /// before that, and features of the others may be made.
    pub(super) fn round_stored(&mut self, now: Now, ticket: Ticket) {
        let Some(RoundInFlight { number, round, .. }) =
            self.round_in_flight.take_if(|round| round.ticket == ticket)
        else {
            return;
        };
        self.depart_now(now, &round.departed);
        let listed = round
            .renewed
            .iter()
            .filter_map(|slot| self.listing(*slot))
            .collect();
        let renewal = ViewChange {
            listed,
            ..ViewChange::default()
        };
        if !renewal.is_empty() {
            self.effects.push(Effect::Serve(renewal));
        }
        for (slot, pending) in round.arrivals {
            if self.items[slot.index()].is_asked_for(&pending) {
                self.add_pending(slot, pending);
            }
        }
        let settled = self.ledger.committed(number);
        if !settled.is_empty() {
            let settled = settled
                .into_iter()
                .map(|tag| (tag, Outcome::Stored))
                .collect();
            self.effects.push(Effect::Settle(settled));
        }
    }

    /// Takes departed items out of every list, in one pass over them.
    fn depart_now(&mut self, now: Now, departed: &BTreeSet<Slot>) {
        if departed.is_empty() {
            return;
        }
        let mut changes = ListChanges::default();
        self.scrub(|slot| departed.contains(&slot), &mut changes);
        for &slot in departed {
            // A list of this slot may have been made again since; only what is not, goes.
            if !self.items[slot.index()].listed {
                self.lists[slot.index()] = super::list::List::default();
                changes.gone(slot);
            }
        }
        self.apply(now, changes, super::flush::AFTER_DEPARTURE);
    }

    /// Material is kept in memory only up to a bound; the store has all of it.
    pub(super) fn add_pending(&mut self, slot: Slot, mut pending: Pending) {
        let bytes = pending.material.as_deref().map_or(0, material_bytes);
        if self.material_bytes + bytes > self.settings.material_bytes {
            pending.material = None;
        } else {
            self.material_bytes += bytes;
        }
        if let Some(earlier) = self.pending.insert(slot, pending) {
            self.material_bytes -= earlier.material.as_deref().map_or(0, material_bytes);
        }
    }

    /// Forgets that an item's feature is to be made.
    pub(super) fn remove_pending(&mut self, slot: Slot) -> Option<Pending> {
        let pending = self.pending.remove(&slot)?;
        self.material_bytes -= pending.material.as_deref().map_or(0, material_bytes);
        Some(pending)
    }
}

fn material_bytes(material: &Material) -> usize {
    material.content.bytes() + material.row.title.as_ref().map_or(0, String::len)
}
