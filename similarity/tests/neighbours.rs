//! `neighbours` against a brute force that has no blocks, filters or thresholds: every kernel must give the same ids in
//! the same order, and the same bits.
#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kindred_similarity::{Error, Kernel, Neighbours, Options, Rows, SparseRows, neighbours};
use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

fn pool(threads: usize) -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap()
}

/// Dense rows one after the other, and sparse ones if there are any.
struct Data {
    count: usize,
    dimension: usize,
    dense: Vec<f32>,
    sparse: Vec<Vec<(u32, f32)>>,
}

impl Data {
    fn dense(count: usize, dimension: usize, value: impl FnMut(usize) -> f32) -> Self {
        Self {
            count,
            dimension,
            dense: (0..count * dimension).map(value).collect(),
            sparse: Vec::new(),
        }
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.dense[row * self.dimension..(row + 1) * self.dimension]
    }

    /// The score of the contract, implemented independently and slowly.
    fn score(&self, left: usize, right: usize) -> f32 {
        let mut lanes = [0.0_f32; 16];
        let at = |row: usize, k: usize| self.row(row).get(k).copied().unwrap_or(0.0);
        for k in 0..self.dimension.next_multiple_of(16) {
            lanes[k % 16] = at(left, k).mul_add(at(right, k), lanes[k % 16]);
        }
        let eight: Vec<f32> = (0..8).map(|l| lanes[l] + lanes[l + 8]).collect();
        let four: Vec<f32> = (0..4).map(|l| eight[l] + eight[l + 4]).collect();
        let dense = (four[0] + four[2]) + (four[1] + four[3]);
        if self.sparse.is_empty() {
            return dense;
        }
        let mut sparse = 0.0_f32;
        for (id, weight) in &self.sparse[left] {
            if let Some((_, other)) = self.sparse[right].iter().find(|(other, _)| other == id) {
                sparse = weight.mul_add(*other, sparse);
            }
        }
        dense + sparse
    }

    fn naive(&self, row: usize, keep: usize, least: Option<f32>) -> Vec<(u32, f32)> {
        let others = (0..self.count).filter(|&other| other != row);
        let mut all: Vec<(u32, f32)> = others
            .map(|other| (other as u32, self.score(row, other)))
            .filter(|(_, score)| !score.is_nan() && least.is_none_or(|least| *score >= least))
            .collect();
        all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        all.truncate(keep);
        all
    }

    fn find(&self, options: &Options<'_>, threads: usize) -> Result<Neighbours, Error> {
        let rows = Rows::new(&self.dense, self.count, self.dimension)?;
        let offsets: Vec<usize> = (0..=self.count)
            .map(|row| self.sparse.iter().take(row).map(Vec::len).sum())
            .collect();
        let (ids, weights): (Vec<u32>, Vec<f32>) = self.sparse.iter().flatten().copied().unzip();
        let rows = if self.sparse.is_empty() {
            rows
        } else {
            rows.with_sparse(SparseRows {
                offsets: &offsets,
                ids: &ids,
                weights: &weights,
            })?
        };
        pool(threads).install(|| neighbours(&rows, options))
    }

    #[track_caller]
    fn check(&self, keep: usize, min_score: Option<f32>) {
        let expected: Vec<Vec<(u32, f32)>> = (0..self.count)
            .map(|row| self.naive(row, keep, min_score))
            .collect();
        for kernel in Kernel::ALL {
            if !kernel.available() {
                continue;
            }
            let options = Options {
                keep,
                min_score,
                kernel,
                ..Options::default()
            };
            let found = self.find(&options, 2).unwrap();
            assert_eq!(found.rows(), self.count);
            assert_eq!(found.kernel(), kernel, "it is the one that ran");
            for (row, expected) in expected.iter().enumerate() {
                let (ids, scores) = found.of(row);
                let got = ids.iter().zip(scores).map(|(&id, s)| (id, s.to_bits()));
                let expected = expected.iter().map(|&(id, s)| (id, s.to_bits()));
                assert!(
                    got.clone().eq(expected.clone()),
                    "{kernel}, row {row}: {:?} for {:?}",
                    got.collect::<Vec<_>>(),
                    expected.collect::<Vec<_>>()
                );
            }
        }
    }
}

