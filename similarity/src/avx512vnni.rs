//! AVX-512 with VNNI: four products of 8-bit values per lane, for approximate scores.
//!
//! Final scores come from `avx512`. Here right values are unsigned (value + 128) and left values signed, as the
//! instruction requires; the strip's offsets cancel the 128.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU features is private and is
// entered only through the safe one, which checks for them and checks the lengths.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, __mmask16, _mm_cvtsi32_si128, _mm256_loadu_si256, _mm512_add_epi32, _mm512_and_si512,
    _mm512_cmpge_epi32_mask, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_maskz_compress_epi32, _mm512_max_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_sll_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_epi32,
};

use super::avx512::{self, pairs_from};
use super::strip::{GROUP, Hits, PANEL, Strip};

/// Lanes of a register.
const LANES: usize = 16;
/// Registers across a panel.
const WIDE: usize = PANEL / LANES;
/// Values of a step: those of one lane.
const STEP: usize = 4;

/// Whether this CPU can run this kernel.
pub(super) fn available() -> bool {
    avx512::available() && is_x86_feature_detected!("avx512vnni")
}

/// Finds the pairs of a strip whose integer score reaches the lower of their two thresholds.
///
/// # Panics
/// When the CPU lacks the instructions or the strip is malformed.
pub(super) fn strip(strip: &Strip<'_, u8, i32>, hits: &mut Hits) {
    assert!(available(), "this kernel needs AVX-512 with VNNI");
    strip.check();
    hits.reserve(GROUP * strip.columns());
    // SAFETY: the CPU has AVX-512 with VNNI, the strip's slices have the required lengths, and there is room for as
    // many hits as there are pairs.
    unsafe {
        if strip.has_terms() {
            tiles::<false, true>(strip, hits, &mut []);
        } else {
            tiles::<false, false>(strip, hits, &mut []);
        }
    }
}

/// Writes all sums of a strip, row by row.
///
/// # Panics
/// When the CPU lacks the instructions, the strip is malformed, or `sums` does not have exactly one place per pair.
pub(super) fn sums(strip: &Strip<'_, u8, i32>, sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512 with VNNI");
    strip.check();
    assert_eq!(sums.len(), GROUP * strip.columns(), "one sum a pair");
    // SAFETY: the CPU has AVX-512 with VNNI, the strip's slices have the required lengths, and there is a place for
    // every sum.
    unsafe { tiles::<true, true>(strip, &mut Hits::default(), sums) }
}

/// Finds hits, or with `ALL` writes all sums to their places.
///
/// # Safety
/// AVX-512 with VNNI; the strip passed its check; `hits` has room for all its pairs and 16 more, or with `ALL` `places`
/// has one place per pair; without `TERMS` the strip has no terms.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tiles<const ALL: bool, const TERMS: bool>(
    strip: &Strip<'_, u8, i32>,
    hits: &mut Hits,
    places: &mut [f32],
) {
    let row = strip.group * GROUP;
    let columns = strip.columns();
    for column in (0..columns).step_by(PANEL) {
        // SAFETY: right rows come in whole panels; there is room for all pairs, or each row has `columns` places.
        unsafe {
            let sums = tile::<ALL, TERMS>(strip, column);
            if ALL {
                for (at, sums) in sums.iter().enumerate() {
                    for (wide, sum) in sums.iter().enumerate() {
                        let place = places.as_mut_ptr();
                        let place = place.add(at * columns + column + wide * LANES);
                        _mm512_storeu_ps(place, _mm512_cvtepi32_ps(*sum));
                    }
                }
                continue;
            }
            let [a, b, c, d, e, f, g, h] =
                sums.map(|[a, b, c]| _mm512_and_si512(_mm512_and_si512(a, b), c));
            let low = _mm512_and_si512(_mm512_and_si512(a, b), _mm512_and_si512(c, d));
            let high = _mm512_and_si512(_mm512_and_si512(e, f), _mm512_and_si512(g, h));
            // The sign of `and` is set where all are negative.
            if not_negative(_mm512_and_si512(low, high)) != 0 {
                // A copy, because a value whose address is taken lives in memory: otherwise the sums of every tile
                // would.
                keep_all(&{ sums }, (row << 16 | column) as u32, hits);
            }
        }
    }
}

/// The sums of a strip's group with the panel that begins at `column`. Each use is its own monomorphization, because a
/// function is inlined only where it is used once; the one without terms keeps all sums in registers.
///
/// # Safety
/// AVX-512 with VNNI; the strip passed its check; `column` begins a panel; without `TERMS` the strip has no terms,
/// frequent or rare.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn tile<const ALL: bool, const TERMS: bool>(
    strip: &Strip<'_, u8, i32>,
    column: usize,
) -> [[__m512i; WIDE]; GROUP] {
    let row = strip.group * GROUP;
    // SAFETY: the left block has the group's panel, and the group lies within it; the right block has the column's
    // panel, with a threshold for each row.
    unsafe {
        let left = strip.left.as_ptr().add(row / PANEL * strip.panel());
        let left = left.add(row % PANEL * STEP);
        let right = strip.right.as_ptr().add(column * strip.length);
        let mut sums = thresholds::<ALL, TERMS>(strip, column);
        if TERMS {
            add_terms::<ALL>(strip, column, &mut sums);
        }
        multiply(left, right, strip.length / STEP, sums)
    }
}

