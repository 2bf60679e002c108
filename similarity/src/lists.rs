//! The best candidates so far for the rows of one block, by canonical score.
//!
//! A candidate that its approximate score does not rule out gets its canonical score at once. A row's base is a score
//! that K candidates reach: anything below it is dead. A base only rises.
//!
//! Where the kernel can insert a candidate in a few instructions, short lists are kept sorted at all times, and bases
//! are as high as they can be: a fifth fewer pairs reach them. Otherwise candidates are appended, and a list is
//! compacted when it is full.

use super::candidates::{Candidates, MAX_SORTED, NOBODY, SortedLists, TieOrder, is_before};
use super::kernel::Isa;
use super::slices::LANES;
use super::sorted::Sorted;

/// The lists of a block's rows.
pub(super) struct Lists<'a> {
    isa: Isa,
    order: TieOrder<'a>,
    keep: usize,
    /// Whether the lists are kept sorted at all times.
    sorted: bool,
    /// Places per row.
    room: usize,
    /// `NOBODY` marks an empty place.
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// Candidates of each row; unused where lists are kept sorted.
    counts: Vec<u32>,
    bases: Vec<f32>,
    /// Among candidates whose score equals a row's base, only ids before this one matter.
    lasts: Vec<u32>,
    /// Whether most rows still take any candidate.
    pub(super) fresh: bool,
    sorter: Sorter,
}

/// Places in a list of K. Compacting often costs less than a base that lags behind.
fn room(keep: usize) -> usize {
    (keep + (keep / 4).max(FEWEST)).next_multiple_of(LANES)
}

/// Minimum number of places beyond K.
const FEWEST: usize = 12;

impl<'a> Lists<'a> {
    /// Empty lists; `floors` are the lowest scores that count for each row.
    pub(super) fn new(
        isa: Isa,
        floors: impl IntoIterator<Item = f32>,
        keep: usize,
        order: TieOrder<'a>,
    ) -> Self {
        let bases: Vec<f32> = floors.into_iter().collect();
        let sorted = isa.insert_all.is_some() && keep <= MAX_SORTED;
        let room = if sorted {
            keep.next_multiple_of(LANES)
        } else {
            room(keep)
        };
        let places = bases.len() * room;
        let (ids, scores) = if sorted {
            let common = bases.first().copied().unwrap_or_default();
            let mut scores = vec![common; places];
            let floors = scores.chunks_exact_mut(room.max(1)).zip(&bases);
            let other = floors.filter(|(_, floor)| **floor != common);
            other.for_each(|(scores, floor)| scores.fill(*floor));
            (vec![NOBODY; places], scores)
        } else {
            (vec![0; places], vec![0.0; places])
        };
        Self {
            isa,
            order,
            keep,
            sorted,
            room,
            ids,
            scores,
            counts: vec![0; bases.len()],
            lasts: vec![NOBODY; bases.len()],
            bases,
            fresh: false,
            sorter: Sorter::default(),
        }
    }

