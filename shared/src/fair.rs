//! Fair turns by key: keys that share a resource get equal shares, however much each asks for.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): the position of a key's next turn is the cost of what it got
//! so far. The lowest position goes next; among equals, the key whose last turn is longest ago. A key that was idle
//! starts at the current position, so that it is served before what the others asked long ago, and saves up no credit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Idle keys that are remembered; beyond that, all of them are forgotten.
const REMEMBERED: usize = 1_024;

/// A queue of things by key: in order of arrival within a key, in turns by cost between keys. Memory: what is queued,
/// plus at most 1,024 idle keys.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lines: BTreeMap<K, Line<T>>,
    /// The turns of the keys with queued things.
    turns: BTreeSet<Turn<K>>,
    /// The position of the last turn taken.
    now: u64,
    /// Number of turns taken.
    had: u64,
}

/// Position of a key's next turn, the number of its last turn, and the key.
type Turn<K> = (u64, u64, K);

#[derive(Debug)]
struct Line<T> {
    /// The position of its first thing's turn, or of its last turn if nothing is queued.
    turn: u64,
    /// The number of its last turn.
    last: u64,
    /// Each thing with its cost.
    waiting: VecDeque<(u64, T)>,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            turns: BTreeSet::new(),
            now: 0,
            had: 0,
        }
    }
}

impl<K: Ord + Clone, T> FairQueue<K, T> {
    /// Appends a thing that costs `cost` to the key's queue.
    pub fn push(&mut self, key: K, cost: u64, thing: T) {
        let now = self.now;
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            turn: now,
            last: 0,
            waiting: VecDeque::new(),
        });
        if line.waiting.is_empty() {
            line.turn = line.turn.max(now);
            self.turns.insert((line.turn, line.last, key));
        }
        line.waiting.push_back((cost, thing));
    }

    /// Removes the thing whose turn is next.
    pub fn pop(&mut self) -> Option<(K, T)> {
        self.pop_if(|_, _| true)
    }

    /// The same; a key whose first thing may not be taken keeps its turn.
    pub fn pop_if(&mut self, may: impl Fn(&K, &T) -> bool) -> Option<(K, T)> {
        let (next, _) = self.find(may)?;
        let next = next.clone();
        self.turns.remove(&next);
        let (turn, _, key) = next;
        self.now = self.now.max(turn);
        let line = self.lines.get_mut(&key)?;
        let (cost, thing) = line.waiting.pop_front()?;
        self.had += 1;
        (line.turn, line.last) = (turn.saturating_add(cost), self.had);
        if !line.waiting.is_empty() {
            self.turns.insert((line.turn, line.last, key.clone()));
        }
        self.forget();
        Some((key, thing))
    }

    /// What [`Self::pop_if`] would remove.
    pub fn peek_if(&self, may: impl Fn(&K, &T) -> bool) -> Option<(&K, &T)> {
        let ((_, _, key), thing) = self.find(may)?;
        Some((key, thing))
    }

    fn find(&self, may: impl Fn(&K, &T) -> bool) -> Option<(&Turn<K>, &T)> {
        self.turns.iter().find_map(|turn| {
            let line = self.lines.get(&turn.2)?;
            let (_, first) = line.waiting.front()?;
            may(&turn.2, first).then_some((turn, first))
        })
    }

    /// Removes those of a key's things that `keep` rejects.
    pub fn retain(&mut self, key: &K, keep: impl Fn(&T) -> bool) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.waiting.retain(|(_, thing)| keep(thing));
        if line.waiting.is_empty() {
            self.turns.remove(&(line.turn, line.last, key.clone()));
            self.forget();
        }
    }

    /// Number of queued things.
    pub fn len(&self) -> usize {
        self.lines.values().map(|line| line.waiting.len()).sum()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Forgets keys whose history no longer matters, or all if there are too many.
    fn forget(&mut self) {
        if self.turns.is_empty() {
            self.lines.clear();
            (self.now, self.had) = (0, 0);
        }
        if self.lines.len() > self.turns.len() + REMEMBERED {
            let now = self.now;
            let matters = |line: &Line<T>| !line.waiting.is_empty() || line.turn > now;
            self.lines.retain(|_, line| matters(line));
        }
        if self.lines.len() > self.turns.len() + REMEMBERED {
            self.lines.retain(|_, line| !line.waiting.is_empty());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_comes_late_with_little_is_served_before_what_waits_for_long() {
        let mut queue = FairQueue::default();
        (0..1_000).for_each(|n| queue.push("large", 40, n));
        for n in 0..10 {
            assert_eq!(queue.pop(), Some(("large", n)));
        }
        queue.push("small", 2, 0);
        queue.push("small", 2, 1);
        let next: Vec<&str> = (0..4).map(|_| queue.pop().unwrap().0).collect();
        assert_eq!(next, ["small", "small", "large", "large"]);
    }

    #[test]
    fn nobody_saves_turns_up_and_nobody_is_forgotten_who_has_had_more() {
        let mut queue = FairQueue::default();
        queue.push("b", 1, 0);
        (0..9).for_each(|n| queue.push("a", 5, n));
        assert_eq!((0..6).filter_map(|_| queue.pop()).count(), 6);
        // "b" had little and was idle. It has one turn first, and then as many as the other.
        (0..9).for_each(|n| queue.push("b", 5, n));
        let next: Vec<&str> = (0..6).map(|_| queue.pop().unwrap().0).collect();
        assert_eq!(next, ["b", "a", "b", "a", "b", "a"]);
    }

    #[test]
    fn what_may_not_be_had_keeps_its_turn() {
        let mut queue = FairQueue::default();
        (0..2).for_each(|n| queue.push("a", 1, n));
        (0..9).for_each(|n| queue.push("b", 1, n));
        let not_a = |queue: &mut FairQueue<&'static str, i32>| queue.pop_if(|key, _| *key != "a");
        (0..4).for_each(|n| assert_eq!(not_a(&mut queue), Some(("b", n))));
        assert_eq!(queue.pop(), Some(("a", 0)));
        assert_eq!(queue.pop(), Some(("a", 1)));
        queue.retain(&"b", |n| *n == 7);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.pop(), Some(("b", 7)));
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    #[test]
    fn keys_that_are_gone_are_forgotten() {
        let mut queue = FairQueue::default();
        (0..2).for_each(|_| queue.push(0, u64::MAX, ()));
        for key in 1..10_000 {
            queue.push(key, 1, ());
            queue.pop();
        }
        assert!(queue.lines.len() <= REMEMBERED + 2);
    }

    proptest! {
        #[test]
        fn keys_that_always_ask_get_alike(
            costs in prop::collection::vec(prop::collection::vec(1..50_u64, 60), 2..5),
        ) {
            let mut queue = FairQueue::default();
            for (key, costs) in costs.iter().enumerate() {
                costs.iter().enumerate().for_each(|(n, cost)| queue.push(key, *cost, n));
            }
            let mut got = vec![0_u64; costs.len()];
            let mut nth = vec![0; costs.len()];
            // As long as every key has something queued.
            while nth.iter().all(|n| *n < 60) {
                let (key, n) = queue.pop().unwrap();
                prop_assert_eq!(n, nth[key], "in the order they came");
                got[key] += costs[key][n];
                nth[key] += 1;
                let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
                prop_assert!(most - least < 100, "{:?}", got);
            }
            let rest = std::iter::from_fn(|| queue.pop()).count();
            prop_assert_eq!(rest + nth.iter().sum::<usize>(), 60 * costs.len());
        }
    }
}
