//! Decides whose messages are handled next: domains take turns, and none keeps the others from being read.
//!
//! One batch per domain is handled at a time. Messages that cannot be handled now stay here for a pause that grows with
//! each failure. The broker delivers only a limited number of messages, so when those that wait fill half of that
//! number, the ones that have waited for a moment make room ([`Turns::overdue`]).

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use kindred_shared::Backoff;

/// Messages read and not settled.
pub(super) const PREFETCH: u16 = 500;
/// Messages that may be held for as long as it takes; the rest of the prefetch is for messages that can be handled.
const HELD: usize = PREFETCH as usize / 2;
/// Messages of a domain that are handled together.
const TOGETHER: usize = 100;
/// How long a message waits before it makes room.
const HOLD: Duration = Duration::from_millis(500);
/// Pauses after which messages that could not be handled are tried again.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
/// How long the failures of a domain without messages here are remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Messages that wait, by their routing key.
pub(super) struct Turns<M> {
    domains: HashMap<String, Domain<M>>,
}

struct Domain<M> {
    /// Messages, and when they came.
    waiting: VecDeque<(Instant, M)>,
    /// Messages that are being handled.
    taken: usize,
    pause: Backoff,
    /// When it is tried next.
    not_before: Instant,
}

impl<M> Domain<M> {
    fn may_go(&self, now: Instant) -> bool {
        self.taken == 0 && self.not_before <= now && !self.waiting.is_empty()
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.taken == 0 && self.waiting.is_empty() && self.not_before + REMEMBERED <= now
    }
}

impl<M> Turns<M> {
    pub(super) fn new() -> Self {
        Self {
            domains: HashMap::new(),
        }
    }

