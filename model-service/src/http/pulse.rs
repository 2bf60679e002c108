//! Rates and freshness of the last minutes, from samples of the metrics every few seconds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_api::activity::Freshness;
use kindred_query::recent::quantile;

use crate::metrics::{Metrics, buckets, counted};

/// Sampling interval.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Samples kept: five minutes.
const KEPT: usize = 61;
/// Most open streams of activity.
const STREAMS: usize = 64;

/// The metrics at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    events: f64,
    queries: f64,
    pairs: f64,
    /// Bucket bounds, and how many values were at or below each.
    freshness: Vec<(f64, u64)>,
    fresh: u64,
}

impl Sample {
    pub(super) fn of(metrics: &Metrics, at: Instant) -> Self {
        let of_queries = |labels: &[String]| labels.iter().any(|label| label.ends_with("/similar"));
        let requests = counted(&metrics.http_request);
        let queries = requests.iter().filter(|one| of_queries(&one.labels));
        Self {
            at,
            events: counted(&metrics.events).iter().map(|one| one.count).sum(),
            queries: queries.map(|one| one.count).sum(),
            pairs: metrics.pairs_compared.get() as f64,
            freshness: buckets(&metrics.event_to_served),
            fresh: metrics.event_to_served.get_sample_count(),
        }
    }
}

/// Recent samples, and open streams.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    samples: Mutex<VecDeque<Sample>>,
    streams: Arc<AtomicUsize>,
}

/// An open stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rates and freshness between two moments.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rates {
    pub(super) over: Duration,
    pub(super) events: f64,
    pub(super) queries: f64,
    pub(super) pairs: f64,
    pub(super) freshness: Option<Freshness>,
    /// Events per second between consecutive samples, oldest first.
    pub(super) history: Vec<f64>,
}

impl Pulse {
    pub(super) fn sample(&self, sample: Sample) {
        let mut samples = self.samples();
        if samples.len() >= KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Since the oldest sample kept.
    pub(super) fn rates(&self, now: &Sample) -> Rates {
        let samples = self.samples();
        let Some(oldest) = samples.front() else {
            return Rates::default();
        };
        let history = samples.iter().zip(samples.iter().skip(1));
        let over = now.at.saturating_duration_since(oldest.at);
        let rate = |of: fn(&Sample) -> f64| per_second(of(now) - of(oldest), over);
        Rates {
            over,
            events: rate(|sample| sample.events),
            queries: rate(|sample| sample.queries),
            pairs: rate(|sample| sample.pairs),
            freshness: freshness(oldest, now),
            history: history
                .map(|(before, after)| {
                    per_second(
                        after.events - before.events,
                        after.at.saturating_duration_since(before.at),
                    )
                })
                .collect(),
        }
    }

    /// Opens one more stream, if there is room.
    pub(super) fn open(&self) -> Option<Open> {
        let next = |count: usize| (count < STREAMS).then_some(count + 1);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.streams.fetch_update(set, read, next).ok()?;
        Some(Open(Arc::clone(&self.streams)))
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        // Every change leaves the samples consistent.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn per_second(count: f64, over: Duration) -> f64 {
    if over.is_zero() {
        0.0
    } else {
        (count / over.as_secs_f64()).max(0.0)
    }
}

/// How soon events were served between two samples.
fn freshness(before: &Sample, after: &Sample) -> Option<Freshness> {
    let events = after
        .fresh
        .checked_sub(before.fresh)
        .filter(|count| *count > 0)?;
    let between: Vec<(f64, u64)> = after
        .freshness
        .iter()
        .enumerate()
        .map(|(at, (bound, count))| {
            (
                *bound,
                count.saturating_sub(before.freshness.get(at).map_or(0, |(_, count)| *count)),
            )
        })
        .collect();
    Some(Freshness {
        p50_seconds: quantile(&between, events, 0.5),
        p99_seconds: quantile(&between, events, 0.99),
        events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_time_since_the_oldest_sample() {
        let (metrics, pulse, begun) = (Metrics::new(), Pulse::default(), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        pulse.sample(Sample::of(&metrics, at(0)));
        metrics
            .events
            .with_label_values(&["item.created", "applied"])
            .inc_by(50);
        metrics.pairs_compared.inc_by(1_000);
        for seconds in [0.15, 0.15, 0.15, 0.9] {
            metrics.event_to_served.observe(seconds);
        }
        metrics
            .http_request
            .with_label_values(&["/v1/domains/{domain}/similar", "POST", "200"])
            .observe(0.1);
        metrics
            .http_request
            .with_label_values(&["/metrics", "GET", "200"])
            .observe(0.1);
        pulse.sample(Sample::of(&metrics, at(5)));
        let rates = pulse.rates(&Sample::of(&metrics, at(10)));
        assert_eq!(
            (rates.events, rates.pairs, rates.queries),
            (5.0, 100.0, 0.1)
        );
        assert_eq!(rates.history, [10.0]);
        let fresh = rates.freshness.expect("events");
        assert_eq!(fresh.events, 4);
        assert!(
            (0.1..=0.2).contains(&fresh.p50_seconds) && (0.5..=1.0).contains(&fresh.p99_seconds),
            "{fresh:?}"
        );
    }

    #[test]
    fn samples_and_streams_are_bounded() {
        let (metrics, pulse) = (Metrics::new(), Pulse::default());
        for _ in 0..2 * KEPT {
            pulse.sample(Sample::of(&metrics, Instant::now()));
        }
        assert_eq!(pulse.samples().len(), KEPT);
        let open: Vec<_> = std::iter::from_fn(|| pulse.open())
            .take(STREAMS + 1)
            .collect();
        assert_eq!(open.len(), STREAMS);
        drop(open);
        assert!(pulse.open().is_some());
    }
}
