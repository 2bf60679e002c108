//! Acceptance: what the next round writes, what the round in flight is writing, and which deliveries wait for either.
//!
//! One round is in flight at a time; events accepted meanwhile belong to the next one. So the speed of the store
//! determines the size of rounds: one event when it is idle, many when it is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backlog::Pending;
use crate::effect::Ticket;
use crate::intake::DeliveryTag;
use crate::ledger::{Ledger, RoundNumber};
use crate::round::{ItemWrites, Renewal, Round};
use crate::slot::Slot;
use crate::store::Write;
use crate::time::earlier;

/// Accepted events that are not durable yet.
#[derive(Debug)]
pub(crate) struct Acceptance {
    ledger: Ledger,
    building: Round,
    number: RoundNumber,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    number: RoundNumber,
    ticket: Ticket,
    round: Round,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            building: Round::default(),
            number: RoundNumber(1),
            in_flight: None,
        }
    }
}

impl Acceptance {
    /// The next round writes what the item's last event says.
    pub(crate) fn write(&mut self, slot: Slot, writes: ItemWrites) {
        self.building.write(slot, writes);
    }

    /// With the next round, the item leaves all lists.
    pub(crate) fn depart(&mut self, slot: Slot) {
        self.building.departed.insert(slot);
    }

    /// The item's feature must be made once the next round is stored.
    pub(crate) fn arrive(&mut self, slot: Slot, pending: Pending) {
        self.building.oldest = earlier(self.building.oldest, Some(pending.since));
        self.building.arrivals.insert(slot, pending);
    }

    /// Once the next round is stored, the item is visible, and readers see this.
    pub(crate) fn renew(&mut self, slot: Slot, renewal: Renewal) {
        self.building.renewed.insert(slot, renewal);
    }

    /// The delivery is settled when the next round is durable.
    pub(crate) fn hold(&mut self, tag: DeliveryTag, slot: Slot, version: u64) {
        self.ledger.hold(tag, slot, version, self.number);
    }

    /// A delivery that changes nothing. `true`: settle it now; `false`: it waits for the earlier deliveries of its id.
    pub(crate) fn hold_no_op(&mut self, tag: DeliveryTag, slot: Slot, version: u64) -> bool {
        self.ledger.hold_no_op(tag, slot, version)
    }

    /// Takes out the next round's changes for readers, because its content is durable already.
    pub(crate) fn take_seen(&mut self) -> (BTreeSet<Slot>, BTreeMap<Slot, Renewal>) {
        let round = &mut self.building;
        (
            std::mem::take(&mut round.departed),
            std::mem::take(&mut round.renewed),
        )
    }

    /// Whether a round can be sent: there are accepted events, and none is in flight.
    pub(crate) fn is_due(&self) -> bool {
        self.in_flight.is_none() && !self.building.is_empty()
    }

    /// Whether everything accepted is durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.building.is_empty()
    }

    /// The rows of the next round, which is in flight after [`Self::sent`].
    pub(crate) fn take_rows(&mut self) -> Vec<Write> {
        self.building.take_rows()
    }

    /// The round whose rows were taken is in flight.
    pub(crate) fn sent(&mut self, ticket: Ticket) {
        let number = self.number;
        self.number = RoundNumber(number.0 + 1);
        let round = std::mem::take(&mut self.building);
        self.in_flight = Some(InFlight {
            number,
            ticket,
            round,
        });
    }

    /// The round in flight is durable; returns it and the deliveries to settle, in order, with the versions of their
    /// events.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Option<(Round, Vec<(DeliveryTag, u64)>)> {
        let stored = self.in_flight.take_if(|round| round.ticket == ticket)?;
        Some((stored.round, self.ledger.committed(stored.number)))
    }

    /// Whether something about the item is not durable yet.
    pub(crate) fn is_writing(&self, slot: Slot) -> bool {
        self.rounds().any(|round| round.is_writing(slot))
    }

    /// Whether the item's feature must be made once it is stored.
    pub(crate) fn has_arrival(&self, slot: Slot) -> bool {
        self.rounds()
            .any(|round| round.arrivals.contains_key(&slot))
    }

    /// Number of items whose feature must be made once they are stored.
    pub(crate) fn arrivals(&self) -> usize {
        self.rounds().map(|round| round.arrivals.len()).sum()
    }

    /// Arrival of the first of them, or of one that was withdrawn in the same round.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.rounds().filter_map(|round| round.oldest).min()
    }

    /// Arrival of the first of them, and their number.
    pub(crate) fn first_arrival(&self) -> Option<(Duration, usize)> {
        let first = self.rounds().filter_map(Round::first_arrival).min()?;
        Some((first, self.arrivals()))
    }

    /// Nothing of this will become durable; returns the unsettled deliveries in the order of rounds. Round numbers
    /// continue.
    pub(crate) fn abandon(&mut self) -> Vec<DeliveryTag> {
        let held = self.ledger.abandon();
        *self = Self {
            number: self.number,
            ..Self::default()
        };
        held
    }

    fn rounds(&self) -> impl Iterator<Item = &Round> {
        let in_flight = self.in_flight.iter().map(|sent| &sent.round);
        in_flight.chain([&self.building])
    }
}
