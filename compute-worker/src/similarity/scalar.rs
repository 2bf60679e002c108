//! The canonical arithmetic, in plain Rust: what every other kernel must give, bit for bit.

use std::cmp::Ordering;

use kindred_shared::block::LANES;

use super::terms::TermIndex;

/// The canonical dot product of two padded rows: 16 chains of fused multiply-add from 0, lane l
/// summing k = l, l+16, …; then lanes l and l+8 are added, l and l+4, l and l+2, l and l+1.
///
/// # Panics
/// When the rows are not equally long.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len(), "rows of one space are alike");
    let mut lanes = [0.0_f32; LANES];
    let (left, _) = left.as_chunks::<LANES>();
    let (right, _) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for ((lane, l), r) in lanes.iter_mut().zip(left).zip(right) {
            *lane = l.mul_add(*r, *lane);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The dot products of one right row with `scores.len()` left rows, one after the other.
pub(super) fn dots(left: &[f32], right: &[f32], scores: &mut [f32]) {
    if right.is_empty() {
        scores.fill(0.0);
        return;
    }
    for (score, left) in scores.iter_mut().zip(left.chunks_exact(right.len())) {
        *score = dot(left, right);
    }
}

/// The canonical sparse dot product of two rows (ids strictly ascending, and weights): one
/// `mul_add` chain from 0 over the terms both have, by ascending id.
pub(super) fn sparse_dot(left: (&[u32], &[f32]), right: (&[u32], &[f32])) -> f32 {
    let (mut l, mut r, mut sum) = (0, 0, 0.0_f32);
    while let (Some(left_id), Some(right_id)) = (left.0.get(l), right.0.get(r)) {
        match left_id.cmp(right_id) {
            Ordering::Less => l += 1,
            Ordering::Greater => r += 1,
            Ordering::Equal => {
                sum = left.1[l].mul_add(right.1[r], sum);
                l += 1;
                r += 1;
            }
        }
    }
    sum
}

/// The sparse dot products of one right row with the left rows of an index.
pub(super) fn sparse_dots(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    index.add_products(ids, weights, sums);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_sums_is_the_contract() {
        // Written out by hand for 32 values, from the words of the contract.
        let left: Vec<f32> = (0..32).map(|k| 1.0 / (k as f32 + 1.5)).collect();
        let right: Vec<f32> = (0..32).map(|k| (k as f32 * 0.37).sin()).collect();
        let lane = |l: usize| left[l + 16].mul_add(right[l + 16], left[l].mul_add(right[l], 0.0));
        let eight = |l: usize| lane(l) + lane(l + 8);
        let four = |l: usize| eight(l) + eight(l + 4);
        let two = |l: usize| four(l) + four(l + 2);
        let expected = two(0) + two(1);
        assert_eq!(dot(&left, &right).to_bits(), expected.to_bits());
    }

    #[test]
    fn sparse_products_of_shared_terms_only() {
        let left = (&[1, 3, 5, u32::MAX][..], &[0.5, 0.25, 0.1, 0.7][..]);
        let right = (&[0, 3, 5][..], &[9.0, 0.3, 0.6][..]);
        let expected = 0.1_f32.mul_add(0.6, 0.25_f32.mul_add(0.3, 0.0));
        assert_eq!(sparse_dot(left, right).to_bits(), expected.to_bits());
        assert_eq!(sparse_dot(right, left).to_bits(), expected.to_bits());
        assert_eq!(sparse_dot(left, (&[], &[])), 0.0);
    }
}
