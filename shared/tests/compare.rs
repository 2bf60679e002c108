//! `compare` against a brute force that has no chunks, strips or thresholds.
#![allow(clippy::unwrap_used)] // a test may panic

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kindred_shared::job::{CompareReply, CompareTask, Floor, Side};
use kindred_shared::{BlockBuilder, Feature, ItemId, Space, compare_all};
use kindred_similarity::{Candidate, Error, Found, Kernel, RowMask, RowRef};
use proptest::prelude::*;
use proptest::sample::select;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The score of the contract, implemented independently and slowly.
fn naive_score(left: &Feature, right: &Feature) -> f32 {
    let mut lanes = [0.0_f32; 16];
    if !left.dense().is_empty() && !right.dense().is_empty() {
        for (k, (l, r)) in left.dense().iter().zip(right.dense()).enumerate() {
            lanes[k % 16] = l.mul_add(*r, lanes[k % 16]);
        }
    }
    let eight: Vec<f32> = (0..8).map(|l| lanes[l] + lanes[l + 8]).collect();
    let four: Vec<f32> = (0..4).map(|l| eight[l] + eight[l + 4]).collect();
    let dense = (four[0] + four[2]) + (four[1] + four[3]);
    let mut sparse = 0.0_f32;
    for (at, id) in left.term_ids().iter().enumerate() {
        if let Some(other) = right.term_ids().iter().position(|other| other == id) {
            sparse = left.term_weights()[at].mul_add(right.term_weights()[other], sparse);
        }
    }
    dense + sparse
}

/// The contract of `CompareTask`, pair by pair.
fn naive(task: &CompareTask) -> CompareReply {
    let sides: Vec<&Side> = std::iter::once(&task.left).chain(&task.rights).collect();
    let id = |row: RowRef| {
        let block = &sides[usize::from(row.side)].block;
        block.id(row.row as usize).as_str()
    };
    let rank = |a: &Candidate, b: &Candidate| -> Ordering {
        let by_score = b.score.partial_cmp(&a.score).unwrap();
        by_score.then(id(a.row).as_bytes().cmp(id(b.row).as_bytes()))
    };
    let mut rows = Vec::new();
    for (number, side) in sides.iter().enumerate() {
        for row in (0..side.block.rows()).filter(|&row| side.live.contains(row)) {
            rows.push(RowRef {
                side: number as u16,
                row: row as u32,
            });
        }
    }
    let feature = |row: RowRef| sides[usize::from(row.side)].block.feature(row.row as usize);
    let features: Vec<Feature> = rows.iter().map(|&row| feature(row)).collect();
    let mut pairs = 0;
    let mut found = Vec::new();
    for (&row, row_feature) in rows.iter().zip(&features) {
        let side = sides[usize::from(row.side)];
        let mut candidates = Vec::new();
        for (&other, other_feature) in rows.iter().zip(&features) {
            let meet = match (row.side, other.side) {
                (0, 0) => task.within_left && row.row != other.row,
                (0, _) | (_, 0) => true,
                _ => false,
            };
            if !meet || id(row) == id(other) {
                continue;
            }
            pairs += 1;
            let score = naive_score(row_feature, other_feature);
            let wanted = match side.floors.get(row.row as usize) {
                Some(Floor::Open) => true,
                Some(Floor::At(at, floor)) => {
                    score > *at || (score == *at && id(other) <= floor.as_str())
                }
                Some(Floor::Closed) | None => false,
            };
            if score > 0.0 && wanted {
                candidates.push(Candidate { row: other, score });
            }
        }
        candidates.sort_by(rank);
        let dropped = candidates.get(task.keep).copied();
        candidates.truncate(task.keep);
        if dropped.is_some() || !candidates.is_empty() {
            found.push(Found {
                row,
                candidates,
                dropped,
            });
        }
    }
    CompareReply {
        pairs: pairs / 2,
        found,
    }
}

fn assert_same(got: &CompareReply, expected: &CompareReply) {
    assert_eq!(got.pairs, expected.pairs);
    assert_eq!(got.found.len(), expected.found.len());
    for (got, expected) in got.found.iter().zip(&expected.found) {
        // Scores are above 0 and finite, so equal floats have equal bits.
        assert_eq!(got, expected);
    }
}

