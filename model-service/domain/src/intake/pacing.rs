//! Pacing: if a domain's events exceed its `max_events_per_second`, they wait for their turn, up to a limit; further
//! ones are refused. Pure.
//!
//! Waiting events keep their order. An event that takes something away from readers does not wait: it is processed at
//! once, after the earlier events of its item, which then do not wait either. So it undoes what it was meant to undo.
//!
//! Waiting events have been handed over and are not settled, so they use the memory that the partition's intake has for
//! such events. The caller must reserve some of that for other domains: see `room` of [`Pacing::judge`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::ItemId;
use kindred_shared::event::{Event, Refusal};

use super::size::size_of_event;
use super::{DeliveryTag, MayWait};
use crate::quota::{Bucket, too_many};
use crate::time::Now;

/// Most waiting events of a domain.
pub const BACKLOG_EVENTS: usize = 500;
/// Most bytes of them: 8 MiB.
pub const BACKLOG_BYTES: usize = 8 << 20;
/// Longest wait of an event, in seconds: the backlog is limited to this many seconds' worth of events.
pub const BACKLOG_SECONDS: u64 = 60;

type Delivered = (DeliveryTag, Arc<Event>);

/// The events of one domain that are not processed yet. `P` is the permit that a waiting event holds of the room shared
/// by all domains of a partition.
#[derive(Debug)]
pub struct Pacing<P> {
    bucket: Bucket,
    /// Not judged yet.
    arrived: VecDeque<Delivered>,
    /// Waiting for their turn, in order.
    waiting: VecDeque<(Delivered, P)>,
    waiting_bytes: usize,
    /// To be processed, in order.
    due: VecDeque<Delivered>,
    /// When it is the turn of the first waiting event.
    turn: Option<Duration>,
}

impl<P> Default for Pacing<P> {
    fn default() -> Self {
        Self {
            bucket: Bucket::default(),
            arrived: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            due: VecDeque::new(),
            turn: None,
        }
    }
}

impl<P> Pacing<P> {
    /// An event arrived.
    pub fn arrive(&mut self, tag: DeliveryTag, event: Arc<Event>) {
        self.arrived.push_back((tag, event));
    }

    /// Judges new and waiting events. `most` is the limit of events per second, if there is one; `room` takes room for
    /// this many bytes, if there is some. Returns the refused events.
    pub fn judge(
        &mut self,
        now: Now,
        most: Option<u64>,
        may_wait: impl Fn(DeliveryTag) -> MayWait,
        mut room: impl FnMut(usize) -> Option<P>,
    ) -> Vec<(Delivered, Refusal)> {
        // They will come again.
        self.leave(|(tag, _)| may_wait(*tag) == MayWait::Stale);
        let Some(most) = most else {
            let waiting = self.leave(|_| true);
            self.due.extend(waiting);
            self.due.append(&mut self.arrived);
            self.turn = None;
            return Vec::new();
        };
        let mut refused = Vec::new();
        self.take_turns(now, most);
        while let Some((tag, event)) = self.arrived.pop_front() {
            let takes_away = event.takes_away(now.date());
            if takes_away || may_wait(tag) == MayWait::No {
                if !takes_away {
                    let _ = self.bucket.take(most, now.monotonic);
                }
                let is_about_domain = event.id().is_none();
                self.overtake(event.id());
                self.due.push_back((tag, event));
                if is_about_domain {
                    // It may change the limit for the events behind it.
                    break;
                }
                continue;
            }
            if self.waiting.is_empty() && self.bucket.take(most, now.monotonic).is_ok() {
                self.due.push_back((tag, event));
                continue;
            }
            let bytes = size_of_event(&event);
            let place = self.has_room(most, bytes).then(|| room(bytes)).flatten();
            match place {
                Some(place) => {
                    self.waiting_bytes += bytes;
                    self.waiting.push_back(((tag, event), place));
                }
                None => refused.push(((tag, event), too_many(most))),
            }
        }
        self.take_turns(now, most);
        refused
    }

    /// Whether there is something to judge.
    pub fn is_due(&self, now: Now) -> bool {
        let has_turn = self.turn.is_some_and(|turn| turn <= now.monotonic);
        has_turn || !self.arrived.is_empty()
    }

    /// The next event to process.
    pub fn pop(&mut self) -> Option<Delivered> {
        self.due.pop_front()
    }

    /// When to judge again.
    pub fn turn(&self) -> Option<Duration> {
        self.turn
    }

    /// Number of events that are not processed yet.
    pub fn len(&self) -> usize {
        self.arrived.len() + self.waiting.len() + self.due.len()
    }

    /// Whether all are processed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// None of them will be processed; returns their tags.
    pub fn abandon(&mut self) -> Vec<DeliveryTag> {
        let waiting = self.leave(|_| true);
        let due = std::mem::take(&mut self.due);
        let arrived = std::mem::take(&mut self.arrived);
        self.turn = None;
        let all = due.into_iter().chain(waiting).chain(arrived);
        all.map(|(tag, _)| tag).collect()
    }