/// The initial sums of a tile: minus the lower threshold of each pair, less the offset.
///
/// # Safety
/// AVX-512; the strip passed its check; `column` begins a panel.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn thresholds<const ALL: bool, const TERMS: bool>(
    strip: &Strip<'_, u8, i32>,
    column: usize,
) -> [[__m512i; WIDE]; GROUP] {
    // SAFETY: each row of the panel has a threshold.
    let from_right: [__m512i; WIDE] = std::array::from_fn(|wide| unsafe {
        let from_right = strip.from_right.as_ptr().add(column + wide * LANES);
        _mm512_loadu_si512(from_right.cast())
    });
    let offsets: &[i32; GROUP] = strip.offsets.first_chunk().expect("checked");
    std::array::from_fn(|at| {
        let from_left = _mm512_set1_epi32(strip.from_left[at]);
        let offset = _mm512_set1_epi32(offsets[at]);
        from_right.map(|from_right| {
            let from = _mm512_max_epi32(from_left, from_right);
            _mm512_sub_epi32(from, offset)
        })
    })
}

/// Adds the contribution of a tile's terms, in the units of its sums.
///
/// # Safety
/// AVX-512 with VNNI; the strip passed its check; `column` begins a panel.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn add_terms<const ALL: bool>(
    strip: &Strip<'_, u8, i32>,
    column: usize,
    sums: &mut [[__m512i; WIDE]; GROUP],
) {
    // SAFETY: if there are any, the right block has the panel's terms, and each step of the left rows lies within it;
    // and there are `GROUP` sums of rare terms for each right row.
    unsafe {
        if !strip.right_terms.is_empty() {
            let right = strip.right_terms.as_ptr().add(column * strip.terms());
            let shift = _mm_cvtsi32_si128(strip.terms_shift.cast_signed());
            for (steps, sums) in strip.left_terms.iter().zip(&mut *sums) {
                let mut terms = [_mm512_setzero_si512(); WIDE];
                for step in *steps {
                    let left = _mm512_set1_epi32(step.values);
                    let right = right.add(step.at as usize);
                    for (wide, term) in terms.iter_mut().enumerate() {
                        let right = _mm512_loadu_si512(right.add(wide * STEP * LANES).cast());
                        *term = _mm512_dpbusd_epi32(*term, right, left);
                    }
                }
                for (sum, term) in sums.iter_mut().zip(terms) {
                    *sum = _mm512_add_epi32(*sum, _mm512_sll_epi32(term, shift));
                }
            }
        }
        if !strip.rare.is_empty() {
            let shift = _mm_cvtsi32_si128(strip.rare_power);
            for (at, sums) in sums.iter_mut().enumerate() {
                let rare = strip.rare.as_ptr().add(at * strip.rare_stride + column);
                for (wide, sum) in sums.iter_mut().enumerate() {
                    let rare = _mm256_loadu_si256(rare.add(wide * LANES).cast());
                    let rare = _mm512_sll_epi32(_mm512_cvtepu16_epi32(rare), shift);
                    *sum = _mm512_add_epi32(*sum, rare);
                }
            }
        }
    }
}

/// Adds the products of a tile to its sums. Takes and returns them by value, so that they stay in registers.
///
/// # Safety
/// AVX-512 with VNNI; both pointers lie in panels of `steps` steps, one with `GROUP` rows from there on and the other
/// at a panel's first row.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn multiply(
    mut left: *const u8,
    mut right: *const u8,
    steps: usize,
    mut sums: [[__m512i; WIDE]; GROUP],
) -> [[__m512i; WIDE]; GROUP] {
    for _ in 0..steps {
        // SAFETY: each panel has this step.
        unsafe {
            let values = [
                _mm512_loadu_si512(right.cast()),
                _mm512_loadu_si512(right.add(STEP * LANES).cast()),
                _mm512_loadu_si512(right.add(2 * STEP * LANES).cast()),
            ];
            for (at, sums) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_epi32(left.add(at * STEP).cast::<i32>().read_unaligned());
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = _mm512_dpbusd_epi32(*sum, value, left);
                }
            }
        }
        left = left.wrapping_add(PANEL * STEP);
        right = right.wrapping_add(PANEL * STEP);
    }
    sums
}

/// Adds the pairs of a tile whose sums are not negative to the hits; `pair` is the tile's first.
///
/// # Safety
/// AVX-512; `hits` has room for all pairs of the tile and 16 more.
#[target_feature(enable = "avx512f,popcnt")]
#[inline(never)]
unsafe fn keep_all(sums: &[[__m512i; WIDE]; GROUP], pair: u32, hits: &mut Hits) {
    let mut some = 0_u32;
    for (at, [a, b, c]) in sums.iter().enumerate() {
        let all = _mm512_and_si512(_mm512_and_si512(*a, *b), *c);
        some |= u32::from(not_negative(all) != 0) << at;
    }
    while some != 0 {
        let row = some.trailing_zeros();
        some &= some - 1;
        let pair = pair + (row << 16);
        for (pair, sum) in (pair..).step_by(LANES).zip(&sums[row as usize]) {
            // SAFETY: there is room for the tile's pairs and 16 more.
            unsafe { keep(hits, not_negative(*sum), pair) };
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn not_negative(values: __m512i) -> __mmask16 {
    _mm512_cmpge_epi32_mask(values, _mm512_setzero_si512())
}

/// Adds the lanes of a mask to the hits; `pair` is that of lane 0.
///
/// # Safety
/// AVX-512; `hits` has room for 16 more.
#[target_feature(enable = "avx512f,popcnt")]
#[inline]
unsafe fn keep(hits: &mut Hits, mask: __mmask16, pair: u32) {
    // SAFETY: 16 values are writable from `count` on.
    unsafe {
        let pairs = hits.pairs.as_mut_ptr().add(hits.count);
        _mm512_storeu_si512(
            pairs.cast(),
            _mm512_maskz_compress_epi32(mask, pairs_from(pair)),
        );
    }
    hits.count += mask.count_ones() as usize;
}
