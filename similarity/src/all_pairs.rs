//! All live rows of a space with all others, across tables.

use std::cmp::Ordering;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::error::Error;
use super::found::{Candidate, Found, RowRef};
use super::kernel::Kernel;
use super::rows::Source;
use super::self_join::SelfJoin;
use super::table::{RowMask, Table};

/// For every live row of the given tables, finds the `keep` other live rows with the highest canonical scores, and the
/// best one that was dropped. Runs on the current rayon pool.
///
/// Scores below `min_score` do not count. `by_id` orders rows with equal scores and must distinguish all live rows.
/// `RowRef::side` is the number of a table. Results are ordered by side, then row; rows without candidates are left
/// out. As fast as [`neighbours`](super::neighbours) on the same rows; nothing is cached in the tables. Once
/// `cancelled` is true, the call ends within a few tiles.
///
/// # Errors
/// When the kernel cannot run here, or the call was cancelled.
///
/// # Panics
/// When a mask does not fit its table, dense parts differ in length (except for tables without any), or there are more
/// than 65,536 tables.
pub fn all_pairs(
    kernel: Kernel,
    tables: &[(&Table, &RowMask)],
    keep: usize,
    min_score: f32,
    by_id: &(dyn Fn(RowRef, RowRef) -> Ordering + Sync),
    cancelled: &AtomicBool,
) -> Result<Vec<Found>, Error> {
    assert!(tables.len() <= 1 << 16, "a table has a 16-bit number");
    let isa = kernel.instructions()?;
    let mut rows: Vec<RowRef> = Vec::new();
    for ((table, live), side) in tables.iter().zip(0..=u16::MAX) {
        assert_eq!(
            live.rows(),
            table.rows(),
            "a mask speaks of its table's rows"
        );
        let row = |row| RowRef {
            side,
            row: row as u32,
        };
        rows.extend(live.iter().map(row));
    }
    // Number rows in this order, so that breaking ties by number means breaking them by `by_id`.
    rows.par_sort_unstable_by(|a, b| by_id(*a, *b).then_with(|| a.cmp(b)));
    let dimensions = || tables.iter().map(|(table, _)| table.dimension());
    let dimension = dimensions().max().unwrap_or(0);
    assert!(
        dimensions().all(|one| one == dimension || one == 0),
        "rows of one space are equally long"
    );
    let table = |row: &RowRef| tables[usize::from(row.side)].0;
    // Zeros multiply to exactly 0, the score that rows without dense parts have.
    let zeros = vec![0.0; dimension];
    let dense = |row: &RowRef| match table(row).dimension() {
        0 => &zeros[..],
        dimension => &table(row).dense(row.row as usize)[..dimension],
    };
    let has_terms = tables.iter().any(|(table, _)| table.terms() > 0);
    let source = Source {
        dimension,
        dense: rows.iter().map(dense).collect(),
        sparse: (rows.iter().filter(|_| has_terms))
            .map(|row| table(row).sparse(row.row as usize))
            .collect(),
    };
    let join = SelfJoin {
        isa,
        keep: keep.saturating_add(1),
        floor: min_score,
        progress: None,
        cancelled: Some(cancelled),
    };
    let lists = join.compare(&source)?;
    let found = rows.par_iter().enumerate().filter_map(|(number, row)| {
        let (others, scores) = lists.of(number);
        let best = others.iter().zip(scores).map(|(&other, &score)| Candidate {
            row: rows[other as usize],
            score,
        });
        Found::new(*row, keep, best)
    });
    let mut found: Vec<Found> = found.collect();
    found.par_sort_unstable_by_key(|found| found.row);
    Ok(found)
}