    fn has_room(&self, most: u64, bytes: usize) -> bool {
        let in_time = most.saturating_mul(BACKLOG_SECONDS);
        let events = usize::try_from(in_time).map_or(BACKLOG_EVENTS, |of| of.min(BACKLOG_EVENTS));
        self.waiting.len() < events && self.waiting_bytes + bytes <= BACKLOG_BYTES
    }

    /// Moves the events whose turn it is to those to be processed.
    fn take_turns(&mut self, now: Now, most: u64) {
        self.turn = None;
        while !self.waiting.is_empty() {
            if let Err(wait) = self.bucket.take(most, now.monotonic) {
                self.turn = Some(now.monotonic + wait);
                return;
            }
            let first = self.waiting.pop_front();
            if let Some((delivered, _)) = first {
                self.waiting_bytes -= size_of_event(&delivered.1);
                self.due.push_back(delivered);
            }
        }
    }

    /// Moves the waiting events about the same item as an event that does not wait to those to be processed. `None`:
    /// the event is about the domain.
    fn overtake(&mut self, id: Option<&ItemId>) {
        let before = self.leave(|(_, event)| id.is_none() || event.id() == id);
        self.due.extend(before);
    }

    /// Takes the matching events out of those that wait, in order.
    fn leave(&mut self, is_one: impl Fn(&Delivered) -> bool) -> Vec<Delivered> {
        if !self.waiting.iter().any(|(delivered, _)| is_one(delivered)) {
            return Vec::new();
        }
        let (mut left, mut stay) = (Vec::new(), VecDeque::new());
        for (delivered, place) in std::mem::take(&mut self.waiting) {
            if is_one(&delivered) {
                self.waiting_bytes -= size_of_event(&delivered.1);
                left.push(delivered);
            } else {
                stay.push_back((delivered, place));
            }
        }
        self.waiting = stay;
        left
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::event::{Limits, Reason, parse};

    use super::*;

    fn now(ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(ms),
            unix_ms: 1_000_000,
        }
    }

