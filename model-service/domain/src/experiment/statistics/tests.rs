//! The results, compared with figures worked out by hand and in simulated experiments.

#![allow(clippy::unwrap_used)] // a test may panic

use proptest::prelude::*;

use super::*;

/// Sums of readers' views and clicks.
fn sums(readers: &[(u32, u32)]) -> Sums {
    let mut sums = Sums::default();
    for (seen, clicked) in readers {
        let after = Counts {
            seen: *seen,
            clicked: *clicked,
        };
        sums.change(Counts::default(), after);
    }
    sums
}

/// So many readers with one view each, so many of which clicked.
fn ones(readers: u32, clicked: u32) -> Sums {
    let all: Vec<_> = (0..readers).map(|n| (1, u32::from(n < clicked))).collect();
    sums(&all)
}

fn halves(first: Sums, other: Sums) -> Results {
    results(&[(0.5, first), (0.5, other)])
}

#[test]
fn without_data_nothing_is_said() {
    let nothing = halves(Sums::default(), Sums::default());
    assert_eq!((nothing.p, nothing.sample_ratio_p), (1.0, 1.0));
    assert_eq!(nothing.lifts, [None]);
    let unknown = Rate {
        rate: 0.0,
        low: 0.0,
        high: 1.0,
    };
    assert_eq!(nothing.rates, [unknown, unknown]);
    assert_eq!(results(&[]).rates, []);
}

#[test]
fn a_handful_of_clicks_says_little_and_many_say_much() {
    // However one-sided they are.
    let few = halves(ones(100, 10), ones(100, 0));
    assert!(few.p > 0.5, "{few:?}");
    assert_eq!(few.lifts[0].unwrap().low, -1.0);
    let broken = halves(ones(5_000, 250), ones(5_000, 0));
    assert!(broken.p < 1e-6, "{broken:?}");
    let lift = broken.lifts[0].unwrap();
    assert!(lift.lift == -1.0 && lift.high.unwrap() < -0.5, "{lift:?}");
    let better = halves(ones(50_000, 2_500), ones(50_000, 2_900));
    assert!(better.p < 0.01, "{better:?}");
    let lift = better.lifts[0].unwrap();
    assert!(lift.low > 0.0 && lift.low < 0.16 && lift.high.unwrap() > 0.16);
    let [first, other] = better.rates[..] else {
        panic!("two arms")
    };
    assert!(
        first.low < 0.05 && 0.05 < first.high && first.high < 0.055,
        "{first:?}"
    );
    assert!(other.rate == 0.058 && other.low > 0.053, "{other:?}");
    let alike = halves(ones(50_000, 2_500), ones(50_000, 2_500));
    assert_eq!(alike.p, 1.0);
}

/// The same numbers of clicks and views, of readers that do all or nothing: they say less.
#[test]
fn views_of_one_reader_are_one_observation() {
    let by_reader = |clicking: u32| {
        let all: Vec<_> = (0..1_000)
            .map(|n| (50, if n < clicking { 50 } else { 0 }))
            .collect();
        sums(&all)
    };
    let (first, other) = (by_reader(50), by_reader(58));
    assert_eq!((first.seen, first.clicked), (50_000, 2_500));
    assert_eq!((other.seen, other.clicked), (50_000, 2_900));
    let dependent = halves(first, other);
    let independent = halves(ones(50_000, 2_500), ones(50_000, 2_900));
    assert!(dependent.p > 0.5 && independent.p < 0.01, "{dependent:?}");
    assert!(dependent.rates[0].high > independent.rates[0].high);
}

#[test]
fn of_several_arms_each_may_err_less() {
    let (same, better) = (ones(50_000, 2_500), ones(50_000, 2_850));
    let third = 1.0 / 3.0;
    let two = halves(same, better);
    let three = results(&[(third, same), (third, same), (third, better)]);
    assert!((three.p / two.p - 2.0).abs() < 1e-9);
    let wider = |results: &Results| results.lifts.last().copied().flatten().unwrap().low;
    assert!(wider(&three) < wider(&two));
}

