//! All with all: the canonical score, its kernels, and the comparison of blocks.
//!
//! The canonical score of two features is the dot product of their dense parts (16 chains of
//! fused multiply-add and a fixed tree, see `scalar`) plus the dot product of their sparse parts
//! (one chain by ascending term id), one `f32` addition. Each kernel is one file with the same
//! two functions; all give the same bits, and tests hold each to `scalar`.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod best;
mod compare;
mod items;
mod scalar;
mod terms;

use std::fmt;
use std::str::FromStr;

use kindred_shared::Block;

pub use compare::compare;
use terms::TermIndex;

/// The instructions a comparison runs on. Results do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// AVX2 with FMA (x86-64).
    Avx2,
    /// Plain Rust: any CPU.
    Scalar,
}

/// Why a kernel cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    #[error("{0:?} is no kernel; known are auto, avx2 and scalar")]
    Unknown(String),
    /// This CPU lacks its instructions.
    #[error("this CPU cannot run kernel {0}; use auto")]
    Lacking(Kernel),
}

impl Kernel {
    /// The fastest kernel of this CPU.
    pub fn detect() -> Self {
        if Self::Avx2.available() {
            Self::Avx2
        } else {
            Self::Scalar
        }
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
            Self::Scalar => true,
        }
    }

    /// This kernel, or on a CPU that cannot run it the scalar one: the same bits.
    fn usable(self) -> Self {
        if self.available() { self } else { Self::Scalar }
    }

    /// The dot products of one right row with `scores.len()` left rows, one after the other.
    /// Rows are padded to a multiple of 16 values.
    fn dots(self, left: &[f32], right: &[f32], scores: &mut [f32]) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::dots(left, right, scores),
            _ => scalar::dots(left, right, scores),
        }
    }

    /// Adds to `sums` the sparse dot products of one right row with the first `sums.len()` rows
    /// of an index.
    fn sparse_dots(self, index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::sparse_dots(index, ids, weights, sums),
            _ => scalar::sparse_dots(index, ids, weights, sums),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        })
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    /// Reads `auto`, `avx2` or `scalar`.
    fn from_str(name: &str) -> Result<Self, KernelError> {
        let kernel = match name {
            "auto" => Self::detect(),
            "avx2" => Self::Avx2,
            "scalar" => Self::Scalar,
            _ => return Err(KernelError::Unknown(name.to_owned())),
        };
        if kernel.available() {
            Ok(kernel)
        } else {
            Err(KernelError::Lacking(kernel))
        }
    }
}

/// The canonical score of two rows of blocks of one space.
///
/// # Panics
/// When a block has no such row, or the blocks' dimensions differ (but for a block without dense
/// parts).
pub fn score(left: &Block, left_row: usize, right: &Block, right_row: usize) -> f32 {
    assert!(
        left.is_comparable(right),
        "rows of one space are equally long"
    );
    let dense = if left.dimension() == 0 || right.dimension() == 0 {
        0.0
    } else {
        scalar::dot(left.dense(left_row), right.dense(right_row))
    };
    let (left, right) = (left.sparse(left_row), right.sparse(right_row));
    dense + scalar::sparse_dot(left, right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernels_have_names() {
        assert_eq!("auto".parse(), Ok(Kernel::detect()));
        assert_eq!("scalar".parse(), Ok(Kernel::Scalar));
        assert_eq!(Kernel::Avx2.to_string(), "avx2");
        assert_eq!(
            "sse9".parse::<Kernel>(),
            Err(KernelError::Unknown("sse9".to_owned()))
        );
        let avx2 = "avx2".parse::<Kernel>();
        assert_eq!(avx2.is_ok(), Kernel::Avx2.available());
    }

    /// Any finite float: ordinary, denormal, huge, zero of both signs.
    fn value() -> impl Strategy<Value = f32> {
        use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
        prop_oneof![
            4 => -1.0_f32..1.0,
            1 => POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
            1 => -1e-38_f32..1e-38,
        ]
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_bits_of_the_reference(
            chunks in 0..8_usize,
            rows in 0..11_usize,
            values in proptest::collection::vec(value(), 12 * 7 * 16),
        ) {
            let stride = chunks * 16;
            let right = &values[..stride];
            let left = &values[stride..stride + rows * stride];
            let mut expected = vec![f32::NAN; rows];
            scalar::dots(left, right, &mut expected);
            let mut got = vec![f32::NAN; rows];
            Kernel::detect().dots(left, right, &mut got);
            for (expected, got) in expected.iter().zip(&got) {
                // Sums of huge values may overflow to NaN, whose bits mean nothing.
                prop_assert!(
                    expected.to_bits() == got.to_bits() || (expected.is_nan() && got.is_nan()),
                    "{expected:e} {got:e}"
                );
            }
        }
    }
}
