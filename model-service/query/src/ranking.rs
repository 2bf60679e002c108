//! What candidates are ordered by.

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
    /// What is left of the score after an item's age, if half of it is left after `half_life` ms.
    Age { now: i64, half_life: f64 },
    /// The score less the mean hubness of the item and what is asked of.
    Balance { own: f64 },
}

impl Ranking {
    /// What conditions ask for; `hub` is the hubness of what is asked of, `now` in ms since 1970.
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

    /// What an item with this score is ordered by.
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

    /// What no item whose score is at most this one ranks above.
    pub(crate) fn ceiling(self, score: f32) -> f64 {
        let score = f64::from(score);
        match self {
            Self::Score | Self::Age { .. } => score,
            // The item's own hubness is not negative.
            Self::Balance { own } => score - own / 2.0,
        }
    }
}

/// `Less` comes first: by rank descending, then by id ascending, byte by byte.
pub(crate) fn order(snapshot: &Snapshot, a: &Candidate, b: &Candidate) -> Ordering {
    let by_id = || snapshot.id(a.slot).cmp(&snapshot.id(b.slot));
    b.rank.total_cmp(&a.rank).then_with(by_id)
}

/// Candidates in their order, sorted only as far as they are asked for.
pub(crate) struct Ranked<'s> {
    snapshot: &'s Snapshot,
    candidates: Vec<Candidate>,
    /// So many are sorted, and better than the rest.
    sorted: usize,
    next: usize,
}

/// Candidates that are sorted at first.
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

    /// Sorts twice as many as there are sorted.
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
