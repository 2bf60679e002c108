//! AVX2 with FMA: two registers hold the 16 chains, and four left rows go at a time; approximate scores use 4 × 16
//! tiles.
//!
//! Final scores are bit-identical to those of `scalar`: each chain is the same sequence of fused multiply-adds, and the
//! final tree adds the same lanes.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU features is private and is
// entered only through the two safe functions below, which check for them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, __m256, _MM_HINT_T0, _mm_add_ps, _mm_cvtss_f32, _mm_movehl_ps, _mm_movelh_ps,
    _mm_prefetch, _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_setzero_ps,
};

use super::products::Places;
use super::slices::{LANES, Sparse};
use super::strip::split;
use super::terms::TermIndex;

/// Values of a register.
pub(super) const WIDTH: usize = 8;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Left rows that share each load of a right row.
const ROWS: usize = 4;

/// Whether this CPU can run this kernel.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("popcnt")
}

/// The canonical dot products of a row with some of `rows`. With `FETCH` those rows are prefetched, which pays off when
/// they are in no cache.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA, a row is not as long as `row`, or there is no such row.
pub(super) fn gather<const FETCH: bool>(
    row: &[f32],
    rows: &[&[f32]],
    others: &[u32],
    scores: &mut [f32],
) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    assert_eq!(others.len(), scores.len(), "one score a row");
    let at = |at: usize| {
        let other = rows[others[at] as usize];
        assert_eq!(other.len(), row.len(), "rows of one space are alike");
        other.as_ptr()
    };
    // SAFETY: the CPU has AVX2 and FMA, and `at` yields only rows as long as `row`.
    unsafe { dots_at::<FETCH>(row, scores, at) }
}

/// Runs work compiled for this kernel's vectors. The work must be `#[inline(always)]`, or it gets none of them.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA.
pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2 and FMA; otherwise the function is safe code.
    unsafe { run_256(work) }
}

#[target_feature(enable = "avx2,fma")]
fn run_256<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// The canonical dot products of pairs: left row in the upper half, right row in the lower. Right rows are prefetched;
/// left rows change less often.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA, two rows are not equally long, or there is no such row.
pub(super) fn pairs(left: &[&[f32]], right: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    assert_eq!(pairs.len(), scores.len(), "one score a pair");
    // SAFETY: the CPU has AVX2 and FMA; the function checks everything else.
    unsafe { pairs_256(left, right, pairs, scores) }
}

/// # Safety
/// AVX2 and FMA; `pairs` and `scores` are equally long.
#[target_feature(enable = "avx2,fma")]
unsafe fn pairs_256(lefts: &[&[f32]], rights: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
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
        let (left, right) = (
            rows.map(|row| row.0.as_ptr()),
            rows.map(|row| row.1.as_ptr()),
        );
        // SAFETY: all rows are readable for `length` values; a chunk has four places.
        unsafe { _mm_storeu_ps(places.as_mut_ptr(), four(left, right, length)) };
    }
    for (&pair, score) in rest.iter().zip(last) {
        let (left, right) = both(lefts, rights, pair);
        assert_eq!(left.len(), right.len(), "rows of one space are alike");
        // SAFETY: both are readable for `left`'s length.
        let sums = unsafe { four([left.as_ptr(); ROWS], [right.as_ptr(); ROWS], left.len()) };
        *score = _mm_cvtss_f32(sums);
    }
}

