//! AVX-512: one register holds the 16 chains; 8 × 48 tiles for approximate scores.
//!
//! Final scores have the bits of `scalar`: each chain is the same sequence of fused multiply-adds,
//! and the tree adds the same lanes.

// Intrinsics on raw pointers are what this file is for. Every function that needs the features
// is private and is entered only by safe ones that check them and the lengths.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128, __m512, __m512i, __mmask16, _CMP_GE_OQ, _MM_HINT_T0, _mm_add_ps, _mm_cvtss_f32,
    _mm_movehl_ps, _mm_movelh_ps, _mm_prefetch, _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_ps,
    _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_loadu_si256,
    _mm512_add_epi32, _mm512_add_ps, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_cmp_ps_mask,
    _mm512_cmpeq_epi32_mask, _mm512_cvtepi16_epi32, _mm512_cvtepi32_ps, _mm512_extractf64x4_pd,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_compress_epi32, _mm512_maskz_compress_ps,
    _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    _mm512_storeu_si512,
};

use kindred_shared::block::LANES;

use super::rows::Sparse;
use super::scalar;
use super::strip::{GROUP, Hits, PANEL, Strip, split};
use super::terms::{Shared, TermIndex, Weighted};

/// Rows that share the loads of another row.
const ROWS: usize = 8;
/// Registers of a panel's width.
const WIDE: usize = PANEL / LANES;

/// Whether this CPU can run this kernel.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

/// The canonical dot products of a row with some of `rows`; with `FETCH` these are fetched ahead,
/// which pays if they are in no cache.
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
    // SAFETY: the CPU has AVX-512, and `at` gives only rows as long as `row`.
    unsafe { dots_at::<FETCH>(row, scores, at) }
}

/// The sparse dot products of one right row with the left rows of an index.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn sparse_dots(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512 and FMA; the function is safe code otherwise.
    unsafe { sparse_dots_fma(index, ids, weights, sums) }
}

/// Adds the canonical sparse dot products of pairs, see `scalar`.
///
/// # Panics
/// When the CPU lacks AVX-512, or there is no such row.
pub(super) fn sparse_pairs(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; the function is safe code otherwise.
    unsafe { sparse_pairs_512(lefts, rights, pairs, scores) }
}

/// The sparse dot products of a left row with all rows of a right index, approximately.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn sparse_sums(shared: &Shared, right: &TermIndex, row: usize, sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; the function is safe code otherwise.
    unsafe { sparse_sums_512(shared, right, row, sums) }
}

/// Finds the pairs of a strip whose approximate score reaches the lower of their thresholds. An
/// approximate score is a sum in the order of the values, from minus the threshold on.
///
/// # Panics
/// When the CPU lacks AVX-512 or the strip is not well made.
pub(super) fn strip(strip: &Strip<'_, f32, f32>, hits: &mut Hits<f32>) {
    assert!(available(), "this kernel needs AVX-512");
    strip.check();
    hits.reserve(GROUP * strip.columns());
    // SAFETY: the CPU has AVX-512, the strip's slices are as long as they must be, and there is
    // room for as many hits as there are pairs.
    unsafe { strip_512(strip, hits) }
}

/// What a strip's sums come to, all of them, row after row.
///
/// # Panics
/// When the CPU lacks AVX-512, the strip is not well made, or `sums` has not one place a pair.
pub(super) fn sums(strip: &Strip<'_, f32, f32>, sums: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    strip.check();
    assert_eq!(sums.len(), GROUP * strip.columns(), "one sum a pair");
    // SAFETY: the CPU has AVX-512, the strip's slices are as long as they must be, and there is a
    // place for every sum.
    unsafe { sums_512(strip, sums) }
}

