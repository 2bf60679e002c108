//! What an experiment says, at any time.
//!
//! **The unit is the reader.** Views of one reader depend on each other: who clicks a lot does so all the time. A rate
//! is clicks over views of all readers, and its variance is that of a ratio of sums over readers (the delta method), so
//! that a reader with a hundred views counts as one observation and not as a hundred.
//!
//! **It may be looked at after every view.** A test that holds at one look raises false alarms when it is looked at again
//! and again. These are mixtures of likelihood ratios: under the hypothesis the mixture is a martingale that begins at 1, so that
//! it ever reaches 1/α with probability at most α (Ville). So it is for a mean that is normal with a normal mixture
//! (H. Robbins, *Statistical methods related to the law of the iterated logarithm*, Ann. Math. Statist. 41, 1970; for
//! experiments R. Johari, P. Koomen, L. Pekelis, D. Walsh, *Always Valid Inference: Continuous Monitoring of A/B Tests*,
//! Operations Research 70, 2022); with estimated variances it holds as the number of readers grows (I. Waudby-Smith,
//! D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, *Time-uniform central limit theory and asymptotic confidence sequences*,
//! Annals of Statistics 52, 2024). A reader who comes back makes the looks more alike than sums of independent readers would
//! be, which makes alarms rarer.
//!
//! **Few clicks.** The mixture is over differences of about a tenth ([`MIXTURE`]), and a variance is never taken to be
//! below that of independent views: a handful of clicks moves neither by much, and where the normal law is no good yet
//! nothing is said.
//!
//! **The sample ratio** is that of readers to shares, tested likewise and exactly by a Dirichlet mixture of
//! multinomials (M. Lindon, A. Malek, *Anytime-Valid Inference For Multinomial Count Data*, NeurIPS 2022).

use serde::{Deserialize, Serialize};

use super::tally::Counts;

/// How often an interval or a test may be wrong, over all looks together.
pub const LEVEL: f64 = 0.05;
/// Standard deviation of the relative differences that the mixture is over: where the test is quickest.
const MIXTURE: f64 = 0.1;
/// Below this the number of readers of an arm does not go with its share: a mismatch.
pub const MISMATCH: f64 = 0.001;
/// How many readers the mixture of sample ratios is worth: it is quickest for ratios that are off by some 1/√100.
const RATIO_READERS: f64 = 100.0;
/// Halvings of an interval in the search for an edge.
const HALVINGS: usize = 60;

/// Sums over the readers of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Readers that did anything.
    pub readers: u64,
    /// Views.
    pub seen: u64,
    /// Clicks.
    pub clicked: u64,
    /// Of the squares of readers' views.
    pub seen_squared: u64,
    /// Of the products of readers' views and clicks.
    pub seen_clicked: u64,
    /// Of the squares of readers' clicks.
    pub clicked_squared: u64,
}

impl Sums {
    /// A reader's counts in the arm were these, and are these.
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

    /// Clicks a view; 0 without views.
    fn rate(&self) -> f64 {
        match self.seen {
            0 => 0.0,
            seen => self.clicked as f64 / seen as f64,
        }
    }

    /// The variance of clicks less `rate` times views, summed over readers: what they are, and at least what it is of
    /// independent views.
    fn spread(&self, rate: f64) -> f64 {
        let squares = self.clicked_squared as f64 - 2.0 * rate * self.seen_clicked as f64
            + rate * rate * self.seen_squared as f64;
        let independent = rate * (1.0 - rate).max(0.0) * self.seen as f64;
        squares.max(independent)
    }
}

/// Clicks a view of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// As counted.
    pub rate: f64,
    /// The interval that holds the true one at all times, but for [`LEVEL`] of experiments.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// By how much the rate of an arm is above that of the first one, as a part of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lift {
    /// As counted: 0.1 is a tenth more.
    pub lift: f64,
    /// The interval that holds the true one at all times, for all arms together, but for [`LEVEL`] of experiments.
    pub low: f64,
    /// Its upper end; `None`: none is known yet.
    pub high: Option<f64>,
}

/// What an experiment says.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// By arm.
    pub rates: Vec<Rate>,
    /// By arm, but for the first one; `None`: the first one has no clicks, or this one no views.
    pub lifts: Vec<Option<Lift>>,
    /// That no arm differs from the first one: below [`LEVEL`] at any time in at most so many experiments without a
    /// difference.
    pub p: f64,
    /// That readers are divided by the shares, likewise.
    pub sample_ratio_p: f64,
}

/// What an experiment says whose arms have these shares and sums.
pub fn results(arms: &[(f64, Sums)]) -> Results {
    let sums = || arms.iter().map(|(_, sums)| sums);
    let comparisons = arms.len().saturating_sub(1).max(1) as f64;
    let first = sums().next().copied().unwrap_or_default();
    // Bonferroni: of several comparisons each may err less.
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

/// The logarithm of the mixture of likelihood ratios of a relative difference, as measured, to none.
fn evidence(difference: f64, variance: f64) -> f64 {
    if !(variance > 0.0 && difference.is_finite()) {
        return 0.0;
    }
    let (mixture, all) = (MIXTURE * MIXTURE, variance + MIXTURE * MIXTURE);
    0.5 * (variance / all).ln() + mixture * difference * difference / (2.0 * variance * all)
}

/// Evidence that the true rate of an arm is not this one.
fn evidence_of_rate(sums: &Sums, rate: f64) -> f64 {
    let (seen, found) = (sums.seen as f64, sums.rate());
    let unit = found.max(rate);
    if seen == 0.0 || unit == 0.0 {
        return 0.0;
    }
    let variance = sums.spread(rate) / (seen * seen);
    evidence((found - rate) / unit, variance / (unit * unit))
}

/// Evidence that the rate of `other` is not `ratio` times that of `first`. Variances are those under this hypothesis.
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

/// Where evidence reaches its limit between what was found and what is surely not; the latter where it nowhere does.
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
    // The most that the ratio can be is the least that it can be the other way round.
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

/// The most that the ratio can be where nobody has clicked in the other arm; `None`: it can be anything yet.
fn most_without_clicks(first: &Sums, other: &Sums, limit: f64) -> Option<f64> {
    /// A ratio that is as good as any.
    const ANY: f64 = 1e3;
    let of = |ratio| evidence_of_ratio(first, other, ratio);
    Some(edge(0.0, ANY, limit, of)).filter(|most| *most < ANY)
}

/// That the numbers of readers go with the shares.
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
