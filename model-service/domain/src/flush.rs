//! Tracks which lists are not stored in their current state, and which of them to store first.
//!
//! What readers see first is written first. *Urgent* are lists that are new, that name a removed item, or whose first
//! places changed. Changes further down wait *later*, collect more changes, and are written once. Within each queue,
//! lists are written in the order they became due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::Ticket;
use crate::list::{ListEntry, NEIGHBOURS};
use crate::slot::Slot;

/// How long urgent lists may collect more changes while events keep coming.
pub(crate) const URGENT: Duration = Duration::from_millis(250);
/// The same for other lists. At 200 events per second, the p99 of the time until a list is stored is this plus the time
/// until it is served.
pub(crate) const LATER: Duration = Duration::from_secs(1);
/// The places that readers see first.
const FIRST_PLACES: usize = 10;
/// Most lists per commit. Many domains may flush at once, and a list on its way to the store takes several kilobytes of
/// memory.
const LISTS_PER_COMMIT: usize = 256;
/// Of those, the places reserved for due lists of [`Urgency::Later`], even if urgent ones are waiting.
const LATER_PER_COMMIT: usize = 64;

/// How soon a changed list must be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Urgent,
    Later,
}

impl Urgency {
    /// The urgency of a change from `before` to `now`; `None`: the stored places are unchanged.
    pub(crate) fn of_change(before: &[ListEntry], now: &[ListEntry]) -> Option<Self> {
        let stored = |entries: &[ListEntry]| entries.len().min(NEIGHBOURS);
        let (before, now) = (&before[..stored(before)], &now[..stored(now)]);
        let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
        if same == before.len() && same == now.len() {
            return None;
        }
        Some(if same < FIRST_PLACES {
            Self::Urgent
        } else {
            Self::Later
        })
    }
}

/// Waiting lists, and when each is due.
#[derive(Debug, Default)]
struct Queue {
    due: BTreeMap<Slot, Duration>,
    /// Sorted by due time; at equal times the lists of the newest items come first, because the store does not have
    /// those at all.
    order: BTreeSet<(Duration, Reverse<Slot>)>,
}

impl Queue {
    /// Makes the list due at `at`, or keeps its due time if that is earlier.
    fn add(&mut self, slot: Slot, at: Duration) {
        let at = self.remove(slot).map_or(at, |earlier| earlier.min(at));
        self.due.insert(slot, at);
        self.order.insert((at, Reverse(slot)));
    }

    /// Removes the list; returns when it was due, if it was waiting.
    fn remove(&mut self, slot: Slot) -> Option<Duration> {
        let at = self.due.remove(&slot)?;
        self.order.remove(&(at, Reverse(slot)));
        Some(at)
    }

    fn first_due(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The number of lists due by `now`, counting up to `most`.
    fn count_due(&self, now: Duration, most: usize) -> usize {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        due.take(most).count()
    }

    /// Moves lists that are due by `now` into `taken`, earliest first, until that has `most`.
    fn take(&mut self, now: Duration, most: usize, taken: &mut Vec<Slot>) {
        while taken.len() < most
            && let Some(&(at, Reverse(slot))) = self.order.first()
            && at <= now
        {
            self.remove(slot);
            taken.push(slot);
        }
    }
}

/// Lists that are not stored in their current state.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    urgent: Queue,
    later: Queue,
    in_flight: Option<(Ticket, Vec<Slot>)>,
    /// Lists that are stored and whose watchers are being notified.
    notifying: BTreeSet<Ticket>,
}

