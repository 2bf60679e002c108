//! The lists of a block's rows once nothing is compared any more: sorted, and as small as they can be.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::lists::Lists;
use super::steps::Steps;

/// Sorted lists, best first.
#[derive(Debug, Clone)]
pub(super) struct Sorted {
    /// Where each row's list ends.
    ends: Vec<u32>,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

impl Sorted {
    /// `ends` are those of the rows' lists in the other two.
    pub(super) fn new(ends: Vec<u32>, ids: Vec<u32>, scores: Vec<f32>) -> Self {
        Self { ends, ids, scores }
    }

    /// Ids and scores of a row's list.
    pub(super) fn of(&self, row: usize) -> (&[u32], &[f32]) {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let span = start as usize..self.ends[row] as usize;
        (&self.ids[span.clone()], &self.scores[span])
    }
}

/// Sorts the lists of all blocks on all threads, each in its own place, so that there is never a
/// second copy of them. `None`: it was cancelled.
pub(super) fn sort_all(
    lists: Vec<Mutex<Lists<'static>>>,
    steps: &Steps<'_>,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Sorted>> {
    let sort = |lists: Mutex<Lists<'static>>| {
        if is_cancelled() {
            return None;
        }
        let lists = lists.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sorted = lists.into_sorted();
        steps.done(steps.per_block());
        Some(sorted)
    };
    let all = lists.into_par_iter().with_max_len(1).map(sort);
    all.collect()
}