fn pool(threads: usize) -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap()
}

fn compare(kernel: Kernel, task: &CompareTask) -> CompareReply {
    task.compare(kernel, &AtomicBool::new(false)).unwrap()
}

/// Every kernel, several times: blocks are laid out only once they have met some rows, and stay so.
#[track_caller]
fn check(task: &CompareTask) {
    let expected = naive(task);
    let pools = [1, 3].map(pool);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        for pool in [&pools[0], &pools[1], &pools[0]] {
            assert_same(&pool.install(|| compare(kernel, task)), &expected);
        }
    }
}

/// Few distinct values, so that equal scores are common.
fn feature(dimension: usize) -> impl Strategy<Value = Feature> {
    let value = || select(vec![-0.5_f32, 0.0, 0.25, 0.5, 0.3, -0.1, 1e-40]);
    let dense = proptest::option::of(proptest::collection::vec(value(), dimension));
    let terms = proptest::collection::btree_map(0..12_u32, value(), 0..6);
    (dense, terms)
        .prop_map(|(dense, terms)| {
            let (ids, weights) = terms.into_iter().unzip();
            Feature::new(dense.unwrap_or_default(), ids, weights).unwrap()
        })
        .prop_filter("zero features have no row", |feature| !feature.is_zero())
}

fn floor() -> impl Strategy<Value = Floor> {
    let score = select(vec![0.0_f32, 0.0625, 0.125, 0.25, 0.3125, 1e-42]);
    prop_oneof![
        3 => Just(Floor::Open),
        1 => Just(Floor::Closed),
        3 => (score, 0..100_u32)
            .prop_map(|(score, id)| Floor::At(score, ItemId::new(&format!("i{id}")).unwrap())),
    ]
}

/// Rows of a side: number of the id, feature, live, floor; and whether the side has floors.
type Rows = (Vec<(u32, Feature, bool, Floor)>, bool);

/// Fewer than 97 rows; ids are unordered, and sides whose `first` are close share some.
fn rows(dimension: usize, first: u32, most: usize) -> impl Strategy<Value = Rows> {
    let row = (feature(dimension), proptest::bool::weighted(0.9), floor());
    let rows = proptest::collection::vec(row, 0..most);
    (rows, proptest::bool::weighted(0.9)).prop_map(move |(rows, floors)| {
        let numbered = rows
            .into_iter()
            .zip(0_u32..)
            .map(|((feature, live, floor), at)| (first + at * 7 % 97, feature, live, floor));
        (numbered.collect(), floors)
    })
}

fn side(dimension: usize, (rows, floors): Rows) -> Side {
    let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
    let mut live = RowMask::none(rows.len());
    for (at, (id, feature, is_live, _)) in rows.iter().enumerate() {
        builder.push(ItemId::new(&format!("i{id}")).unwrap(), 1, feature);
        if *is_live {
            live.insert(at);
        }
    }
    let floors = if floors {
        rows.into_iter().map(|row| row.3).collect()
    } else {
        Vec::new()
    };
    Side {
        block: Arc::new(builder.build()),
        live,
        floors,
    }
}

