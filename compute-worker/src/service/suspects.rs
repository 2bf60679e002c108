//! Jobs that may be the ones that kill workers. Pure.
//!
//! The broker counts deliveries of every job that a dead worker had in hand, including innocent
//! ones, and dead-letters a job after its sixth. So a redelivered job is run with nothing else in
//! hand: if it kills the worker, only its own count rises. Several that were redelivered together
//! are run one after the other, and the first one changes with every death: if there are at most
//! four, each has been first, and the innocent ones are finished, before any of them is
//! dead-lettered.

use kindred_shared::wire::JobKind;
use lapin::message::Delivery;
use lapin::types::AMQPValue;

/// Earlier deliveries from which on a job is suspect.
const SUSPECT_FROM: u64 = 1;

/// A redelivered job.
#[derive(Debug)]
pub(crate) struct Suspect {
    pub(crate) kind: JobKind,
    pub(crate) delivery: Delivery,
}

/// How often a job was delivered before.
fn redeliveries(delivery: &Delivery) -> u64 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers
        .and_then(|headers| headers.inner().get("x-delivery-count"))
        .and_then(AMQPValue::as_long_long_int)
        .unwrap_or(0);
    u64::try_from(count).unwrap_or(0)
}

/// Whether a job may have killed a worker before.
pub(crate) fn is_suspect(delivery: &Delivery) -> bool {
    redeliveries(delivery) >= SUSPECT_FROM
}

/// Suspects in the order in which to run them.
pub(crate) fn in_turn(suspects: Vec<Suspect>) -> Vec<Suspect> {
    let most = suspects.iter().map(|one| redeliveries(&one.delivery)).max();
    let name = |one: &Suspect| {
        let id = one.delivery.properties.correlation_id().clone();
        (one.kind.word(), id.map(|id| id.to_string()))
    };
    turned(suspects, name, most.unwrap_or(0))
}

/// Sorts things by name, starting with a different one in every round.
fn turned<T, N: Ord>(mut things: Vec<T>, name: impl Fn(&T) -> N, round: u64) -> Vec<T> {
    things.sort_by_key(name);
    let length = things.len().max(1) as u64;
    things.rotate_left(usize::try_from(round % length).unwrap_or(0));
    things
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_four_each_has_been_first_before_any_is_put_aside() {
        let first = |round| turned(vec!["d", "b", "a", "c"], |name| *name, round)[0];
        // Rounds are counts of earlier deliveries; at 6 a job is dead-lettered.
        let firsts: BTreeSet<&str> = (SUSPECT_FROM..6).map(first).collect();
        assert_eq!(firsts.len(), 4);
        assert!(turned(Vec::<&str>::new(), |name| *name, 3).is_empty());
    }
}
