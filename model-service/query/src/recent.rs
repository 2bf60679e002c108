//! What a domain did in the last minutes: how many events were settled, and how soon they were in lists.

use std::time::Duration;

/// Upper bounds of the delays that are distinguished, in seconds; longer ones are counted together.
const BOUNDS: [f64; 16] = [
    0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0,
];
/// How long the counts of one slot are about.
const SLOT: Duration = Duration::from_secs(30);
/// Slots kept. Together they cover [`OVER`].
const SLOTS: usize = 10;
/// What [`Recent::summary`] is about.
pub const OVER: Duration = Duration::from_secs(SLOT.as_secs() * SLOTS as u64);

/// Counts of the last five minutes, in slots of 30 s. About 1 kB, however many events come.
#[derive(Debug, Default)]
pub(crate) struct Recent([Slot; SLOTS]);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which 30 s, counted from the start of the clock.
    number: u64,
    events: u64,
    served: [u32; BOUNDS.len() + 1],
}

/// What a domain did in the last five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Events that were settled: stored, refused or failed.
    pub events: u64,
    /// Upserts whose lists were served.
    pub served: u64,
    /// Median time from an upsert's arrival to its list being served, in seconds; 0 without one.
    pub p50: f64,
    /// The same for the slowest 1 %.
    pub p99: f64,
}

impl Recent {
    /// An event was settled, `now` on the clock that never goes back.
    pub(crate) fn decided(&mut self, now: Duration) {
        self.slot(now).events += 1;
    }

    /// An upsert's list is served, this long after the upsert arrived.
    pub(crate) fn served(&mut self, now: Duration, after: Duration) {
        let seconds = after.as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        let count = &mut self.slot(now).served[at];
        *count = count.saturating_add(1);
    }

    pub(crate) fn summary(&self, now: Duration) -> Summary {
        let last = number(now);
        let is_recent = |slot: &&Slot| slot.number + SLOTS as u64 > last;
        let mut served = [0_u64; BOUNDS.len() + 1];
        let mut events = 0;
        for slot in self.0.iter().filter(is_recent) {
            events += slot.events;
            for (sum, count) in served.iter_mut().zip(slot.served) {
                *sum += u64::from(count);
            }
        }
        let all = served.iter().sum();
        let mut below = 0;
        let buckets: Vec<(f64, u64)> = BOUNDS
            .iter()
            .zip(served)
            .map(|(bound, count)| {
                below += count;
                (*bound, below)
            })
            .collect();
        Summary {
            events,
            served: all,
            p50: quantile(&buckets, all, 0.5),
            p99: quantile(&buckets, all, 0.99),
        }
    }

    fn slot(&mut self, now: Duration) -> &mut Slot {
        let number = number(now);
        let slot = &mut self.0[(number % SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot
    }
}

fn number(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

/// A quantile of a histogram, interpolated within its bucket; beyond the last bound, that bound. Each bucket is its
/// upper bound and how many of `all` are at or below it.
pub fn quantile(buckets: &[(f64, u64)], all: u64, quantile: f64) -> f64 {
    let rank = quantile * all as f64;
    let (mut from, mut below) = (0.0, 0);
    for (bound, count) in buckets.iter().filter(|(bound, _)| bound.is_finite()) {
        if *count as f64 >= rank && *count > below {
            return from
                + (bound - from)
                    * ((rank - below as f64) / (count - below) as f64).clamp(0.0, 1.0);
        }
        (from, below) = (*bound, *count);
    }
    if all == 0 { 0.0 } else { from }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_the_last_five_minutes_count() {
        let mut recent = Recent::default();
        for second in 0..1_000 {
            recent.decided(at(second));
        }
        // The running slot counts from 990 on, and nine whole ones before it.
        assert_eq!(recent.summary(at(999)).events, 280);
        assert_eq!(recent.summary(at(1_200)).events, 70, "from 930 on");
        assert_eq!(recent.summary(at(1_290)), Summary::default());
    }

    #[test]
    fn quantiles_lie_within_the_bucket_of_the_delay() {
        let mut recent = Recent::default();
        for _ in 0..99 {
            recent.served(at(7), Duration::from_millis(150));
        }
        recent.served(at(7), Duration::from_millis(3_000));
        recent.served(at(7), Duration::from_secs(100_000));
        let seen = recent.summary(at(7));
        assert_eq!(seen.served, 101);
        assert!((0.1..=0.2).contains(&seen.p50), "{seen:?}");
        assert!((2.0..=4.0).contains(&seen.p99), "{seen:?}");
    }

    #[test]
    fn delays_beyond_the_last_bound_are_reported_as_that_bound() {
        let mut recent = Recent::default();
        recent.served(at(7), Duration::from_secs(100_000));
        assert_eq!(recent.summary(at(7)).p50, 300.0);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let buckets = [(1.0, 0), (2.0, 10), (4.0, 10), (8.0, 20)];
        assert_eq!(quantile(&buckets, 20, 0.25), 1.5);
        assert_eq!(quantile(&buckets, 20, 0.75), 6.0);
        assert_eq!(quantile(&buckets, 40, 0.99), 8.0);
        assert_eq!(quantile(&[], 1, 0.5), 0.0);
    }
}
