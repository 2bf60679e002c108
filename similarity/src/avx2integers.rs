//! AVX2: 7-bit values, summed in 16 bits, for approximate scores.
//!
//! Right values are unsigned (value + 64) and left values signed, as the instruction requires. It adds products in
//! pairs, at most 2 · 127 · 63, which fits 16 bits. Each span of a row is summed in two halves: values 0 and 1 of each
//! step, and values 2 and 3. Intermediate sums may wrap around, but the final ones cannot: rows are laid out so that
//! the norm of either half of a span is at most 181, and 181² < 2^15. Then halves and spans are added in 32 bits.
//! Values of frequent terms are 0 to 127 on both sides, 2 · 127 · 127 < 2^15, and the norms of their halves are bounded
//! in the same way.

// Intrinsics on raw pointers are the purpose of this file. Every function that needs the CPU features is private and is
// entered only through the safe functions, which check for them and check the lengths.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_epi32,
    _mm256_movemask_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_sll_epi32, _mm256_storeu_ps,
};

use super::avx2::available;
use super::strip::{GROUP, Hits, PANEL, SPAN, Strip};

/// Columns of a register.
const WIDTH: usize = 8;
/// Rows of a tile.
const ROWS: usize = 4;
/// Registers across a tile, a third of a panel: with more, the sums would not fit the 16 registers.
const WIDE: usize = 2;
const COLUMNS: usize = WIDE * WIDTH;
/// Values of a step: two pairs of products.
const STEP: usize = 4;

/// The sums of a tile.
type Sums = [[__m256i; WIDE]; ROWS];

/// Finds the pairs of a strip whose integer score reaches the lower of their two thresholds.
///
/// # Panics
/// When the CPU lacks AVX2 or the strip is malformed.
pub(super) fn strip(strip: &Strip<'_, u8, i32>, hits: &mut Hits) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    check(strip);
    hits.reserve(GROUP * strip.columns());
    // SAFETY: the CPU has AVX2, the strip's slices have the required lengths, and there is room for as many hits as
    // there are pairs.
    unsafe {
        if strip.has_terms() {
            strip_256::<true>(strip, hits);
        } else {
            strip_256::<false>(strip, hits);
        }
    }
}

/// Writes all sums of a strip, row by row.
///
/// # Panics
/// When the CPU lacks AVX2, the strip is malformed, or `sums` does not have exactly one place per pair.
pub(super) fn sums(strip: &Strip<'_, u8, i32>, sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX2 and FMA");
    check(strip);
    assert_eq!(sums.len(), GROUP * strip.columns(), "one sum a pair");
    // SAFETY: the CPU has AVX2, the strip's slices have the required lengths, and there is a place for every sum.
    unsafe { sums_256(strip, sums) }
}

/// Checks that all slices have the required lengths.
fn check(strip: &Strip<'_, u8, i32>) {
    strip.check();
    let spans = strip.length.div_ceil(SPAN);
    assert_eq!(
        strip.offsets.len(),
        GROUP * spans,
        "an offset a row and span"
    );
}

/// # Safety
/// AVX2; the strip passed its check; `hits` has room for all its pairs; without `TERMS` the strip has no terms.
#[target_feature(enable = "avx2")]
unsafe fn strip_256<const TERMS: bool>(strip: &Strip<'_, u8, i32>, hits: &mut Hits) {
    for first in (0..GROUP).step_by(ROWS) {
        let row = strip.group * GROUP + first;
        for column in (0..strip.columns()).step_by(COLUMNS) {
            // SAFETY: groups are whole tiles high, and right rows come in whole tiles; there is room for all pairs.
            unsafe {
                let sums = tile::<false, TERMS>(strip, first, column);
                let mut all = sums[0][0];
                for sums in &sums {
                    for sum in sums {
                        all = _mm256_and_si256(all, *sum);
                    }
                }
                // The sign of `and` is set where all are negative.
                if not_negative(all) != 0 {
                    // A copy, because a value whose address is taken lives in memory: otherwise the sums of every tile
                    // would.
                    keep(&{ sums }, (row << 16 | column) as u32, hits);
                }
            }
        }
    }
}

