//! The results of an experiment, valid at any time.
//!
//! **The unit is the reader.** Views of one reader depend on each other: someone who clicks a lot does so all the time.
//! A rate is the number of clicks per view of all readers, and its variance is that of a ratio of sums over readers
//! (the delta method), so a reader with a hundred views counts as one observation and not as a hundred.
//!
//! **Results may be read after every view.** A test that is valid for a single look raises false alarms if it is
//! repeated again and again. The tests here are mixtures of likelihood ratios: under the hypothesis, the mixture is a
//! martingale that starts at 1, so the probability that it ever reaches 1/α is at most α (Ville). For a normal mean
//! with a normal mixture see H. Robbins, *Statistical methods related to the law of the iterated logarithm*, Ann. Math.
//! Statist. 41, 1970; for experiments R. Johari, P. Koomen, L. Pekelis, D. Walsh, *Always Valid Inference: Continuous
//! Monitoring of A/B Tests*, Operations Research 70, 2022. With estimated variances this holds as the number of readers
//! grows (I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, *Time-uniform central limit theory and
//! asymptotic confidence sequences*, Annals of Statistics 52, 2024). Readers who come back make consecutive looks more
//! alike than sums of independent readers would be, which makes false alarms rarer.
//!
//! **Few clicks.** The mixture is over differences of about a tenth ([`MIXTURE`]), and a variance is never assumed to
//! be less than that of independent views. So a handful of clicks has little effect on either, and no result is
//! reported while the normal approximation is poor.
//!
//! **The sample ratio** compares the numbers of readers with the shares. It is tested in the same way, and exactly,
//! with a Dirichlet mixture of multinomials (M. Lindon, A. Malek, *Anytime-Valid Inference For Multinomial Count Data*,
//! NeurIPS 2022).

use serde::{Deserialize, Serialize};

use super::tally::Counts;

/// The probability that an interval or a test is wrong, over all looks together.
pub const LEVEL: f64 = 0.05;
/// Standard deviation of the mixture over relative differences: the test is fastest for differences of this size.
const MIXTURE: f64 = 0.1;
/// If the sample ratio's p is below this, the numbers of readers do not match the shares.
pub const MISMATCH: f64 = 0.001;
/// The weight of the mixture over sample ratios, in readers: the test is fastest for ratios that are off by about
/// 1/√100.
const RATIO_READERS: f64 = 100.0;
/// Bisection steps in the search for the end of an interval.
const HALVINGS: usize = 60;

/// Sums over the readers of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Number of readers that did anything.
    pub readers: u64,
    /// Views.
    pub seen: u64,
    /// Clicks.
    pub clicked: u64,
    /// Sum of the squares of each reader's views.
    pub seen_squared: u64,
    /// Sum of the products of each reader's views and clicks.
    pub seen_clicked: u64,
    /// Sum of the squares of each reader's clicks.
    pub clicked_squared: u64,
}

impl Sums {
    /// Replaces a reader's counts in the arm.
    pub fn change(&mut self, before: Counts, after: Counts) {
        let of = |counts: Counts| {
            let (seen, clicked) = (u64::from(counts.seen), u64::from(counts.clicked));
            [
                u64::from(counts != Counts::default()),
                seen,
                clicked,
                seen * seen,
                seen * clicked,
                clicked * clicked,
            ]
        };
        let sums = [
            &mut self.readers,
            &mut self.seen,
            &mut self.clicked,
            &mut self.seen_squared,
            &mut self.seen_clicked,
            &mut self.clicked_squared,
        ];
        for ((sum, before), after) in sums.into_iter().zip(of(before)).zip(of(after)) {
            *sum = sum.saturating_sub(before).saturating_add(after);
        }
    }

    /// Clicks per view; 0 without views.
    fn rate(&self) -> f64 {
        match self.seen {
            0 => 0.0,
            seen => self.clicked as f64 / seen as f64,
        }
    }

    /// The variance of clicks minus `rate` times views, summed over readers: as observed, but at least that of
    /// independent views.
    fn spread(&self, rate: f64) -> f64 {
        let squares = self.clicked_squared as f64 - 2.0 * rate * self.seen_clicked as f64
            + rate * rate * self.seen_squared as f64;
        let independent = rate * (1.0 - rate).max(0.0) * self.seen as f64;
        squares.max(independent)
    }
}

/// Clicks per view of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// As observed.
    pub rate: f64,
    /// The lower end of an interval that contains the true rate at all times, except in [`LEVEL`] of experiments.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The relative difference between the rate of an arm and that of the first arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lift {
    /// As observed: 0.1 means a tenth more.
    pub lift: f64,
    /// The lower end of an interval that contains the true value at all times, for all arms together, except in
    /// [`LEVEL`] of experiments.
    pub low: f64,
    /// Its upper end; `None`: not known yet.
    pub high: Option<f64>,
}

/// The results of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// By arm.
    pub rates: Vec<Rate>,
    /// By arm, without the first one; `None`: the first arm has no clicks, or this one no views.
    pub lifts: Vec<Option<Lift>>,
    /// The hypothesis that no arm differs from the first one. If that is true, this is ever below [`LEVEL`] in at most
    /// that part of experiments.
    pub p: f64,
    /// The same for the hypothesis that readers are divided by the shares.
    pub sample_ratio_p: f64,
}

