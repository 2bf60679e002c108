//! Scores of pairs of items.

use kindred_similarity::{Kernel, Probe};

use crate::snapshot::Snapshot;

impl Snapshot {
    /// The score of two items; `None`: readers do not see one of them, or they are not comparable. `now` in ms since
    /// 1970.
    pub fn score(&self, a: &str, b: &str, kernel: Kernel, now: i64) -> Option<f32> {
        let (of_a, live_a, row_a) = self.item(a, now)?.feature()?;
        let (of_b, live_b, row_b) = self.item(b, now)?.feature()?;
        if of_a != of_b {
            return None;
        }
        let feature = live_a.rows.block.feature(row_a as usize);
        let (ids, weights) = (feature.term_ids(), feature.term_weights());
        let probe = Probe::new(kernel, feature.dense(), ids, weights).ok()?;
        let table = live_b.rows.block.table();
        let mut scores = Vec::new();
        probe
            .is_comparable(table)
            .then(|| probe.scores(table, &[row_b], &mut scores));
        scores.first().copied()
    }
}
