//! The rows to compare, and their canonical scores.

use super::Kernel;
use super::scalar;

/// Sparse rows as given: ids strictly ascending, and weights.
pub(super) type Sparse<'a> = (&'a [u32], &'a [f32]);

/// Scores rows by position.
pub(super) struct Scorer<'a> {
    kernel: Kernel,
    dense: Vec<&'a [f32]>,
    /// One a row, or none at all.
    sparse: Vec<Sparse<'a>>,
    /// What breaks ties, by position.
    ids: Vec<u32>,
}

impl<'a> Scorer<'a> {
    /// For rows in the order of `ids`, their numbers.
    pub(super) fn new(
        kernel: Kernel,
        ids: Vec<u32>,
        dense: impl Fn(usize) -> &'a [f32],
        sparse: Option<impl Fn(usize) -> Sparse<'a>>,
    ) -> Self {
        let rows = || ids.iter().map(|&id| id as usize);
        Self {
            kernel,
            dense: rows().map(dense).collect(),
            sparse: sparse.map_or_else(Vec::new, |sparse| rows().map(sparse).collect()),
            ids,
        }
    }

    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The id of a row.
    #[inline(always)]
    pub(super) fn id(&self, row: u32) -> u32 {
        self.ids[row as usize]
    }

    pub(super) fn dense(&self, row: usize) -> &'a [f32] {
        self.dense[row]
    }

    pub(super) fn sparse(&self, row: usize) -> Option<Sparse<'a>> {
        self.sparse.get(row).copied()
    }

    pub(super) fn score(&self, row: u32, other: u32) -> f32 {
        let mut score = [0.0];
        self.scores(row, &[other], &mut score);
        score[0]
    }

    /// Whether rows have sparse parts.
    pub(super) fn has_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// The canonical dot products of a row's dense part with those of others that are near.
    pub(super) fn dense_scores(&self, row: u32, others: &[u32], scores: &mut [f32]) {
        let dense = self.dense[row as usize];
        self.kernel
            .gather::<false>(dense, &self.dense, others, scores);
    }

    /// The canonical scores of a row with others.
    pub(super) fn scores(&self, row: u32, others: &[u32], scores: &mut [f32]) {
        let dense = self.dense[row as usize];
        self.kernel
            .gather::<true>(dense, &self.dense, others, scores);
        if let Some(own) = self.sparse(row as usize) {
            for (score, &other) in scores.iter_mut().zip(others) {
                *score += scalar::sparse_dot(own, self.sparse[other as usize]);
            }
        }
    }
}
