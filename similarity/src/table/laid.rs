//! What is cached with a table once built: its rows in the form that kernels take.
//!
//! Tables are immutable and outlive many comparisons, so laying them out pays off after a few. The cache depends only
//! on the table: which rows are live is up to each comparison.
//!
//! Memory, with a table and only once it has met enough rows: as much as its dense parts for float kernels, a quarter
//! of that for integer kernels; 16 bytes per row; and see `sparse_bytes`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::Table;
use crate::kernel::Isa;
use crate::layout::{self, MAX_NORM, Shape};
use crate::order::order;
use crate::slices::Sparse;
use crate::strip::PANEL;
use crate::terms::MAX_TERMS;

/// Most rows of a tile: a sample large enough to estimate thresholds from.
pub(crate) const MAX_ROWS: usize = 8 * PANEL;
/// Most bytes of a tile's values, so that two tiles stay in the second-level cache.
const MAX_BYTES: usize = 320 << 10;
/// Rows that a table must have met before it is laid out. Laying a row out takes as long as scoring it about forty
/// times. So a block that few rows ever meet is not laid out, one that meets row after row is, and no order of jobs
/// takes more than twice as long as the best one.
const WORTHWHILE: usize = 32;

/// Bytes per row besides its values: its position, offset and ρ.
const ROW_BYTES: usize = 16;

/// The cache of a table.
#[derive(Default)]
pub(super) struct Kept {
    /// One per kind of layout; a program uses one kernel, tests use all.
    laid: [OnceLock<Option<Laid>>; 3],
    /// Rows that it has met.
    met: AtomicUsize,
}

/// The rows of a table, laid out.
pub(crate) struct Laid {
    /// Values of a laid out row.
    pub(crate) length: usize,
    /// Rows of every tile but the last.
    pub(crate) tile_rows: usize,
    pub(crate) tiles: Vec<layout::Block>,
    /// The table's row at each position.
    pub(crate) rows: Vec<u32>,
}

impl Table {
    /// An upper estimate of the bytes that comparing a table adds to it, whatever the kernel.
    pub fn kept_bytes(&self) -> usize {
        let row = 4 * self.dimension().max(1).next_multiple_of(4) + ROW_BYTES;
        self.rows() * row + layout::sparse_bytes(self.terms(), self.rows())
    }

    /// An estimate of the bytes held now: the values, and what comparing has added.
    pub fn held_bytes(&self) -> usize {
        let is_laid = self.kept.laid.iter().any(|place| place.get().is_some());
        let kept = if is_laid { self.kept_bytes() } else { 0 };
        self.bytes() + size_of_val(&*self.ends) + kept
    }

    /// The table laid out for a kernel, if it already is, or if laying it out pays off now that it meets `rows` more
    /// rows. `None` also for values so large that only exact scores are possible.
    pub(crate) fn laid(&self, isa: Isa, rows: usize) -> Option<&Laid> {
        let place = &self.kept.laid[match isa.grid {
            Some(grid) if grid.halves => 0,
            Some(_) => 1,
            None => 2,
        }];
        let met = self.kept.met.fetch_add(rows, Ordering::Relaxed);
        if met.saturating_add(rows) < WORTHWHILE {
            return place.get()?.as_ref();
        }
        if place.get().is_none() {
            // Not `get_or_init`: while waiting for other threads of the pool, this thread could pick up a job that
            // needs the same layout.
            let _ = place.set(Laid::new(self, isa));
        }
        place.get()?.as_ref()
    }
}

impl Laid {
    fn new(table: &Table, isa: Isa) -> Option<Self> {
        let shape = Shape::new(isa, table.dimension());
        let dense = |row: usize| &table.dense(row)[..table.dimension()];
        let mut buffer = Vec::new();
        let mut scale = |row: usize| {
            let (scale, dense_norm) = shape.scale(dense(row), &mut buffer);
            let norm = dense_norm + layout::norm(table.sparse(row).1);
            let can = norm <= MAX_NORM && table.sparse(row).0.len() <= MAX_TERMS;
            can.then(|| u64::from(scale.to_bits()) << 32 | row as u64)
        };
        let scales: Vec<u64> = (0..table.rows()).map(&mut scale).collect::<Option<_>>()?;
        let tile_rows = (MAX_BYTES / shape.bytes() / PANEL * PANEL).clamp(PANEL, MAX_ROWS);
        let rows = if table.dimension() > 0 {
            let rows: Vec<&[f32]> = (0..table.rows()).map(dense).collect();
            order(isa, &rows, scales, tile_rows, &|| false)
        } else {
            (0..table.rows() as u32).collect()
        };
        let columns = Arc::new(shape.columns(table.rows(), |row| table.sparse(row)));
        let tile = |rows: &[u32]| {
            let rows = || rows.iter().map(|row| *row as usize);
            let sparse: Vec<Sparse<'_>> = rows().map(|row| table.sparse(row)).collect();
            let dense: Vec<&[f32]> = rows().map(dense).collect();
            shape.block(&dense, &sparse, &columns)
        };
        Some(Self {
            length: shape.length,
            tile_rows,
            tiles: rows.chunks(tile_rows).map(tile).collect(),
            rows,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::TableBuilder;
    use super::*;
    use crate::kernel::Kernel;

    #[test]
    fn a_table_is_laid_out_once_it_met_enough_rows() {
        let mut builder = TableBuilder::new(1);
        (0..3).for_each(|_| builder.push(&[1.0], &[], &[]).unwrap());
        let table = builder.build();
        let isa = Kernel::Scalar.instructions().unwrap();
        for _ in 0..WORTHWHILE - 1 {
            assert!(table.laid(isa, 1).is_none());
        }
        let laid = table.laid(isa, 1).unwrap();
        assert!(std::ptr::eq(laid, table.laid(isa, 0).unwrap()));
    }
}
