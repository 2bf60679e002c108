//! AVX-512: one register holds the 16 chains; approximate scores use 8 × 48 tiles.
//!
//! Final scores are bit-identical to those of `scalar`: each chain is the same sequence of fused multiply-adds, and the
//! final tree adds the same lanes.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU features is private and is
// entered only through safe functions that check for them and check the lengths.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, __m512, __m512i, __mmask16, _MM_HINT_T0, _mm_add_ps, _mm_cvtss_f32, _mm_movehl_ps,
    _mm_movelh_ps, _mm_prefetch, _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_ps, _mm256_castpd_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm512_add_epi32, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_castsi256_si512, _mm512_cmpeq_epi16_mask,
    _mm512_cmpeq_epi32_mask, _mm512_cvtepi32_epi16, _mm512_extractf64x4_pd, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_ps,
};

use super::avx2::{both, fetch_rights};
use super::products::Places;
use super::slices::{LANES, Sparse};
use super::terms::TermIndex;

/// Rows that share each load of another row.
const ROWS: usize = 8;

/// Whether this CPU can run this kernel.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

/// The canonical dot products of a row with some of `rows`. With `FETCH` those rows are prefetched, which pays off when
/// they are in no cache.
///
/// # Panics
/// When the CPU lacks AVX-512, a row is not as long as `row`, or there is no such row.
pub(super) fn gather<const FETCH: bool>(
    row: &[f32],
    rows: &[&[f32]],
    others: &[u32],
    scores: &mut [f32],
) {
    assert!(available(), "this kernel needs AVX-512");
    assert_eq!(others.len(), scores.len(), "one score a row");
    let at = |at: usize| {
        let other = rows[others[at.min(others.len() - 1)] as usize];
        assert_eq!(other.len(), row.len(), "rows of one space are alike");
        other.as_ptr()
    };
    // SAFETY: the CPU has AVX-512, and `at` yields only rows as long as `row`.
    unsafe { dots_at::<FETCH>(row, scores, at) }
}

/// The sparse dot products of one right row with the left rows of an index.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn sparse_dots(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512 and FMA; otherwise the function is safe code.
    unsafe { sparse_dots_fma(index, ids, weights, sums) }
}

/// Adds the canonical sparse dot products of pairs, see `products`.
///
/// # Panics
/// When the CPU lacks AVX-512, or there is no such row.
pub(super) fn sparse_pairs(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
    places: &mut Places,
) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; otherwise the function is safe code.
    unsafe { sparse_pairs_512(lefts, rights, pairs, scores, places) }
}

/// The canonical dot products of pairs: left row in the upper half, right row in the lower. Right rows are prefetched;
/// left rows change less often.
///
/// # Panics
/// When the CPU lacks AVX-512, two rows are not equally long, or there is no such row.
pub(super) fn pairs(left: &[&[f32]], right: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    assert_eq!(pairs.len(), scores.len(), "one score a pair");
    // SAFETY: the CPU has AVX-512; the function checks everything else.
    unsafe { pairs_512(left, right, pairs, scores) }
}

/// Runs work compiled for this kernel's vectors. The work must be `#[inline(always)]`, or it gets none of them.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; otherwise the function is safe code.
    unsafe { run_512(work) }
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn run_512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// # Safety
/// AVX-512; `pairs` and `scores` are equally long.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn pairs_512(lefts: &[&[f32]], rights: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    let (chunks, rest) = pairs.as_chunks::<ROWS>();
    let (places, last) = scores.as_chunks_mut::<ROWS>();
    for (at, (chunk, places)) in chunks.iter().zip(places).enumerate() {
        if let Some(next) = chunks.get(at + 1) {
            fetch_rights(next, rights);
        }
        let rows = chunk.map(
            #[inline(always)]
            |pair| both(lefts, rights, pair),
        );
        let length = rows[0].0.len();
        for (left, right) in rows {
            assert!(
                left.len() == length && right.len() == length,
                "rows of one space are alike"
            );
        }
        // SAFETY: all rows are readable for `length` values; a chunk has eight places.
        unsafe {
            // A loop, not one closure per row: a single call is certain to be inlined.
            let mut sums = [_mm512_setzero_ps(); ROWS];
            for (sum, (left, right)) in sums.iter_mut().zip(rows) {
                *sum = pair_chains(left, right, length);
            }
            let [a, b, c, d, e, f, g, h] = sums;
            _mm_storeu_ps(places.as_mut_ptr(), tree(a, b, c, d));
            _mm_storeu_ps(places.as_mut_ptr().add(4), tree(e, f, g, h));
        }
    }
    for (&pair, score) in rest.iter().zip(last) {
        let (left, right) = both(lefts, rights, pair);
        assert_eq!(left.len(), right.len(), "rows of one space are alike");
        // SAFETY: both are readable for `left`'s length.
        let sum = unsafe { pair_chains(left, right, left.len()) };
        *score = _mm_cvtss_f32(tree(sum, sum, sum, sum));
    }
}

