//! The best candidates of one row.

use std::cmp::Ordering;

use super::compare::{Candidate, Found, RowRef};
use super::kernel::Isa;

/// What breaks ties.
pub(super) trait Ids {
    /// Rows with one score.
    fn by_id(&self, a: RowRef, b: RowRef) -> Ordering;
}

/// How many more candidates than are kept there may be before they are looked through. Few, for a threshold
/// that is behind lets through what need not be scored.
fn spare(limit: usize) -> usize {
    (limit / 2).max(FEWEST)
}

/// The fewest of them.
const FEWEST: usize = 12;

/// Keeps the best `keep + 1` of the candidates it is shown, in whatever order they come: the
/// last of them is the best one that is dropped. Holds half more at most.
pub(super) struct Best {
    threshold: f32,
    /// Whether the first `limit` are in order, the last of them with the threshold as score.
    sorted: bool,
    scores: Vec<f32>,
    rows: Vec<RowRef>,
}

impl Best {
    /// For a row with this floor.
    pub(super) fn new(floor: f32) -> Self {
        Self {
            threshold: floor,
            sorted: false,
            scores: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// No candidate with a lower score can matter any more. It only rises.
    #[inline(always)]
    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Raises the threshold as far as it goes by what was found.
    pub(super) fn rise(&mut self, isa: Isa, limit: usize, ids: &impl Ids) {
        if self.scores.len() >= limit {
            self.compact(isa, limit, ids);
        }
    }

    /// Takes a candidate, if it matters; `limit` is `keep + 1`.
    #[inline]
    pub(super) fn push(&mut self, isa: Isa, candidate: Candidate, limit: usize, ids: &impl Ids) {
        // Not the negation of `<`: a score that is NaN must not enter.
        if candidate.score >= self.threshold {
            self.take(isa, candidate, limit, ids);
        }
    }

    fn take(&mut self, isa: Isa, candidate: Candidate, limit: usize, ids: &impl Ids) {
        let is_beyond = self.sorted
            && candidate.score == self.threshold
            && ids.by_id(self.rows[limit - 1], candidate.row) == Ordering::Less;
        if is_beyond {
            return;
        }
        self.scores.push(candidate.score);
        self.rows.push(candidate.row);
        if self.scores.len() >= limit + spare(limit) {
            self.compact(isa, limit, ids);
        }
    }

    /// Raises the threshold to what `limit` reach, nearly, and drops those below it.
    #[inline(never)]
    fn compact(&mut self, isa: Isa, limit: usize, ids: &impl Ids) {
        self.threshold = self.threshold.max((isa.kth)(&self.scores, limit));
        let mut kept = 0;
        // Without a branch: which stay is not foreseen.
        for at in 0..self.scores.len() {
            let score = self.scores[at];
            self.scores[kept] = score;
            self.rows[kept] = self.rows[at];
            kept += usize::from(score >= self.threshold);
        }
        self.scores.truncate(kept);
        self.rows.truncate(kept);
        self.sorted = false;
        if kept > limit + spare(limit) / 2 {
            // Many have the same score, and ids decide.
            self.sort(limit, ids);
        }
    }

    /// Puts candidates in order and keeps the best `limit`; if there are as many, the threshold rises to the
    /// last of them.
    #[inline(never)]
    fn sort(&mut self, limit: usize, ids: &impl Ids) {
        // Scores are above 0, so their bits are in their order.
        let key = |(at, score): (u64, &f32)| u64::from(!score.to_bits()) << 32 | at;
        let mut keys: Vec<u64> = (0..).zip(&self.scores).map(key).collect();
        keys.sort_unstable();
        let score = |key: u64| f32::from_bits(!((key >> 32) as u32));
        let row = |key: u64| self.rows[(key & u64::from(u32::MAX)) as usize];
        for equal in keys.chunk_by_mut(|a, b| *a >> 32 == *b >> 32) {
            equal.sort_unstable_by(|a, b| ids.by_id(row(*a), row(*b)));
        }
        keys.truncate(limit);
        self.rows = keys.iter().map(|key| row(*key)).collect();
        self.scores = keys.iter().map(|key| score(*key)).collect();
        self.sorted = self.scores.len() == limit;
        if self.sorted {
            self.threshold = self.scores[limit - 1];
        }
    }

    /// What was found for `row`, or nothing if there is nothing to say.
    pub(super) fn finish(mut self, row: RowRef, limit: usize, ids: &impl Ids) -> Option<Found> {
        if self.scores.is_empty() {
            return None;
        }
        self.sort(limit, ids);
        let found = self.rows.iter().zip(&self.scores);
        let mut candidates: Vec<Candidate> = found
            .map(|(&row, &score)| Candidate { row, score })
            .collect();
        let dropped = (candidates.len() == limit)
            .then(|| candidates.pop())
            .flatten();
        Some(Found {
            row,
            candidates,
            dropped,
        })
    }
}
