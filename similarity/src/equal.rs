//! Equal rows, compared once per group.
//!
//! Bit-identical rows have the same scores with every row. Thousands of them would all be as near to each other as the
//! K-th best, so that nothing could be ruled out. So only the first row of each group is compared, and the lists of the
//! others are derived from its list. This is exact: the groups that hold a row's K best rows are among its K best
//! groups, ordered by score and then by first row, apart from its own group.

use std::ops::Range;

use rayon::prelude::*;

use super::answer::Neighbours;
use super::kernel::Isa;
use super::products::Places;
use super::rows::Source;
use super::sorted::Sorted;

/// Groups are formed only if at least one in this many rows equals another.
const WORTH: usize = 16;
/// Multiplier for hashing bits: 2^32 over the golden ratio, which is odd.
const GOLDEN: u32 = 0x9e37_79b9;

/// Rows in groups of equal ones.
pub(super) struct Groups {
    /// The first row of each group, ascending.
    firsts: Vec<u32>,
    /// Each row's group.
    of: Vec<u32>,
    /// All rows, group by group, ascending within each.
    members: Vec<u32>,
    /// Where each group begins among the members, and the number of members.
    starts: Vec<usize>,
}

impl Groups {
    /// Groups the rows, if many are equal.
    pub(super) fn of(rows: &Source<'_>) -> Option<Self> {
        let count = rows.rows();
        let key = |row: usize| u64::from(digest(rows, row)) << 32 | row as u64;
        let mut keys: Vec<u64> = (0..count).into_par_iter().map(key).collect();
        keys.par_sort_unstable();
        let alike = |pair: &[u64]| pair[0] >> 32 == pair[1] >> 32;
        let most = keys.par_windows(2).filter(|pair| alike(pair)).count();
        if most * WORTH < count.max(WORTH) {
            return None;
        }
        // For each row, the first row that equals it. Unequal rows with the same digest form groups of their own.
        let mut firsts: Vec<u32> = (0..count as u32).collect();
        for run in keys.chunk_by(|one, two| one >> 32 == two >> 32) {
            let first = run[0] as u32;
            for row in run[1..].iter().map(|key| *key as u32) {
                if equal(rows, first as usize, row as usize) {
                    firsts[row as usize] = first;
                }
            }
        }
        drop(keys);
        Some(Self::from_firsts(firsts))
    }

    /// Builds the groups from the first row of each row's group.
    fn from_firsts(mut of: Vec<u32>) -> Self {
        let mut firsts = Vec::new();
        let mut sizes = Vec::new();
        for row in 0..of.len() {
            let first = of[row] as usize;
            if first == row {
                of[row] = firsts.len() as u32;
                firsts.push(row as u32);
                sizes.push(1);
            } else {
                // The first row's entry was already replaced by its group.
                of[row] = of[first];
                sizes[of[row] as usize] += 1;
            }
        }
        let mut starts = vec![0];
        let mut end = 0;
        for size in sizes {
            end += size;
            starts.push(end);
        }
        let mut next = starts.clone();
        let mut members = vec![0; of.len()];
        for (row, &group) in of.iter().enumerate() {
            let place = &mut next[group as usize];
            members[*place] = row as u32;
            *place += 1;
        }
        Self {
            firsts,
            of,
            members,
            starts,
        }
    }

    /// The first row of each group, ascending.
    pub(super) fn firsts(&self) -> &[u32] {
        &self.firsts
    }

    fn members(&self, group: u32) -> &[u32] {
        let group = group as usize;
        &self.members[self.starts[group]..self.starts[group + 1]]
    }

    /// The score that rows of each group have with other rows of their own group.
    pub(super) fn own_scores(&self, isa: Isa, firsts: &Source<'_>) -> Vec<f32> {
        let score = |places: &mut Places, group: usize| {
            let mut score = [0.0];
            if self.members(group as u32).len() > 1 {
                let dense = [firsts.dense[group]];
                (isa.pairs)(&dense, &dense, &[0], &mut score);
                if !firsts.sparse.is_empty() {
                    let sparse = [firsts.sparse[group]];
                    (isa.sparse_pairs)(&sparse, &sparse, &[0], &mut score, places);
                }
            }
            score[0]
        };
        let groups = (0..self.firsts.len()).into_par_iter();
        groups.map_init(Places::default, score).collect()
    }

