//! The rows to compare, and their canonical scores.

use std::ops::Range;

use super::kernel::Isa;
use super::products::Places;
use super::table::Sparse;

/// Scores rows by position.
pub(super) struct Scorer<'a> {
    isa: Isa,
    dense: Vec<&'a [f32]>,
    /// One a row, or none at all.
    sparse: Vec<Sparse<'a>>,
    /// What breaks ties, by position.
    ids: Vec<u32>,
}

impl<'a> Scorer<'a> {
    /// For rows in the order of `ids`, their numbers; `dense` and `sparse` are asked by position and
    /// number.
    pub(super) fn new(
        isa: Isa,
        ids: Vec<u32>,
        dense: impl Fn(usize, usize) -> &'a [f32],
        sparse: Option<impl Fn(usize, usize) -> Sparse<'a>>,
    ) -> Self {
        let rows = || ids.iter().map(|&id| id as usize);
        Self {
            isa,
            dense: rows().enumerate().map(|(at, id)| dense(at, id)).collect(),
            sparse: sparse.map_or_else(Vec::new, |sparse| {
                rows().enumerate().map(|(at, id)| sparse(at, id)).collect()
            }),
            ids,
        }
    }

    /// The numbers of the rows, in their order, and nothing else.
    pub(super) fn into_ids(self) -> Vec<u32> {
        self.ids
    }

    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The dense parts of some rows.
    pub(super) fn dense(&self, rows: Range<usize>) -> &[&'a [f32]] {
        &self.dense[rows]
    }

    /// The sparse parts of some rows, or none if no row has one.
    pub(super) fn sparse_rows(&self, rows: Range<usize>) -> &[Sparse<'a>] {
        self.sparse.get(rows).unwrap_or_default()
    }

    /// The ids of some rows.
    pub(super) fn ids(&self, rows: Range<usize>) -> &[u32] {
        &self.ids[rows]
    }

    pub(super) fn sparse(&self, row: usize) -> Option<Sparse<'a>> {
        self.sparse.get(row).copied()
    }

    /// Whether rows have sparse parts.
    pub(super) fn has_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// The canonical dot products of a row's dense part with those of others that are near.
    pub(super) fn dense_scores(&self, row: u32, others: &[u32], scores: &mut [f32]) {
        let dense = self.dense[row as usize];
        (self.isa.gather)(dense, &self.dense, others, scores);
    }

    /// The canonical scores of pairs of some rows with some others: the one's place in the upper
    /// half, the other's in the lower. Sparse parts are fastest with the pairs of a row together.
    pub(super) fn pairs(
        &self,
        left: Range<usize>,
        right: Range<usize>,
        pairs: &[u32],
        scores: &mut [f32],
        places: &mut Places,
    ) {
        let dense = (&self.dense[left.clone()], &self.dense[right.clone()]);
        (self.isa.pairs)(dense.0, dense.1, pairs, scores);
        let (left, right) = (self.sparse_rows(left), self.sparse_rows(right));
        if !left.is_empty() {
            (self.isa.sparse_pairs)(left, right, pairs, scores, places);
        }
    }
}