/// The canonical dot products of pairs: left row in the upper half, right row in the lower. Right
/// rows are fetched ahead; left ones change less often.
///
/// # Panics
/// When the CPU lacks AVX-512, two rows are not equally long, or there is no such row.
pub(super) fn pairs(left: &[&[f32]], right: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    assert!(available(), "this kernel needs AVX-512");
    assert_eq!(pairs.len(), scores.len(), "one score a pair");
    // SAFETY: the CPU has AVX-512; the function is checked otherwise.
    unsafe { pairs_512(left, right, pairs, scores) }
}

/// Does work that is inlined, with the vectors of this kernel.
///
/// # Panics
/// When the CPU lacks AVX-512.
pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
    assert!(available(), "this kernel needs AVX-512");
    // SAFETY: the CPU has AVX-512; the function is safe code otherwise.
    unsafe { run_512(work) }
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn run_512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Fetches a row ahead.
#[inline(always)]
fn fetch(row: &[f32]) {
    for line in row.chunks(LANES) {
        // SAFETY: every x86-64 has it, and it may be asked for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// # Safety
/// AVX-512; `pairs` and `scores` are equally long.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn pairs_512(lefts: &[&[f32]], rights: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    let rows = |pair: u32| {
        let (left, right) = split(pair);
        (lefts[left], rights[right])
    };
    let (chunks, rest) = pairs.as_chunks::<ROWS>();
    let (places, last) = scores.as_chunks_mut::<ROWS>();
    for (at, (chunk, places)) in chunks.iter().zip(places).enumerate() {
        if let Some(next) = chunks.get(at + 1) {
            next.iter().for_each(|&pair| fetch(rows(pair).1));
        }
        let rows = chunk.map(rows);
        let length = rows[0].0.len();
        for (left, right) in rows {
            assert!(
                left.len() == length && right.len() == length,
                "rows of one space are alike"
            );
        }
        // SAFETY: all rows can be read for `length` values; a chunk has eight places.
        unsafe {
            let sums = pair_chains(rows, length);
            let [a, b, c, d, e, f, g, h] = sums;
            _mm_storeu_ps(places.as_mut_ptr(), tree(a, b, c, d));
            _mm_storeu_ps(places.as_mut_ptr().add(4), tree(e, f, g, h));
        }
    }
    for (&pair, score) in rest.iter().zip(last) {
        let (left, right) = rows(pair);
        assert_eq!(left.len(), right.len(), "rows of one space are alike");
        // SAFETY: both can be read for `left`'s length.
        let [sum] = unsafe { pair_chains([(left, right)], left.len()) };
        *score = _mm_cvtss_f32(tree(sum, sum, sum, sum));
    }
}

/// The chains of the dot products of some pairs of rows.
///
/// # Safety
/// AVX-512; each can be read for `length` values.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn pair_chains<const N: usize>(rows: [(&[f32], &[f32]); N], length: usize) -> [__m512; N] {
    let rows = rows.map(|(left, right)| (left.as_ptr(), right.as_ptr()));
    let mut sums = [_mm512_setzero_ps(); N];
    let whole = length - length % LANES;
    let mut k = 0;
    while k < whole {
        for (sum, (left, right)) in sums.iter_mut().zip(rows) {
            // SAFETY: k + 15 < whole ≤ the length of every row.
            unsafe {
                let right = _mm512_loadu_ps(right.add(k));
                *sum = _mm512_fmadd_ps(_mm512_loadu_ps(left.add(k)), right, *sum);
            }
        }
        k += LANES;
    }
    if whole < length {
        let mask: __mmask16 = (1 << (length - whole)) - 1;
        for (sum, (left, right)) in sums.iter_mut().zip(rows) {
            // SAFETY: the mask leaves out what lies beyond the rows; zeros take its place, as the
            // contract has it.
            unsafe {
                let right = _mm512_maskz_loadu_ps(mask, right.add(whole));
                let left = _mm512_maskz_loadu_ps(mask, left.add(whole));
                *sum = _mm512_fmadd_ps(left, right, *sum);
            }
        }
    }
    sums
}

