//! The memory budget of a process: which domains may be loaded now, and which quiet ones must sleep.
//!
//! Active domains may exceed the budget: events are accepted, and a domain larger than the whole budget is loaded, in
//! any case. The domains used longest ago are then put to sleep, and no two large ones are loaded at once.

use std::collections::BTreeMap;
use std::time::Duration;

/// Most concurrent loads of domains.
const LOADS: usize = 32;
/// A load of at most this part of the budget does not wait for larger ones: the most that can run at once take a
/// sixteenth of the budget together.
const SMALL: u64 = 16 * LOADS as u64;

/// Identifies a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadNumber(u64);

/// A load that has begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Its estimated size.
    bytes: u64,
    /// It turned out larger than the room left, and waits for older ones.
    is_paused: bool,
}

/// The memory of active domains, and the loads that run or wait.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    held: u64,
    next: u64,
    begun: BTreeMap<LoadNumber, Begun>,
    /// Oldest first, with the expected size of each.
    waiting: BTreeMap<LoadNumber, u64>,
}

impl Budget {
    /// A budget of `most` bytes, none of them used.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            held: 0,
            next: 0,
            begun: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Bytes that domains may hold together.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Bytes that domains hold, including loads that have begun.
    pub fn used(&self) -> u64 {
        self.held + self.loading()
    }

    /// Bytes of the loads that have begun.
    pub fn loading(&self) -> u64 {
        self.begun.values().map(|load| load.bytes).sum()
    }

    /// Bytes that domains should free, so that everything fits including the next load.
    pub fn over(&self) -> u64 {
        let next = self.waiting.values().next().copied().unwrap_or(0);
        (self.used() + next).saturating_sub(self.most)
    }

    /// Records that a domain held `before` bytes and now holds `now`, not counting its load.
    pub fn hold(&mut self, before: u64, now: u64) {
        self.held = (self.held + now).saturating_sub(before);
    }

    /// Asks to load a domain of this expected size. The load waits until [`Self::admit`] returns it.
    pub fn ask(&mut self, bytes: u64) -> LoadNumber {
        let number = LoadNumber(self.next);
        self.next += 1;
        self.waiting.insert(number, bytes);
        number
    }

    /// Whether a load may continue now.
    pub fn may_go_on(&self, number: LoadNumber) -> bool {
        self.begun.get(&number).is_some_and(|load| !load.is_paused)
    }

    /// Records that a load now takes this much. If that exceeds the room left, it waits until [`Self::admit`] returns
    /// it, unless it is the oldest.
    pub fn grow(&mut self, number: LoadNumber, bytes: u64) {
        let is_oldest = self.oldest_begun() == Some(number);
        let Some(load) = self.begun.get_mut(&number) else {
            return;
        };
        let grows = bytes > load.bytes;
        load.bytes = load.bytes.max(bytes);
        if grows && !is_oldest && self.used() > self.most {
            self.pause(number);
        }
    }

    /// Records that a load is over or cancelled.
    pub fn end(&mut self, number: LoadNumber) {
        self.begun.remove(&number);
        self.waiting.remove(&number);
    }

    /// The loads that may begin or continue now. One always may; the others in the order they asked while there is
    /// room, except that small ones need not wait.
    pub fn admit(&mut self) -> Vec<LoadNumber> {
        let mut admitted = Vec::new();
        let (most, mut used, oldest) = (self.most, self.used(), self.oldest_begun());
        for (number, load) in &mut self.begun {
            if load.is_paused && (oldest == Some(*number) || used <= most) {
                load.is_paused = false;
                admitted.push(*number);
            }
        }
        let mut must_wait = false;
        let mut begin = Vec::new();
        for (&number, &bytes) in &self.waiting {
            let begun = self.begun.len() + begin.len();
            if begun >= LOADS {
                break;
            }
            let is_small = bytes <= most / SMALL;
            let fits = !must_wait && used.saturating_add(bytes) <= most;
            if begun == 0 || is_small || fits {
                used = used.saturating_add(bytes);
                begin.push((number, bytes));
            } else {
                must_wait = true;
            }
        }
        for (number, bytes) in begin {
            self.waiting.remove(&number);
            let is_paused = false;
            self.begun.insert(number, Begun { bytes, is_paused });
            admitted.push(number);
        }
        admitted
    }

