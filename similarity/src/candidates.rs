//! Candidates for lists, and sorted lists as kernels are given them.

use std::cmp::Ordering;

use super::slices::LANES;
use super::strip::split;

/// The id of no row.
pub(crate) const NOBODY: u32 = u32::MAX;

/// What breaks ties: by number where it is not given.
pub(crate) type TieOrder<'a> = Option<&'a (dyn Fn(u32, u32) -> Ordering + Sync)>;

/// Most places of a list that is sorted at all times.
pub(super) const MAX_SORTED: usize = 4 * LANES;

/// Pairs of two blocks with their scores, as candidates of the rows of one of them.
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

impl Candidates<'_> {
    /// Row, candidate's id, and score of each.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32, f32)> {
        self.pairs.iter().zip(self.scores).map(|(&pair, &score)| {
            let (left, right) = split(pair);
            let (row, other) = if self.of_left {
                (left, right)
            } else {
                (right, left)
            };
            (row, self.others[other], score)
        })
    }
}

/// Sorted lists as a kernel is given them: so many values of each row, best first, of which `keep` count.
/// Who has none yet has the floor as score.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other kernel keeps them sorted
pub(super) struct SortedLists<'a> {
    pub(super) keep: usize,
    pub(super) room: usize,
    pub(super) ids: &'a mut [u32],
    pub(super) scores: &'a mut [f32],
    /// Score and id of each row's K-th.
    pub(super) bases: &'a mut [f32],
    pub(super) lasts: &'a mut [u32],
}

/// Candidates that are looked at before those of them that matter are put into their lists.
#[cfg(target_arch = "x86_64")]
const WAITING: usize = 64;

#[cfg(target_arch = "x86_64")]
impl SortedLists<'_> {
    /// Puts candidates at their places, if they matter. `fetch` is told the lists that are soon needed;
    /// `count` says how many scores of a list are higher than one and how many equal to it, and `insert` puts
    /// a candidate at a place among the first `keep`. Inlined into each kernel.
    #[inline(always)]
    pub(super) fn insert_all<const ROOM: usize>(
        self,
        candidates: Candidates<'_>,
        order: TieOrder<'_>,
        fetch: impl Fn(&[u32; ROOM], &[f32; ROOM]),
        count: impl Fn(&[f32; ROOM], f32) -> [usize; 2],
        insert: impl Fn(&mut [u32; ROOM], &mut [f32; ROOM], usize, (u32, f32)),
    ) {
        let (ids, _) = self.ids.as_chunks_mut::<ROOM>();
        let (scores, _) = self.scores.as_chunks_mut::<ROOM>();
        let (bases, lasts) = (self.bases, self.lasts);
        let mut waiting = [(0, 0, 0.0); WAITING];
        let mut candidates = candidates.iter();
        loop {
            let (mut seen, mut wanted) = (0, 0);
            for (row, id, score) in candidates.by_ref().take(WAITING) {
                seen += 1;
                // Without a branch: half of them matter. A score that is not a number never does.
                waiting[wanted] = (row, id, score);
                wanted += usize::from(score >= bases[row]);
                fetch(&ids[row], &scores[row]);
            }
            for &(row, id, score) in &waiting[..wanted] {
                if score > bases[row] || (score == bases[row] && is_before(order, id, lasts[row])) {
                    let (ids, scores) = (&mut ids[row], &mut scores[row]);
                    let [higher, equal] = count(scores, score);
                    let place = if equal == 0 {
                        higher
                    } else {
                        let equal = &ids[higher..higher + equal];
                        higher + equal.partition_point(|other| !is_before(order, id, *other))
                    };
                    insert(ids, scores, place, (id, score));
                    (bases[row], lasts[row]) = (scores[self.keep - 1], ids[self.keep - 1]);
                }
            }
            if seen < WAITING {
                break;
            }
        }
    }
}

/// Whether a candidate comes before another one, or nobody, with the same score.
#[inline]
pub(crate) fn is_before(order: TieOrder<'_>, id: u32, other: u32) -> bool {
    match order {
        Some(order) => other == NOBODY || order(id, other) == Ordering::Less,
        None => id < other,
    }
}