    /// Reuses the memory for the lists of other rows, with `keep` for those. They are not kept sorted at all times,
    /// since that would need a pass over every place.
    pub(super) fn reset(&mut self, floors: impl IntoIterator<Item = f32>, keep: usize) {
        self.bases.clear();
        self.bases.extend(floors);
        let count = self.bases.len();
        (self.keep, self.room, self.sorted) = (keep, room(keep), false);
        self.counts.clear();
        self.counts.resize(count, 0);
        self.lasts.clear();
        self.lasts.resize(count, NOBODY);
        let places = count * self.room;
        if self.ids.len() < places {
            self.ids.resize(places, 0);
            self.scores.resize(places, 0.0);
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

    /// Takes the candidates that matter.
    pub(super) fn push_all(&mut self, candidates: Candidates<'_>) {
        match self.isa.insert_all {
            Some(insert_all) if self.sorted => {
                let lists = SortedLists {
                    keep: self.keep,
                    room: self.room,
                    ids: &mut self.ids,
                    scores: &mut self.scores,
                    bases: &mut self.bases,
                    lasts: &mut self.lasts,
                };
                insert_all(lists, candidates, self.order);
            }
            _ => candidates
                .iter()
                .for_each(|(row, id, score)| self.add(row, id, score)),
        }
    }

    /// Takes a candidate, if it matters.
    pub(super) fn push(&mut self, row: usize, id: u32, score: f32) {
        self.push_all(Candidates {
            pairs: &[(row as u32) << 16],
            scores: &[score],
            of_left: true,
            others: &[id],
        });
    }

    /// Appends a candidate to a list, if it matters.
    #[inline(always)]
    fn add(&mut self, row: usize, id: u32, score: f32) {
        let base = self.bases[row];
        // Branchless, because half of them matter. A score that is NaN never does.
        let mut wanted = score >= base;
        if score == base {
            wanted = is_before(self.order, id, self.lasts[row]);
        }
        let count = self.counts[row] as usize;
        let at = row * self.room + count;
        self.ids[at] = id;
        self.scores[at] = score;
        self.counts[row] += u32::from(wanted);
        if wanted && count + 1 == self.room {
            self.compact(row);
        }
    }

    /// Candidates kept per row.
    pub(super) fn keep(&self) -> usize {
        self.keep
    }

    /// Raises the base of a row as far as its candidates allow.
    pub(super) fn rise(&mut self, row: usize) {
        if !self.sorted && self.counts[row] as usize >= self.keep {
            self.compact(row);
        }
    }

    /// Drops the dead candidates of a row with K candidates or more.
    #[inline(never)]
    fn compact(&mut self, row: usize) {
        let span = row * self.room..(row + 1) * self.room;
        let (ids, scores) = (&mut self.ids[span.clone()], &mut self.scores[span]);
        let (base, last) = (&mut self.bases[row], &mut self.lasts[row]);
        let count = self.counts[row] as usize;
        let found = (self.isa.kth)(&scores[..count], self.keep);
        if found > *base {
            (*base, *last) = (found, u32::MAX);
        }
        let (ids, scores) = (&mut ids[..count], &mut scores[..count]);
        let mut count = (self.isa.retain)(ids, scores, *base);
        if count > self.keep.midpoint(self.room) {
            // Many have the same score, so ids decide.
            self.sorter
                .sort(&mut ids[..count], &mut scores[..count], self.order);
            count = self.keep;
            (*base, *last) = (scores[count - 1], ids[count - 1]);
        }
        self.counts[row] = count as u32;
    }

    /// The best of every row, at most K, sorted. They stay in place, and unused memory is given back.
    pub(super) fn into_sorted(mut self) -> Sorted {
        let mut end = 0;
        for row in 0..self.counts.len() {
            let start = row * self.room;
            let span = start..start + self.sort(row);
            self.ids.copy_within(span.clone(), end);
            self.scores.copy_within(span.clone(), end);
            end += span.len();
            // Where the row's list ends; within a block that is far below 2^32.
            self.counts[row] = end as u32;
        }
        self.ids.truncate(end);
        self.ids.shrink_to_fit();
        self.scores.truncate(end);
        self.scores.shrink_to_fit();
        Sorted::new(self.counts, self.ids, self.scores)
    }

    /// Whether a row has no candidates.
    pub(super) fn is_empty(&self, row: usize) -> bool {
        if self.sorted {
            self.ids[row * self.room] == NOBODY
        } else {
            self.counts[row] == 0
        }
    }

    /// A row's best, at most K, sorted: ids and scores.
    pub(super) fn best(&mut self, row: usize) -> (&[u32], &[f32]) {
        let start = row * self.room;
        let span = start..start + self.sort(row);
        (&self.ids[span.clone()], &self.scores[span])
    }

    /// Sorts the candidates of a row, unless they are sorted; returns how many count.
    fn sort(&mut self, row: usize) -> usize {
        let start = row * self.room;
        if self.sorted {
            return self.ids[start..start + self.keep].partition_point(|id| *id != NOBODY);
        }
        if self.counts[row] as usize > self.keep {
            // Leaves fewer to sort.
            self.compact(row);
        }
        let span = start..start + self.counts[row] as usize;
        self.sorter.sort(
            &mut self.ids[span.clone()],
            &mut self.scores[span.clone()],
            self.order,
        );
        span.len().min(self.keep)
    }
}

/// Sorts candidates by score, descending, then by id. Keeps its buffers for the next time.
#[derive(Default)]
struct Sorter {
    keys: Vec<u64>,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

impl Sorter {
    fn sort(&mut self, ids: &mut [u32], scores: &mut [f32], order: TieOrder<'_>) {
        // Zeros of both signs are equal scores, but must keep their bits.
        if order.is_some() || scores.contains(&0.0) {
            self.sort_by_place(ids, scores, order);
        } else {
            self.sort_by_number(ids, scores);
        }
    }

    /// Sorts candidates whose scores are equal only if their bits are, breaking ties by number.
    fn sort_by_number(&mut self, ids: &mut [u32], scores: &mut [f32]) {
        self.keys.clear();
        let key = |(&id, &score): (&u32, &f32)| {
            u64::from(descending(score.to_bits())) << 32 | u64::from(id)
        };
        self.keys.extend(ids.iter().zip(&*scores).map(key));
        self.keys.sort_unstable();
        for ((&key, id), score) in self.keys.iter().zip(ids).zip(scores) {
            *id = key as u32;
            *score = f32::from_bits(descending((key >> 32) as u32));
        }
    }

    /// Sorts any candidates. Equal scores keep their order until they are compared: most were sorted before, and
    /// sorting those is cheap.
    fn sort_by_place(&mut self, ids: &mut [u32], scores: &mut [f32], order: TieOrder<'_>) {
        self.keys.clear();
        let key = |(&score, place): (&f32, u64)| {
            u64::from(descending((score + 0.0).to_bits())) << 32 | place
        };
        self.keys.extend(scores.iter().zip(0..).map(key));
        self.keys.sort_unstable();
        let place = |key: u64| key as u32 as usize;
        for equal in self.keys.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
            equal.sort_by(|a, b| {
                let (a, b) = (ids[place(*a)], ids[place(*b)]);
                order.map_or_else(|| a.cmp(&b), |order| order(a, b))
            });
        }
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.scores.clear();
        self.scores.extend_from_slice(scores);
        for ((&key, id), score) in self.keys.iter().zip(ids).zip(scores) {
            (*id, *score) = (self.ids[place(key)], self.scores[place(key)]);
        }
    }
}

/// Maps the bits of a number so that higher numbers get lower bits; its own inverse.
fn descending(bits: u32) -> u32 {
    if bits >> 31 == 0 {
        !bits & !(1 << 31)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::Instructions;
    use super::*;

    proptest! {
        /// The lists hold the best, by score then id, of all candidates that reach the floor, bit for bit.
        #[test]
        fn hold_the_best_of_what_they_are_shown(
            keep in prop_oneof![1..70_usize, 90..110_usize],
            floor in prop_oneof![Just(f32::NEG_INFINITY), Just(-0.5_f32), Just(0.0)],
            seen in proptest::collection::vec((0..3_usize, 0..40_i8), 0..400),
            first in 0..60_usize,
            backwards in any::<bool>(),
        ) {
            let score = |step: i8| match step {
                0 => f32::NAN,
                1 => -0.0,
                2 => f32::NEG_INFINITY,
                _ => f32::from(step - 20) / 16.0,
            };
            // In no particular order, and without repeated ids.
            let id = |at: usize| (at as u32).wrapping_mul(0x9E37_79B1) >> 1;
            let candidate = |(at, (row, step)): (usize, &(usize, i8))| (*row, id(at), score(*step));
            let candidates = || seen.iter().enumerate().map(candidate);
            let best = |row: usize, order: TieOrder<'_>| {
                let own = candidates().filter(|(of, _, score)| *of == row && *score >= floor);
                let mut best: Vec<(f32, u32)> = own.map(|(_, id, score)| (score, id)).collect();
                best.sort_by(|a, b| {
                    let by_id = || order.map_or_else(|| a.1.cmp(&b.1), |order| order(a.1, b.1));
                    (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then_with(by_id)
                });
                best
            };
            // Ties by number, or reversed.
            let against = |a: u32, b: u32| b.cmp(&a);
            let order: TieOrder<'_> = backwards.then_some(&against);
            let best = |row: usize| best(row, order);
            let pairs: Vec<u32> = candidates().zip(0..).map(|((row, ..), at)| (row as u32) << 16 | at).collect();
            let (ids, scores): (Vec<u32>, Vec<f32>) = candidates().map(|(_, id, score)| (id, score)).unzip();
            for isa in Instructions::all() {
                let kernel = isa.kernel;
                let mut lists = Lists::new(isa, [floor; 3], keep, order);
                candidates().take(first).for_each(|(row, id, score)| lists.push(row, id, score));
                let first = first.min(pairs.len());
                lists.push_all(Candidates {
                    pairs: &pairs[first..],
                    scores: &scores[first..],
                    of_left: true,
                    others: &ids,
                });
                for row in 0..3 {
                    lists.rise(row);
                    let best = best(row);
                    let base = best.get(keep - 1).map_or(floor, |best| best.0);
                    prop_assert!(lists.bases()[row] <= base);
                    prop_assert!(!lists.sorted || lists.bases()[row] == base, "{kernel}");
                }
                let sorted = lists.into_sorted();
                for row in 0..3 {
                    let mut best = best(row);
                    best.truncate(keep);
                    let (ids, scores) = sorted.of(row);
                    let got = scores.iter().zip(ids).map(|(score, id)| (score.to_bits(), *id));
                    let best = best.into_iter().map(|(score, id)| (score.to_bits(), id));
                    prop_assert!(got.eq(best), "{kernel}");
                }
            }
        }
    }

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
        Sorter::default().sort(&mut ids, &mut sorted, None);
        assert_eq!(ids, [6, 3, 8, 2, 5, 7, 1, 4, 0]);
        assert_eq!(sorted[4].to_bits(), 0.0_f32.to_bits());
        assert_eq!(sorted[5].to_bits(), (-0.0_f32).to_bits());
        // Without zeros, sorting takes the other path.
        let (mut ids, mut sorted): (Vec<u32>, Vec<f32>) = (0..9)
            .zip(scores)
            .filter(|(_, score)| *score != 0.0)
            .unzip();
        Sorter::default().sort(&mut ids, &mut sorted, None);
        assert_eq!(ids, [2, 0, 5, 6, 7, 4, 8]);
        assert_eq!(sorted[3], 1e-40);
    }
}