/// # Safety
/// AVX-512; `left(at)` for at < `scores.len()` can be read for `row.len()` values. With
/// `FETCH` rows are fetched ahead, for they lie anywhere.
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
        // SAFETY: the rows can be read for `row.len()` values; scores at … at+7 are there.
        unsafe {
            let [a, b, c, d, e, f, g, h] = chains::<ROWS>(rows, row);
            let scores = scores.as_mut_ptr().add(at);
            _mm_storeu_ps(scores, tree(a, b, c, d));
            _mm_storeu_ps(scores.add(4), tree(e, f, g, h));
        }
        at += ROWS;
    }
    while at < count {
        // SAFETY: the row can be read for `row.len()` values.
        let [sum] = unsafe { chains::<1>([left(at)], row) };
        scores[at] = _mm_cvtss_f32(tree(sum, sum, sum, sum));
        at += 1;
    }
}

/// The chains of the dot products of some rows with `row`. As many rows as hide how long an
/// addition takes.
///
/// # Safety
/// AVX-512; each can be read for `row.len()` values.
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
        // SAFETY: the mask leaves out what lies beyond the rows; zeros take its place, as the
        // contract has it.
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
    // Lanes 0, 1 and 2, 3 of two rows side by side: one addition does l + (l+2) for both.
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

#[target_feature(enable = "avx512f,avx2,fma")]
fn sparse_pairs_512(
    lefts: &[Sparse<'_>],
    rights: &[Sparse<'_>],
    pairs: &[u32],
    scores: &mut [f32],
) {
    for (at, (score, &pair)) in scores.iter_mut().zip(pairs).enumerate() {
        if let Some(&next) = pairs.get(at + AHEAD) {
            let (ids, weights) = rights[split(next).1];
            for line in (0..ids.len()).step_by(LANES) {
                _mm_prefetch::<_MM_HINT_T0>(ids.as_ptr().wrapping_add(line).cast());
                _mm_prefetch::<_MM_HINT_T0>(weights.as_ptr().wrapping_add(line).cast());
            }
        }
        let (left, right) = split(pair);
        let (left, right) = (lefts[left], rights[right]);
        *score += match left.0.len() {
            0..=32 => sparse_dot::<2>(left, right),
            33..=64 => sparse_dot::<4>(left, right),
            _ => scalar::sparse_dot(left, right),
        };
    }
}

/// Sparse rows that are fetched ahead.
const AHEAD: usize = 4;

/// The canonical sparse dot product of two rows: each term of the right one is looked for among
/// all of the left one at once, which `N` registers hold.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn sparse_dot<const N: usize>(left: Sparse<'_>, right: Sparse<'_>) -> f32 {
    let (ids, weights) = left;
    let mut held = [_mm512_setzero_si512(); N];
    let mut there = [0_u16; N];
    for (at, (held, there)) in held.iter_mut().zip(&mut there).enumerate() {
        let count = ids.len().saturating_sub(at * LANES).min(LANES);
        *there = ((1_u32 << count) - 1) as u16;
        let start = (at * LANES).min(ids.len());
        // SAFETY: the mask leaves out what lies beyond the ids.
        *held = unsafe { _mm512_maskz_loadu_epi32(*there, ids[start..].as_ptr().cast()) };
    }
    let mut shared = [0_u16; N];
    for &id in right.0 {
        let wanted = _mm512_set1_epi32(id.cast_signed());
        for (shared, held) in shared.iter_mut().zip(held) {
            *shared |= _mm512_cmpeq_epi32_mask(held, wanted);
        }
    }
    let mut sum = 0.0_f32;
    let mut from = 0;
    for (at, (shared, there)) in shared.into_iter().zip(there).enumerate() {
        let mut shared = shared & there;
        while shared != 0 {
            let own = at * LANES + shared.trailing_zeros() as usize;
            shared &= shared - 1;
            // It is there, and later than the one before.
            while right.0[from] != ids[own] {
                from += 1;
            }
            sum = weights[own].mul_add(right.1[from], sum);
        }
    }
    sum
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn sparse_sums_512(shared: &Shared, right: &TermIndex, row: usize, sums: &mut [f32]) {
    shared.sums(right, row, sums, |columns, sums| {
        let (wide, _) = sums.as_chunks_mut::<{ 2 * PANEL }>();
        let whole = wide.len() * 2 * PANEL;
        for (at, sums) in wide.iter_mut().enumerate() {
            add_columns::<{ 2 * WIDE }>(right, columns, at * 2 * PANEL, sums);
        }
        if whole < sums.len() {
            add_columns::<WIDE>(right, columns, whole, &mut sums[whole..]);
        }
    });
}

/// Puts the sums of weighted columns, from a row on, into `N` registers of sums.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_columns<const N: usize>(
    right: &TermIndex,
    columns: &[Weighted],
    from: usize,
    sums: &mut [f32],
) {
    assert!(sums.len() >= N * LANES, "one sum a row");
    let mut held = [_mm512_setzero_ps(); N];
    for weighted in columns {
        let column = &right.column(weighted)[from..from + N * LANES];
        let weight = _mm512_set1_ps(weighted.weight);
        for (at, held) in held.iter_mut().enumerate() {
            // SAFETY: the column has `N` registers of rows from there on.
            let units = unsafe { _mm256_loadu_si256(column.as_ptr().add(at * LANES).cast()) };
            let units = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(units));
            *held = _mm512_fmadd_ps(units, weight, *held);
        }
    }
    for (at, held) in held.iter().enumerate() {
        // SAFETY: `N` registers of sums are there.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(at * LANES), *held) };
    }
}