fn task() -> impl Strategy<Value = CompareTask> {
    (1..41_usize).prop_flat_map(|dimension| {
        let right = (0..120_u32).prop_flat_map(move |first| rows(dimension, first, 40));
        (
            rows(dimension, 0, 40),
            proptest::collection::vec(right, 0..4),
            any::<bool>(),
            1..65_usize,
        )
            .prop_map(move |(left, rights, within_left, keep)| CompareTask {
                left: side(dimension, left),
                within_left,
                rights: rights
                    .into_iter()
                    .map(|rows| side(dimension, rows))
                    .collect(),
                // Small values are frequent: with 40 rows per side only those drop anything.
                keep: if keep > 32 { keep % 8 + 1 } else { 2 * keep },
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn agrees_with_brute_force(task in task()) {
        check(&task);
    }

    /// A block cut into parts: one part meets the others and itself, and is fed like any block.
    #[test]
    fn a_part_of_a_block_meets_the_rest_of_it(task in task(), parts in 2..5_usize, part in 0..5_usize) {
        let mut task = task;
        let mut rest = task.left.clone();
        for row in 0..task.left.block.rows() {
            let side = if row % parts == part % parts { &mut rest } else { &mut task.left };
            side.live.remove(row);
        }
        task.rights.push(rest);
        check(&task);
    }
}

/// A small generator (xorshift64*), so that large cases need no strategy.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Between −1 and 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn large_side(numbers: &mut Numbers, first: u32, rows: u32, dimension: usize) -> Side {
    let row = |id| {
        let dense = (0..dimension).map(|_| numbers.value()).collect();
        let mut ids: Vec<u32> = (0..10).map(|_| (numbers.next() % 300) as u32).collect();
        ids.sort_unstable();
        ids.dedup();
        let weights = ids.iter().map(|_| numbers.value()).collect();
        let feature = Feature::new(dense, ids, weights).unwrap();
        (id, feature, !numbers.next().is_multiple_of(50), Floor::Open)
    };
    side(dimension, ((first..first + rows).map(row).collect(), true))
}

/// Each side has frequent terms of its own, so that neither has a column for the other's.
#[test]
fn sides_of_other_subjects_share_terms() {
    let mut numbers = Numbers(19);
    let mut subject = |first: u32, rows: u32, words: u64| {
        let row = |id| {
            let dense = (0..7).map(|_| numbers.value() / 3.0).collect();
            let mut ids: Vec<u32> = (0..45)
                .map(|at| match at % 3 {
                    0 => (words + numbers.next() % 12) as u32,
                    1 => (numbers.next() % 40) as u32,
                    _ => (numbers.next() % 9_000) as u32,
                })
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let weights = ids.iter().map(|_| numbers.value().abs() / 5.0).collect();
            let feature = Feature::new(dense, ids, weights).unwrap();
            (id, feature, true, Floor::Open)
        };
        side(7, ((first..first + rows).map(row).collect(), true))
    };
    check(&CompareTask {
        left: subject(0, 500, 10_000),
        within_left: true,
        rights: vec![
            subject(1_000, 450, 20_000),
            subject(2_000, 420, 10_006),
            subject(3_000, 40, 30_000),
        ],
        keep: 50,
    });
}

#[test]
fn agrees_over_many_chunks_and_strips() {
    let mut numbers = Numbers(7);
    check(&CompareTask {
        left: large_side(&mut numbers, 0, 600, 20),
        within_left: true,
        rights: vec![
            large_side(&mut numbers, 590, 700, 20),
            large_side(&mut numbers, 3000, 33, 20),
        ],
        keep: 64,
    });
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut numbers = Numbers(11);
    let task = CompareTask {
        left: large_side(&mut numbers, 0, 1500, 100),
        within_left: true,
        rights: vec![large_side(&mut numbers, 1400, 2000, 100)],
        keep: 50,
    };
    let one = pool(1).install(|| compare(Kernel::Auto, &task));
    assert!(one.found.len() > 3000);
    for threads in [2, 4] {
        let many = pool(threads).install(|| compare(Kernel::Auto, &task));
        assert_same(&many, &one);
    }
}

#[test]
fn equal_rows_are_told_apart_by_id() {
    let feature = Feature::new(vec![0.6, 0.8], vec![4], vec![0.5]).unwrap();
    let rows = |first: u32, count: u32| -> Rows {
        let row = |id| (id, feature.clone(), true, Floor::Open);
        ((first..first + count).rev().map(row).collect(), true)
    };
    for keep in [1, 2, 50, 64] {
        check(&CompareTask {
            left: side(2, rows(0, 300)),
            within_left: true,
            rights: vec![side(2, rows(250, 400))],
            keep,
        });
    }
}

#[test]
fn two_rows_of_one_item_on_one_side_do_not_meet() {
    let feature = Feature::new(vec![1.0], vec![], vec![]).unwrap();
    let row = |id| (id, feature.clone(), true, Floor::Open);
    let task = CompareTask {
        left: side(1, (vec![row(1), row(2), row(1)], true)),
        within_left: true,
        rights: vec![side(1, (vec![row(1), row(3)], true))],
        keep: 3,
    };
    // Left: 1-2 and 2-1, not 1-1. Right: 2-1, and each of the three with 3.
    let reply = compare(Kernel::Auto, &task);
    assert_eq!(reply.pairs, 2 + 4);
}

#[test]
fn the_score_of_two_rows_is_the_contracts() {
    let mut numbers = Numbers(3);
    let left = large_side(&mut numbers, 0, 30, 37).block;
    let right = large_side(&mut numbers, 0, 30, 37).block;
    for row in 0..30 {
        let expected = naive_score(&left.feature(row), &right.feature(29 - row));
        let got = left.table().score(row, right.table(), 29 - row);
        assert_eq!(got.to_bits(), expected.to_bits());
    }
}

#[test]
fn nothing_to_compare_is_no_error() {
    let empty = || side(5, (Vec::new(), true));
    let task = CompareTask {
        left: empty(),
        within_left: true,
        rights: vec![empty()],
        keep: 50,
    };
    let reply = compare(Kernel::Auto, &task);
    assert_eq!((reply.pairs, reply.found.len()), (0, 0));
}

/// Floors as in a real domain: many rows with a high one, and some of every kind.
fn floored(numbers: &mut Numbers, mut side: Side) -> Side {
    for floor in &mut side.floors {
        let id = ItemId::new(&format!("i{}", numbers.next() % 4000)).unwrap();
        *floor = match numbers.next() % 8 {
            0 => Floor::Open,
            1 => Floor::Closed,
            _ => Floor::At(numbers.value() * 3.0 + 1.0, id),
        };
    }
    side
}

#[test]
fn few_new_rows_meet_many_with_floors() {
    let mut numbers = Numbers(23);
    for dimension in [0, 1, 33, 100, 260] {
        let side = large_side(&mut numbers, 3000, 900, dimension);
        let right = floored(&mut numbers, side);
        for rows in [1, 2, 40, 130] {
            check(&CompareTask {
                left: large_side(&mut numbers, 0, rows, dimension),
                within_left: true,
                rights: vec![right.clone()],
                keep: 20,
            });
        }
    }
}

#[test]
fn blocks_with_and_without_dense_parts_meet() {
    let mut numbers = Numbers(29);
    let (dense, sparse) = (
        large_side(&mut numbers, 0, 450, 12),
        large_side(&mut numbers, 500, 420, 0),
    );
    for (left, right) in [(&dense, &sparse), (&sparse, &dense)] {
        check(&CompareTask {
            left: left.clone(),
            within_left: true,
            rights: vec![right.clone()],
            keep: 10,
        });
    }
}

#[test]
fn rows_meet_themselves_when_lists_are_repaired() {
    let mut numbers = Numbers(31);
    let right = large_side(&mut numbers, 0, 800, 20);
    let mut left = right.clone();
    left.live = RowMask::none(800);
    (0..800).step_by(3).for_each(|row| left.live.insert(row));
    let mut closed = right;
    closed.floors = Vec::new();
    check(&CompareTask {
        left,
        within_left: false,
        rights: vec![closed],
        keep: 64,
    });
}

/// Dense rows only, with values by row and column.
fn dense_side(
    first: u32,
    rows: u32,
    dimension: usize,
    mut value: impl FnMut(u32, usize) -> f32,
) -> Side {
    let row = |id: u32| {
        let dense = (0..dimension).map(|k| value(id, k)).collect();
        (
            id,
            Feature::new(dense, vec![], vec![]).unwrap(),
            true,
            Floor::Open,
        )
    };
    side(dimension, ((first..first + rows).map(row).collect(), true))
}

#[test]
fn no_values_lead_astray() {
    let mut numbers = Numbers(37);
    for scale in [1e-42_f32, 1e-39, 1e-20, 1.0, 1e12, 1e17] {
        let mut task = |power: fn(u32) -> i32| {
            let mut value = |row, _| numbers.value() * scale * 10_f32.powi(power(row));
            CompareTask {
                left: dense_side(0, 300, 17, &mut value),
                within_left: true,
                rights: vec![dense_side(300, 500, 17, &mut value)],
                keep: 9,
            }
        };
        check(&task(|_| 0));
        if scale == 1.0 {
            check(&task(|row| row as i32 % 37 - 18));
        }
    }
    let zeros = |first| dense_side(first, 500, 8, |_, _| 0.0);
    check(&CompareTask {
        left: zeros(0),
        within_left: true,
        rights: vec![zeros(500)],
        keep: 5,
    });
}

#[test]
fn thousands_of_copies_are_no_cliff() {
    let copies = |first, kinds: u32| {
        dense_side(first, 1500, 24, |row, k| {
            ((row % kinds) as f32 + 1.3 * k as f32).sin()
        })
    };
    for kinds in [1, 7] {
        check(&CompareTask {
            left: copies(0, kinds),
            within_left: true,
            rights: vec![copies(1500, kinds)],
            keep: 50,
        });
    }
}

#[test]
fn masks_and_floors_may_leave_nothing() {
    let mut numbers = Numbers(41);
    let high = Floor::At(f32::MAX, ItemId::new("i1").unwrap());
    for (live, floor, open) in [
        (false, Floor::Open, 0),
        (true, Floor::Closed, 0),
        (true, high, 0),
        (true, Floor::Open, 1),
    ] {
        let mut sides = [
            large_side(&mut numbers, 0, 500, 30),
            large_side(&mut numbers, 500, 700, 30),
        ];
        for side in &mut sides {
            side.floors.fill(floor.clone());
            if !live {
                side.live = RowMask::none(side.block.rows());
            }
        }
        let [left, right] = sides;
        let task = CompareTask {
            left,
            within_left: true,
            rights: vec![right],
            keep: 40,
        };
        check(&task);
        let found = compare(Kernel::Auto, &task).found.len();
        assert_eq!(found > 0, open == 1);
    }
}

#[test]
fn ends_early_when_cancelled() {
    let mut numbers = Numbers(43);
    let task = CompareTask {
        left: large_side(&mut numbers, 0, 500, 10),
        within_left: true,
        rights: vec![large_side(&mut numbers, 500, 500, 10)],
        keep: 5,
    };
    let answer = |cancelled| task.compare(Kernel::Auto, &AtomicBool::new(cancelled));
    assert_eq!(answer(true).err(), Some(Error::Cancelled));
    assert_same(&answer(false).unwrap(), &compare(Kernel::Scalar, &task));
}

/// Comparing all rows of a space, some of them dead, must equal jobs that compare each block with itself and with the
/// blocks before it.
#[test]
fn all_of_a_space_are_as_in_one_job() {
    let mut numbers = Numbers(37);
    let kinds: Vec<Feature> = (0..9)
        .map(|_| {
            Feature::new(
                (0..7).map(|_| numbers.value()).collect(),
                vec![3],
                vec![0.2],
            )
            .unwrap()
        })
        .collect();
    // Ids that ascend with rows, descend, or are mixed; most rows are of a few kinds.
    let sides = [(0, 1), (400, 7), (900, 5)].map(|(first, step): (u32, u32)| {
        let row = |at: u32| {
            let id = first + at * step % 97 + at / 97 * 97;
            let feature = kinds[(numbers.next() % 9) as usize].clone();
            (id, feature, !numbers.next().is_multiple_of(9), Floor::Open)
        };
        side(7, ((0..300).map(row).collect(), true))
    });
    let blocks: Vec<_> = sides
        .iter()
        .map(|side| (&*side.block, &side.live))
        .collect();
    // One block of all rows, compared with itself.
    let mut builder = BlockBuilder::new(Space::own(7), 7);
    let mut rows = Vec::new();
    for (number, side) in (0..).zip(&sides) {
        for row in side.live.iter() {
            builder.push(side.block.id(row).clone(), 1, &side.block.feature(row));
            rows.push(RowRef {
                side: number,
                row: row as u32,
            });
        }
    }
    let task = CompareTask {
        left: Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows.len()),
            floors: vec![Floor::Open; rows.len()],
        },
        within_left: true,
        rights: Vec::new(),
        keep: 64,
    };
    let mut expected = compare(Kernel::Scalar, &task).found;
    for found in &mut expected {
        let all = found.candidates.iter_mut().chain(&mut found.dropped);
        all.for_each(|one| one.row = rows[one.row.row as usize]);
        found.row = rows[found.row.row as usize];
    }
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        let never = AtomicBool::new(false);
        let found = pool(2).install(|| compare_all(kernel, &blocks, 64, &never));
        assert_eq!(found.unwrap(), expected);
    }
}