/// The rows of a pair. Inlined into each kernel.
#[inline(always)]
pub(super) fn both<'a>(
    lefts: &[&'a [f32]],
    rights: &[&'a [f32]],
    pair: u32,
) -> (&'a [f32], &'a [f32]) {
    let (left, right) = split(pair);
    (lefts[left], rights[right])
}

/// Prefetches the right rows of pairs.
#[inline(always)]
pub(super) fn fetch_rights(pairs: &[u32], rights: &[&[f32]]) {
    let mut last = usize::MAX;
    for &pair in pairs {
        let (_, right) = split(pair);
        if right != last {
            fetch(rights[right]);
            last = right;
        }
    }
}

/// Prefetches values.
#[inline(always)]
pub(super) fn fetch<T>(values: &[T]) {
    for line in values.chunks(LINE / size_of::<T>()) {
        // SAFETY: every x86-64 CPU has this instruction, and it accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// The sparse dot products of one right row with the left rows of an index.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA.
pub(super) fn sparse_dots(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2 and FMA; otherwise the function is safe code.
    unsafe { sparse_dots_avx2(index, ids, weights, sums) }
}

/// Adds the canonical sparse dot products of pairs, see `products`.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA, or there is no such row.
pub(super) fn sparse_pairs(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
    places: &mut Places,
) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2 and FMA; otherwise the function is safe code.
    unsafe { sparse_pairs_avx2(lefts, rights, pairs, scores, places) }
}

/// # Safety
/// AVX2 and FMA; `left(at)` for at < `scores.len()` is readable for `row.len()` values. With `FETCH` rows are
/// prefetched, because they may lie anywhere.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn dots_at<const FETCH: bool>(
    row: &[f32],
    scores: &mut [f32],
    left: impl Fn(usize) -> *const f32,
) {
    let count = scores.len();
    let mut at = 0;
    while at + ROWS <= count {
        let rows = [left(at), left(at + 1), left(at + 2), left(at + 3)];
        if FETCH && at + 2 * ROWS <= count {
            for next in at + ROWS..at + 2 * ROWS {
                let next = left(next);
                for line in (0..row.len()).step_by(LANES) {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
                }
            }
        }
        // SAFETY: the rows are readable for `row.len()` values; scores at … at+3 exist.
        unsafe {
            _mm_storeu_ps(
                scores.as_mut_ptr().add(at),
                four(rows, [row.as_ptr(); ROWS], row.len()),
            );
        }
        at += ROWS;
    }
    while at < count {
        let one = left(at);
        // SAFETY: the row is readable for `row.len()` values.
        scores[at] = unsafe { _mm_cvtss_f32(four([one; ROWS], [row.as_ptr(); ROWS], row.len())) };
        at += 1;
    }
}

/// The dot products of four pairs of rows.
///
/// # Safety
/// AVX2 and FMA; each row is readable for `length` values.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn four(left: [*const f32; ROWS], right: [*const f32; ROWS], length: usize) -> __m128 {
    let mut low = [_mm256_setzero_ps(); ROWS];
    let mut high = [_mm256_setzero_ps(); ROWS];
    let whole = length - length % LANES;
    let mut k = 0;
    while k < whole {
        for at in 0..ROWS {
            // SAFETY: k + 15 < whole ≤ the length of every row.
            unsafe {
                let (left, right) = (left[at].add(k), right[at].add(k));
                low[at] = _mm256_fmadd_ps(_mm256_loadu_ps(left), _mm256_loadu_ps(right), low[at]);
                let (left, right) = (left.add(WIDTH), right.add(WIDTH));
                high[at] = _mm256_fmadd_ps(_mm256_loadu_ps(left), _mm256_loadu_ps(right), high[at]);
            }
        }
        k += LANES;
    }
    if whole < length {
        for at in 0..ROWS {
            // SAFETY: `padded` reads the remainder of each row and fills up with zeros, as the contract requires.
            let (left, right) = unsafe {
                (
                    padded(left[at].add(whole), length - whole),
                    padded(right[at].add(whole), length - whole),
                )
            };
            low[at] = _mm256_fmadd_ps(left.0, right.0, low[at]);
            high[at] = _mm256_fmadd_ps(left.1, right.1, high[at]);
        }
    }
    let [a, b, c, d] = [
        fold(low[0], high[0]),
        fold(low[1], high[1]),
        fold(low[2], high[2]),
        fold(low[3], high[3]),
    ];
    // Lanes 0, 1 and 2, 3 of two rows side by side: one addition computes l + (l+2) for both.
    let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_add_ps(
        _mm_shuffle_ps::<0b10_00_10_00>(ab, cd),
        _mm_shuffle_ps::<0b11_01_11_01>(ab, cd),
    )
}

/// The first `count` values starting at `from`, then zeros.
///
/// # Safety
/// AVX2; `count` < 16 values are readable.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn padded(from: *const f32, count: usize) -> (__m256, __m256) {
    // SAFETY: the masks exclude everything beyond `count` values.
    unsafe {
        let masks = MASKS.as_ptr().add(LANES - count);
        let low = _mm256_loadu_si256(masks.cast());
        let high = _mm256_loadu_si256(masks.add(WIDTH).cast());
        (
            _mm256_maskload_ps(from, low),
            _mm256_maskload_ps(from.wrapping_add(WIDTH), high),
        )
    }
}

/// Starting at `LANES - count`: masks of the first `count` lanes.
static MASKS: [i32; 2 * LANES] = {
    let mut masks = [0; 2 * LANES];
    let mut at = 0;
    while at < LANES {
        masks[at] = -1;
        at += 1;
    }
    masks
};

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
fn sparse_pairs_avx2(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
    places: &mut Places,
) {
    places.add_products(lefts, rights, pairs, scores, |_, _| None);
}

#[target_feature(enable = "avx2,fma")]
fn sparse_dots_avx2(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    index.add_products(ids, weights, sums);
}