    /// The lists of some rows, derived from those of the groups.
    fn part(
        &self,
        rows: Range<usize>,
        keep: usize,
        floor: f32,
        of_groups: &Neighbours,
        own_scores: &[f32],
    ) -> Sorted {
        let mut ends = Vec::with_capacity(rows.len());
        let most = rows.len() * keep;
        let (mut ids, mut scores) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut list: Vec<(u32, f32)> = Vec::new();
        for row in rows {
            let own = self.of[row];
            let own_score = own_scores[own as usize];
            let (groups, group_scores) = of_groups.of(own as usize);
            // A NaN score does not count.
            let own_counts = self.members(own).len() > 1 && own_score >= floor;
            let before = group_scores.partition_point(|score| *score > own_score);
            let others = |span: Range<usize>| {
                let groups = groups[span.clone()].iter().copied();
                groups.zip(group_scores[span].iter().copied())
            };
            let all = others(0..before)
                .chain(own_counts.then_some((own, own_score)))
                .chain(others(before..groups.len()));
            list.clear();
            // Entries from this index on have equal scores.
            let mut same = 0;
            for (group, score) in all {
                if list.last().is_some_and(|last| last.1 != score) {
                    list[same..].sort_unstable_by_key(|one| one.0);
                    same = list.len();
                    if same >= keep {
                        break;
                    }
                }
                let members = self.members(group).iter().filter(|&&id| id as usize != row);
                list.extend(members.take(keep).map(|&id| (id, score)));
            }
            list[same..].sort_unstable_by_key(|one| one.0);
            list.truncate(keep);
            ids.extend(list.iter().map(|one| one.0));
            scores.extend(list.iter().map(|one| one.1));
            // The lists of a part have far fewer than 2^32 entries.
            ends.push(ids.len() as u32);
        }
        ids.shrink_to_fit();
        scores.shrink_to_fit();
        Sorted::new(ends, ids, scores)
    }

    /// The lists of all rows, in parts of `part_rows`, from those of the groups. `None`: it was cancelled.
    pub(super) fn expand(
        &self,
        own_scores: &[f32],
        of_groups: &Neighbours,
        keep: usize,
        floor: f32,
        part_rows: usize,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<Sorted>> {
        let count = self.of.len();
        let starts = (0..count.div_ceil(part_rows)).into_par_iter();
        let part = |at: usize| {
            let rows = at * part_rows..count.min((at + 1) * part_rows);
            (!is_cancelled()).then(|| self.part(rows, keep, floor, of_groups, own_scores))
        };
        starts.map(part).collect()
    }
}

/// Equal for equal rows.
fn digest(rows: &Source<'_>, row: usize) -> u32 {
    let mut sum = 0_u64;
    let mut factor = GOLDEN;
    for value in rows.dense[row] {
        sum = sum.wrapping_add(u64::from(value.to_bits()) * u64::from(factor));
        factor = factor.wrapping_add(GOLDEN.wrapping_mul(2));
    }
    let (ids, weights) = rows.sparse(row);
    for (id, weight) in ids.iter().zip(weights) {
        let factor = id.wrapping_mul(GOLDEN) | 1;
        sum = sum.wrapping_add(u64::from(weight.to_bits()) * u64::from(factor));
    }
    // Every bit influences the upper half.
    (sum.wrapping_mul(u64::from(GOLDEN) << 32 | u64::from(GOLDEN)) >> 32) as u32
}

/// Whether two rows are equal, bit for bit.
fn equal(rows: &Source<'_>, one: usize, two: usize) -> bool {
    let same = |one: &[f32], two: &[f32]| {
        let mut pairs = one.iter().zip(two);
        one.len() == two.len() && pairs.all(|(one, two)| one.to_bits() == two.to_bits())
    };
    let (own, other) = (rows.sparse(one), rows.sparse(two));
    own.0 == other.0 && same(own.1, other.1) && same(rows.dense[one], rows.dense[two])
}