#[test]
fn readers_that_do_not_go_with_the_shares_are_noticed() {
    let of = |first, other| halves(ones(first, 0), ones(other, 0)).sample_ratio_p;
    assert!(of(5_000, 5_050) > 0.5);
    assert!(of(5_000, 4_500) < MISMATCH);
    assert!(of(10, 0) > 0.01);
    // Readers that take no part do not count.
    let tenths = [(0.1, ones(1_000, 0)), (0.2, ones(2_000, 0))];
    assert!(results(&tenths).sample_ratio_p > 0.5);
}

proptest! {
    #[test]
    fn sums_are_those_of_the_last_counts(changes in prop::collection::vec((0..5_usize, 0..9_u32, 0..9_u32), 0..60)) {
        let mut readers = [Counts::default(); 5];
        let mut added = Sums::default();
        for (reader, seen, clicked) in changes {
            let after = Counts { seen, clicked };
            added.change(readers[reader], after);
            readers[reader] = after;
        }
        let counts: Vec<_> = readers.iter().map(|counts| (counts.seen, counts.clicked)).collect();
        prop_assert_eq!(added, sums(&counts));
    }

    #[test]
    fn an_interval_holds_what_was_counted_and_goes_with_the_test(
        first in prop::collection::vec((1..20_u32, 0..6_u32), 1..300),
        other in prop::collection::vec((1..20_u32, 0..6_u32), 1..300),
        times in 1..200_u64,
    ) {
        let more = |sums: Sums| Sums {
            readers: sums.readers * times,
            seen: sums.seen * times,
            clicked: sums.clicked * times,
            seen_squared: sums.seen_squared * times,
            seen_clicked: sums.seen_clicked * times,
            clicked_squared: sums.clicked_squared * times,
        };
        let (first, other) = (more(sums(&first)), more(sums(&other)));
        let said = halves(first, other);
        for rate in &said.rates {
            prop_assert!(0.0 <= rate.low && rate.low <= rate.rate && rate.rate <= rate.high);
        }
        prop_assert!((0.0..=1.0).contains(&said.p) && (0.0..=1.0).contains(&said.sample_ratio_p));
        if let Some(lift) = said.lifts[0] {
            prop_assert!(-1.0 <= lift.low && lift.low <= lift.lift);
            prop_assert!(lift.high.is_none_or(|high| lift.lift <= high));
            let holds_none = lift.low < 1e-9 && lift.high.is_none_or(|high| high > -1e-9);
            // At the edge either may be rounded.
            if (said.p - LEVEL).abs() > 1e-6 {
                prop_assert_eq!(holds_none, said.p > LEVEL, "{:?}", said);
            }
        }
        let turned = halves(other, first);
        prop_assert!((turned.p - said.p).abs() < 1e-9);
    }
}

/// Numbers that look drawn at random (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// An experiment whose readers come back, and click more or less each.
struct Simulated {
    /// Clicks a view in the first arm; by so much more in the other.
    rate: f64,
    lift: f64,
    /// Whether readers differ, and come back. Else each has one view.
    returning: bool,
    /// Views at most, and between two looks.
    views: u64,
    batch: u64,
}

/// What was ever said of one.
#[derive(Default)]
struct Said {
    /// Views until a difference was found.
    found: Option<u64>,
    /// Whether an interval of the lift or of a rate ever missed the true one.
    lift_missed: bool,
    rate_missed: bool,
    /// Whether readers ever seemed not to go with the shares.
    ratio_off: bool,
}

