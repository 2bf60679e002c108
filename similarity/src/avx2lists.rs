//! AVX2: operations on lists: the K-th best value, and the place of a candidate.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU features is private and is
// entered only through safe functions that check for them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m256i, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _mm256_add_epi32, _mm256_and_ps,
    _mm256_blendv_epi8, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cmpgt_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps,
    _mm256_movemask_ps, _mm256_or_ps, _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::avx2::{WIDTH, available, fetch};
use super::candidates::MAX_SORTED;
use super::candidates::{Candidates, SortedLists, TieOrder, place};
use super::scalar;

/// A value near the `keep`-th highest of the bounds, see `scalar`.
///
/// # Panics
/// When the CPU lacks AVX2 or FMA.
pub(super) fn kth(bounds: &[f32], keep: usize) -> f32 {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2 and FMA; otherwise the function is safe code.
    unsafe { kth_256(bounds, keep) }
}

#[target_feature(enable = "avx2,fma")]
fn kth_256(bounds: &[f32], keep: usize) -> f32 {
    let none = _mm256_set1_ps(f32::NEG_INFINITY);
    let (chunks, rest) = bounds.as_chunks::<WIDTH>();
    let mut last = [f32::NEG_INFINITY; WIDTH];
    last[..rest.len()].copy_from_slice(rest);
    // SAFETY: a chunk has eight values.
    let load = |chunk: &[f32; WIDTH]| unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
    let last = load(&last);
    let (mut lows, mut highs) = (_mm256_set1_ps(f32::INFINITY), none);
    let mut span = |values: __m256| {
        // Minus infinity means "no value": the row itself, or padding of a list.
        let some = _mm256_cmp_ps::<_CMP_GT_OQ>(values, none);
        let low = _mm256_blendv_ps(_mm256_set1_ps(f32::INFINITY), values, some);
        lows = _mm256_min_ps(lows, low);
        highs = _mm256_max_ps(highs, values);
    };
    span(last);
    for chunk in chunks {
        span(load(chunk));
    }
    let (mut low, mut high) = ([0.0_f32; WIDTH], [0.0_f32; WIDTH]);
    // SAFETY: there is room for eight values.
    unsafe {
        _mm256_storeu_ps(low.as_mut_ptr(), lows);
        _mm256_storeu_ps(high.as_mut_ptr(), highs);
    }
    let low = low.into_iter().fold(f32::INFINITY, f32::min);
    let high = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
    scalar::halve(low, high, keep, |value| {
        let value = _mm256_set1_ps(value);
        let reach =
            |values: __m256| _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GE_OQ>(values, value));
        // A lane that reaches the value is -1.
        let (mut even, mut odd) = (reach(last), _mm256_setzero_si256());
        let (pairs, single) = chunks.as_chunks::<2>();
        for [one, two] in pairs {
            even = _mm256_add_epi32(even, reach(load(one)));
            odd = _mm256_add_epi32(odd, reach(load(two)));
        }
        for one in single {
            odd = _mm256_add_epi32(odd, reach(load(one)));
        }
        let mut counts = [0_i32; WIDTH];
        // SAFETY: there is room for eight values.
        unsafe { _mm256_storeu_si256(counts.as_mut_ptr().cast(), _mm256_add_epi32(even, odd)) };
        -counts.into_iter().sum::<i32>() as usize
    })
}

/// Inserts the candidates that matter at their places in sorted lists.
///
/// # Panics
/// When the CPU lacks AVX2, the lists are too long to be kept sorted, or a row does not exist.
pub(super) fn insert_all(lists: SortedLists<'_>, candidates: Candidates<'_>, order: TieOrder<'_>) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    // SAFETY: the CPU has AVX2; otherwise the function is safe code.
    unsafe {
        match lists.room {
            16 => insert_all_256::<16>(lists, candidates, order),
            32 => insert_all_256::<32>(lists, candidates, order),
            48 => insert_all_256::<48>(lists, candidates, order),
            MAX_SORTED => insert_all_256::<MAX_SORTED>(lists, candidates, order),
            room => panic!("lists of {room} are too long to be sorted"),
        }
    }
}

