//! The budget of memory of a process: which domains may be loaded now, and which quiet ones sleep.
//!
//! What active domains hold together may be more than the budget: events, and a domain that is larger than
//! all of it, are taken whatever it says. Then the domains that were used longest ago sleep, and no two
//! large ones are loaded at once.

use std::collections::BTreeMap;
use std::time::Duration;

/// Most domains that are loaded at the same time.
const LOADS: usize = 32;
/// A load of at most this part of the budget waits for no larger one: all that can be under way together
/// take a sixteenth of it.
const SMALL: u64 = 16 * LOADS as u64;

/// Names a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadNumber(u64);

/// A load that has begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// What it is estimated to take.
    bytes: u64,
    /// It turned out larger than there is room for, and waits for older ones.
    is_paused: bool,
}

/// What active domains hold together, and the loads that are under way or wait.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    held: u64,
    next: u64,
    begun: BTreeMap<LoadNumber, Begun>,
    /// The oldest first, with what each is expected to take.
    waiting: BTreeMap<LoadNumber, u64>,
}

impl Budget {
    /// One of so many bytes, of which nothing is used.
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

    /// Bytes that domains hold, loads that have begun included.
    pub fn used(&self) -> u64 {
        self.held + self.loading()
    }

    /// Bytes that loads take which have begun.
    pub fn loading(&self) -> u64 {
        self.begun.values().map(|load| load.bytes).sum()
    }

    /// Bytes that domains should let go, so that all fit, and the next load, too.
    pub fn over(&self) -> u64 {
        let next = self.waiting.values().next().copied().unwrap_or(0);
        (self.used() + next).saturating_sub(self.most)
    }

    /// A domain held `before` bytes and holds `now`, what its load takes not counted.
    pub fn hold(&mut self, before: u64, now: u64) {
        self.held = (self.held + now).saturating_sub(before);
    }

    /// A domain is to be loaded, which is expected to take so much. It waits until [`Self::admit`] names it.
    pub fn ask(&mut self, bytes: u64) -> LoadNumber {
        let number = LoadNumber(self.next);
        self.next += 1;
        self.waiting.insert(number, bytes);
        number
    }

    /// Whether a load may go on now.
    pub fn may_go_on(&self, number: LoadNumber) -> bool {
        self.begun.get(&number).is_some_and(|load| !load.is_paused)
    }

    /// A load that has begun takes so much by now. It waits until [`Self::admit`] names it where that
    /// is more than there is room for, unless it is the oldest.
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

    /// A load is over, or nobody waits for it any more.
    pub fn end(&mut self, number: LoadNumber) {
        self.begun.remove(&number);
        self.waiting.remove(&number);
    }

    /// The loads that may begin or go on from now on. One always may; others while there is room, in the
    /// order they asked, but for small ones.
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

/// An active domain, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use<D> {
    /// The domain.
    pub domain: D,
    /// What it holds.
    pub bytes: u64,
    /// How long ago it had its last event or query.
    pub unused_for: Duration,
    /// Whether it could sleep now.
    pub is_quiet: bool,
}

/// The domains that sleep so that `over` bytes are free, of all active ones: those that were used longest
/// ago, and no more than are needed. The one that was used last stays, however large: it would be
/// woken next.
pub fn who_sleeps<D: Ord>(mut active: Vec<Use<D>>, over: u64) -> Vec<Use<D>> {
    // All who ask choose alike.
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
        // The next large one has to fit, too.
        assert_eq!(budget.over(), 300_000 + MOST / SMALL);
        budget.hold(0, 400_000);
        budget.end(large[0]);
        budget.end(small);
        // There is no room for it either: one is always loaded.
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
        /// Whatever comes: one goes on, few do, what begins beside others fits or is small, and all get
        /// their turn.
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
                        // Who waits does not grow.
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

        /// Those used longest ago, as many as are needed, and none besides.
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
