//! Functions of single values, and sums, with the same bits on every machine: each is a fixed sequence of IEEE
//! operations, which compilers turn into vectors without changing it.
//!
//! They are `#[inline(always)]`, so that they are compiled for the vectors of whichever kernel calls them.

/// Values that are summed side by side.
pub(crate) const LANES: usize = 16;

/// Adding this to a value of less than 2²² rounds it to the nearest whole number, and ties to the even one; the number
/// is then also in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// The nearest whole number, of two the even one, to a value of less than 2²².
#[inline(always)]
pub(crate) fn round(value: f32) -> f32 {
    (value + ROUND) - ROUND
}

/// eˣ with an error of at most two units in the last place; 0 where that is below the smallest normal number.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts, of which the first has few bits, so that its multiples are exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    /// Of the polynomial for (eʳ − 1 − r) / r² where |r| ≤ ln 2 / 2 (Cephes).
    const TERMS: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let bounded = x.clamp(-87.0, 88.0);
    let shifted = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let twos = shifted - ROUND;
    let rest = twos.mul_add(-LOW, twos.mul_add(-HIGH, bounded));
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum.mul_add(rest, *term);
    }
    let power = sum.mul_add(rest * rest, rest) + 1.0;
    // The whole number of twos is in the lowest bits of `shifted`; moved to the exponent it is a factor.
    let factor = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    let value = power * f32::from_bits(factor);
    if x < -87.0 {
        0.0
    } else if x > 88.0 {
        f32::INFINITY
    } else {
        value
    }
}

/// The error function, with an error of at most 5 · 10⁻⁷ (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    const TERMS: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_7,
        -0.284_496_75,
        0.254_829_6,
    ];
    let size = x.abs();
    let t = 1.0 / size.mul_add(0.327_591_1, 1.0);
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum.mul_add(t, *term);
    }
    let rest = sum * t * exp(-size * size);
    (1.0 - rest).copysign(x)
}

/// The sum of values: lane l sums l, l + 16, …; then lanes l and l + 8 are added, l and l + 4, l and l + 2, l and l + 1.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    folded(values, 0.0, |sum, value| sum + value)
}

/// The greatest of values; −∞ of none.
#[inline(always)]
pub(crate) fn greatest(values: &[f32]) -> f32 {
    folded(values, f32::NEG_INFINITY, f32::max)
}

/// The least of values; ∞ of none.
#[inline(always)]
pub(crate) fn least(values: &[f32]) -> f32 {
    folded(values, f32::INFINITY, f32::min)
}

#[inline(always)]
fn folded(values: &[f32], first: f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [first; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, *value);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = fold(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exp_is_near_the_true_value(x in -86.9_f32..87.9) {
            let expected = libm::exp(f64::from(x));
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            prop_assert!(error < 2.5e-7, "{x}: {error:e}");
        }

        #[test]
        fn erf_is_near_the_true_value(x in -8.0_f32..8.0) {
            let expected = libm::erf(f64::from(x));
            let error = (f64::from(erf(x)) - expected).abs();
            prop_assert!(error < 5e-7, "{x}: {error:e}");
        }

        #[test]
        fn rounding_is_that_of_ieee(x in -1e6_f32..1e6) {
            prop_assert_eq!(round(x), x.round_ties_even());
        }
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(
            (exp(0.0), exp(f32::NEG_INFINITY), exp(-100.0)),
            (1.0, 0.0, 0.0)
        );
        assert_eq!((exp(1000.0), exp(f32::MIN)), (f32::INFINITY, 0.0));
        assert_eq!(
            (erf(0.0).abs() < 1e-6, erf(9.0), erf(-9.0)),
            (true, 1.0, -1.0)
        );
        assert_eq!((round(0.5), round(1.5), round(-2.5)), (0.0, 2.0, -2.0));
        assert!(exp(f32::NAN).is_nan());
        let values: Vec<f32> = (1..=40).map(|n| n as f32).collect();
        assert_eq!(
            (sum(&values), greatest(&values), least(&values)),
            (820.0, 40.0, 1.0)
        );
        assert_eq!((sum(&[]), greatest(&[])), (0.0, f32::NEG_INFINITY));
    }
}