#[target_feature(enable = "avx2,popcnt")]
fn insert_all_256<const ROOM: usize>(
    lists: SortedLists<'_>,
    candidates: Candidates<'_>,
    order: TieOrder<'_>,
) {
    // Entries after the K-th do not matter.
    let registers = lists.keep.div_ceil(WIDTH).min(ROOM / WIDTH);
    lists.insert_all::<ROOM>(
        candidates,
        order,
        |ids, scores| {
            fetch(ids);
            fetch(scores);
        },
        |ids, scores, candidate| insert::<ROOM>(ids, scores, registers, candidate, order),
    );
}

/// Inserts a candidate at its place in the first registers of one sorted list.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn insert<const ROOM: usize>(
    ids: &mut [u32; ROOM],
    scores: &mut [f32; ROOM],
    registers: usize,
    (id, score): (u32, f32),
    order: TieOrder<'_>,
) {
    assert!(registers * WIDTH <= ROOM, "whole registers");
    // Flipping the first bit turns the order of unsigned numbers into that of signed ones.
    let turn = _mm256_set1_epi32(i32::MIN);
    let one_id = _mm256_xor_si256(_mm256_set1_epi32(id.cast_signed()), turn);
    let one_score = _mm256_set1_ps(score);
    let mut number = 0;
    for at in (0..registers * WIDTH).step_by(WIDTH) {
        // SAFETY: at + 7 < ROOM.
        let (names, values) = unsafe { load(ids, scores, at) };
        let above = _mm256_cmp_ps::<_CMP_GT_OQ>(values, one_score);
        let equal = _mm256_cmp_ps::<_CMP_EQ_OQ>(values, one_score);
        let lower = _mm256_cmpgt_epi32(one_id, _mm256_xor_si256(names, turn));
        let before = _mm256_or_ps(above, _mm256_and_ps(equal, _mm256_castsi256_ps(lower)));
        number += _mm256_movemask_ps(before).count_ones() as usize;
    }
    // The list is sorted, so the entries before the candidate are the first ones.
    let place = match order {
        None => number,
        Some(_) => place(ids, scores, (id, score), order),
    };
    let up = _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6);
    let numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for at in (place / WIDTH * WIDTH..registers * WIDTH)
        .step_by(WIDTH)
        .rev()
    {
        // SAFETY: at + 7 < ROOM, and every register but the first has a value before it.
        unsafe {
            let (names, values) = load(ids, scores, at);
            let (lower_names, lower_values) = if at == 0 {
                let lower_names = _mm256_permutevar8x32_epi32(names, up);
                (lower_names, _mm256_permutevar8x32_ps(values, up))
            } else {
                load(ids, scores, at - 1)
            };
            // Entries before the place stay.
            let place = _mm256_set1_epi32(place as i32 - at as i32);
            let stay = _mm256_cmpgt_epi32(place, numbers);
            let names = _mm256_blendv_epi8(lower_names, names, stay);
            let values = _mm256_blendv_ps(lower_values, values, _mm256_castsi256_ps(stay));
            _mm256_storeu_si256(ids.as_mut_ptr().add(at).cast(), names);
            _mm256_storeu_ps(scores.as_mut_ptr().add(at), values);
        }
    }
    if place < ROOM {
        (ids[place], scores[place]) = (id, score);
    }
}

/// Eight ids and scores.
///
/// # Safety
/// AVX2; there are eight of each from `at` on.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load(ids: &[u32], scores: &[f32], at: usize) -> (__m256i, __m256) {
    // SAFETY: by this function's contract.
    unsafe {
        let ids = _mm256_loadu_si256(ids.as_ptr().add(at).cast());
        (ids, _mm256_loadu_ps(scores.as_ptr().add(at)))
    }
}
