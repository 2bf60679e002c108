//! The acknowledgement ledger: when each delivery may be acknowledged.
//!
//! A delivery is settled once the round that writes its event is durable. Deliveries of one id are settled in order: if
//! a later one were acknowledged first, an earlier one could be redelivered after a crash and be mistaken for newer.

use std::collections::{BTreeMap, HashMap};

use crate::intake::DeliveryTag;
use crate::slot::Slot;

/// The number of a write of accepted events to the store; consecutive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoundNumber(pub(crate) u64);

/// An unsettled delivery.
#[derive(Debug, Clone, Copy)]
struct UnsettledDelivery {
    tag: DeliveryTag,
    slot: Slot,
    /// The version of its event.
    version: u64,
}

/// Unsettled deliveries.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    by_round: BTreeMap<RoundNumber, Vec<UnsettledDelivery>>,
    /// The last round in which each id has an unsettled delivery.
    last_round: HashMap<Slot, RoundNumber>,
}

impl Ledger {
    /// Records a delivery whose event is written by `round`, alone or merged with others.
    pub(crate) fn hold(&mut self, tag: DeliveryTag, slot: Slot, version: u64, round: RoundNumber) {
        let last = self.last_round.entry(slot).or_insert(round);
        debug_assert!(*last <= round, "rounds only rise");
        *last = round;
        let delivery = UnsettledDelivery { tag, slot, version };
        self.by_round.entry(round).or_default().push(delivery);
    }

    /// Records a delivery that changes nothing. `true`: settle it now; `false`: it waits for the
    /// earlier deliveries of its id.
    pub(crate) fn hold_no_op(&mut self, tag: DeliveryTag, slot: Slot, version: u64) -> bool {
        match self.last_round.get(&slot) {
            Some(&round) => {
                self.hold(tag, slot, version, round);
                false
            }
            None => true,
        }
    }

    /// Records that the round is durable; returns the deliveries that may be settled now, in the
    /// order they came, and their versions.
    pub(crate) fn committed(&mut self, round: RoundNumber) -> Vec<(DeliveryTag, u64)> {
        let settled = self.by_round.remove(&round).unwrap_or_default();
        for UnsettledDelivery { slot, .. } in &settled {
            if self.last_round.get(slot) == Some(&round) {
                self.last_round.remove(slot);
            }
        }
        let settled = settled.into_iter();
        settled
            .map(|delivery| (delivery.tag, delivery.version))
            .collect()
    }

    /// Gives up all deliveries, because none of them will become durable; returns them in the order of rounds.
    pub(crate) fn abandon(&mut self) -> Vec<DeliveryTag> {
        self.last_round.clear();
        std::mem::take(&mut self.by_round)
            .into_values()
            .flatten()
            .map(|delivery| delivery.tag)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u32),
        NoOp(u32),
        /// Sends the round under construction, once the one before it is durable.
        Send,
        Commit,
        Fail,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..5u32).prop_map(Step::Write),
            2 => (0..5u32).prop_map(Step::NoOp),
            2 => Just(Step::Send),
            2 => Just(Step::Commit),
            1 => Just(Step::Fail),
        ]
    }

    proptest! {
        #[test]
        fn settles_each_delivery_once_after_its_round_and_in_order_of_its_id(
            steps in prop::collection::vec(step(), 1..200)
        ) {
            let mut ledger = Ledger::default();
            let (mut building, mut in_flight) = (1u64, None);
            let mut next_tag = 0u64;
            // tag → (slot, the round it must wait for)
            let mut open: BTreeMap<u64, (u32, Option<u64>)> = BTreeMap::new();
            let mut durable = 0u64;
            for step in steps {
                let settled = match step {
                    Step::Write(slot) => {
                        ledger.hold(DeliveryTag(next_tag), Slot(slot), next_tag, RoundNumber(building));
                        open.insert(next_tag, (slot, Some(building)));
                        next_tag += 1;
                        vec![]
                    }
                    Step::NoOp(slot) => {
                        let tag = DeliveryTag(next_tag);
                        open.insert(next_tag, (slot, None));
                        next_tag += 1;
                        if ledger.hold_no_op(tag, Slot(slot), tag.0) { vec![tag] } else { vec![] }
                    }
                    Step::Send => {
                        if in_flight.is_none() {
                            in_flight = Some(building);
                            building += 1;
                        }
                        vec![]
                    }
                    Step::Commit => match in_flight.take() {
                        Some(round) => {
                            durable = round;
                            let settled = ledger.committed(RoundNumber(round));
                            prop_assert!(settled.iter().all(|(tag, version)| tag.0 == *version));
                            settled.into_iter().map(|(tag, _)| tag).collect()
                        }
                        None => vec![],
                    },
                    Step::Fail => {
                        let failed = ledger.abandon();
                        prop_assert_eq!(failed.len(), open.len());
                        open.clear();
                        in_flight = None;
                        building += 1;
                        vec![]
                    }
                };
                for DeliveryTag(tag) in settled {
                    let (slot, round) = open.remove(&tag).expect("each tag is settled once");
                    prop_assert!(round.is_none_or(|round| round <= durable), "not before its round");
                    prop_assert!(
                        !open.iter().any(|(other, (s, _))| *s == slot && *other < tag),
                        "an earlier delivery of the id is still open"
                    );
                }
                prop_assert_eq!(ledger.by_round.values().map(Vec::len).sum::<usize>(), open.len());
            }
        }
    }
}
