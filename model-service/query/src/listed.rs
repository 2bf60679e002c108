//! Candidates from an item's stored list, and whether any can be missing.

use crate::admission::Admission;
use crate::question::ResolvedSubject;
use crate::ranking::{Candidate, Ranking, order};
use crate::snapshot::Snapshot;

/// Candidates of a list.
pub(crate) struct Listed {
    /// In order. No absent candidate comes before the first `certain` of them.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) certain: usize,
    /// Whether these are all.
    pub(crate) is_complete: bool,
}

/// The candidates in the list of the one item in the question; `None`: it has no list, or there is no such item.
///
/// A list consists of the best rows of all, without a gap, and a bound that no absent row's score exceeds. So when
/// ordered by score, all of its rows come before absent ones; when ordered by another rank, those do that rank above
/// what is possible with the bound's score.
pub(crate) fn listed(
    snapshot: &Snapshot,
    asked: &ResolvedSubject<'_>,
    admission: &Admission<'_>,
    ranking: Ranking,
) -> Option<Listed> {
    let item = asked.one.as_ref()?;
    let bound = item.bound()?;
    let neighbours = item.neighbours();
    let admitted = neighbours
        .filter(|(other, score)| admission.counts(*score) && admission.admits(other))
        .map(|(other, score)| Candidate {
            slot: other.slot(),
            score,
            rank: ranking.rank(&other, score),
        });
    let mut candidates: Vec<Candidate> = admitted.collect();
    // Rows that do not count cannot be missing.
    let bound = bound.filter(|bound| !admission.is_below(*bound));
    let certain = match (bound, ranking) {
        (None, _) | (_, Ranking::Score) => candidates.len(),
        (Some(bound), _) => {
            let ceiling = ranking.ceiling(bound);
            let is_certain = |one: &&Candidate| one.rank > ceiling;
            candidates.iter().filter(is_certain).count()
        }
    };
    if ranking != Ranking::Score {
        candidates.sort_unstable_by(|a, b| order(snapshot, a, b));
    }
    Some(Listed {
        candidates,
        certain,
        is_complete: bound.is_none(),
    })
}