/// Reproducible pseudo-random numbers in -1..1.
fn noise(mut seed: u64) -> impl FnMut(usize) -> f32 {
    move |_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 40) as f32 / (1 << 23) as f32) - 1.0
    }
}

#[test]
fn few_rows() {
    for count in 0..4 {
        Data::dense(count, 5, noise(1)).check(20, None);
    }
    Data::dense(30, 5, noise(2)).check(0, None);
    Data::dense(30, 5, noise(3)).check(1000, None);
    Data::dense(3, 0, noise(4)).check(2, None);
}

#[test]
fn blocks_of_many_rows() {
    Data::dense(1500, 24, noise(5)).check(20, None);
    Data::dense(700, 100, noise(6)).check(3, Some(0.25));
    Data::dense(700, 33, noise(7)).check(300, None);
}

/// Ids and scores hash (FNV-1a) to these values on any machine and with any kernel: lists do not depend on where they
/// are computed.
#[test]
fn the_same_bits_on_every_machine() {
    let mut value = noise(51);
    let mut data = Data::dense(900, 100, &mut value);
    let mut terms = |row: usize| {
        let ids = (0..60).filter(|id| value(0) > 0.2 + *id as f32 / 80.0);
        let ids: Vec<u32> = ids.take(row % 40).collect();
        ids.into_iter().map(|id| (id, value(0))).collect()
    };
    data.sparse = (0..900).map(&mut terms).collect();
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        let options = Options {
            kernel,
            ..Options::default()
        };
        let found = data.find(&options, 2).unwrap();
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for row in 0..found.rows() {
            let (ids, scores) = found.of(row);
            let words = ids.iter().copied();
            for word in words.chain(scores.iter().map(|score| score.to_bits())) {
                for byte in word.to_le_bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
                }
            }
        }
        assert_eq!(hash, 0xCD46_D326_53B5_F8F3, "{kernel}: {hash:#018x}");
    }
}

#[test]
fn equal_rows_are_ordered_by_number() {
    Data::dense(600, 20, |at| (at % 20) as f32 - 3.5).check(20, None);
    Data::dense(600, 20, |_| 0.0).check(20, None);
    let mut value = noise(8);
    let some: Vec<f32> = (0..20 * 20).map(&mut value).collect();
    Data::dense(900, 20, |at| some[(at / 20 % 7) * 20 + at % 20]).check(10, None);
}

#[test]
fn tiny_huge_and_mixed_values() {
    for scale in [1e-42, 1e-39, 1e-20, 1e12, 1e18] {
        let mut value = noise(9);
        Data::dense(400, 17, |at| value(at) * scale).check(15, None);
    }
    let mut value = noise(10);
    let mixed = |at: usize| value(at) * 10_f32.powi((at / 17 % 37) as i32 - 18);
    Data::dense(500, 17, mixed).check(15, None);
    let mut value = noise(11);
    let outliers = |at: usize| value(at) * if at.is_multiple_of(17) { 30.0 } else { 1.0 };
    Data::dense(500, 17, outliers).check(15, None);
}

/// Rows of several spans of 16-bit sums, of odd lengths, and with everything in a few values.
#[test]
fn long_and_odd_rows() {
    for (count, dimension) in [(420, 127), (420, 129), (300, 385), (200, 771), (120, 1)] {
        Data::dense(count, dimension, noise(dimension as u64)).check(20, None);
    }
    // Values of equal magnitude, in patterns.
    let sign = |at: usize| if at.is_multiple_of(3) { -1.0 } else { 1.0 };
    let pattern = |at: usize| sign(at / 260 * 7 + at % 260 * (at / 260 % 5));
    Data::dense(400, 260, pattern).check(20, None);
    let lone = |at: usize| f32::from(u8::from(at % 300 == at / 300 % 300));
    Data::dense(350, 300, lone).check(20, None);
    let mut value = noise(20);
    let heap = |at: usize| {
        let near = at % 300 < 40;
        value(at) * if near { 1.0 } else { 1e-3 } + f32::from(u8::from(near))
    };
    Data::dense(400, 300, heap).check(20, None);
}

