//! The order of candidates.

use std::cmp::Ordering;

use kindred_domain::slot::Slot;

use crate::conditions::Conditions;
use crate::snapshot::{Item, Snapshot};

/// An item that may be answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) slot: Slot,
    /// Above 0.
    pub(crate) score: f32,
    /// What it is ordered by.
    pub(crate) rank: f64,
}

/// What candidates are ordered by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ranking {
    /// The score.
    Score,
    /// The part of the score that is left at the item's age, if half of it is left after `half_life` ms.
    Age { now: i64, half_life: f64 },
    /// The score minus the mean hubness of the item and of the question.
    Balance { own: f64 },
}

impl Ranking {
    /// The ranking that the conditions require; `hub` is the hubness of the question, `now` in ms since 1970.
    pub(crate) fn of(conditions: &Conditions, hub: f64, now: i64) -> Self {
        match conditions.half_life {
            Some(half_life) => Self::Age {
                now,
                half_life: half_life.as_secs_f64() * 1e3,
            },
            None if conditions.balance => Self::Balance { own: hub },
            None => Self::Score,
        }
    }

    /// The rank of an item with this score.
    pub(crate) fn rank(self, item: &Item<'_>, score: f32) -> f64 {
        let score = f64::from(score);
        match self {
            Self::Score => score,
            Self::Age { now, half_life } => {
                let age = now.saturating_sub(item.shown_since().unwrap_or(now)).max(0);
                score * libm::exp2(-(age as f64) / half_life)
            }
            Self::Balance { own } => score - (own + item.hub()) / 2.0,
        }
    }

    /// The highest possible rank of an item with at most this score.
    pub(crate) fn ceiling(self, score: f32) -> f64 {
        let score = f64::from(score);
        match self {
            Self::Score | Self::Age { .. } => score,
            // The item's own hubness is not negative.
            Self::Balance { own } => score - own / 2.0,
        }
    }
}

/// `Less` comes first: rank descending, then id ascending in byte order.
pub(crate) fn order(snapshot: &Snapshot, a: &Candidate, b: &Candidate) -> Ordering {
    let by_id = || snapshot.id(a.slot).cmp(&snapshot.id(b.slot));
    b.rank.total_cmp(&a.rank).then_with(by_id)
}

/// Candidates in order, sorted only as far as needed.
pub(crate) struct Ranked<'s> {
    snapshot: &'s Snapshot,
    candidates: Vec<Candidate>,
    /// This many are sorted, and better than the rest.
    sorted: usize,
    next: usize,
}

/// Number of candidates that are sorted at first.
const FIRST: usize = 64;

impl<'s> Ranked<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, candidates: Vec<Candidate>) -> Self {
        Self {
            snapshot,
            candidates,
            sorted: 0,
            next: 0,
        }
    }

    /// Doubles the number of sorted candidates.
    fn sort_more(&mut self) {
        let snapshot = self.snapshot;
        let by_order = |a: &Candidate, b: &Candidate| order(snapshot, a, b);
        let more = self.sorted.max(FIRST);
        let rest = &mut self.candidates[self.sorted..];
        if more < rest.len() {
            rest.select_nth_unstable_by(more, by_order);
        }
        let more = more.min(rest.len());
        rest[..more].sort_unstable_by(by_order);
        self.sorted += more;
    }
}

impl Iterator for Ranked<'_> {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        if self.next == self.sorted && self.sorted < self.candidates.len() {
            self.sort_more();
        }
        let next = self.candidates.get(self.next).copied()?;
        self.next += 1;
        Some(next)
    }
}
