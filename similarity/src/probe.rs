//! Scores one row against some rows of a table: queries need every score, where comparisons need lists.

use super::error::Error;
use super::kernel::{Isa, Kernel};
use super::products::Places;
use super::slices::{LANES, Sparse};
use super::table::{Table, check};

/// Rows scored at a time; their numbers fit 16 bits.
const ROWS: usize = 4_096;

/// A row to score against rows of tables.
pub struct Probe {
    isa: Isa,
    /// Padded like rows of tables; empty: it has no dense part.
    dense: Vec<f32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl Probe {
    /// A row with this dense part (empty: none) and these terms, strictly ascending, with their weights.
    ///
    /// # Errors
    /// When the kernel cannot run here, a value is not finite, or the terms, one per weight, do not ascend strictly.
    pub fn new(kernel: Kernel, dense: &[f32], ids: &[u32], weights: &[f32]) -> Result<Self, Error> {
        let isa = kernel.instructions()?;
        check(0, dense, (ids, weights))?;
        let mut padded = dense.to_vec();
        padded.resize(dense.len().next_multiple_of(LANES), 0.0);
        Ok(Self {
            isa,
            dense: padded,
            ids: ids.to_vec(),
            weights: weights.to_vec(),
        })
    }

    /// Whether it can be scored against a table's rows: dense parts of equal length, or none on one side.
    pub fn is_comparable(&self, table: &Table) -> bool {
        self.dense.is_empty() || table.dimension() == 0 || self.dense.len() == table.stride()
    }

    /// The canonical scores (see the crate) with these rows of a table, in their order, whatever the kernel. Replaces
    /// the contents of `scores`.
    ///
    /// # Panics
    /// When the table has no such row, or dense parts differ in length (see [`Self::is_comparable`]).
    pub fn scores(&self, table: &Table, rows: &[u32], scores: &mut Vec<f32>) {
        assert!(
            self.is_comparable(table),
            "rows of one space are equally long"
        );
        scores.clear();
        scores.resize(rows.len(), 0.0);
        let is_dense = !self.dense.is_empty() && table.dimension() > 0;
        let is_sparse = !self.ids.is_empty() && table.terms() > 0;
        let own: [Sparse<'_>; 1] = [(&self.ids, &self.weights)];
        let mut places = is_sparse.then(Places::default);
        for (rows, scores) in rows.chunks(ROWS).zip(scores.chunks_mut(ROWS)) {
            // Left row 0, in the upper half of each pair, with all right rows.
            let pairs: Vec<u32> = (0..rows.len() as u32).collect();
            if is_dense {
                let dense = rows.iter().map(|row| table.dense(*row as usize));
                let dense: Vec<&[f32]> = dense.collect();
                (self.isa.fetch)(&self.dense, &dense, &pairs, scores);
            }
            if let Some(places) = &mut places {
                let sparse = rows.iter().map(|row| table.sparse(*row as usize));
                let sparse: Vec<Sparse<'_>> = sparse.collect();
                (self.isa.sparse_pairs)(&own, &sparse, &pairs, scores, places);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::super::table::TableBuilder;
    use super::*;

    type Row = (Option<Vec<f32>>, Vec<(u32, f32)>);

    fn row(dimension: usize) -> impl Strategy<Value = Row> {
        let dense = prop::collection::vec(-1.0_f32..1.0, dimension);
        let terms = prop::collection::btree_map(0..80_u32, -1.0_f32..1.0, 0..40);
        (
            prop::option::weighted(0.8, dense),
            terms.prop_map(|terms| terms.into_iter().collect()),
        )
    }

    fn rows() -> impl Strategy<Value = (usize, Vec<Row>)> {
        (0..40_usize).prop_flat_map(|dimension| {
            let rows = prop::collection::vec(row(dimension), 2..30);
            rows.prop_map(move |rows| (dimension, rows))
        })
    }

    proptest! {
        #[test]
        fn scores_are_those_of_tables_whatever_the_kernel(
            (dimension, rows) in rows(),
            picked in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let mut builder = TableBuilder::new(dimension);
            for (dense, terms) in &rows {
                let (ids, weights): (Vec<u32>, Vec<f32>) = terms.iter().copied().unzip();
                builder.push(dense.as_deref().unwrap_or(&[]), &ids, &weights).unwrap();
            }
            let table = builder.build();
            let picked: Vec<u32> = picked.iter().map(|at| at.index(rows.len()) as u32).collect();
            let (dense, terms) = &rows[0];
            let (ids, weights): (Vec<u32>, Vec<f32>) = terms.iter().copied().unzip();
            let expected = picked.iter().map(|row| table.score(0, &table, *row as usize).to_bits());
            let expected: Vec<u32> = expected.collect();
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
                let probe = Probe::new(kernel, dense.as_deref().unwrap_or(&[]), &ids, &weights).unwrap();
                prop_assert!(probe.is_comparable(&table));
                let mut scores = vec![f32::NAN; 3];
                probe.scores(&table, &picked, &mut scores);
                // Zeros of either sign count as the same score.
                let got: Vec<u32> = scores.iter().map(|score| (score + 0.0).to_bits()).collect();
                let expected: Vec<u32> =
                    expected.iter().map(|bits| (f32::from_bits(*bits) + 0.0).to_bits()).collect();
                prop_assert_eq!(&got, &expected, "{}", kernel);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_row() {
        let new = |dense: &[f32], ids: &[u32], weights: &[f32]| {
            Probe::new(Kernel::Scalar, dense, ids, weights).err()
        };
        assert_eq!(new(&[f32::NAN], &[], &[]), Some(Error::NotFinite(0)));
        assert_eq!(new(&[], &[2, 1], &[0.5, 0.5]), Some(Error::Sparse(0)));
        assert_eq!(new(&[], &[], &[]), None);
    }

    #[test]
    fn more_rows_than_are_scored_at_a_time() {
        let mut builder = TableBuilder::new(1);
        for row in 0..2 * ROWS + 5 {
            builder.push(&[row as f32], &[], &[]).unwrap();
        }
        let table = builder.build();
        let rows: Vec<u32> = (0..table.rows() as u32).rev().collect();
        let probe = Probe::new(Kernel::Auto, &[0.5], &[], &[]).unwrap();
        let mut scores = Vec::new();
        probe.scores(&table, &rows, &mut scores);
        let expected: Vec<f32> = rows.iter().map(|row| *row as f32 * 0.5).collect();
        assert_eq!(scores, expected);
    }
}