/// Scores near the K-th that differ only in their last bits.
#[test]
fn near_ties() {
    for (seed, size, least) in [(21, 1e-6, None), (22, 1e-3, Some(0.0))] {
        let mut value = noise(seed);
        let base: Vec<f32> = (0..64).map(&mut value).collect();
        let near = |at: usize| base[at % 64] + value(at) * size;
        Data::dense(900, 64, near).check(20, least);
    }
}

/// Three rows repeated many times among others.
#[test]
fn thousands_of_duplicates() {
    let mut value = noise(23);
    let some: Vec<f32> = (0..3 * 24).map(&mut value).collect();
    let row = |at: usize| match at / 24 % 5 {
        copy @ 0..3 => some[copy * 24 + at % 24],
        _ => value(at),
    };
    Data::dense(2500, 24, row).check(20, None);
}

#[test]
fn sparse_parts_count() {
    let mut value = noise(12);
    let mut data = Data::dense(600, 12, &mut value);
    let mut term = |most: f32| ((value(0) + 1.0) / 2.0 * most) as u32;
    data.sparse = (0..600)
        .map(|row| {
            let mut terms: Vec<u32> = (0..row % 9).map(|_| term(60.0)).collect();
            terms.sort_unstable();
            terms.dedup();
            let weight = |id: u32| 0.1 + id as f32 / 100.0;
            terms.into_iter().map(|id| (id, weight(id))).collect()
        })
        .collect();
    data.check(10, None);
    data.dense.fill(0.0);
    data.check(10, Some(f32::MIN_POSITIVE));
    data.dimension = 0;
    data.dense.clear();
    data.check(10, Some(f32::MIN_POSITIVE));
}

/// Terms as in texts, a few in many rows and many in a few; rows with none, some and a hundred terms; blocks of more
/// than one part; weights of either sign and any size.
#[test]
fn terms_as_in_texts() {
    let mut value = noise(41);
    let mut data = Data::dense(1900, 9, &mut value);
    let mut below = |most: f32| (value(0) + 1.0) / 2.0 * most;
    let mut rows = |signs: bool| -> Vec<Vec<(u32, f32)>> {
        (0..1900)
            .map(|row| {
                let count = [0, 6, 25, 40, 110][row % 5];
                let mut terms: Vec<u32> = (0..count).map(|_| below(10.0).exp() as u32).collect();
                terms.sort_unstable();
                terms.dedup();
                let mut weight = |id: u32| {
                    let size = 0.02 + below(0.2) + id as f32 / 1e5;
                    if signs && id.is_multiple_of(3) {
                        -size
                    } else {
                        size
                    }
                };
                // Spread far apart, so that nothing depends on small ids.
                let far = |id: u32| id * 150_001;
                terms.into_iter().map(|id| (far(id), weight(id))).collect()
            })
            .collect()
    };
    data.sparse = rows(false);
    data.check(20, Some(f32::MIN_POSITIVE));
    data.sparse = rows(true);
    data.sparse[17].iter_mut().for_each(|term| term.1 *= 1e6);
    data.check(20, None);
}

/// A row with more terms than the filter takes.
#[test]
fn a_row_of_thousands_of_terms() {
    let mut data = Data::dense(400, 6, noise(43));
    let terms = |row: u32, count: u32| (0..count).map(move |n| (n * (row % 7 + 1), 0.01));
    data.sparse = (0..400)
        .map(|row| terms(row, if row == 123 { 5_000 } else { row % 12 }).collect())
        .collect();
    data.check(10, None);
}

/// Groups larger and smaller than K, ties between groups, zeros of both signs, and rows that differ only in their
/// sparse parts.
#[test]
fn groups_of_equal_rows() {
    let group = |row: usize| {
        if row.is_multiple_of(3) {
            0
        } else {
            row * 7 % 41
        }
    };
    let value = |at: usize| [0.0, 1.0, -0.0, -1.0, 0.5][(group(at / 3) * (at % 3 + 1)) % 5];
    let mut data = Data::dense(500, 3, value);
    for min_score in [None, Some(0.0), Some(0.75)] {
        data.check(10, min_score);
        data.check(300, min_score);
    }
    data.sparse = (0..500)
        .map(|row| match group(row) % 4 {
            0 => Vec::new(),
            term => vec![(term as u32, 0.5), (9, -0.25 * (group(row) % 3) as f32)],
        })
        .collect();
    for min_score in [None, Some(0.25)] {
        data.check(10, min_score);
        data.check(499, min_score);
    }
    // All in one group, with a score that is infinite or NaN.
    Data::dense(50, 2, |_| 1e30).check(7, None);
    Data::dense(50, 2, |at| if at % 2 == 0 { 1e30 } else { 1e-30 }).check(7, Some(0.0));
}

