//! The order in which rows are laid out, so that near rows meet early.
//!
//! A row's base rises fastest if its first partners are near, and every pair below the base costs almost nothing. So
//! rows are split in half again and again, each time so that the means of both halves of a sample are far apart, until
//! a half fits a block. Only rows whose integers have similar scales share a block; otherwise small rows would be
//! quantised in the large units of others.

use std::ops::Range;

use super::kernel::Isa;

/// Scales that differ by a larger factor do not share a block, apart from a few rows at the borders.
const SPREAD: f32 = 1.5;
/// Rows sampled to find a direction.
const SAMPLE: usize = 256;
/// Iterations towards the main direction of a sample; an approximation is enough.
const ROUNDS: usize = 4;
/// How often the means of the halves are recomputed.
const MOVES: usize = 4;
/// Values summed side by side.
const LANES: usize = 16;
/// Rows processed at a time.
const CHUNK: usize = 1024;

/// The numbers of the rows in their order, from keys of scale (bits, upper half) and number. Blocks have `block_rows`
/// rows. Once cancelled, the order is unspecified.
pub(super) fn order(
    isa: Isa,
    rows: &[&[f32]],
    mut scales: Vec<u64>,
    block_rows: usize,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Vec<u32> {
    // Scales are not negative, so their bits sort as they do.
    scales.sort_unstable();
    let classes = classes(&scales, block_rows);
    let mut rest = &mut scales[..];
    rayon::scope(|scope| {
        for class in classes {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(class.len());
            rest = others;
            scope.spawn(move |_| split(isa, rows, own, block_rows, is_cancelled));
        }
    });
    scales.into_iter().map(|key| key as u32).collect()
}

/// Spans of rows with similar scales, each of whole blocks.
fn classes(scales: &[u64], block_rows: usize) -> Vec<Range<usize>> {
    let scale = |key: u64| f32::from_bits((key >> 32) as u32);
    let mut classes = Vec::new();
    let mut end = scales.len();
    while end > 0 {
        let least = scale(scales[end - 1]) / SPREAD;
        let alike = scales[..end].partition_point(|&key| scale(key) < least);
        let start = alike / block_rows * block_rows;
        classes.push(start..end);
        end = start;
    }
    classes.reverse();
    classes
}

/// Orders rows; overwrites the upper halves of their keys.
fn split(
    isa: Isa,
    rows: &[&[f32]],
    keys: &mut [u64],
    block_rows: usize,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) {
    let blocks = keys.len().div_ceil(block_rows);
    if blocks < 2 || is_cancelled() {
        return;
    }
    let direction = isa.run(
        #[inline(always)]
        || direction(rows, keys),
    );
    let (mut others, mut scores) = (Vec::new(), Vec::new());
    for keys in keys.chunks_mut(CHUNK) {
        others.clear();
        others.extend(keys.iter().map(|&key| key as u32));
        scores.clear();
        scores.resize(keys.len(), 0.0);
        (isa.fetch)(&direction, rows, &others, &mut scores);
        for ((key, &other), score) in keys.iter_mut().zip(&others).zip(&scores) {
            *key = u64::from(ascending(*score)) << 32 | u64::from(other);
        }
    }
    let middle = blocks / 2 * block_rows;
    keys.select_nth_unstable(middle);
    let (low, high) = keys.split_at_mut(middle);
    rayon::join(
        || split(isa, rows, low, block_rows, is_cancelled),
        || split(isa, rows, high, block_rows, is_cancelled),
    );
}

/// Maps the bits of a number so that they sort as the numbers do.
fn ascending(number: f32) -> u32 {
    let bits = number.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

/// The direction from the mean of one half of a sample to the mean of the other: two-means with halves of equal size,
/// initialised with the direction in which the sample varies most.
#[inline(always)]
fn direction(rows: &[&[f32]], keys: &[u64]) -> Vec<f32> {
    let row = |key: u64| rows[key as u32 as usize];
    let length = row(keys[0]).len();
    let stride = length.next_multiple_of(LANES).max(LANES);
    let mut sample = Vec::with_capacity(SAMPLE * stride);
    for at in 0..SAMPLE.min(keys.len()) {
        sample.extend_from_slice(row(keys[at * keys.len() / SAMPLE.min(keys.len())]));
        sample.resize((at + 1) * stride, 0.0);
    }
    let count = sample.len() / stride;
    let mut mean = vec![0.0; stride];
    for row in sample.chunks_exact(stride) {
        add(&mut mean, row, 1.0 / count as f32);
    }
    for row in sample.chunks_exact_mut(stride) {
        add(row, &mean, -1.0);
    }
    // Starting from any row of the sample.
    let mut direction = sample[..stride].to_vec();
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; stride];
        for row in sample.chunks_exact(stride) {
            add(&mut next, row, dot(row, &direction));
        }
        let norm = dot(&next, &next).sqrt();
        if !(norm.is_normal()) {
            break;
        }
        next.iter_mut().for_each(|value| *value /= norm);
        direction = next;
    }
    let half = count / 2;
    for _ in 0..MOVES {
        let along = sample.chunks_exact(stride).map(|row| dot(row, &direction));
        let mut along: Vec<(f32, usize)> = along.zip(0..).collect();
        along.select_nth_unstable_by(half, |a, b| a.0.total_cmp(&b.0));
        direction.fill(0.0);
        for (at, (_, row)) in along.into_iter().enumerate() {
            let row = &sample[row * stride..(row + 1) * stride];
            add(&mut direction, row, if at < half { -1.0 } else { 1.0 });
        }
    }
    direction.truncate(length);
    direction
}

