//! A fixed rotation that spreads large coordinates over all of them, so that 8-bit values are used
//! well. It preserves dot products, apart from rounding.

/// Relative rounding error of a rotated row, by norm: at most 26 additions and two products in
/// sequence for 4,096 values, each off by at most 2^-24; times two.
pub(super) const ERROR: f64 = 4e-6;

/// Random signs, then Hadamard transforms over two spans whose lengths are powers of two and which
/// overlap so that together they cover the row.
pub(super) struct Rotation {
    signs: [Vec<f32>; 2],
    span: usize,
}

impl Rotation {
    /// The rotation for rows of `length` values; always the same one.
    pub(super) fn new(length: usize) -> Self {
        let span = if length == 0 { 0 } else { 1 << length.ilog2() };
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut signs = || {
            let sign = |_| {
                state = state
                    .wrapping_mul(0x5851_F42D_4C95_7F2D)
                    .wrapping_add(0x1405_7B7E_F767_814F);
                if state >> 63 == 0 { 1.0 } else { -1.0 }
            };
            (0..length).map(sign).collect()
        };
        Self {
            signs: [signs(), signs()],
            span,
        }
    }

    /// Rotates a row in place. Inlined into each kernel.
    #[inline(always)]
    pub(super) fn apply(&self, row: &mut [f32]) {
        let length = row.len();
        for (signs, start) in self.signs.iter().zip([0, length - self.span]) {
            for (value, sign) in row.iter_mut().zip(signs) {
                *value *= sign;
            }
            hadamard(&mut row[start..start + self.span]);
        }
    }
}

/// Values that fit a register.
const TOGETHER: usize = 8;

/// The orthonormal Hadamard transform; the number of values is a power of two or zero.
#[inline(always)]
fn hadamard(values: &mut [f32]) {
    let mut half = values.len() / 2;
    while half >= TOGETHER {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            let (low, high) = (
                low.as_chunks_mut::<TOGETHER>().0,
                high.as_chunks_mut::<TOGETHER>().0,
            );
            for (low, high) in low.iter_mut().zip(high) {
                for (low, high) in low.iter_mut().zip(high) {
                    (*low, *high) = (*low + *high, *low - *high);
                }
            }
        }
        half /= 2;
    }
    let scale = 1.0 / (values.len() as f32).sqrt();
    let (chunks, rest) = values.as_chunks_mut::<TOGETHER>();
    for chunk in chunks {
        butterflies::<4>(chunk);
        butterflies::<2>(chunk);
        butterflies::<1>(chunk);
        chunk.iter_mut().for_each(|value| *value *= scale);
    }
    while half > 0 && !rest.is_empty() {
        for pair in rest.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half /= 2;
    }
    rest.iter_mut().for_each(|value| *value *= scale);
}

/// Sums and differences of values `HALF` apart.
#[inline(always)]
fn butterflies<const HALF: usize>(values: &mut [f32; TOGETHER]) {
    let before = *values;
    for (at, value) in values.iter_mut().enumerate() {
        let other = before[at ^ HALF];
        *value = if at & HALF == 0 {
            before[at] + other
        } else {
            other - before[at]
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_dot_products() {
        for length in [0, 1, 2, 3, 16, 100, 384, 1000] {
            let rotation = Rotation::new(length);
            let mut left: Vec<f32> = (0..length).map(|k| (k as f32).sin()).collect();
            let mut right: Vec<f32> = (0..length).map(|k| (k as f32 * 0.7).cos()).collect();
            let dot = |left: &[f32], right: &[f32]| -> f64 {
                let products = left.iter().zip(right);
                products.map(|(l, r)| f64::from(*l) * f64::from(*r)).sum()
            };
            let before = dot(&left, &right);
            let norms = dot(&left, &left).max(dot(&right, &right));
            rotation.apply(&mut left);
            rotation.apply(&mut right);
            let error = (dot(&left, &right) - before).abs();
            assert!(error <= 2.0 * ERROR * norms, "{length}: {error:e}");
        }
    }
}
