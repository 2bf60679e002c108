//! AVX-512: operations on lists: the K-th best value, and which candidates stay.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU
// features is private and is entered only through safe functions that check for them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _mm512_alignr_epi32,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_cmp_ps_mask, _mm512_mask_cmplt_epu32_mask,
    _mm512_mask_loadu_ps, _mm512_mask_min_ps, _mm512_mask_mov_epi32, _mm512_mask_mov_ps,
    _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps, _mm512_maskz_compress_epi32,
    _mm512_maskz_compress_ps, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_max_ps,
    _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps, _mm512_storeu_si512,
};

use super::avx2::fetch;
use super::avx512::{available, pairs_from};
use super::candidates::MAX_SORTED;
use super::candidates::{Candidates, SortedLists, TieOrder, place};
use super::scalar;
use super::slices::LANES;

/// A value near the `keep`-th highest of the bounds, see `scalar`.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn kth(bounds: &[f32], keep: usize) -> f32 {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512.
    unsafe { kth_512(bounds, keep) }
}

/// # Safety
/// AVX-512.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn kth_512(bounds: &[f32], keep: usize) -> f32 {
    let none = _mm512_set1_ps(f32::NEG_INFINITY);
    let chunk = |at: usize| {
        let count = bounds.len().saturating_sub(at).min(LANES);
        let mask = (u32::from(u16::MAX) >> (LANES - count)) as u16;
        // SAFETY: `count` values are readable from `at` on.
        unsafe { _mm512_mask_loadu_ps(none, mask, bounds.as_ptr().wrapping_add(at)) }
    };
    // Short lists stay in registers.
    if bounds.len() <= 2 * LANES {
        return kth_of(
            &std::array::from_fn::<_, 2, _>(|at| chunk(at * LANES)),
            keep,
        );
    }
    if bounds.len() <= 4 * LANES {
        return kth_of(
            &std::array::from_fn::<_, 4, _>(|at| chunk(at * LANES)),
            keep,
        );
    }
    if bounds.len() <= 8 * LANES {
        return kth_of(
            &std::array::from_fn::<_, 8, _>(|at| chunk(at * LANES)),
            keep,
        );
    }
    if bounds.len() <= 24 * LANES {
        return kth_of(
            &std::array::from_fn::<_, 24, _>(|at| chunk(at * LANES)),
            keep,
        );
    }
    let reaching = |value: f32| {
        let value = _mm512_set1_ps(value);
        let chunks = (0..bounds.len()).step_by(LANES).map(chunk);
        let reaching = chunks.map(|chunk| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(chunk, value));
        reaching.map(|mask| mask.count_ones() as usize).sum()
    };
    let (mut lows, mut highs) = (_mm512_set1_ps(f32::INFINITY), none);
    for at in (0..bounds.len()).step_by(LANES) {
        let values = chunk(at);
        let some = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, none);
        lows = _mm512_mask_min_ps(lows, some, lows, values);
        highs = _mm512_max_ps(highs, values);
    }
    let (low, high) = (_mm512_reduce_min_ps(lows), _mm512_reduce_max_ps(highs));
    scalar::halve(low, high, keep, reaching)
}

/// The same for values in registers; minus infinity means "no value".
#[target_feature(enable = "avx512f,popcnt")]
#[inline]
fn kth_of<const N: usize>(chunks: &[__m512; N], keep: usize) -> f32 {
    let none = _mm512_set1_ps(f32::NEG_INFINITY);
    let (mut lows, mut highs) = (_mm512_set1_ps(f32::INFINITY), none);
    for &values in chunks {
        let some = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, none);
        lows = _mm512_mask_min_ps(lows, some, lows, values);
        highs = _mm512_max_ps(highs, values);
    }
    let (low, high) = (_mm512_reduce_min_ps(lows), _mm512_reduce_max_ps(highs));
    scalar::halve(low, high, keep, |value| {
        let value = _mm512_set1_ps(value);
        let mut count = 0;
        for &chunk in chunks {
            count += _mm512_cmp_ps_mask::<_CMP_GE_OQ>(chunk, value).count_ones() as usize;
        }
        count
    })
}

/// Keeps the candidates whose score reaches a base, see `scalar`.
///
/// # Panics
/// When the CPU lacks AVX-512 or the numbers of ids and scores differ.
pub(super) fn retain(ids: &mut [u32], scores: &mut [f32], base: f32) -> usize {
    assert!(available(), "this kernel needs AVX-512");
    assert_eq!(ids.len(), scores.len(), "one score an id");
    // SAFETY: the CPU has AVX-512; both slices are equally long.
    unsafe { retain_512(ids, scores, base) }
}

/// The places of the values that reach a base, see `scalar`.
///
/// # Panics
/// When the CPU lacks AVX-512 or there are fewer places than values.
pub(super) fn reaching_places(values: &[f32], base: f32, places: &mut [u32]) -> usize {
    assert!(available(), "this kernel needs AVX-512");
    assert!(places.len() >= values.len(), "a place a value");
    // SAFETY: the CPU has AVX-512; there are as many places as values.
    unsafe { reaching_places_512(values, base, places) }
}

/// Inserts the candidates that matter at their places in sorted lists.
///
/// # Panics
/// When the CPU lacks AVX-512, the lists are too long to be kept sorted, or a row does not exist.
pub(super) fn insert_all(lists: SortedLists<'_>, candidates: Candidates<'_>, order: TieOrder<'_>) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; otherwise the function is safe code.
    unsafe {
        match lists.room {
            16 => insert_all_512::<1, 16>(lists, candidates, order),
            32 => insert_all_512::<2, 32>(lists, candidates, order),
            48 => insert_all_512::<3, 48>(lists, candidates, order),
            MAX_SORTED => insert_all_512::<4, MAX_SORTED>(lists, candidates, order),
            room => panic!("lists of {room} are too long to be sorted"),
        }
    }
}

