//! Candidates for lists, and sorted lists in the form that kernels take.

use std::cmp::Ordering;

use super::slices::LANES;
use super::strip::split;

/// The id that no row has.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The order that breaks ties; `None` breaks them by number.
pub(crate) type TieOrder<'a> = Option<&'a (dyn Fn(u32, u32) -> Ordering + Sync)>;

/// The longest list that is kept sorted at all times, in places.
pub(super) const MAX_SORTED: usize = 4 * LANES;

/// Pairs of two blocks and their scores, seen as candidates for the rows of one of the blocks.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// See `strip::split`.
    pub(crate) pairs: &'a [u32],
    pub(crate) scores: &'a [f32],
    /// Whether the lists are those of the left rows.
    pub(crate) of_left: bool,
    /// The ids of the other block's rows.
    pub(crate) others: &'a [u32],
}

impl<'a> Candidates<'a> {
    /// Splits them into chunks of `count`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn parts(self, count: usize) -> impl Iterator<Item = Candidates<'a>> {
        let parts = self.pairs.chunks(count).zip(self.scores.chunks(count));
        parts.map(move |(pairs, scores)| Candidates {
            pairs,
            scores,
            ..self
        })
    }

    /// The row, the candidate's id, and the score of each pair.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32, f32)> {
        // Rotating a pair by 16 bits swaps its rows without a branch per pair.
        let turn = if self.of_left { 0 } else { 16 };
        let pairs = self.pairs.iter().zip(self.scores);
        pairs.map(move |(&pair, &score)| {
            let (row, other) = split(pair.rotate_left(turn));
            (row, self.others[other], score)
        })
    }
}

/// Sorted lists in the form that kernels take: `room` values per row, best first, of which `keep` count. Empty places
/// have the floor as their score.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other kernel keeps them sorted
pub(super) struct SortedLists<'a> {
    pub(super) keep: usize,
    pub(super) room: usize,
    pub(super) ids: &'a mut [u32],
    pub(super) scores: &'a mut [f32],
    /// Score and id of each row's K-th entry.
    pub(super) bases: &'a mut [f32],
    pub(super) lasts: &'a mut [u32],
}

/// Candidates that are checked before those that matter are inserted into their lists.
#[cfg(target_arch = "x86_64")]
const WAITING: usize = 64;

#[cfg(target_arch = "x86_64")]
impl SortedLists<'_> {
    /// Inserts the candidates that matter. `fetch` is told which lists are needed soon; `insert` puts one candidate at
    /// its place among the first `keep` of a list. Inlined into each kernel.
    #[inline(always)]
    pub(super) fn insert_all<const ROOM: usize>(
        self,
        candidates: Candidates<'_>,
        order: TieOrder<'_>,
        fetch: impl Fn(&[u32; ROOM], &[f32; ROOM]),
        insert: impl Fn(&mut [u32; ROOM], &mut [f32; ROOM], (u32, f32)),
    ) {
        let (ids, _) = self.ids.as_chunks_mut::<ROOM>();
        let (scores, _) = self.scores.as_chunks_mut::<ROOM>();
        let (bases, lasts) = (self.bases, self.lasts);
        let mut waiting = [(0, 0, 0.0); WAITING];
        for part in candidates.parts(WAITING) {
            let mut wanted = 0;
            for (row, id, score) in part.iter() {
                // Branchless, because half of them matter. A score that is NaN never does.
                waiting[wanted] = (row, id, score);
                wanted += usize::from(score >= bases[row]);
                fetch(&ids[row], &scores[row]);
            }
            for &(row, id, score) in &waiting[..wanted] {
                if score > bases[row] || (score == bases[row] && is_before(order, id, lasts[row])) {
                    let (ids, scores) = (&mut ids[row], &mut scores[row]);
                    insert(ids, scores, (id, score));
                    (bases[row], lasts[row]) = (scores[self.keep - 1], ids[self.keep - 1]);
                }
            }
        }
    }
}

/// Whether a candidate ranks before another one, or before an empty place, with the same score.
#[inline]
pub(crate) fn is_before(order: TieOrder<'_>, id: u32, other: u32) -> bool {
    match order {
        Some(order) => other == NOBODY || order(id, other) == Ordering::Less,
        None => id < other,
    }
}

/// The place of a candidate in a sorted list when ties are not broken by number.
#[cfg(target_arch = "x86_64")]
#[inline(never)] // kernels have their registers full
pub(super) fn place(
    ids: &[u32],
    scores: &[f32],
    (id, score): (u32, f32),
    order: TieOrder<'_>,
) -> usize {
    let first = scores.partition_point(|other| *other > score);
    let equal = scores[first..].partition_point(|other| *other == score);
    let equal = &ids[first..first + equal];
    first + equal.partition_point(|other| !is_before(order, id, *other))
}