/// The chains of the dot product of two rows. The CPU overlaps several pairs by itself, because none depends on
/// another.
///
/// # Safety
/// AVX-512; both are readable for `length` values.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn pair_chains(left: &[f32], right: &[f32], length: usize) -> __m512 {
    let (left, right) = (left.as_ptr(), right.as_ptr());
    let mut sum = _mm512_setzero_ps();
    let whole = length - length % LANES;
    let mut k = 0;
    while k < whole {
        // SAFETY: k + 15 < whole ≤ the length of both rows.
        unsafe {
            let right = _mm512_loadu_ps(right.add(k));
            sum = _mm512_fmadd_ps(_mm512_loadu_ps(left.add(k)), right, sum);
        }
        k += LANES;
    }
    if whole < length {
        let mask: __mmask16 = (1 << (length - whole)) - 1;
        // SAFETY: the mask excludes everything beyond the rows; zeros take its place, as the contract requires.
        unsafe {
            let right = _mm512_maskz_loadu_ps(mask, right.add(whole));
            let left = _mm512_maskz_loadu_ps(mask, left.add(whole));
            sum = _mm512_fmadd_ps(left, right, sum);
        }
    }
    sum
}

/// # Safety
/// AVX-512; `left(at)` for at < `scores.len()` is readable for `row.len()` values. With `FETCH` rows are prefetched,
/// because they may lie anywhere.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn dots_at<const FETCH: bool>(
    row: &[f32],
    scores: &mut [f32],
    left: impl Fn(usize) -> *const f32,
) {
    let count = scores.len();
    let mut at = 0;
    while at + ROWS <= count {
        let rows = std::array::from_fn(|next| left(at + next));
        if FETCH {
            for next in at + ROWS..(at + 2 * ROWS).min(count) {
                let next = left(next);
                for line in (0..row.len()).step_by(LANES) {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
                }
            }
        }
        // SAFETY: the rows are readable for `row.len()` values; scores at … at+7 exist.
        unsafe {
            let [a, b, c, d, e, f, g, h] = chains::<ROWS>(rows, row);
            let scores = scores.as_mut_ptr().add(at);
            _mm_storeu_ps(scores, tree(a, b, c, d));
            _mm_storeu_ps(scores.add(4), tree(e, f, g, h));
        }
        at += ROWS;
    }
    while at < count {
        // SAFETY: the row is readable for `row.len()` values.
        let [sum] = unsafe { chains::<1>([left(at)], row) };
        scores[at] = _mm_cvtss_f32(tree(sum, sum, sum, sum));
        at += 1;
    }
}

/// The chains of the dot products of some rows with `row`. Enough rows hide the latency of an addition.
///
/// # Safety
/// AVX-512; each is readable for `row.len()` values.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn chains<const N: usize>(rows: [*const f32; N], row: &[f32]) -> [__m512; N] {
    let mut sums = [_mm512_setzero_ps(); N];
    let whole = row.len() - row.len() % LANES;
    let mut k = 0;
    while k < whole {
        // SAFETY: k + 15 < whole ≤ the length of every row.
        unsafe {
            let right = _mm512_loadu_ps(row.as_ptr().add(k));
            for (sum, left) in sums.iter_mut().zip(rows) {
                *sum = _mm512_fmadd_ps(_mm512_loadu_ps(left.add(k)), right, *sum);
            }
        }
        k += LANES;
    }
    if whole < row.len() {
        let mask: __mmask16 = (1 << (row.len() - whole)) - 1;
        // SAFETY: the mask excludes everything beyond the rows; zeros take its place, as the contract requires.
        unsafe {
            let right = _mm512_maskz_loadu_ps(mask, row.as_ptr().add(whole));
            for (sum, left) in sums.iter_mut().zip(rows) {
                let left = _mm512_maskz_loadu_ps(mask, left.add(whole));
                *sum = _mm512_fmadd_ps(left, right, *sum);
            }
        }
    }
    sums
}