    fn oldest_begun(&self) -> Option<LoadNumber> {
        self.begun.keys().next().copied()
    }

    fn pause(&mut self, number: LoadNumber) {
        if let Some(load) = self.begun.get_mut(&number) {
            load.is_paused = true;
        }
    }
}

/// An active domain, and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use<D> {
    /// The domain.
    pub domain: D,
    /// The memory it holds, in bytes.
    pub bytes: u64,
    /// The time since its last event or query.
    pub unused_for: Duration,
    /// Whether it can be put to sleep now.
    pub is_quiet: bool,
}

/// The active domains to put to sleep so that `over` bytes become free: those used longest ago, and no more than
/// necessary. The one used most recently stays, however large: it would be the next to be woken.
pub fn who_sleeps<D: Ord>(mut active: Vec<Use<D>>, over: u64) -> Vec<Use<D>> {
    // A total order, so that every caller chooses the same ones.
    active.sort_unstable_by(|a, b| {
        let order = b.unused_for.cmp(&a.unused_for);
        order.then_with(|| a.domain.cmp(&b.domain))
    });
    active.pop();
    active.retain(|one| one.is_quiet);
    let mut freed = 0_u64;
    let needed = active.iter().take_while(|one| {
        let is_needed = freed < over;
        freed = freed.saturating_add(one.bytes);
        is_needed
    });
    let needed = needed.count();
    active.truncate(needed);
    active
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MOST: u64 = 1_000_000;

    #[test]
    fn large_ones_are_loaded_one_after_the_other_and_small_ones_beside_them() {
        let mut budget = Budget::new(MOST);
        budget.hold(0, 100_000);
        let large: Vec<_> = (0..3).map(|_| budget.ask(600_000)).collect();
        let small = budget.ask(MOST / SMALL);
        assert_eq!(budget.admit(), [large[0], small]);
        assert!(budget.admit().is_empty());
        // The next large one must fit, too.
        assert_eq!(budget.over(), 300_000 + MOST / SMALL);
        budget.hold(0, 400_000);
        budget.end(large[0]);
        budget.end(small);
        // There is no room for it either, but one is always loaded.
        assert_eq!(budget.admit(), [large[1]]);
        budget.hold(500_000, 0);
        let middle = budget.ask(300_000);
        assert!(budget.admit().is_empty(), "it asked after a large one");
        budget.end(large[2]);
        assert_eq!(budget.admit(), [middle]);
        assert_eq!(budget.used(), 900_000);
    }

    #[test]
    fn one_that_turns_out_larger_waits_for_older_ones() {
        let mut budget = Budget::new(MOST);
        let loads: Vec<_> = (0..3).map(|_| budget.ask(1)).collect();
        assert_eq!(budget.admit(), loads);
        budget.grow(loads[0], 900_000);
        budget.grow(loads[1], 90_000);
        budget.grow(loads[2], 90_000);
        let may_go_on =
            |budget: &Budget| loads.iter().filter(|one| budget.may_go_on(**one)).count();
        assert_eq!(may_go_on(&budget), 2);
        assert!(!budget.may_go_on(loads[2]));
        budget.grow(loads[0], 2_000_000);
        budget.grow(loads[1], 100_000);
        assert_eq!(may_go_on(&budget), 1, "the oldest");
        assert!(budget.admit().is_empty());
        budget.end(loads[0]);
        assert_eq!(budget.admit(), [loads[1], loads[2]]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u64),
        Grow(prop::sample::Index, u64),
        End(prop::sample::Index),
        Hold(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || prop_oneof![0..2_000_u64, 0..2 * MOST];
        prop_oneof![
            4 => bytes().prop_map(Step::Ask),
            2 => (any::<prop::sample::Index>(), bytes()).prop_map(|(at, bytes)| Step::Grow(at, bytes)),
            3 => any::<prop::sample::Index>().prop_map(Step::End),
            1 => (0..MOST).prop_map(Step::Hold),
        ]
    }

    proptest! {
        /// Whatever happens: one load continues, few run at once, loads that begin beside others fit or are small, and
        /// each gets its turn.
        #[test]
        fn loads_go_on_within_the_budget(steps in prop::collection::vec(step(), 1..200)) {
            let mut budget = Budget::new(MOST);
            let mut open: BTreeMap<LoadNumber, u64> = BTreeMap::new();
            let mut held = 0;
            for step in steps {
                match step {
                    Step::Ask(bytes) => {
                        open.insert(budget.ask(bytes), bytes);
                    }
                    Step::Grow(at, bytes) if !open.is_empty() => {
                        let number = *open.keys().nth(at.index(open.len())).expect("it is open");
                        // A waiting load does not grow.
                        if budget.may_go_on(number) {
                            budget.grow(number, bytes);
                            open.entry(number).and_modify(|known| *known = bytes.max(*known));
                        }
                    }
                    Step::End(at) if !open.is_empty() => {
                        let number = *open.keys().nth(at.index(open.len())).expect("it is open");
                        open.remove(&number);
                        budget.end(number);
                    }
                    Step::Hold(bytes) => {
                        budget.hold(held, bytes);
                        held = bytes;
                    }
                    Step::Grow(..) | Step::End(_) => {}
                }
                let begun_before: BTreeSet<LoadNumber> = budget.begun.keys().copied().collect();
                let admitted = budget.admit();
                let begun = &budget.begun;
                prop_assert!(begun.len() <= LOADS);
                prop_assert!(open.is_empty() || open.keys().any(|one| budget.may_go_on(*one)));
                let small: u64 = begun.values().map(|load| load.bytes).filter(|b| *b <= MOST / SMALL).sum();
                for number in admitted.iter().filter(|one| !begun_before.contains(one)) {
                    let is_small = open[number] <= MOST / SMALL;
                    prop_assert!(is_small || begun.len() == 1 || budget.used() - small <= MOST
                        || begun.keys().next() == Some(number));
                }
                let of_begun: u64 = open.iter().filter(|(one, _)| begun.contains_key(one)).map(|(_, b)| b).sum();
                prop_assert_eq!(budget.used(), held + of_begun);
            }
            while !open.is_empty() {
                let on = open.keys().copied().find(|one| budget.may_go_on(*one));
                let on = on.expect("one goes on");
                open.remove(&on);
                budget.end(on);
                budget.admit();
            }
            prop_assert_eq!(budget.used(), held);
            prop_assert_eq!(budget.over(), held.saturating_sub(MOST));
        }

        /// Those used longest ago, as many as necessary, and no others.
        #[test]
        fn those_used_longest_ago_sleep(
            uses in prop::collection::vec((0..1_000_u64, 0..50_u64, any::<bool>()), 0..60),
            over in 0..20_000_u64,
        ) {
            let all: Vec<Use<usize>> = uses
                .iter()
                .enumerate()
                .map(|(domain, &(bytes, seconds, is_quiet))| Use {
                    domain,
                    bytes,
                    unused_for: Duration::from_secs(seconds),
                    is_quiet,
                })
                .collect();
            let asleep = who_sleeps(all.clone(), over);
            prop_assert!(asleep.iter().all(|one| one.is_quiet));
            let chosen: BTreeSet<usize> = asleep.iter().map(|one| one.domain).collect();
            let freed: u64 = asleep.iter().map(|one| one.bytes).sum();
            let newest = all.iter().min_by_key(|one| (one.unused_for, std::cmp::Reverse(one.domain)));
            let newest = newest.map(|one| one.domain);
            let awake = all.iter().filter(|one| one.is_quiet && !chosen.contains(&one.domain));
            let awake: Vec<&Use<usize>> = awake.filter(|one| Some(one.domain) != newest).collect();
            prop_assert!(freed >= over || awake.is_empty());
            prop_assert!(newest.is_none_or(|newest| !chosen.contains(&newest)));
            if let Some(last) = asleep.last() {
                prop_assert!(freed - last.bytes < over);
                prop_assert!(awake.iter().all(|one| one.unused_for <= last.unused_for));
            }
        }
    }
}