#[test]
fn tells_what_is_wrong_with_rows() {
    let shape = Rows::new(&[1.0, 2.0, 3.0], 2, 2).err();
    assert!(matches!(shape, Some(Error::Shape { values: 3, .. })));
    let number = Rows::new(&[1.0, f32::NAN], 2, 1).err();
    assert_eq!(number, Some(Error::NotFinite(1)));
    // The error names the first of several bad rows, even far back.
    let mut many = vec![0.5; 3 * 5000];
    many[3 * 4999] = f32::INFINITY;
    many[3 * 3210 + 2] = f32::NEG_INFINITY;
    let number = Rows::new(&many, 5000, 3).err();
    assert_eq!(number, Some(Error::NotFinite(3210)));
    let rows = Rows::new(&[1.0, 2.0], 2, 1).unwrap();
    let sparse = |offsets, ids| {
        let weights = &[0.5, 0.5];
        let sparse = SparseRows {
            offsets,
            ids,
            weights,
        };
        rows.with_sparse(sparse).err()
    };
    assert_eq!(sparse(&[0, 1, 2], &[7, 7]), None);
    assert_eq!(sparse(&[0, 2, 2], &[7, 7]), Some(Error::Sparse(0)));
    assert_eq!(sparse(&[0, 1, 3], &[7, 7]), Some(Error::Sparse(1)));
    assert_eq!(sparse(&[0, 1, 0], &[7, 7]), Some(Error::Sparse(1)));
}

#[test]
fn can_be_watched_and_cancelled() {
    let data = Data::dense(2000, 8, noise(13));
    let seen = Mutex::new((0, 0));
    let progress = |done: u64, total: u64| {
        let mut seen = seen.lock().unwrap();
        *seen = (done.max(seen.0), total);
    };
    let cancelled = AtomicBool::new(false);
    let options = Options {
        progress: Some(&progress),
        cancelled: Some(&cancelled),
        ..Options::default()
    };
    data.find(&options, 2).unwrap();
    let (done, total) = *seen.lock().unwrap();
    assert!(total > 1 && done == total, "{done} of {total}");

    // Also before it begins.
    cancelled.store(true, Ordering::Relaxed);
    let stopped = data.find(&options, 2).err();
    assert_eq!(stopped, Some(Error::Cancelled));
    cancelled.store(false, Ordering::Relaxed);

    let stop = |done: u64, _: u64| cancelled.store(done >= 3, Ordering::Relaxed);
    let options = Options {
        progress: Some(&stop),
        ..options
    };
    let stopped = data.find(&options, 2).err();
    assert_eq!(stopped, Some(Error::Cancelled));

    // Also when all tiles are done, before the lists of the last block are sorted.
    cancelled.store(false, Ordering::Relaxed);
    let stop = |done: u64, total: u64| cancelled.store(done + 1 == total, Ordering::Relaxed);
    let options = Options {
        progress: Some(&stop),
        ..options
    };
    let stopped = data.find(&options, 1).err();
    assert_eq!(stopped, Some(Error::Cancelled));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn like_brute_force(
        count in 0..260_usize,
        dimension in 0..40_usize,
        keep in 0..70_usize,
        seed in any::<u64>(),
        copies in 1..9_usize,
        min_score in proptest::option::of(-1.0_f32..1.0),
    ) {
        let mut value = noise(seed);
        let values: Vec<f32> = (0..count * dimension).map(&mut value).collect();
        let row = |at: usize| at / dimension / copies * dimension;
        Data::dense(count, dimension, |at| values[row(at) + at % dimension])
            .check(keep, min_score);
    }
}
