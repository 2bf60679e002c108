//! The best candidates of one row.

use std::cmp::Ordering;

use kindred_shared::ItemId;
use kindred_shared::job::{Candidate, Floor, Found, RowRef};

/// The lowest score a candidate can have: scores that count are above 0.
const LEAST: f32 = f32::from_bits(1);

/// Gives the id of a row, to break ties.
pub(super) trait Ids {
    /// The id of the item of a row.
    fn id(&self, row: RowRef) -> &ItemId;

    /// Best first: score descending, then id ascending by bytes; rows with one id (there are
    /// none in a well-made task) by position, so that the order is total.
    fn rank(&self, a: &Candidate, b: &Candidate) -> Ordering {
        b.score
            .total_cmp(&a.score)
            .then_with(|| self.id(a.row).cmp(self.id(b.row)))
            .then_with(|| (a.row.side, a.row.row).cmp(&(b.row.side, b.row.row)))
    }
}

/// Keeps the best `keep + 1` of the candidates it is shown, in whatever order they come: the
/// last of them is the best one that is dropped. Holds at most twice as many.
pub(super) struct Best<'a> {
    floor: &'a Floor,
    limit: usize,
    threshold: f32,
    held: Vec<Candidate>,
}

impl<'a> Best<'a> {
    /// For a row with this floor. `limit` is `keep + 1`.
    pub(super) fn new(floor: &'a Floor, limit: usize) -> Self {
        let threshold = match floor {
            Floor::Open => LEAST,
            // `max` gives LEAST for NaN, too.
            Floor::At(score, _) => score.max(LEAST),
            Floor::Closed => f32::INFINITY,
        };
        Self {
            floor,
            limit,
            threshold,
            held: Vec::new(),
        }
    }

    /// No candidate with a lower score can matter any more. It only rises.
    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Takes a candidate, if it matters.
    pub(super) fn push(&mut self, candidate: Candidate, ids: &impl Ids) {
        // Not the negation of `<`: a score that is NaN must not enter.
        let reaches = candidate.score >= self.threshold;
        let wanted = match self.floor {
            Floor::Open => true,
            Floor::At(score, id) => candidate.score != *score || ids.id(candidate.row) <= id,
            Floor::Closed => false,
        };
        if !(reaches && wanted) {
            return;
        }
        self.held.push(candidate);
        if self.held.len() >= 2 * self.limit {
            self.held
                .select_nth_unstable_by(self.limit - 1, |a, b| ids.rank(a, b));
            self.held.truncate(self.limit);
            // The selected one is the worst of those kept.
            self.threshold = self.threshold.max(self.held[self.limit - 1].score);
        }
    }

    /// What was found for `row`, or nothing if there is nothing to say.
    pub(super) fn finish(mut self, row: RowRef, ids: &impl Ids) -> Option<Found> {
        self.held.sort_unstable_by(|a, b| ids.rank(a, b));
        let keep = self.limit - 1;
        let dropped = self.held.get(keep).copied();
        self.held.truncate(keep);
        let candidates = self.held;
        (dropped.is_some() || !candidates.is_empty()).then_some(Found {
            row,
            candidates,
            dropped,
        })
    }
}
