//! The canonical arithmetic in plain Rust, which every other kernel must reproduce bit for bit.

use super::slices::LANES;
use super::strip::{GROUP, Hits, PANEL, Strip, split};
use super::terms::TermIndex;

/// Rows and columns of a tile of approximate scores: 8 vectors of 128 bits.
const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// The canonical dot product of two rows, as if padded with zeros to a multiple of 16: 16 chains of fused multiply-add
/// from 0, where lane l sums k = l, l+16, …; then lanes l and l+8 are added, l and l+4, l and l+2, l and l+1.
///
/// # Panics
/// When the rows are not equally long.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len(), "rows of one space are alike");
    let mut lanes = [0.0_f32; LANES];
    let mut add = |left: &[f32; LANES], right: &[f32; LANES]| {
        for ((lane, l), r) in lanes.iter_mut().zip(left).zip(right) {
            *lane = l.mul_add(*r, *lane);
        }
    };
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        add(left, right);
    }
    if !left_rest.is_empty() {
        add(&padded(left_rest), &padded(right_rest));
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

fn padded(values: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    padded[..values.len()].copy_from_slice(values);
    padded
}

/// The canonical dot products of a row with some of `rows`.
pub(super) fn gather(row: &[f32], rows: &[&[f32]], others: &[u32], scores: &mut [f32]) {
    for (score, &other) in scores.iter_mut().zip(others) {
        *score = dot(row, rows[other as usize]);
    }
}

/// The canonical dot products of pairs: left row in the upper half, right row in the lower.
pub(super) fn pairs(lefts: &[&[f32]], rights: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
    for (score, &pair) in scores.iter_mut().zip(pairs) {
        let (left, right) = split(pair);
        *score = dot(lefts[left], rights[right]);
    }
}

/// Finds the pairs of a strip whose approximate score reaches the lower of their two thresholds. Plain products and
/// sums in the order of the values, which compilers vectorize on any CPU.
///
/// # Panics
/// When the strip is malformed.
pub(super) fn strip(strip: &Strip<'_, f32, f32>, hits: &mut Hits) {
    strip.check();
    hits.reserve(GROUP * strip.columns());
    tiles(strip, |pair, sum| {
        if sum >= 0.0 {
            hits.push(pair);
        }
    });
}

/// Writes all sums of a strip, row by row.
///
/// # Panics
/// When the strip is malformed, or `sums` does not have exactly one place per pair.
pub(super) fn sums(strip: &Strip<'_, f32, f32>, sums: &mut [f32]) {
    strip.check();
    let columns = strip.columns();
    assert_eq!(sums.len(), GROUP * columns, "one sum a pair");
    tiles(strip, |pair, sum| {
        let (row, column) = split(pair);
        sums[row % GROUP * columns + column] = sum;
    });
}

fn tiles(strip: &Strip<'_, f32, f32>, mut each: impl FnMut(u32, f32)) {
    let columns = strip.columns();
    let first = strip.group * GROUP;
    let left = &strip.left[first / PANEL * strip.panel()..][..strip.panel()];
    let rare_unit = 2.0_f32.powi(strip.rare_power);
    for row in (0..GROUP).step_by(ROWS) {
        for column in (0..columns).step_by(COLUMNS) {
            let right = &strip.right[column / PANEL * strip.panel()..][..strip.panel()];
            let mut sums = [[0.0_f32; COLUMNS]; ROWS];
            for (at, sums) in sums.iter_mut().enumerate() {
                for (wide, sum) in sums.iter_mut().enumerate() {
                    *sum = strip.from_left[row + at].max(strip.from_right[column + wide]);
                    let rare = (row + at) * strip.rare_stride + column + wide;
                    if let Some(rare) = strip.rare.get(rare) {
                        *sum += f32::from(*rare) * rare_unit;
                    }
                }
            }
            let left = left.chunks_exact(PANEL);
            for (left, right) in left.zip(right.chunks_exact(PANEL)) {
                let left = &left[(first + row) % PANEL..][..ROWS];
                let right = &right[column % PANEL..][..COLUMNS];
                for (sums, left) in sums.iter_mut().zip(left) {
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum += left * right;
                    }
                }
            }
            for (at, sums) in sums.iter().enumerate() {
                for (wide, &sum) in sums.iter().enumerate() {
                    each(((first + row + at) << 16 | (column + wide)) as u32, sum);
                }
            }
        }
    }
}