/// The results of an experiment whose arms have these shares and sums.
pub fn results(arms: &[(f64, Sums)]) -> Results {
    let sums = || arms.iter().map(|(_, sums)| sums);
    let comparisons = arms.len().saturating_sub(1).max(1) as f64;
    let first = sums().next().copied().unwrap_or_default();
    // Bonferroni: with several comparisons, each may be wrong less often.
    let limit = (comparisons / LEVEL).ln();
    let lifts = sums()
        .skip(1)
        .map(|other| lift(&first, other, limit))
        .collect();
    let surest = sums()
        .skip(1)
        .map(|other| evidence_of_ratio(&first, other, 1.0))
        .fold(0.0, f64::max);
    Results {
        rates: sums().map(rate).collect(),
        lifts,
        p: (comparisons * (-surest).exp()).min(1.0),
        sample_ratio_p: sample_ratio_p(arms),
    }
}

/// The logarithm of the mixture of likelihood ratios of an observed relative difference against none.
fn evidence(difference: f64, variance: f64) -> f64 {
    if !(variance > 0.0 && difference.is_finite()) {
        return 0.0;
    }
    let (mixture, all) = (MIXTURE * MIXTURE, variance + MIXTURE * MIXTURE);
    0.5 * (variance / all).ln() + mixture * difference * difference / (2.0 * variance * all)
}

/// The evidence that the true rate of an arm is not this one.
fn evidence_of_rate(sums: &Sums, rate: f64) -> f64 {
    let (seen, found) = (sums.seen as f64, sums.rate());
    let unit = found.max(rate);
    if seen == 0.0 || unit == 0.0 {
        return 0.0;
    }
    let variance = sums.spread(rate) / (seen * seen);
    evidence((found - rate) / unit, variance / (unit * unit))
}

/// The evidence that the rate of `other` is not `ratio` times that of `first`, with the variances under this
/// hypothesis.
fn evidence_of_ratio(first: &Sums, other: &Sums, ratio: f64) -> f64 {
    let (seen_first, seen_other) = (first.seen as f64, other.seen as f64);
    if first.seen == 0 || other.seen == 0 {
        return 0.0;
    }
    let (rate_first, rate_other) = (ratio * first.rate(), other.rate());
    let unit = rate_first.max(rate_other);
    if unit == 0.0 {
        return 0.0;
    }
    let clicked = first.clicked as f64 + other.clicked as f64;
    let pooled = clicked / (seen_first + ratio * seen_other);
    let variance = ratio * ratio * first.spread(pooled) / (seen_first * seen_first)
        + other.spread(ratio * pooled) / (seen_other * seen_other);
    evidence((rate_other - rate_first) / unit, variance / (unit * unit))
}

/// Where the evidence reaches its limit between the observed value and one that is surely wrong; the latter if it
/// nowhere does.
fn edge(found: f64, beyond: f64, limit: f64, evidence: impl Fn(f64) -> f64) -> f64 {
    if evidence(beyond) < limit {
        return beyond;
    }
    let (mut inside, mut outside) = (found, beyond);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(inside, outside);
        if evidence(middle) < limit {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    outside
}

fn rate(sums: &Sums) -> Rate {
    let (found, limit) = (sums.rate(), -LEVEL.ln());
    let of = |rate| evidence_of_rate(sums, rate);
    Rate {
        rate: found,
        low: edge(found, 0.0, limit, of),
        high: edge(found, found.max(1.0), limit, of),
    }
}

fn lift(first: &Sums, other: &Sums, limit: f64) -> Option<Lift> {
    if first.clicked == 0 || other.seen == 0 {
        return None;
    }
    let least = |first: &Sums, other: &Sums| {
        let found = other.rate() / first.rate();
        edge(found, 0.0, limit, |ratio| {
            evidence_of_ratio(first, other, ratio)
        })
    };
    // The highest possible ratio is the lowest possible one of the reverse comparison.
    let most = match other.clicked {
        0 => most_without_clicks(first, other, limit),
        _ => Some(1.0 / least(other, first)).filter(|most| most.is_finite()),
    };
    Some(Lift {
        lift: other.rate() / first.rate() - 1.0,
        low: least(first, other) - 1.0,
        high: most.map(|most| most - 1.0),
    })
}

/// The highest possible ratio if nobody has clicked in the other arm; `None`: anything is possible yet.
fn most_without_clicks(first: &Sums, other: &Sums, limit: f64) -> Option<f64> {
    /// A ratio so high that it says nothing.
    const ANY: f64 = 1e3;
    let of = |ratio| evidence_of_ratio(first, other, ratio);
    Some(edge(0.0, ANY, limit, of)).filter(|most| *most < ANY)
}

/// The hypothesis that the numbers of readers match the shares.
fn sample_ratio_p(arms: &[(f64, Sums)]) -> f64 {
    let all: f64 = arms.iter().map(|(share, _)| share).sum();
    let readers: f64 = arms.iter().map(|(_, sums)| sums.readers as f64).sum();
    if all.is_nan() || all <= 0.0 {
        return 1.0;
    }
    let mut log = libm::lgamma(RATIO_READERS) - libm::lgamma(RATIO_READERS + readers);
    for (share, sums) in arms {
        let (share, count) = (share / all, sums.readers as f64);
        let prior = RATIO_READERS * share;
        log += libm::lgamma(prior + count) - libm::lgamma(prior) - count * share.ln();
    }
    (-log).exp().min(1.0)
}

#[cfg(test)]
mod tests;
