//! The lists of a block's rows once comparing is finished: sorted, without spare memory.

/// Sorted lists, best first.
#[derive(Debug, Clone)]
pub(super) struct Sorted {
    /// Where each row's list ends.
    ends: Vec<u32>,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

impl Sorted {
    /// `ends` are the ends of the rows' lists in the other two.
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
