//! The number types of files, decoded to `f32`.

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) width: Width,
    pub(super) big_endian: bool,
}

/// Width of an IEEE 754 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    F16,
    F32,
    F64,
}

impl Element {
    /// Plain `f32`.
    pub(super) const F32: Self = Self {
        width: Width::F32,
        big_endian: false,
    };

    /// Bytes per number.
    pub(super) fn bytes(self) -> usize {
        match self.width {
            Width::F16 => 2,
            Width::F32 => 4,
            Width::F64 => 8,
        }
    }

    /// Decodes numbers to the nearest `f32`.
    ///
    /// # Errors
    /// The index and the value of a number that is finite but too large.
    #[inline]
    pub(super) fn decode<'a>(
        self,
        bytes: &[u8],
        places: impl Iterator<Item = &'a mut f32>,
    ) -> Result<(), (usize, f64)> {
        // One loop per case, so that the plain ones compile to copies.
        match (self.width, self.big_endian) {
            (Width::F32, false) => each::<4>(bytes, places, f32::from_le_bytes),
            (Width::F32, true) => each::<4>(bytes, places, f32::from_be_bytes),
            (Width::F16, false) => each::<2>(bytes, places, |b| half(u16::from_le_bytes(b))),
            (Width::F16, true) => each::<2>(bytes, places, |b| half(u16::from_be_bytes(b))),
            (Width::F64, false) => return narrow(bytes, places, f64::from_le_bytes),
            (Width::F64, true) => return narrow(bytes, places, f64::from_be_bytes),
        }
        Ok(())
    }
}

#[inline(always)]
fn each<'a, const N: usize>(
    bytes: &[u8],
    places: impl Iterator<Item = &'a mut f32>,
    read: impl Fn([u8; N]) -> f32,
) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (place, number) in places.zip(numbers) {
        *place = read(*number);
    }
}

#[inline(always)]
fn narrow<'a>(
    bytes: &[u8],
    places: impl Iterator<Item = &'a mut f32>,
    read: impl Fn([u8; 8]) -> f64,
) -> Result<(), (usize, f64)> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let mut all_fit = true;
    for (place, number) in places.zip(numbers) {
        let value = read(*number);
        *place = value as f32;
        all_fit &= place.is_finite() || !value.is_finite();
    }
    if all_fit {
        return Ok(());
    }
    let too_large = |value: f64| value.is_finite() && !(value as f32).is_finite();
    let values = numbers.iter().map(|number| read(*number));
    let first = values.enumerate().find(|&(_, value)| too_large(value));
    first.map_or(Ok(()), Err)
}

/// The value of an IEEE 754 half: 1 bit sign, 5 bits exponent, 10 bits fraction.
fn half(bits: u16) -> f32 {
    /// The smallest half above 0, 2^-24.
    const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
    /// Difference of the exponent biases, 127 − 15.
    const OFFSET: u32 = 112;
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => fraction as f32 * SMALLEST,
        31 => f32::from_bits(f32::INFINITY.to_bits() | fraction << 13),
        _ => f32::from_bits((exponent + OFFSET) << 23 | fraction << 13),
    };
    f32::from_bits(sign | magnitude.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let got = half(bits);
            match (exponent, bits & 1023) {
                (31, 0) => assert_eq!(f64::from(got), sign * f64::INFINITY),
                (31, _) => assert!(got.is_nan()),
                (0, _) => assert_eq!(f64::from(got), sign * fraction * 2_f64.powi(-24)),
                _ => {
                    let value = (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15);
                    assert_eq!(f64::from(got), sign * value);
                }
            }
            assert_eq!(got.is_sign_negative(), sign < 0.0);
        }
    }

    #[test]
    fn doubles_are_rounded_or_refused() {
        let element = Element {
            width: Width::F64,
            big_endian: true,
        };
        let bytes = |values: &[f64]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_be_bytes())
                .collect()
        };
        let mut got = [0.0; 3];
        let fine = bytes(&[0.1, -1e-60, f64::INFINITY]);
        assert_eq!(element.decode(&fine, got.iter_mut()), Ok(()));
        assert_eq!(got, [0.1, 0.0, f32::INFINITY]);
        let large = bytes(&[f64::NAN, f64::from(f32::MAX), -1e39]);
        assert_eq!(element.decode(&large, got.iter_mut()), Err((2, -1e39)));
    }
}