    /// Whether any message waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.domains
            .values()
            .any(|domain| !domain.waiting.is_empty())
    }

    /// A message came.
    pub(super) fn push(&mut self, key: &str, message: M, now: Instant) {
        if let Some(domain) = self.domains.get_mut(key) {
            domain.waiting.push_back((now, message));
            return;
        }
        let domain = Domain {
            waiting: VecDeque::from([(now, message)]),
            taken: 0,
            pause: PAUSE,
            not_before: now,
        };
        self.domains.insert(key.to_owned(), domain);
    }

    /// Batches to handle now. Each must be [`done`](Self::done) before there is another one of its domain.
    pub(super) fn ready(&mut self, now: Instant) -> Vec<(String, Vec<M>)> {
        self.domains.retain(|_, domain| !domain.is_forgotten(now));
        let ready = self.domains.iter_mut();
        let ready = ready.filter(|(_, domain)| domain.may_go(now));
        let batches = ready.map(|(key, domain)| {
            let count = domain.waiting.len().min(TOGETHER);
            domain.taken = count;
            let batch = domain.waiting.drain(..count);
            (key.clone(), batch.map(|(_, message)| message).collect())
        });
        batches.collect()
    }

    /// A batch was handled, except for the messages in `failed`.
    pub(super) fn done(&mut self, key: &str, failed: Vec<M>, now: Instant) {
        let Some(domain) = self.domains.get_mut(key) else {
            return;
        };
        domain.taken = 0;
        if failed.is_empty() {
            domain.pause.worked();
            if domain.waiting.is_empty() {
                self.domains.remove(key);
            }
            return;
        }
        domain.not_before = now + domain.pause.failed();
        for message in failed.into_iter().rev() {
            domain.waiting.push_front((now, message));
        }
    }

    /// Messages that make room: of those that have waited too long for their turn, as many as are held beyond half of
    /// what the broker delivers, beginning with the domain that has most.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(String, M)> {
        let held = self.domains.values();
        let held: usize = held.map(|domain| domain.taken + domain.waiting.len()).sum();
        let mut surplus = held.saturating_sub(HELD);
        let mut overdue = Vec::new();
        if surplus == 0 {
            return overdue;
        }
        let mut domains: Vec<_> = self.domains.iter_mut().collect();
        domains.sort_unstable_by_key(|(key, domain)| (Reverse(domain.waiting.len()), *key));
        for (key, domain) in domains {
            let old = domain.waiting.iter();
            let old = old.take_while(|(since, _)| *since + HOLD <= now).count();
            let count = old.min(surplus);
            surplus -= count;
            let messages = domain.waiting.drain(..count);
            overdue.extend(messages.map(|(_, message)| (key.clone(), message)));
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Messages of a domain by their numbers.
    fn push(turns: &mut Turns<usize>, key: &str, numbers: std::ops::Range<usize>, now: Instant) {
        for number in numbers {
            turns.push(key, number, now);
        }
    }

    /// Keys of the batches that are ready, and how many messages each has.
    fn ready(turns: &mut Turns<usize>, now: Instant) -> Vec<(String, usize)> {
        let ready = turns.ready(now).into_iter();
        let mut ready: Vec<_> = ready.map(|(key, batch)| (key, batch.len())).collect();
        ready.sort();
        ready
    }

    fn batch(key: &str, count: usize) -> (String, usize) {
        (key.to_owned(), count)
    }

    #[test]
    fn a_domain_has_one_turn_at_a_time_and_others_have_theirs() {
        let now = Instant::now();
        let mut turns = Turns::new();
        push(&mut turns, "a", 0..250, now);
        push(&mut turns, "b", 0..1, now);
        assert_eq!(ready(&mut turns, now), [batch("a", 100), batch("b", 1)]);
        push(&mut turns, "c", 0..2, now);
        assert_eq!(ready(&mut turns, now), [batch("c", 2)]);
        turns.done("a", vec![], now);
        turns.done("b", vec![], now);
        assert_eq!(ready(&mut turns, now), [batch("a", 100)]);
        turns.done("a", vec![], now);
        assert_eq!(ready(&mut turns, now), [batch("a", 50)]);
        turns.done("a", vec![], now);
        turns.done("c", vec![], now);
        assert!(turns.domains.is_empty() && !turns.has_waiting());
    }

    #[test]
    fn what_fails_is_tried_again_after_a_pause_that_grows_until_it_works() {
        let mut now = Instant::now();
        let mut turns = Turns::new();
        push(&mut turns, "a", 0..3, now);
        for pause in [1, 2, 4, 8, 10, 10] {
            let taken = turns.ready(now);
            assert_eq!(taken, [("a".to_owned(), vec![0, 1, 2])]);
            turns.done("a", vec![0, 1, 2], now);
            assert_eq!(turns.ready(now + pause * SECOND - MOMENT), []);
            now += pause * SECOND;
        }
        assert_eq!(ready(&mut turns, now), [batch("a", 3)]);
        push(&mut turns, "a", 3..4, now);
        turns.done("a", vec![], now);
        assert_eq!(ready(&mut turns, now), [batch("a", 1)]);
        turns.done("a", vec![3], now);
        assert_eq!(ready(&mut turns, now + SECOND), [batch("a", 1)]);
    }

    #[test]
    fn failures_are_remembered_for_a_while_where_nothing_waits() {
        let now = Instant::now();
        let mut turns = Turns::new();
        push(&mut turns, "a", 0..300, now);
        turns.ready(now);
        turns.done("a", (0..100).collect(), now);
        // As if all had made room.
        turns
            .domains
            .get_mut("a")
            .expect("a domain")
            .waiting
            .clear();
        turns.ready(now + SECOND + REMEMBERED - MOMENT);
        assert_eq!(turns.domains.len(), 1);
        turns.ready(now + SECOND + REMEMBERED);
        assert_eq!(turns.domains.len(), 0);
    }

    #[test]
    fn messages_of_a_domain_that_is_not_taken_make_room_for_others() {
        let now = Instant::now();
        let mut turns = Turns::new();
        push(&mut turns, "stuck", 0..HELD, now);
        turns.ready(now);
        turns.done("stuck", (0..TOGETHER).collect(), now);
        // While there is room, they stay.
        assert_eq!(turns.overdue(now + SECOND / 2), []);
        let later = now + SECOND / 2;
        push(&mut turns, "stuck", HELD..HELD + 50, later);
        push(&mut turns, "other", 0..20, later);
        // The oldest go, those of others wait for their turn.
        let overdue = turns.overdue(later);
        assert_eq!(overdue.len(), 70);
        assert!(overdue.iter().all(|(key, _)| key == "stuck"));
        assert_eq!(overdue[0].1, 0);
        assert_eq!(turns.overdue(later), []);
        assert_eq!(ready(&mut turns, later), [batch("other", 20)]);
    }

    #[test]
    fn a_message_waits_a_moment_before_it_makes_room() {
        let now = Instant::now();
        let mut turns = Turns::new();
        push(&mut turns, "busy", 0..usize::from(PREFETCH), now);
        turns.ready(now);
        assert_eq!(turns.overdue(now + HOLD - MOMENT), []);
        assert_eq!(turns.overdue(now + HOLD).len(), HELD);
    }
}