/// A value that at least `keep` of the bounds reach: near the `keep`-th highest, and not above it. Inlined into each
/// kernel, so that counting uses that kernel's vectors.
#[inline(always)]
pub(super) fn kth(bounds: &[f32], keep: usize) -> f32 {
    let (chunks, rest) = bounds.as_chunks::<LANES>();
    let mut high = [f32::NEG_INFINITY; LANES];
    let mut low = [f32::INFINITY; LANES];
    let mut span = |bounds: &[f32]| {
        for ((low, high), &bound) in low.iter_mut().zip(&mut high).zip(bounds) {
            // Minus infinity means "no value": the row itself, or padding of a list.
            let finite = if bound == f32::NEG_INFINITY {
                f32::INFINITY
            } else {
                bound
            };
            *low = if finite < *low { finite } else { *low };
            *high = if bound > *high { bound } else { *high };
        }
    };
    chunks.iter().for_each(|chunk| span(chunk));
    span(rest);
    let high = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let low = low.into_iter().fold(f32::INFINITY, f32::min);
    halve(low, high, keep, |value| reaching(chunks, rest, value))
}

/// Bisects the span from `low` to `high` until about `keep` bounds are above `low`.
#[inline(always)]
pub(super) fn halve(
    mut low: f32,
    mut high: f32,
    keep: usize,
    reaching: impl Fn(f32) -> usize,
) -> f32 {
    if reaching(low) < keep {
        return f32::NEG_INFINITY;
    }
    // Twelve halvings leave little of the span, and a slightly low base costs few candidates.
    let enough = keep..=keep + keep / 8;
    for _ in 0..12 {
        let middle = low + (high - low) / 2.0;
        if !(middle > low && middle < high) {
            break;
        }
        let reached = reaching(middle);
        if reached >= keep {
            low = middle;
            if enough.contains(&reached) {
                break;
            }
        } else {
            high = middle;
        }
    }
    low
}

/// The number of bounds that reach a value.
#[inline(always)]
fn reaching(chunks: &[[f32; LANES]], rest: &[f32], value: f32) -> usize {
    let mut counts = [0_u32; LANES];
    for chunk in chunks {
        for (count, bound) in counts.iter_mut().zip(chunk) {
            *count += u32::from(*bound >= value);
        }
    }
    let rest: u32 = rest.iter().map(|bound| u32::from(*bound >= value)).sum();
    (counts.iter().sum::<u32>() + rest) as usize
}

/// Keeps the candidates whose score reaches a base, in their order; returns their number.
pub(super) fn retain(ids: &mut [u32], scores: &mut [f32], base: f32) -> usize {
    let mut kept = 0;
    // Branchless, because half of them stay.
    for at in 0..ids.len().min(scores.len()) {
        let (id, score) = (ids[at], scores[at]);
        ids[kept] = id;
        scores[kept] = score;
        kept += usize::from(score >= base);
    }
    kept
}

/// The places of the values that reach a base, ascending; `places` is as long as `values`.
#[inline(always)]
pub(super) fn reaching_places(values: &[f32], base: f32, places: &mut [u32]) -> usize {
    let mut count = 0;
    for (at, &value) in (0..).zip(values) {
        places[count] = at;
        count += usize::from(value >= base);
    }
    count
}

/// The canonical sparse dot product of two rows (ids strictly ascending, and weights): one `mul_add` chain from 0 over
/// the terms that both have, by ascending id.
#[inline(always)]
pub(super) fn sparse_dot(left: (&[u32], &[f32]), right: (&[u32], &[f32])) -> f32 {
    let (mut l, mut r, mut sum) = (0, 0, 0.0_f32);
    while let (Some(&left_id), Some(&right_id)) = (left.0.get(l), right.0.get(r)) {
        // Few terms are shared, so this branch is predictable; which list advances is not.
        if left_id == right_id {
            sum = left.1[l].mul_add(right.1[r], sum);
        }
        l += usize::from(left_id <= right_id);
        r += usize::from(right_id <= left_id);
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
        // Written out by hand for 32 values, following the wording of the contract.
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