impl Simulated {
    fn run(&self, seed: u64, until_found: bool) -> Said {
        struct Reader {
            arm: usize,
            rate: f64,
            counts: Counts,
        }
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..10 {
            random.next();
        }
        let mut readers: Vec<Reader> = Vec::new();
        let mut arms = [(0.5, Sums::default()), (0.5, Sums::default())];
        let rates = [self.rate, self.rate * (1.0 + self.lift)];
        let mut said = Said::default();
        let (mut views, mut look) = (0, self.batch);
        while views < self.views {
            let is_new = !self.returning || readers.is_empty() || random.next() < 0.4;
            if is_new {
                let arm = usize::from(random.next() < 0.5);
                // Readers differ: 0 to 3 times the rate, 1 time on average.
                let keenness = if self.returning {
                    3.0 * random.next().powi(2)
                } else {
                    1.0
                };
                readers.push(Reader {
                    arm,
                    rate: rates[arm] * keenness,
                    counts: Counts::default(),
                });
            }
            let at = match is_new {
                true => readers.len() - 1,
                false => (random.next() * readers.len() as f64) as usize,
            };
            let seen = if self.returning {
                1 + (random.next() * 9.0) as u32
            } else {
                1
            };
            let reader = &mut readers[at];
            let clicked = (0..seen).filter(|_| random.next() < reader.rate).count() as u32;
            let after = Counts {
                seen: reader.counts.seen + seen,
                clicked: reader.counts.clicked + clicked,
            };
            arms[reader.arm].1.change(reader.counts, after);
            reader.counts = after;
            views += u64::from(seen);
            if views < look {
                continue;
            }
            look += self.batch;
            let results = results(&arms);
            if results.p < LEVEL {
                said.found.get_or_insert(views);
            }
            said.ratio_off |= results.sample_ratio_p < LEVEL;
            if let Some(lift) = results.lifts[0] {
                let is_in = lift.low <= self.lift && lift.high.is_none_or(|high| self.lift <= high);
                said.lift_missed |= !is_in;
            }
            let of_first = &results.rates[0];
            said.rate_missed |= !(of_first.low..=of_first.high).contains(&rates[0]);
            if until_found && said.found.is_some() {
                break;
            }
        }
        said
    }

    /// Of so many experiments: how many found a difference, missed the lift, missed the rate, had readers off.
    fn alarms(&self, experiments: u64) -> [u64; 4] {
        let mut alarms = [0; 4];
        for seed in 1..=experiments {
            let said = self.run(seed, false);
            let these = [
                said.found.is_some(),
                said.lift_missed,
                said.rate_missed,
                said.ratio_off,
            ];
            for (count, is_so) in alarms.iter_mut().zip(these) {
                *count += u64::from(is_so);
            }
        }
        alarms
    }

    /// Views until a difference was found, of so many experiments, the fewest first; `None`: it never was.
    fn views_until_found(&self, experiments: u64) -> Vec<Option<u64>> {
        let found = (1..=experiments).map(|seed| self.run(seed, true).found);
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by_key(|views| views.unwrap_or(u64::MAX));
        found
    }
}

const ALIKE: Simulated = Simulated {
    rate: 0.05,
    lift: 0.0,
    returning: true,
    views: 20_000,
    batch: 100,
};

#[test]
fn experiments_without_a_difference_raise_few_alarms() {
    for alarms in ALIKE.alarms(60) {
        assert!(alarms <= 3, "{alarms} of 60");
    }
}

#[test]
fn a_difference_is_found() {
    let half_more = Simulated {
        lift: 0.5,
        views: 60_000,
        ..ALIKE
    };
    let found = half_more.views_until_found(10);
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

/// What docs/QUALITY.md says of experiments. Print it with `--nocapture`; it takes a minute or two.
#[test]
#[ignore = "measures what docs/QUALITY.md says of experiments"]
fn a_thousand_experiments() {
    for (name, simulated) in [
        ("readers come back", ALIKE),
        (
            "one view each",
            Simulated {
                returning: false,
                ..ALIKE
            },
        ),
        (
            "few clicks",
            Simulated {
                rate: 0.005,
                ..ALIKE
            },
        ),
        ("many clicks", Simulated { rate: 0.2, ..ALIKE }),
        (
            "long",
            Simulated {
                views: 200_000,
                batch: 500,
                ..ALIKE
            },
        ),
    ] {
        let alarms = simulated.alarms(1_000);
        println!(
            "no difference, {name}: [found, lift missed, rate missed, ratio off] = {alarms:?} of 1,000"
        );
        for count in alarms {
            assert!(count <= 50, "{name}: {alarms:?}");
        }
    }
    for (name, returning, rate) in [
        ("one view each, 5 %", false, 0.05),
        ("one view each, 10 %", false, 0.1),
        ("readers come back, 5 %", true, 0.05),
        ("readers come back, 10 %", true, 0.1),
    ] {
        let tenth = Simulated {
            rate,
            lift: 0.1,
            returning,
            views: 1_000_000,
            batch: 1_000,
        };
        let found = tenth.views_until_found(200);
        let [median, most] = [found[100], found[180]];
        println!(
            "a tenth more clicks, {name}: found after {median:?} views in half of 200, {most:?} in 90 %"
        );
        assert!(most.is_some(), "{name}");
    }
}