/// Adds up the chains of four dot products.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn tree(a: __m512, b: __m512, c: __m512, d: __m512) -> __m128 {
    let [a, b, c, d] = [fold(a), fold(b), fold(c), fold(d)];
    // Lanes 0, 1 and 2, 3 of two rows side by side: one addition computes l + (l+2) for both.
    let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_add_ps(
        _mm_shuffle_ps::<0b10_00_10_00>(ab, cd),
        _mm_shuffle_ps::<0b11_01_11_01>(ab, cd),
    )
}

/// Adds lanes l and l+8, then l and l+4.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn fold(sums: __m512) -> __m128 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sums)));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(sums), high);
    _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    )
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn sparse_pairs_512(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
    places: &mut Places,
) {
    places.add_products(lefts, rights, pairs, scores, |left, right| {
        match left.0.len().max(right.0.len()) {
            0..=32 => Some(sparse_dot::<1, 2>(left, right)),
            33..=64 => Some(sparse_dot::<2, 4>(left, right)),
            _ => None,
        }
    });
}

/// The canonical sparse dot product of two rows whose terms fit `WHOLE` registers; the lower halves of their ids fit
/// `HALF` as many. All right half-ids are searched for among all left ones at once. The few that match are then
/// searched for among the right row's full ids.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn sparse_dot<const HALF: usize, const WHOLE: usize>(left: Sparse<'_>, right: Sparse<'_>) -> f32 {
    let (own, own_there) = held::<WHOLE>(left.0);
    let (other, other_there) = held::<WHOLE>(right.0);
    let halves: [__m512i; HALF] = std::array::from_fn(|at| {
        let [low, high] = [own[2 * at], own[2 * at + 1]].map(|own| _mm512_cvtepi32_epi16(own));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    });
    let mut shared = [0_u32; HALF];
    for &id in right.0 {
        let wanted = _mm512_set1_epi16(id as i16);
        for (shared, halves) in shared.iter_mut().zip(halves) {
            *shared |= _mm512_cmpeq_epi16_mask(halves, wanted);
        }
    }
    let each = shared.iter().enumerate();
    let all = each.map(|(at, shared)| u64::from(*shared) << (2 * LANES * at));
    let mut shared = all.fold(0, |all, shared| all | shared) & own_there;
    let mut sum = 0.0_f32;
    while shared != 0 {
        let place = shared.trailing_zeros() as usize;
        shared &= shared - 1;
        let wanted = _mm512_set1_epi32(left.0[place].cast_signed());
        let mut found = 0_u64;
        for (at, other) in other.iter().enumerate() {
            found |= u64::from(_mm512_cmpeq_epi32_mask(*other, wanted)) << (LANES * at);
        }
        // Unless only the halves were equal.
        let found = (found & other_there).trailing_zeros() as usize;
        if let Some(weight) = right.1.get(found) {
            sum = left.1[place].mul_add(*weight, sum);
        }
    }
    sum
}

/// Ids in registers, and which lanes hold one.
#[target_feature(enable = "avx512f")]
#[inline]
fn held<const N: usize>(ids: &[u32]) -> ([__m512i; N], u64) {
    assert!(ids.len() <= N * LANES, "as many ids as there are lanes");
    let there = ((1_u128 << ids.len()) - 1) as u64;
    let held = std::array::from_fn(|at| {
        let from = ids.as_ptr().wrapping_add(at * LANES);
        // SAFETY: the mask excludes everything beyond the ids.
        unsafe { _mm512_maskz_loadu_epi32((there >> (at * LANES)) as u16, from.cast()) }
    });
    (held, there)
}

#[target_feature(enable = "avx2,fma")]
fn sparse_dots_fma(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    index.add_products(ids, weights, sums);
}

/// The pair of each lane, given that of lane 0.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn pairs_from(pair: u32) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_add_epi32(_mm512_set1_epi32(pair.cast_signed()), lanes)
}
