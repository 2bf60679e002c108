//! What a comparison finds for a row.

/// A row of a comparison: of the left table or of one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// Which table: in a [`Task`](super::Task) 0 is the left one, and n is `rights[n - 1]`.
    pub side: u16,
    /// Row in that table.
    pub row: u32,
}

/// Another row and the pair's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The other row.
    pub row: RowRef,
    /// The canonical score.
    pub score: f32,
}

/// The candidates of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row the candidates are for.
    pub row: RowRef,
    /// At most `keep`, best first: score descending, then in tie order.
    pub candidates: Vec<Candidate>,
    /// The best candidate that was dropped because `keep` better ones were there.
    pub dropped: Option<Candidate>,
}

impl Found {
    /// From the best `keep + 1`, or fewer if there are fewer; `None`: there are none.
    pub(super) fn new(
        row: RowRef,
        keep: usize,
        best: impl Iterator<Item = Candidate>,
    ) -> Option<Self> {
        let mut candidates: Vec<Candidate> = best.collect();
        let dropped = (candidates.len() > keep)
            .then(|| candidates.pop())
            .flatten();
        (dropped.is_some() || !candidates.is_empty()).then_some(Self {
            row,
            candidates,
            dropped,
        })
    }
}