#[target_feature(enable = "avx2,fma")]
fn sparse_dots_fma(index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
    index.add_products(ids, weights, sums);
}

/// # Safety
/// AVX-512; the strip passed its check; `hits` has room for all its pairs and 16 more.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn strip_512(strip: &Strip<'_, f32, f32>, hits: &mut Hits<f32>) {
    let row = strip.group * GROUP;
    for column in (0..strip.columns()).step_by(PANEL) {
        // SAFETY: right rows come in whole panels; there is room for all pairs.
        unsafe {
            let sums = tile(strip, column);
            let mut most = sums[0][0];
            for sums in &sums {
                for sum in sums {
                    most = _mm512_max_ps(most, *sum);
                }
            }
            if _mm512_cmp_ps_mask::<_CMP_GE_OQ>(most, _mm512_setzero_ps()) != 0 {
                keep_all(&sums, (row << 16 | column) as u32, hits);
            }
        }
    }
}

/// # Safety
/// AVX-512; the strip passed its check; `places` has one for each pair.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn sums_512(strip: &Strip<'_, f32, f32>, places: &mut [f32]) {
    let columns = strip.columns();
    for column in (0..columns).step_by(PANEL) {
        // SAFETY: right rows come in whole panels, and each row has `columns` places.
        unsafe {
            let sums = tile(strip, column);
            for (at, sums) in sums.iter().enumerate() {
                for (wide, sum) in sums.iter().enumerate() {
                    let place = places.as_mut_ptr();
                    _mm512_storeu_ps(place.add(at * columns + column + wide * LANES), *sum);
                }
            }
        }
    }
}

