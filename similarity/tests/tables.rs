//! Tables, some rows with some and all rows with all, against a brute force that has no tiles and bases.
#![allow(clippy::unwrap_used)] // a test may panic

use std::cmp::Ordering;
use std::sync::atomic::AtomicBool;

use kindred_similarity::{
    Candidate, Error, Found, Kernel, RowMask, RowRef, Side, Table, TableBuilder, Task, all_pairs,
    compare,
};
use proptest::prelude::*;
use proptest::sample::select;
use rayon::{ThreadPool, ThreadPoolBuilder};

fn pool(threads: usize) -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap()
}

/// A tie order unrelated to row numbers; it never calls two rows equal.
fn by_id(a: RowRef, b: RowRef) -> Ordering {
    let id = |row: RowRef| (u32::from(row.side) * 100_000 + row.row).wrapping_mul(0x9E37_79B1);
    id(a).cmp(&id(b))
}

/// Rows with a mask and floors.
#[derive(Debug)]
struct Part {
    table: Table,
    live: RowMask,
    floors: Vec<f32>,
}

impl Part {
    fn rows(&self, side: usize) -> impl Iterator<Item = RowRef> {
        self.live.iter().map(move |row| RowRef {
            side: side as u16,
            row: row as u32,
        })
    }
}

/// The best rows for one row: as many as are kept, and one more.
fn best(
    parts: &[Part],
    row: RowRef,
    others: impl Iterator<Item = RowRef>,
    keep: usize,
    floor: f32,
) -> Option<Found> {
    let table = |row: RowRef| &parts[usize::from(row.side)].table;
    let score =
        |other: RowRef| table(row).score(row.row as usize, table(other), other.row as usize);
    let mut all: Vec<Candidate> = others
        .map(|row| Candidate {
            row,
            score: score(row),
        })
        .filter(|one| one.score >= floor)
        .collect();
    all.sort_by(|a, b| {
        let by_score = b.score.partial_cmp(&a.score).unwrap();
        by_score.then_with(|| by_id(a.row, b.row))
    });
    let dropped = all.get(keep).copied();
    all.truncate(keep);
    (dropped.is_some() || !all.is_empty()).then_some(Found {
        row,
        candidates: all,
        dropped,
    })
}

fn assert_found(got: &[Found], expected: &[Found], kernel: Kernel) {
    assert_eq!(got.len(), expected.len(), "{kernel}: {got:?} {expected:?}");
    for (got, expected) in got.iter().zip(expected) {
        // Scores are not 0, so equal floats have equal bits.
        assert_eq!(got, expected, "{kernel}");
    }
}

fn pools() -> [ThreadPool; 2] {
    [pool(1), pool(3)]
}

fn available() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

/// All live rows with all others.
fn check_all(parts: &[Part], keep: usize) {
    let tables: Vec<_> = parts.iter().map(|part| (&part.table, &part.live)).collect();
    let rows: Vec<RowRef> = (0..)
        .zip(parts)
        .flat_map(|(side, part)| part.rows(side))
        .collect();
    let others = |row: RowRef| rows.iter().copied().filter(move |other| *other != row);
    let least = f32::from_bits(1);
    let expected = rows
        .iter()
        .filter_map(|row| best(parts, *row, others(*row), keep, least));
    let expected: Vec<Found> = expected.collect();
    let never = AtomicBool::new(false);
    for kernel in available() {
        for pool in pools() {
            let found = pool.install(|| all_pairs(kernel, &tables, keep, least, &by_id, &never));
            assert_found(&found.unwrap(), &expected, kernel);
        }
    }
}