#[target_feature(enable = "avx512f,popcnt")]
fn insert_all_512<const N: usize, const ROOM: usize>(
    lists: SortedLists<'_>,
    candidates: Candidates<'_>,
    order: TieOrder<'_>,
) {
    lists.insert_all::<ROOM>(
        candidates,
        order,
        |ids, scores| {
            fetch(ids);
            fetch(scores);
        },
        |ids, scores, candidate| insert::<N, ROOM>(ids, scores, candidate, order),
    );
}

/// Inserts a candidate at its place in one sorted list of `N` registers; the last entry is dropped.
#[target_feature(enable = "avx512f,popcnt")]
#[inline]
fn insert<const N: usize, const ROOM: usize>(
    ids: &mut [u32; ROOM],
    scores: &mut [f32; ROOM],
    (id, score): (u32, f32),
    order: TieOrder<'_>,
) {
    const {
        assert!(
            N * LANES == ROOM && N <= 4,
            "whole registers, a bit a place"
        );
    };
    let (one_id, one_score) = (_mm512_set1_epi32(id.cast_signed()), _mm512_set1_ps(score));
    let mut before = 0_u64;
    let (mut old_ids, mut old_scores) = ([_mm512_setzero_si512(); N], [_mm512_setzero_ps(); N]);
    for at in 0..N {
        // SAFETY: there are `N` registers of each.
        unsafe {
            old_ids[at] = _mm512_loadu_si512(ids.as_ptr().add(at * LANES).cast());
            old_scores[at] = _mm512_loadu_ps(scores.as_ptr().add(at * LANES));
        }
        let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(old_scores[at], one_score);
        let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(old_scores[at], one_score);
        let equal = _mm512_mask_cmplt_epu32_mask(equal, old_ids[at], one_id);
        before |= u64::from(above | equal) << (at * LANES);
    }
    // The list is sorted, so the entries before the candidate are the first ones.
    if order.is_some() {
        before = (1 << place(ids, scores, (id, score), order)) - 1;
    }
    let place = (before << 1 | 1) & !before;
    let (ids, scores) = (ids.as_mut_ptr(), scores.as_mut_ptr());
    for at in (0..N).rev() {
        let lanes = |mask: u64| (mask >> (at * LANES)) as __mmask16;
        // What moves up from the previous register; nothing moves into the first one.
        let lower = at.saturating_sub(1);
        let moved = _mm512_alignr_epi32::<15>(old_ids[at], old_ids[lower]);
        let moved = _mm512_mask_mov_epi32(moved, lanes(place), one_id);
        let new_ids = _mm512_mask_mov_epi32(moved, lanes(before), old_ids[at]);
        let bits = |scores| _mm512_castps_si512(scores);
        let moved = _mm512_alignr_epi32::<15>(bits(old_scores[at]), bits(old_scores[lower]));
        let moved = _mm512_mask_mov_ps(_mm512_castsi512_ps(moved), lanes(place), one_score);
        let new_scores = _mm512_mask_mov_ps(moved, lanes(before), old_scores[at]);
        // SAFETY: as above.
        unsafe {
            _mm512_storeu_si512(ids.add(at * LANES).cast(), new_ids);
            _mm512_storeu_ps(scores.add(at * LANES), new_scores);
        }
    }
}

/// # Safety
/// AVX-512; both slices are equally long.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn retain_512(ids: &mut [u32], scores: &mut [f32], base: f32) -> usize {
    let base = _mm512_set1_ps(base);
    let (count, mut kept) = (ids.len(), 0);
    for at in (0..count).step_by(LANES) {
        let there = u16::MAX >> (LANES - (count - at).min(LANES));
        // SAFETY: the masks exclude everything beyond the slices. Writes go to places that have
        // been read already.
        unsafe {
            let values = _mm512_maskz_loadu_ps(there, scores.as_ptr().add(at));
            let names = _mm512_maskz_loadu_epi32(there, ids.as_ptr().add(at).cast());
            let stay = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, values, base);
            let some = stay.count_ones();
            let places = ((1_u32 << some) - 1) as u16;
            let values = _mm512_maskz_compress_ps(stay, values);
            _mm512_mask_storeu_ps(scores.as_mut_ptr().add(kept), places, values);
            let names = _mm512_maskz_compress_epi32(stay, names);
            _mm512_mask_storeu_epi32(ids.as_mut_ptr().add(kept).cast(), places, names);
            kept += some as usize;
        }
    }
    kept
}

/// # Safety
/// AVX-512; there are at least as many places as values.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn reaching_places_512(values: &[f32], base: f32, places: &mut [u32]) -> usize {
    let base = _mm512_set1_ps(base);
    let mut kept = 0;
    for at in (0..values.len()).step_by(LANES) {
        let there = u16::MAX >> (LANES - (values.len() - at).min(LANES));
        // SAFETY: the masks exclude everything beyond the slices, and never more places are taken
        // than values were seen.
        unsafe {
            let chunk = _mm512_maskz_loadu_ps(there, values.as_ptr().add(at));
            let reach = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, chunk, base);
            let some = reach.count_ones();
            let names = _mm512_maskz_compress_epi32(reach, pairs_from(at as u32));
            let taken = ((1_u32 << some) - 1) as u16;
            _mm512_mask_storeu_epi32(places.as_mut_ptr().add(kept).cast(), taken, names);
            kept += some as usize;
        }
    }
    kept
}