    fn put(id: &str) -> Arc<Event> {
        let body = format!(r#"{{"type":"item.created","domain":"d","id":"{id}","title":"t"}}"#);
        Arc::new(parse(body.as_bytes(), &Limits::default()).unwrap())
    }

    fn delete(id: &str) -> Arc<Event> {
        let body = format!(r#"{{"type":"item.deleted","domain":"d","id":"{id}"}}"#);
        Arc::new(parse(body.as_bytes(), &Limits::default()).unwrap())
    }

    /// A domain with a limit of events per second; its events have numbers.
    struct Bench {
        pacing: Pacing<()>,
        most: Option<u64>,
        may_wait: MayWait,
        room: usize,
        next: u64,
    }

    impl Bench {
        fn new(most: u64) -> Self {
            Self {
                pacing: Pacing::default(),
                most: Some(most),
                may_wait: MayWait::Yes,
                room: usize::MAX,
                next: 1,
            }
        }

        fn arrive(&mut self, event: Arc<Event>) {
            self.pacing.arrive(DeliveryTag(self.next), event);
            self.next += 1;
        }

        fn arrive_many(&mut self, count: usize) {
            for _ in 0..count {
                self.arrive(put(&format!("i{}", self.next)));
            }
        }

        /// The events that are processed and refused at this time.
        fn at(&mut self, ms: u64) -> (Vec<u64>, Vec<u64>) {
            let may_wait = self.may_wait;
            let room = &mut self.room;
            let take = |_| {
                *room = room.checked_sub(1)?;
                Some(())
            };
            let refused = self.pacing.judge(now(ms), self.most, |_| may_wait, take);
            assert!(
                refused
                    .iter()
                    .all(|(_, why)| why.reason == Reason::OverQuota)
            );
            let refused = refused.into_iter().map(|((tag, _), _)| tag.0).collect();
            let taken = std::iter::from_fn(|| self.pacing.pop());
            (taken.map(|(tag, _)| tag.0).collect(), refused)
        }
    }

    #[test]
    fn events_wait_for_their_turn_in_order() {
        let mut bench = Bench::new(2);
        bench.arrive_many(5);
        assert_eq!(bench.at(0), (vec![1, 2], vec![]));
        assert_eq!(bench.pacing.len(), 3);
        assert_eq!(bench.pacing.turn(), Some(Duration::from_millis(500)));
        assert_eq!(bench.at(499), (vec![], vec![]));
        // Events that arrive meanwhile are behind them.
        bench.arrive_many(1);
        assert_eq!(bench.at(501), (vec![3], vec![]));
        assert_eq!(bench.at(1_001), (vec![4], vec![]));
        assert_eq!(bench.at(2_002), (vec![5, 6], vec![]));
        assert!(bench.pacing.is_empty());
        assert_eq!(bench.pacing.turn(), None);
    }

    #[test]
    fn what_does_not_fit_into_the_backlog_is_refused() {
        let mut bench = Bench::new(1);
        bench.arrive_many(63);
        let (taken, refused) = bench.at(0);
        assert_eq!((taken, refused), (vec![1], vec![62, 63]));
        let mut bench = Bench::new(100);
        bench.arrive_many(100 + BACKLOG_EVENTS + 1);
        let (taken, refused) = bench.at(0);
        assert_eq!((taken.len(), refused), (100, vec![601]));
        // There is room again after some have had their turn.
        bench.arrive_many(2);
        assert_eq!(bench.at(11), (vec![101], vec![603]));
        // Other domains of the partition use the room.
        let mut bench = Bench::new(1);
        bench.room = 1;
        bench.arrive_many(3);
        assert_eq!(bench.at(0), (vec![1], vec![3]));
    }

    #[test]
    fn bytes_that_wait_are_bounded() {
        let mut bench = Bench::new(1_000);
        let text = "x".repeat(1 << 20);
        let large = |n: usize| {
            let Event::Upsert(mut upsert) = Arc::unwrap_or_clone(put(&format!("i{n}"))) else {
                panic!("an upsert");
            };
            upsert.text = Some(text.clone());
            Arc::new(Event::Upsert(upsert))
        };
        bench.arrive_many(1_000);
        assert_eq!(bench.at(0).0.len(), 1_000);
        for n in 0..8 {
            bench.arrive(large(n));
        }
        let (taken, refused) = bench.at(0);
        assert_eq!((taken.len(), refused.len()), (0, 1));
        bench.at(60_000);
        assert_eq!((bench.pacing.len(), bench.pacing.waiting_bytes), (0, 0));
    }

    #[test]
    fn what_takes_away_goes_at_once_behind_its_item_s_events() {
        let mut bench = Bench::new(1);
        for event in [put("a"), put("b"), put("c"), put("b"), put("d")] {
            bench.arrive(event);
        }
        assert_eq!(bench.at(0).0, [1]);
        bench.arrive(delete("b"));
        bench.arrive(delete("x"));
        assert_eq!(bench.at(0), (vec![2, 4, 6, 7], vec![]));
        assert_eq!(bench.at(1_001).0, [3]);
        assert_eq!(bench.at(2_002).0, [5]);
    }

    #[test]
    fn what_is_about_the_domain_goes_behind_all() {
        let mut bench = Bench::new(1);
        bench.arrive_many(3);
        let removal = br#"{"type":"domain.deleted","domain":"d","request":"r"}"#;
        let removal =
            kindred_shared::event::Removal::parse(removal, &Limits::default(), "d").unwrap();
        bench.arrive(Arc::new(Event::Remove(removal)));
        bench.arrive_many(2);
        assert_eq!(bench.at(0).0, [1, 2, 3, 4]);
        // The event behind it is judged after it has been processed.
        assert!(bench.pacing.is_due(now(0)));
        bench.most = None;
        assert_eq!(bench.at(0).0, [5, 6]);
    }

    #[test]
    fn a_limit_that_is_lifted_lets_all_in() {
        let mut bench = Bench::new(1);
        bench.arrive_many(3);
        assert_eq!(bench.at(0).0, [1]);
        bench.most = None;
        bench.arrive_many(1);
        assert_eq!(bench.at(1).0, [2, 3, 4]);
        assert_eq!(bench.pacing.waiting_bytes, 0);
    }

    #[test]
    fn what_comes_again_does_not_wait_twice() {
        let mut bench = Bench::new(1);
        bench.arrive_many(3);
        assert_eq!(bench.at(0).0, [1]);
        bench.may_wait = MayWait::Stale;
        assert_eq!(bench.at(60_000), (vec![], vec![]));
        assert!(bench.pacing.is_empty());
    }

    #[test]
    fn what_others_would_wait_behind_is_taken_in() {
        let mut bench = Bench::new(1);
        bench.may_wait = MayWait::No;
        bench.arrive_many(5);
        assert_eq!(bench.at(0), (vec![1, 2, 3, 4, 5], vec![]));
    }

    #[test]
    fn all_are_given_up_in_order() {
        let mut bench = Bench::new(1);
        bench.arrive_many(3);
        bench
            .pacing
            .judge(now(0), Some(1), |_| MayWait::Yes, |_| Some(()));
        bench.arrive_many(1);
        let tags: Vec<u64> = bench.pacing.abandon().iter().map(|tag| tag.0).collect();
        assert_eq!(tags, [1, 2, 3, 4]);
        assert!(bench.pacing.is_empty());
    }
}
