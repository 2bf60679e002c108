//! AVX2 with FMA: two registers hold the 16 chains, four left rows go at a time.
//!
//! The same bits as `scalar`: each chain is the same sequence of fused multiply-adds, and the
//! tree adds the same lanes.

// Intrinsics on raw pointers are what this file is for. Every function that needs the features
// is private and is entered only by the two safe ones below, which check them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, __m256, _mm_add_ps, _mm_cvtss_f32, _mm_movehl_ps, _mm_movelh_ps, _mm_shuffle_ps,
    _mm_storeu_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_setzero_ps,
};

use kindred_shared::block::LANES;

use super::terms::TermIndex;

/// Values of a register.
const WIDTH: usize = 8;
/// Left rows that share the loads of a right row.
const ROWS: usize = 4;

/// Whether this CPU can run this kernel.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// The dot products of one right row with `scores.len()` left rows, one after the other.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA, a row is not a multiple of 16 long, or `left` is too short.
pub(super) fn dots(left: &[f32], right: &[f32], scores: &mut [f32]) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    assert!(right.len().is_multiple_of(LANES), "rows are padded");
    let needed = right.len().checked_mul(scores.len());
    assert!(
        needed.is_some_and(|needed| left.len() >= needed),
        "left rows are all there"
    );
    // SAFETY: the CPU has AVX2 and FMA; `right` is a multiple of 16 long and `left` has a row of
    // that length for every score.
    unsafe { dots_avx2(left, right, scores) }
}

/// The sparse dot products of one right row with the left rows of an index.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA.
pub(super) fn sparse_dots(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2 and FMA; the function is safe code otherwise.
    unsafe { sparse_dots_avx2(index, ids, weights, sums) }
}

/// # Safety
/// AVX2 and FMA; `right.len()` a multiple of 16; `left.len() ≥ right.len() · scores.len()`.
#[target_feature(enable = "avx2,fma")]
unsafe fn dots_avx2(left: &[f32], right: &[f32], scores: &mut [f32]) {
    let stride = right.len();
    let count = scores.len();
    let mut at = 0;
    while at + ROWS <= count {
        // SAFETY: rows at … at+3 lie within `left` and scores at … at+3 within `scores`, for
        // at + 4 ≤ count.
        unsafe {
            let base = left.as_ptr().add(at * stride);
            let sums = four(base, right.as_ptr(), stride);
            _mm_storeu_ps(scores.as_mut_ptr().add(at), sums);
        }
        at += ROWS;
    }
    while at < count {
        // SAFETY: row `at` lies within `left`, for at < count.
        scores[at] = unsafe { one(left.as_ptr().add(at * stride), right.as_ptr(), stride) };
        at += 1;
    }
}

/// The dot products of four rows, `stride` apart from `left` on, with `right`.
///
/// # Safety
/// AVX2 and FMA; `left` can be read for `4 · stride` values and `right` for `stride`, a multiple
/// of 16.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn four(left: *const f32, right: *const f32, stride: usize) -> __m128 {
    let mut low = [_mm256_setzero_ps(); ROWS];
    let mut high = [_mm256_setzero_ps(); ROWS];
    let mut k = 0;
    while k < stride {
        // SAFETY: k + 15 < stride, and row r begins r · stride values after `left`.
        unsafe {
            let right_low = _mm256_loadu_ps(right.add(k));
            let right_high = _mm256_loadu_ps(right.add(k + WIDTH));
            for row in 0..ROWS {
                let values = left.add(row * stride + k);
                low[row] = _mm256_fmadd_ps(_mm256_loadu_ps(values), right_low, low[row]);
                let values = values.add(WIDTH);
                high[row] = _mm256_fmadd_ps(_mm256_loadu_ps(values), right_high, high[row]);
            }
        }
        k += LANES;
    }
    let [a, b, c, d] = [
        fold(low[0], high[0]),
        fold(low[1], high[1]),
        fold(low[2], high[2]),
        fold(low[3], high[3]),
    ];
    // Lanes 0, 1 and 2, 3 of two rows side by side: one addition does l + (l+2) for both.
    let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_add_ps(
        _mm_shuffle_ps::<0b10_00_10_00>(ab, cd),
        _mm_shuffle_ps::<0b11_01_11_01>(ab, cd),
    )
}

/// The dot product of one row.
///
/// # Safety
/// AVX2 and FMA; both can be read for `stride` values, a multiple of 16.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn one(left: *const f32, right: *const f32, stride: usize) -> f32 {
    let mut low = _mm256_setzero_ps();
    let mut high = _mm256_setzero_ps();
    let mut k = 0;
    while k < stride {
        // SAFETY: k + 15 < stride.
        unsafe {
            let (l, r) = (left.add(k), right.add(k));
            low = _mm256_fmadd_ps(_mm256_loadu_ps(l), _mm256_loadu_ps(r), low);
            let (l, r) = (l.add(WIDTH), r.add(WIDTH));
            high = _mm256_fmadd_ps(_mm256_loadu_ps(l), _mm256_loadu_ps(r), high);
        }
        k += LANES;
    }
    let four = fold(low, high);
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ps(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Adds lanes l and l+8, then l and l+4.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn fold(low: __m256, high: __m256) -> __m128 {
    let eight = _mm256_add_ps(low, high);
    _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    )
}

#[target_feature(enable = "avx2,fma")]
fn sparse_dots_avx2(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    index.add_products(ids, weights, sums);
}