impl Flush {
    /// Whether all lists are stored and all watchers notified.
    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.due.is_empty()
            && self.later.due.is_empty()
            && self.in_flight.is_none()
            && self.notifying.is_empty()
    }

    /// Lists that wait or are on their way to the store.
    pub(crate) fn len(&self) -> usize {
        let in_flight = self.in_flight.as_ref().map_or(0, |(_, slots)| slots.len());
        self.urgent.due.len() + self.later.due.len() + in_flight
    }

    /// Lists that wait or are on their way to the store, in no particular order; twice if both.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        let in_flight = self.in_flight.iter().flat_map(|(_, slots)| slots);
        let waiting = self.urgent.due.keys().chain(self.later.due.keys());
        waiting.chain(in_flight).copied()
    }

    /// Records that the slot's list changed at `now`.
    pub(crate) fn add(&mut self, slot: Slot, now: Duration, urgency: Urgency) {
        match urgency {
            Urgency::Later if self.urgent.due.contains_key(&slot) => {}
            Urgency::Later => self.later.add(slot, now + LATER),
            Urgency::Urgent => {
                let at = now + URGENT;
                let waited = self.later.remove(slot);
                let at = waited.map_or(at, |earlier| earlier.min(at));
                self.urgent.add(slot, at);
            }
        }
    }

    /// When to flush even if the domain is busy.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.in_flight.is_some() {
            return None;
        }
        let due = [self.urgent.first_due(), self.later.first_due()];
        due.into_iter().flatten().min()
    }

    /// The next lists to store, unless some are on their way: all that wait if the domain is `settled`, else those that
    /// are due.
    pub(crate) fn take(&mut self, now: Duration, settled: bool) -> Option<Vec<Slot>> {
        if self.in_flight.is_some() {
            return None;
        }
        let due = if settled { Duration::MAX } else { now };
        let kept = self.later.count_due(now, LATER_PER_COMMIT);
        let mut taken = Vec::new();
        self.urgent.take(due, LISTS_PER_COMMIT - kept, &mut taken);
        self.later.take(due, LISTS_PER_COMMIT, &mut taken);
        (!taken.is_empty()).then_some(taken)
    }

    /// Records that the taken lists are on their way.
    pub(crate) fn sent(&mut self, ticket: Ticket, slots: Vec<Slot>) {
        self.in_flight = Some((ticket, slots));
    }

    /// Records that the lists on their way are durable; returns them.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Option<Vec<Slot>> {
        let (_, slots) = self.in_flight.take_if(|(sent, _)| *sent == ticket)?;
        Some(slots)
    }

    /// Records that watchers are being notified.
    pub(crate) fn notifying(&mut self, ticket: Ticket) {
        self.notifying.insert(ticket);
    }

    /// Records that watchers were notified.
    pub(crate) fn notified(&mut self, ticket: Ticket) {
        self.notifying.remove(&ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn slots(range: std::ops::Range<u32>) -> Vec<Slot> {
        range.map(Slot).collect()
    }

    fn entries(slots: &[u32]) -> Vec<ListEntry> {
        let entry = |slot: &u32| ListEntry {
            slot: Slot(*slot),
            score: 0.5,
        };
        slots.iter().map(entry).collect()
    }

    #[track_caller]
    fn sorted(mut slots: Vec<Slot>) -> Vec<Slot> {
        slots.sort_unstable();
        slots
    }

    #[test]
    fn the_first_changed_place_decides() {
        let before: Vec<u32> = (0..64).collect();
        let replaced = |place: usize| {
            let mut now = before.clone();
            now[place] = 99;
            now
        };
        let shortened = |length: usize| before[..length].to_vec();
        for (now, urgency) in [
            (before.clone(), None),
            (replaced(0), Some(Urgency::Urgent)),
            (replaced(9), Some(Urgency::Urgent)),
            (replaced(10), Some(Urgency::Later)),
            (replaced(49), Some(Urgency::Later)),
            // Beyond the stored places.
            (replaced(50), None),
            (shortened(50), None),
            (shortened(49), Some(Urgency::Later)),
            (shortened(9), Some(Urgency::Urgent)),
        ] {
            let (before, now) = (entries(&before), entries(&now));
            assert_eq!(Urgency::of_change(&before, &now), urgency);
            assert_eq!(Urgency::of_change(&now, &before), urgency);
        }
        assert_eq!(Urgency::of_change(&[], &[]), None);
    }

    #[test]
    fn urgent_lists_go_before_others_in_the_order_they_are_due() {
        let mut flush = Flush::default();
        for slot in slots(0..300) {
            flush.add(slot, 3 * SECOND - LATER, Urgency::Later);
        }
        flush.add(Slot(400), 2 * SECOND, Urgency::Urgent);
        flush.add(Slot(7), 2 * SECOND, Urgency::Urgent);
        flush.add(Slot(500), 2 * SECOND - URGENT, Urgency::Urgent);
        assert_eq!(flush.deadline(), Some(2 * SECOND));
        assert_eq!(flush.take(2 * SECOND, false), Some(vec![Slot(500)]));
        assert_eq!(flush.take(2 * SECOND, false), None, "nothing else is due");
        let all = flush.take(2 * SECOND, true).unwrap_or_default();
        assert_eq!(all[..3], [Slot(400), Slot(7), Slot(299)]);
        assert_eq!(all.len(), LISTS_PER_COMMIT);
    }

    #[test]
    fn a_list_that_waited_longer_is_due_when_it_was() {
        let mut flush = Flush::default();
        flush.add(Slot(1), SECOND, Urgency::Later);
        flush.add(Slot(1), 10 * SECOND, Urgency::Urgent);
        flush.add(Slot(1), 11 * SECOND, Urgency::Later);
        assert_eq!(flush.deadline(), Some(SECOND + LATER));
        assert_eq!(flush.take(9 * SECOND, false), Some(vec![Slot(1)]));
        assert!(flush.is_empty());
    }

    #[test]
    fn one_commit_at_a_time_and_what_changed_meanwhile_goes_again() {
        let mut flush = Flush::default();
        flush.add(Slot(1), SECOND, Urgency::Urgent);
        let taken = flush.take(9 * SECOND, false).unwrap_or_default();
        flush.sent(Ticket(5), taken);
        flush.add(Slot(1), SECOND, Urgency::Urgent);
        assert_eq!(flush.take(9 * SECOND, true), None);
        assert_eq!(flush.deadline(), None);
        assert_eq!(flush.stored(Ticket(4)), None);
        assert_eq!(flush.stored(Ticket(5)), Some(vec![Slot(1)]));
        assert_eq!(flush.take(9 * SECOND, false), Some(vec![Slot(1)]));
    }

    proptest! {
        /// However many urgent lists keep coming, other due lists are stored at a guaranteed rate, and everything is
        /// stored in the end.
        #[test]
        fn others_are_not_starved(more in 200..600_u32, others in 1..1_000_u32) {
            let mut flush = Flush::default();
            slots(0..others).into_iter().for_each(|slot| flush.add(slot, SECOND, Urgency::Later));
            let mut now = SECOND + LATER;
            let mut left = others as usize;
            let mut next = 10_000;
            while left > 0 {
                for slot in slots(next..next + more) {
                    flush.add(slot, now, Urgency::Urgent);
                }
                next += more;
                now += URGENT;
                let taken = flush.take(now, false).unwrap_or_default();
                prop_assert!(taken.len() <= LISTS_PER_COMMIT);
                let of_others = taken.iter().filter(|slot| slot.0 < others).count();
                prop_assert!(of_others >= left.min(LATER_PER_COMMIT));
                left -= of_others;
            }
            let mut rest = 0;
            while let Some(taken) = flush.take(now, true) {
                rest += taken.len();
            }
            prop_assert!(flush.is_empty() && rest <= next as usize);
        }

        /// Compared with a plain set: nothing is forgotten or stored twice, deadlines are kept, and nothing urgent
        /// waits while something that is not due is stored.
        #[test]
        fn nothing_is_forgotten(
            steps in prop::collection::vec((0..400_u32, 0..3_u8, 0..300_u64, any::<bool>()), 1..600),
        ) {
            let mut flush = Flush::default();
            let mut waiting: BTreeMap<Slot, (bool, Duration)> = BTreeMap::new();
            let mut now = Duration::ZERO;
            for (slot, kind, ms, settled) in steps {
                now += Duration::from_millis(ms);
                let slot = Slot(slot);
                if kind < 2 {
                    let urgency = if kind == 0 { Urgency::Urgent } else { Urgency::Later };
                    flush.add(slot, now, urgency);
                    let old = waiting.get(&slot).copied();
                    let is_urgent = kind == 0 || old.is_some_and(|(urgent, _)| urgent);
                    let own = now + if kind == 0 { URGENT } else { LATER };
                    let at = old.map_or(own, |(_, at)| at.min(own));
                    // A list that is already urgent does not become due earlier because of a change further down.
                    let at = if kind == 1 && is_urgent { old.map_or(at, |(_, at)| at) } else { at };
                    waiting.insert(slot, (is_urgent, at));
                } else if let Some(taken) = flush.take(now, settled) {
                    prop_assert!(taken.len() <= LISTS_PER_COMMIT);
                    for slot in &taken {
                        let (urgent, at) = waiting.remove(slot).unwrap();
                        prop_assert!(settled || at <= now);
                        let urgent_left = waiting.iter().any(|(other, (is_urgent, at))| {
                            *is_urgent && *at <= now && !taken.contains(other)
                        });
                        prop_assert!(urgent || at <= now || !urgent_left);
                    }
                    let is_due = |(_, at): &(bool, Duration)| settled || *at <= now;
                    prop_assert!(
                        taken.len() == LISTS_PER_COMMIT || !waiting.values().any(is_due)
                    );
                } else {
                    prop_assert!(waiting.values().all(|(_, at)| !settled && *at > now));
                }
                prop_assert_eq!(flush.deadline(), waiting.values().map(|(_, at)| *at).min());
            }
            let mut left = Vec::new();
            while let Some(taken) = flush.take(now, true) {
                left.extend(taken);
            }
            prop_assert_eq!(sorted(left), waiting.into_keys().collect::<Vec<_>>());
            prop_assert!(flush.is_empty());
        }
    }
}
