//! Tiles by canonical scores alone: where approximate ones would rule out little, because rows are
//! equal or nearly so, or cannot be had, because values are too large.

use super::engine::{Engine, Scratch};
use super::lists::Lists;
use super::terms::TermIndex;

impl Engine<'_> {
    /// Two different blocks by canonical scores.
    pub(super) fn exact_tile(&self, left: usize, right: usize, scratch: &mut Scratch) {
        // Always in one order, or two threads could wait for each other.
        let (low, high) = (left.min(right), left.max(right));
        let (mut low_lists, mut high_lists) = (self.lists(low), self.lists(high));
        let (low_ids, high_ids) = (self.ids(low), self.ids(high));
        self.begin(low, &low_lists, scratch);
        let index = self.index(low);
        for (column, position) in self.span(high).enumerate() {
            self.score(index.as_ref(), position, low_ids.len(), scratch);
            let threshold = high_lists.base(column);
            let Scratch {
                scores, thresholds, ..
            } = &mut *scratch;
            for_hits(scores, thresholds, threshold, |row, score, own| {
                if score >= *own {
                    low_lists.push(row, high_ids[column], score);
                    *own = low_lists.base(row);
                }
                high_lists.push(column, low_ids[row], score);
                high_lists.base(column)
            });
        }
    }

    /// A block with itself by canonical scores.
    pub(super) fn exact_diagonal(&self, at: usize, scratch: &mut Scratch) {
        let ids = self.ids(at);
        let mut lists = self.lists(at);
        self.begin(at, &lists, scratch);
        let index = self.index(at);
        for (column, position) in self.span(at).enumerate() {
            self.score(index.as_ref(), position, column, scratch);
            let Scratch {
                scores, thresholds, ..
            } = &mut *scratch;
            for_hits(
                scores,
                &mut thresholds[..column],
                lists.base(column),
                |row, score, own| {
                    lists.push(row, ids[column], score);
                    *own = lists.base(row);
                    lists.push(column, ids[row], score);
                    lists.base(column)
                },
            );
            scratch.thresholds[column] = lists.base(column);
        }
    }

    fn begin(&self, at: usize, lists: &Lists<'_>, scratch: &mut Scratch) {
        scratch.thresholds.clear();
        let rows = self.span(at);
        let thresholds = (0..rows.len()).map(|row| lists.base(row));
        scratch.thresholds.extend(thresholds);
        scratch.others.clear();
        scratch.others.extend(rows.map(|row| row as u32));
    }

    /// The index of a block's sparse parts, if it has any.
    fn index(&self, at: usize) -> Option<TermIndex> {
        let rows = self.scorer.sparse_rows(self.span(at));
        (!rows.is_empty()).then(|| TermIndex::of(rows.iter().copied()))
    }

    /// The canonical scores of a row with the first `count` of a block.
    fn score(&self, terms: Option<&TermIndex>, row: usize, count: usize, scratch: &mut Scratch) {
        scratch.scores.clear();
        scratch.scores.resize(count, 0.0);
        let scorer = self.scorer;
        scorer.dense_scores(row as u32, &scratch.others[..count], &mut scratch.scores);
        if scorer.has_sparse() {
            scratch.sums.clear();
            scratch.sums.resize(count, 0.0);
            if let (Some(terms), Some((ids, weights))) = (terms, scorer.sparse(row)) {
                (self.isa.sparse_dots)(terms, ids, weights, &mut scratch.sums);
            }
            for (score, sum) in scratch.scores.iter_mut().zip(&scratch.sums) {
                *score += *sum;
            }
        }
    }
}

/// Calls `hit` for every score that reaches its own threshold or the common one; `hit` may change
/// the own one and answers with the common one from there on.
fn for_hits(
    scores: &[f32],
    thresholds: &mut [f32],
    mut common: f32,
    mut hit: impl FnMut(usize, f32, &mut f32) -> f32,
) {
    const TOGETHER: usize = 16;
    let chunks = scores.chunks(TOGETHER).zip(thresholds.chunks_mut(TOGETHER));
    for (chunk, (scores, thresholds)) in chunks.enumerate() {
        let reach = |(score, own): (&f32, &f32)| (*score >= *own) | (*score >= common);
        let any = scores.iter().zip(&*thresholds).map(reach);
        if !any.fold(false, |any, one| any | one) {
            continue;
        }
        for (at, (&score, own)) in scores.iter().zip(thresholds).enumerate() {
            if score >= *own || score >= common {
                common = hit(chunk * TOGETHER + at, score, own);
            }
        }
    }
}