/// The sums of a strip's group with the panel from `column` on.
///
/// # Safety
/// AVX-512; the strip passed its check; `column` is a panel's first.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn tile(strip: &Strip<'_, f32, f32>, column: usize) -> [[__m512; WIDE]; GROUP] {
    let row = strip.group * GROUP;
    let columns = strip.columns();
    // SAFETY: the left block has the group's panel, and the group lies within it; the right one has
    // the column's, with a threshold and, where there are any, `GROUP` sparse scores for each row.
    unsafe {
        let left = strip.left.as_ptr().add(row / PANEL * strip.panel());
        let left = left.add(row % PANEL);
        let right = strip.right.as_ptr().add(column * strip.length);
        let thresholds = strip.from_right.as_ptr().add(column);
        let mut sums = [[_mm512_setzero_ps(); WIDE]; GROUP];
        for wide in 0..WIDE {
            let from_right = _mm512_loadu_ps(thresholds.add(wide * LANES));
            for (sums, from_left) in sums.iter_mut().zip(strip.from_left) {
                sums[wide] = _mm512_max_ps(_mm512_set1_ps(*from_left), from_right);
            }
        }
        if !strip.sparse.is_empty() {
            for (at, sums) in sums.iter_mut().enumerate() {
                for (wide, sum) in sums.iter_mut().enumerate() {
                    let sparse = strip.sparse.as_ptr();
                    let sparse = sparse.add(at * columns + column + wide * LANES);
                    *sum = _mm512_add_ps(*sum, _mm512_loadu_ps(sparse));
                }
            }
        }
        multiply(left, right, strip.length, sums)
    }
}

/// Adds the products of a tile to its sums. Takes and gives them by value, so that they stay in
/// registers.
///
/// # Safety
/// AVX-512; both lie in panels of `length` steps, the one with `GROUP` rows from there on and the
/// other at a panel's first row.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
unsafe fn multiply(
    mut left: *const f32,
    mut right: *const f32,
    length: usize,
    mut sums: [[__m512; WIDE]; GROUP],
) -> [[__m512; WIDE]; GROUP] {
    for _ in 0..length {
        // SAFETY: a step of each panel is there.
        unsafe {
            let values = [
                _mm512_loadu_ps(right),
                _mm512_loadu_ps(right.add(LANES)),
                _mm512_loadu_ps(right.add(2 * LANES)),
            ];
            for (at, sums) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*left.add(at));
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = _mm512_fmadd_ps(left, value, *sum);
                }
            }
        }
        left = left.wrapping_add(PANEL);
        right = right.wrapping_add(PANEL);
    }
    sums
}

/// Adds the pairs of a tile that are not negative to the hits; `pair` is the tile's first.
///
/// # Safety
/// AVX-512; `hits` has room for all pairs of the tile and 16 more.
#[target_feature(enable = "avx512f")]
#[inline(never)]
unsafe fn keep_all(sums: &[[__m512; WIDE]; GROUP], pair: u32, hits: &mut Hits<f32>) {
    for (pair, sums) in (0..).map(|row| pair + (row << 16)).zip(sums) {
        for (pair, sum) in (0..).map(|wide| pair + wide * LANES as u32).zip(sums) {
            let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(*sum, _mm512_setzero_ps());
            if mask != 0 {
                // SAFETY: there is room for the tile's pairs and 16 more.
                unsafe { keep(hits, mask, pair, *sum) };
            }
        }
    }
}

/// Adds the lanes of a mask to the hits; `pair` is that of lane 0.
///
/// # Safety
/// AVX-512; `hits` has room for 16 more.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn keep(hits: &mut Hits<f32>, mask: __mmask16, pair: u32, sums: __m512) {
    // SAFETY: 16 values can be written from `count` on.
    unsafe {
        let pairs = hits.pairs.as_mut_ptr().add(hits.count);
        _mm512_storeu_si512(
            pairs.cast(),
            _mm512_maskz_compress_epi32(mask, pairs_from(pair)),
        );
        let values = hits.values.as_mut_ptr().add(hits.count);
        _mm512_storeu_ps(values, _mm512_maskz_compress_ps(mask, sums));
    }
    hits.count += mask.count_ones() as usize;
}

/// The pair of each lane, from that of lane 0.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn pairs_from(pair: u32) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_add_epi32(_mm512_set1_epi32(pair.cast_signed()), lanes)
}