#[inline(always)]
fn add(sums: &mut [f32], row: &[f32], times: f32) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value * times;
    }
}

#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (left, right) = (left.as_chunks::<LANES>().0, right.as_chunks::<LANES>().0);
    for (left, right) in left.iter().zip(right) {
        for ((sum, l), r) in sums.iter_mut().zip(left).zip(right) {
            *sum += l * r;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::kernel::Kernel;
    use super::*;

    #[test]
    fn numbers_and_their_bits_are_in_one_order() {
        let numbers = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 3.0, f32::MAX];
        assert!(numbers.is_sorted_by(|a, b| ascending(*a) < ascending(*b)));
    }

    #[test]
    fn near_rows_share_blocks_and_scales_are_alike() {
        // Four clusters of 10 along a line, interleaved, and 3 rows of a larger scale.
        let value = |row: usize, k: usize| (row % 4 + k) as f32 + 0.01 * (row % 7) as f32;
        let values: Vec<Vec<f32>> = (0..43)
            .map(|row| (0..6).map(|k| value(row, k)).collect())
            .collect();
        let rows: Vec<&[f32]> = values.iter().map(|row| &row[..]).collect();
        let scale = |row: usize| if row < 40 { 1.0_f32 } else { 4.0 };
        let isa = Kernel::Scalar.instructions().unwrap();
        let scales = (0..43).map(|row| u64::from(scale(row).to_bits()) << 32 | row as u64);
        let order = order(isa, &rows, scales.collect(), 10, &|| false);
        let mut all = order.clone();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..43));
        for block in order[..40].chunks(10) {
            assert!(block.iter().all(|row| row % 4 == block[0] % 4), "{block:?}");
        }
        assert!(order[40..].iter().all(|row| *row >= 40));
    }

    #[test]
    fn two_heaps_are_kept_apart_whatever_few_rows_differ_in() {
        // Two clusters of 40, interleaved, at 1 and −1. Five outliers make up most of the variance.
        let row = |row: usize| {
            let heap = if row.is_multiple_of(2) { 1.0 } else { -1.0 };
            let far = if row.is_multiple_of(16) { 8.0 } else { 0.0 };
            let other = (row * 7 % 11) as f32 * 0.08;
            vec![heap, far + other, 0.0]
        };
        let values: Vec<Vec<f32>> = (0..80).map(row).collect();
        let rows: Vec<&[f32]> = values.iter().map(|row| &row[..]).collect();
        let isa = Kernel::Scalar.instructions().unwrap();
        let scales = (0..80).map(|row| u64::from(1.0_f32.to_bits()) << 32 | row);
        let order = order(isa, &rows, scales.collect(), 40, &|| false);
        for block in order.chunks(40) {
            assert!(block.iter().all(|row| row % 2 == block[0] % 2), "{block:?}");
        }
    }
}
