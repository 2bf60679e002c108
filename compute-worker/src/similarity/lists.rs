//! The best of the rows of one block so far, by canonical score.
//!
//! Whoever is not ruled out by an approximate score gets its canonical one at once. A row's base
//! is a score that K others reach: what lies below it is dead. It only rises.

use kindred_shared::block::LANES;

use super::Kernel;
use super::sorted::Sorted;

/// The lists of a block's rows.
pub(super) struct Lists {
    kernel: Kernel,
    keep: usize,
    /// Places a row has.
    room: usize,
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// Candidates of each row.
    counts: Vec<u32>,
    bases: Vec<f32>,
    /// Of those with a row's base as score only ids below this one matter.
    lasts: Vec<u32>,
}

/// Places of a list of K. Looking through it often costs less than a base that is behind.
fn room(keep: usize) -> usize {
    (keep + (keep / 4).max(FEWEST)).next_multiple_of(LANES)
}

/// Fewest places beyond K.
const FEWEST: usize = 12;

impl Lists {
    /// Empty lists of `count` rows; `floor` is the lowest score that counts.
    pub(super) fn new(kernel: Kernel, count: usize, keep: usize, floor: f32) -> Self {
        let room = room(keep);
        Self {
            kernel,
            keep,
            room,
            ids: vec![0; count * room],
            scores: vec![0.0; count * room],
            counts: vec![0; count],
            bases: vec![floor; count],
            // No row has this id.
            lasts: vec![u32::MAX; count],
        }
    }

    /// Bytes of a row's list.
    pub(super) fn bytes(keep: usize) -> usize {
        8 * room(keep) + 12
    }

    /// The rows' bases.
    pub(super) fn bases(&self) -> &[f32] {
        &self.bases
    }

    /// The lowest score that matters to a row, if all candidates' ids are `least` or more.
    #[inline(always)]
    pub(super) fn threshold(&self, row: usize, least: u32) -> f32 {
        let base = self.bases[row];
        if self.lasts[row] <= least {
            base.next_up()
        } else {
            base
        }
    }

    /// Takes a candidate, if it matters.
    #[inline(always)]
    pub(super) fn push(&mut self, row: usize, id: u32, score: f32) {
        let base = self.bases[row];
        // Without a branch: half of them matter. A score that is not a number never does.
        let wanted = (score > base) | ((score == base) & (id < self.lasts[row]));
        let count = self.counts[row] as usize;
        let at = row * self.room + count;
        self.ids[at] = id;
        self.scores[at] = score;
        self.counts[row] += u32::from(wanted);
        if wanted && count + 1 == self.room {
            self.compact(row);
        }
    }

    /// How many are kept of a row.
    pub(super) fn keep(&self) -> usize {
        self.keep
    }

    /// Raises the base of a row as far as is known.
    pub(super) fn rise(&mut self, row: usize) {
        if self.counts[row] as usize >= self.keep {
            self.compact(row);
        }
    }

    /// Drops the dead of a row with K candidates or more.
    #[inline(never)]
    fn compact(&mut self, row: usize) {
        let span = row * self.room..(row + 1) * self.room;
        let (ids, scores) = (&mut self.ids[span.clone()], &mut self.scores[span]);
        let (base, last) = (&mut self.bases[row], &mut self.lasts[row]);
        let count = self.counts[row] as usize;
        let found = self.kernel.kth(&scores[..count], self.keep);
        if found > *base {
            (*base, *last) = (found, u32::MAX);
        }
        let (ids, scores) = (&mut ids[..count], &mut scores[..count]);
        let mut count = self.kernel.retain(ids, scores, *base);
        if count > self.keep.midpoint(self.room) {
            // Many have the same score, and ids decide.
            sort(&mut ids[..count], &mut scores[..count]);
            count = self.keep;
            (*base, *last) = (scores[count - 1], ids[count - 1]);
        }
        self.counts[row] = count as u32;
    }

    /// The best of every row, at most K, sorted; they stay in the memory where they are, and what is
    /// not needed of it is given back.
    pub(super) fn into_sorted(mut self) -> Sorted {
        let mut end = 0;
        for row in 0..self.counts.len() {
            if self.counts[row] as usize > self.keep {
                // Fewer to sort.
                self.compact(row);
            }
            let start = row * self.room;
            let span = start..start + self.counts[row] as usize;
            sort(&mut self.ids[span.clone()], &mut self.scores[span.clone()]);
            let span = start..span.end.min(start + self.keep);
            self.ids.copy_within(span.clone(), end);
            self.scores.copy_within(span.clone(), end);
            end += span.len();
            // Where its list ends; in a block that is far below 2^32.
            self.counts[row] = end as u32;
        }
        self.ids.truncate(end);
        self.ids.shrink_to_fit();
        self.scores.truncate(end);
        self.scores.shrink_to_fit();
        Sorted::new(self.counts, self.ids, self.scores)
    }
}

/// Sorts candidates: score descending, then id ascending.
fn sort(ids: &mut [u32], scores: &mut [f32]) {
    // Zeros of both signs are equal scores, and their bits are to stay.
    if scores.contains(&0.0) {
        let mut all: Vec<(u32, f32)> = ids.iter().copied().zip(scores.iter().copied()).collect();
        all.sort_unstable_by(|a, b| {
            let by_score = (b.1 + 0.0).total_cmp(&(a.1 + 0.0));
            by_score.then_with(|| a.0.cmp(&b.0))
        });
        for ((id, score), sorted) in ids.iter_mut().zip(scores).zip(all) {
            (*id, *score) = sorted;
        }
        return;
    }
    let mut few = [0; FEW];
    let mut many = Vec::new();
    let ranks = match few.get_mut(..ids.len()) {
        Some(few) => few,
        None => {
            many.resize(ids.len(), 0);
            &mut many[..]
        }
    };
    for ((rank, &id), &score) in ranks.iter_mut().zip(&*ids).zip(&*scores) {
        *rank = u64::from(descending(score.to_bits())) << 32 | u64::from(id);
    }
    ranks.sort_unstable();
    for ((&rank, id), score) in ranks.iter().zip(ids).zip(scores) {
        *id = rank as u32;
        *score = f32::from_bits(descending((rank >> 32) as u32));
    }
}

/// Candidates that are sorted without an allocation.
const FEW: usize = 128;

/// The bits of a number, turned into one that is lower the higher the number; its own inverse.
fn descending(bits: u32) -> u32 {
    if bits >> 31 == 0 {
        !bits & !(1 << 31)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_score_then_id_and_keeps_bits() {
        let scores = [
            0.5,
            -0.0,
            f32::MAX,
            0.0,
            -1.5,
            0.5,
            1e-40,
            -1e-40,
            f32::NEG_INFINITY,
        ];
        let (mut ids, mut sorted): (Vec<u32>, Vec<f32>) = (0..9).rev().zip(scores).unzip();
        sort(&mut ids, &mut sorted);
        assert_eq!(ids, [6, 3, 8, 2, 5, 7, 1, 4, 0]);
        assert_eq!(sorted[4].to_bits(), 0.0_f32.to_bits());
        assert_eq!(sorted[5].to_bits(), (-0.0_f32).to_bits());
        // Without zeros another way is taken.
        let (mut ids, mut sorted): (Vec<u32>, Vec<f32>) = (0..9)
            .zip(scores)
            .filter(|(_, score)| *score != 0.0)
            .unzip();
        sort(&mut ids, &mut sorted);
        assert_eq!(ids, [2, 0, 5, 6, 7, 4, 8]);
        assert_eq!(sorted[3], 1e-40);
    }
}
