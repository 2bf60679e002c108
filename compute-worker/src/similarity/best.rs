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

    /// By id ascending by bytes; rows with one id (there are none in a well-made task) by
    /// position, so that the order is total.
    fn by_id(&self, a: RowRef, b: RowRef) -> Ordering {
        let by_place = || (a.side, a.row).cmp(&(b.side, b.row));
        self.id(a).cmp(self.id(b)).then_with(by_place)
    }
}

/// Keeps the best `keep + 1` of the candidates it is shown, in whatever order they come: the
/// last of them is the best one that is dropped. Holds at most twice as many.
pub(super) struct Best<'a> {
    floor: &'a Floor,
    threshold: f32,
    held: Vec<Candidate>,
}

impl<'a> Best<'a> {
    /// For a row with this floor.
    pub(super) fn new(floor: &'a Floor) -> Self {
        let held = Vec::new();
        Self {
            floor,
            threshold: threshold(floor),
            held,
        }
    }

    /// No candidate with a lower score can matter any more. It only rises.
    #[inline(always)]
    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Raises the threshold as far as it goes by what was found.
    pub(super) fn rise(&mut self, limit: usize, ids: &impl Ids) {
        if self.held.len() >= limit {
            self.compact(limit, ids);
        }
    }

    /// Takes a candidate, if it matters; `limit` is `keep + 1`.
    #[inline]
    pub(super) fn push(&mut self, candidate: Candidate, limit: usize, ids: &impl Ids) {
        // Not the negation of `<`: a score that is NaN must not enter.
        if candidate.score >= self.threshold {
            self.take(candidate, limit, ids);
        }
    }

    fn take(&mut self, candidate: Candidate, limit: usize, ids: &impl Ids) {
        let wanted = match self.floor {
            Floor::Open => true,
            Floor::At(score, id) => candidate.score != *score || ids.id(candidate.row) <= id,
            Floor::Closed => false,
        };
        if !wanted {
            return;
        }
        self.held.push(candidate);
        if self.held.len() >= 2 * limit {
            self.compact(limit, ids);
        }
    }

    /// Keeps the best `limit` and raises the threshold to the worst of them.
    #[inline(never)]
    fn compact(&mut self, limit: usize, ids: &impl Ids) {
        // Scores are above 0, so that their bits are in their order.
        let mut bits: Vec<u32> = self.held.iter().map(|held| held.score.to_bits()).collect();
        let (above, &mut last, _) = bits.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
        let better = above.iter().filter(|bits| **bits > last).count();
        let worst = f32::from_bits(last);
        self.threshold = self.threshold.max(worst);
        let equal: Vec<Candidate> = self
            .held
            .iter()
            .filter(|held| held.score == worst)
            .copied()
            .collect();
        self.held.retain(|held| held.score > worst);
        self.held.extend(first(equal, limit - better, ids));
    }

    /// What was found for `row`, or nothing if there is nothing to say. `keys` is scratch.
    pub(super) fn finish(
        &self,
        row: RowRef,
        limit: usize,
        ids: &impl Ids,
        keys: &mut Vec<u64>,
    ) -> Option<Found> {
        if self.held.is_empty() {
            return None;
        }
        keys.clear();
        let key = |(at, held): (u64, &Candidate)| u64::from(!held.score.to_bits()) << 32 | at;
        keys.extend((0..).zip(&self.held).map(key));
        keys.sort_unstable();
        let of = |key: &u64| self.held[(key & u64::from(u32::MAX)) as usize];
        let mut candidates = Vec::with_capacity(keys.len().min(limit));
        for equal in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let room = limit - candidates.len();
            match equal {
                _ if room == 0 => break,
                [one] => candidates.push(of(one)),
                several => candidates.extend(first(several.iter().map(of).collect(), room, ids)),
            }
        }
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

fn threshold(floor: &Floor) -> f32 {
    match floor {
        Floor::Open => LEAST,
        // `max` gives LEAST for NaN, too.
        Floor::At(score, _) => score.max(LEAST),
        Floor::Closed => f32::INFINITY,
    }
}

/// The first of candidates with one score, by id.
fn first(mut equal: Vec<Candidate>, count: usize, ids: &impl Ids) -> Vec<Candidate> {
    if count < equal.len() && count > 0 {
        equal.select_nth_unstable_by(count - 1, |a, b| ids.by_id(a.row, b.row));
    }
    equal.truncate(count);
    equal.sort_unstable_by(|a, b| ids.by_id(a.row, b.row));
    equal
}