/// The rows of the first part with all others, three times, because tables are laid out only once they have met some
/// rows.
fn check_some(parts: &[Part], within_left: bool, keep: usize) {
    // Every seventh pair must not meet.
    let apart = |right: &Part, side: usize| -> Vec<(u32, u32)> {
        let pairs = parts[0]
            .live
            .iter()
            .flat_map(|a| right.live.iter().map(move |b| (a as u32, b as u32)));
        let pairs = pairs.filter(|(a, b)| side > 0 || a < b);
        pairs
            .filter(|(a, b)| (a * 31 + b).is_multiple_of(7))
            .collect()
    };
    let side = |(side, part): (usize, &'_ Part)| (part.floors.clone(), apart(part, side));
    let given: Vec<_> = (0..).zip(parts).map(side).collect();
    let mut sides = given.iter().zip(parts).map(|((floors, apart), part)| Side {
        table: &part.table,
        live: &part.live,
        floors: floors.clone(),
        apart: apart.clone(),
    });
    let task = Task {
        left: sides.next().unwrap(),
        within_left,
        rights: sides.collect(),
        keep,
    };
    let mut pairs = 0;
    let mut expected = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        for row in part.rows(at) {
            let meet = |other: &RowRef| {
                let (left, right) = if (row.side, row.row) < (other.side, other.row) {
                    (row, *other)
                } else {
                    (*other, row)
                };
                left.side == 0
                    && left != right
                    && (right.side > 0 || within_left)
                    && given[usize::from(right.side)]
                        .1
                        .binary_search(&(left.row, right.row))
                        .is_err()
            };
            let others = || {
                (0..)
                    .zip(parts)
                    .flat_map(|(side, part)| part.rows(side))
                    .filter(meet)
            };
            pairs += others().count() as u64;
            let floor = part
                .floors
                .get(row.row as usize)
                .copied()
                .unwrap_or(f32::INFINITY);
            expected.extend(best(parts, row, others(), keep, floor));
        }
    }
    let never = AtomicBool::new(false);
    for kernel in available() {
        for pool in pools().iter().chain(&pools()[..1]) {
            let compared = pool
                .install(|| compare(kernel, &task, &by_id, &never))
                .unwrap();
            assert_eq!(compared.pairs, pairs / 2);
            assert_found(&compared.found, &expected, kernel);
        }
    }
}

/// Few distinct values, so that equal scores are common; a few rows are equal.
fn part(dimension: usize) -> impl Strategy<Value = Part> {
    let value = || select(vec![-0.5_f32, 0.0, 0.25, 0.5, 0.3, -0.1, 1e-40]);
    let dense = proptest::option::of(proptest::collection::vec(value(), dimension));
    let terms = proptest::collection::btree_map(0..12_u32, value(), 0..6);
    let floor = select(vec![
        1e-45_f32,
        1e-45,
        0.0625,
        0.125,
        0.25,
        0.3125,
        f32::INFINITY,
    ]);
    let row = (dense, terms, proptest::bool::weighted(0.9), floor);
    let rows = proptest::collection::vec(row, 0..90);
    (
        rows,
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.9),
    )
        .prop_map(move |(rows, is_dense, floors)| {
            let mut builder = TableBuilder::new(if is_dense { dimension } else { 0 });
            let mut live = RowMask::none(rows.len());
            for (at, (dense, terms, is_live, _)) in rows.iter().enumerate() {
                let (ids, weights): (Vec<u32>, Vec<f32>) = terms.iter().unzip();
                let dense = dense.as_deref().filter(|_| is_dense).unwrap_or_default();
                builder.push(dense, &ids, &weights).unwrap();
                if *is_live {
                    live.insert(at);
                }
            }
            let floors = if floors {
                rows.iter().map(|row| row.3).collect()
            } else {
                Vec::new()
            };
            Part {
                table: builder.build(),
                live,
                floors,
            }
        })
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    (1..41_usize).prop_flat_map(|dimension| proptest::collection::vec(part(dimension), 1..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn all_with_all_agree_with_brute_force(parts in parts(), keep in 0..70_usize) {
        check_all(&parts, keep);
    }

    #[test]
    fn some_with_some_agree_with_brute_force(
        parts in parts(),
        within_left in any::<bool>(),
        keep in 1..40_usize,
    ) {
        check_some(&parts, within_left, keep);
    }
}

/// Hundreds of rows of a few kinds in several tables, with gaps.
#[test]
fn many_ties_over_several_tables() {
    let kind = |row: usize| match row % 5 {
        0 | 1 => vec![0.5, 0.25, 0.125],
        2 => vec![0.5, 0.25, 0.0],
        _ => vec![(row % 11) as f32 / 16.0, 0.3, (row % 7) as f32 / 8.0],
    };
    let part = |first: usize, rows: usize| {
        let mut builder = TableBuilder::new(3);
        let mut live = RowMask::all(rows);
        for row in first..first + rows {
            builder.push(&kind(row), &[], &[]).unwrap();
            if row % 6 == 5 {
                live.remove(row - first);
            }
        }
        Part {
            table: builder.build(),
            live,
            floors: vec![f32::from_bits(1); rows],
        }
    };
    let parts = [part(0, 400), part(400, 90), part(490, 110)];
    for keep in [1, 64] {
        check_all(&parts, keep);
        check_some(&parts, true, keep);
    }
}

#[test]
fn all_pairs_can_be_cancelled() {
    let mut builder = TableBuilder::new(2);
    (0..900).for_each(|row| builder.push(&[1.0, row as f32], &[], &[]).unwrap());
    let (table, live) = (builder.build(), RowMask::all(900));
    let cancelled = AtomicBool::new(true);
    let found = all_pairs(Kernel::Auto, &[(&table, &live)], 5, 0.0, &by_id, &cancelled);
    assert_eq!(found.err(), Some(Error::Cancelled));
}