/// # Safety
/// AVX2; the strip passed its check; `places` has one place per pair.
#[target_feature(enable = "avx2")]
unsafe fn sums_256(strip: &Strip<'_, u8, i32>, places: &mut [f32]) {
    let columns = strip.columns();
    for first in (0..GROUP).step_by(ROWS) {
        for column in (0..columns).step_by(COLUMNS) {
            // SAFETY: groups are whole tiles high, and right rows come in whole tiles; each row has `columns` places.
            unsafe {
                let sums = tile::<true, true>(strip, first, column);
                for (row, sums) in (first..).zip(&sums) {
                    for (wide, sum) in sums.iter().enumerate() {
                        let place = places.as_mut_ptr();
                        let place = place.add(row * columns + column + wide * WIDTH);
                        _mm256_storeu_ps(place, _mm256_cvtepi32_ps(*sum));
                    }
                }
            }
        }
    }
}

/// The sums of a tile: the rows of a strip's group starting at `first` with the columns starting at `column`. Each use
/// is its own monomorphization, because a function is inlined only where it is used once, and only then do its sums
/// stay in registers.
///
/// # Safety
/// AVX2; the strip passed its check; both indices begin a tile; without `TERMS` the strip has no terms, frequent or
/// rare.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn tile<const ALL: bool, const TERMS: bool>(
    strip: &Strip<'_, u8, i32>,
    first: usize,
    column: usize,
) -> Sums {
    let row = strip.group * GROUP + first;
    // SAFETY: the left block has the rows' panel, and the rows lie within it; the right block has the columns' panel,
    // with a threshold for each.
    unsafe {
        let left = strip.left.as_ptr().add(row / PANEL * strip.panel());
        let left = left.add(row % PANEL * STEP);
        let right = strip.right.as_ptr().add(column / PANEL * strip.panel());
        let right = right.add(column % PANEL * STEP);
        let mut sums = span::<ALL, TERMS, true>(strip, first, left, right, 0);
        for at in (SPAN..strip.length).step_by(SPAN) {
            let more = span::<ALL, TERMS, false>(strip, first, left, right, at);
            for (sum, more) in sums.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
                *sum = _mm256_add_epi32(*sum, *more);
            }
        }
        if TERMS {
            add_terms::<ALL>(strip, first, column, &mut sums);
        }
        for wide in 0..WIDE {
            let at = column + wide * WIDTH;
            let from_right = _mm256_loadu_si256(strip.from_right.as_ptr().add(at).cast());
            for (row, sums) in (first..).zip(&mut sums) {
                let from_left = _mm256_set1_epi32(strip.from_left[row]);
                let from = _mm256_max_epi32(from_left, from_right);
                sums[wide] = _mm256_add_epi32(sums[wide], from);
            }
        }
        sums
    }
}

/// Adds the contribution of a tile's terms.
///
/// # Safety
/// AVX2; the strip passed its check; both indices begin a tile.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_terms<const ALL: bool>(
    strip: &Strip<'_, u8, i32>,
    first: usize,
    column: usize,
    sums: &mut Sums,
) {
    // SAFETY: if there are any, the right block has the panel's terms, and each step of the left rows lies within it;
    // and there are `GROUP` sums of rare terms for each right row.
    unsafe {
        if !strip.right_terms.is_empty() {
            let right = column / PANEL * PANEL * strip.terms() + column % PANEL * STEP;
            let right = strip.right_terms.as_ptr().add(right);
            let shift = _mm_cvtsi32_si128(strip.terms_shift.cast_signed());
            for (steps, sums) in strip.left_terms[first..].iter().zip(&mut *sums) {
                let mut more = [_mm256_setzero_si256(); WIDE];
                for step in *steps {
                    let left = _mm256_set1_epi32(step.values);
                    let right = right.add(step.at as usize);
                    for (wide, more) in more.iter_mut().enumerate() {
                        let right = _mm256_loadu_si256(right.add(wide * STEP * WIDTH).cast());
                        *more = _mm256_add_epi16(*more, _mm256_maddubs_epi16(right, left));
                    }
                }
                for (sum, more) in sums.iter_mut().zip(more) {
                    let more = _mm256_madd_epi16(more, _mm256_set1_epi16(1));
                    *sum = _mm256_add_epi32(*sum, _mm256_sll_epi32(more, shift));
                }
            }
        }
        if !strip.rare.is_empty() {
            let shift = _mm_cvtsi32_si128(strip.rare_power);
            for (row, sums) in (first..).zip(sums) {
                let rare = strip.rare.as_ptr().add(row * strip.rare_stride + column);
                for (wide, sum) in sums.iter_mut().enumerate() {
                    let rare = _mm_loadu_si128(rare.add(wide * WIDTH).cast());
                    let rare = _mm256_sll_epi32(_mm256_cvtepu16_epi32(rare), shift);
                    *sum = _mm256_add_epi32(*sum, rare);
                }
            }
        }
    }
}

