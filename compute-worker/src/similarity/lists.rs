//! The best of the rows of one block so far, by canonical score.
//!
//! Whoever is not ruled out by an approximate score gets its canonical one at once. A row's base
//! is a score that K others reach: what lies below it is dead. It only rises.

use super::Kernel;

/// The lists of a block's rows.
pub(super) struct Lists {
    kernel: Kernel,
    keep: usize,
    /// Places a row has.
    room: usize,
    ids: Vec<u32>,
    scores: Vec<f32>,
    rows: Vec<Row>,
}

/// What is known of a row.
#[derive(Clone, Copy)]
struct Row {
    count: usize,
    base: f32,
    /// Of those with the base's score only ids below this one matter.
    last: u32,
}

/// Candidates a list takes in between two looks.
fn between(keep: usize) -> usize {
    (keep / 2).max(BETWEEN)
}

/// Fewest candidates between two looks.
const BETWEEN: usize = 28;

impl Lists {
    /// Empty lists of `count` rows; `floor` is the lowest score that counts.
    pub(super) fn new(kernel: Kernel, count: usize, keep: usize, floor: f32) -> Self {
        let room = keep + between(keep);
        let row = Row {
            count: 0,
            base: floor,
            // No row has this id.
            last: u32::MAX,
        };
        Self {
            kernel,
            keep,
            room,
            ids: vec![0; count * room],
            scores: vec![0.0; count * room],
            rows: vec![row; count],
        }
    }

    /// The rows' bases.
    pub(super) fn bases(&self) -> impl Iterator<Item = f32> + '_ {
        self.rows.iter().map(|row| row.base)
    }

    /// The lowest score that matters to a row, if all candidates' ids are `least` or more.
    #[inline(always)]
    pub(super) fn threshold(&self, row: usize, least: u32) -> f32 {
        let row = &self.rows[row];
        if row.last <= least {
            row.base.next_up()
        } else {
            row.base
        }
    }

    /// Takes a candidate, if it matters.
    #[inline(always)]
    pub(super) fn push(&mut self, row: usize, id: u32, score: f32) {
        let known = &mut self.rows[row];
        // Without a branch: half of them matter. A score that is not a number never does.
        let wanted = (score > known.base) | ((score == known.base) & (id < known.last));
        let at = row * self.room + known.count;
        self.ids[at] = id;
        self.scores[at] = score;
        known.count += usize::from(wanted);
        if known.count == self.room {
            self.compact(row);
        }
    }

    /// How many are kept of a row.
    pub(super) fn keep(&self) -> usize {
        self.keep
    }

    /// Raises the base of a row as far as is known.
    pub(super) fn rise(&mut self, row: usize) {
        if self.rows[row].count >= self.keep {
            self.compact(row);
        }
    }

    /// Drops the dead of a row with K candidates or more.
    #[inline(never)]
    fn compact(&mut self, row: usize) {
        let span = row * self.room..(row + 1) * self.room;
        let (ids, scores) = (&mut self.ids[span.clone()], &mut self.scores[span]);
        let known = &mut self.rows[row];
        let base = self.kernel.kth(&scores[..known.count], self.keep);
        if base > known.base {
            known.base = base;
            known.last = u32::MAX;
        }
        known.count = self.kernel.retain(
            &mut ids[..known.count],
            &mut scores[..known.count],
            known.base,
        );
        if known.count <= self.keep + between(self.keep) / 2 {
            return;
        }
        // Many have the same score, and ids decide.
        sort(&mut ids[..known.count], &mut scores[..known.count]);
        known.count = self.keep;
        known.base = scores[self.keep - 1];
        known.last = ids[self.keep - 1];
    }

    /// Sorts the best of a row, at most K, best first, and drops the others.
    pub(super) fn finish(&mut self, row: usize) {
        if self.rows[row].count > self.keep {
            // Fewer to sort.
            self.compact(row);
        }
        let count = self.rows[row].count;
        let span = row * self.room..row * self.room + count;
        sort(&mut self.ids[span.clone()], &mut self.scores[span]);
        self.rows[row].count = count.min(self.keep);
    }

    /// Ids and scores of a row's candidates.
    pub(super) fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let start = row * self.room;
        let span = start..start + self.rows[row].count;
        (&self.ids[span.clone()], &self.scores[span])
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