/// The 32-bit sums of a tile's products of the values starting at `at`, which is 0 for the `FIRST` ones.
///
/// # Safety
/// AVX2; the strip passed its check; `left` and `right` point to a tile's first rows in their panels.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn span<const ALL: bool, const TERMS: bool, const FIRST: bool>(
    strip: &Strip<'_, u8, i32>,
    first: usize,
    left: *const u8,
    right: *const u8,
    at: usize,
) -> Sums {
    let offsets = &strip.offsets[at / SPAN * GROUP + first..][..ROWS];
    let mut sums = [[_mm256_setzero_si256(); WIDE]; ROWS];
    for (sums, &offset) in sums.iter_mut().zip(offsets) {
        *sums = [_mm256_set1_epi32(offset); WIDE];
    }
    let steps = SPAN.min(strip.length - at) / STEP;
    // SAFETY: from there on the panels have as many steps.
    let mut sums = unsafe {
        let (left, right) = (left.add(at * PANEL), right.add(at * PANEL));
        multiply::<ALL, TERMS, FIRST>(left, right, steps, sums)
    };
    for sum in sums.as_flattened_mut() {
        *sum = _mm256_madd_epi16(*sum, _mm256_set1_epi16(1));
    }
    sums
}

/// Adds the products of a tile to its sums. Takes and returns them by value, so that they stay in registers.
///
/// # Safety
/// AVX2; both pointers lie in panels of `steps` steps, with `ROWS` rows from there on in one and `COLUMNS` rows in the
/// other.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn multiply<const ALL: bool, const TERMS: bool, const FIRST: bool>(
    mut left: *const u8,
    mut right: *const u8,
    steps: usize,
    mut sums: Sums,
) -> Sums {
    for _ in 0..steps {
        // SAFETY: each panel has this step.
        unsafe {
            let values = [
                _mm256_loadu_si256(right.cast()),
                _mm256_loadu_si256(right.add(STEP * WIDTH).cast()),
            ];
            for (at, sums) in sums.iter_mut().enumerate() {
                let left = _mm256_set1_epi32(left.add(at * STEP).cast::<i32>().read_unaligned());
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(value, left));
                }
            }
        }
        left = left.wrapping_add(PANEL * STEP);
        right = right.wrapping_add(PANEL * STEP);
    }
    sums
}

#[target_feature(enable = "avx2")]
#[inline]
fn not_negative(values: __m256i) -> u32 {
    !_mm256_movemask_ps(_mm256_castsi256_ps(values)).cast_unsigned() & 0xFF
}

/// Adds the pairs of a tile whose sums are not negative to the hits; `pair` is the tile's first.
///
/// # Safety
/// AVX2; `hits` has room for all pairs of the tile.
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn keep(sums: &Sums, pair: u32, hits: &mut Hits) {
    let mut some = 0_u64;
    for (at, sum) in sums.as_flattened().iter().enumerate() {
        some |= u64::from(not_negative(*sum)) << (at * WIDTH);
    }
    let places = hits.pairs.as_mut_ptr();
    while some != 0 {
        let at = some.trailing_zeros();
        some &= some - 1;
        let (row, column) = (at / COLUMNS as u32, at % COLUMNS as u32);
        // SAFETY: there is room for the tile's pairs.
        unsafe {
            *places.add(hits.count) = pair + (row << 16) + column;
        }
        hits.count += 1;
    }
}
