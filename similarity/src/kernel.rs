//! The kernels by name, and what each can do: one table of functions per instruction set.

use std::fmt;
use std::str::FromStr;

use super::candidates::{Candidates, SortedLists, TieOrder};
use super::grid::Grid;
use super::products::Places;
use super::scalar;
use super::slices::Sparse;
use super::strip::{Hits, Strip};
use super::terms::TermIndex;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx2integers, avx2lists, avx512, avx512lists, avx512vnni};

/// The instructions a comparison runs on. Results do not depend on it.
///
/// Every name is valid on every machine; [`Kernel::chosen`] tells whether this CPU can run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Kernel {
    /// The fastest that this CPU can run.
    #[default]
    Auto,
    /// AVX-512 with VNNI (x86-64): 8-bit integers for approximate scores, AVX-512 for the rest.
    Avx512Vnni,
    /// AVX-512 (x86-64).
    Avx512,
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
    #[error("{0:?} is not a kernel; the kernels are auto, avx512vnni, avx512, avx2 and scalar")]
    Unknown(String),
    /// This CPU lacks its instructions.
    #[error("this CPU cannot run kernel {0}; use auto")]
    Lacking(Kernel),
}

impl Kernel {
    /// All kernels except `Auto`, fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512Vnni, Self::Avx512, Self::Avx2, Self::Scalar];

    /// Its name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        }
    }

    /// The kernel that runs when this one is requested: itself, or for `Auto` the fastest.
    ///
    /// # Errors
    /// [`KernelError::Lacking`] when this CPU cannot run it.
    pub fn chosen(self) -> Result<Self, KernelError> {
        self.instructions().map(|instructions| instructions.kernel)
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        self.instructions().is_ok()
    }

    /// Runs other arithmetic compiled for this kernel's vectors. The work must be `#[inline(always)]`, its closures too, or
    /// it gets none of them.
    ///
    /// # Errors
    /// [`KernelError::Lacking`] when this CPU cannot run it.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> Result<R, KernelError> {
        Ok(self.instructions()?.run(work))
    }

    /// Its instruction set.
    pub(crate) fn instructions(self) -> Result<Isa, KernelError> {
        let mut all = INSTRUCTIONS.iter().copied();
        all.find(|one| (self == Self::Auto || one.kernel == self) && (one.available)())
            .ok_or(KernelError::Lacking(self))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        let mut all = Self::ALL.into_iter().chain([Self::Auto]);
        all.find(|kernel| kernel.name() == name)
            .ok_or_else(|| KernelError::Unknown(name.to_owned()))
    }
}

/// The instruction set of a comparison.
pub(crate) type Isa = &'static Instructions;

/// Dense products of one row with several of many.
type RowProducts = fn(&[f32], &[&[f32]], &[u32], &mut [f32]);
/// Dense products of pairs of rows of two tiles.
type PairProducts = fn(&[&[f32]], &[&[f32]], &[u32], &mut [f32]);
/// Sparse products of pairs of rows of two tiles.
type SparseProducts = fn(&[Sparse<'_>], &[Sparse<'_>], &[u32], &mut [f32], &mut Places);

/// What comparing needs from an instruction set. All of them give the same canonical products, bit for bit.
pub(crate) struct Instructions {
    pub(crate) kernel: Kernel,
    available: fn() -> bool,
    vectors: Vectors,
    /// The integer format of its approximate scores, if they are integers.
    pub(crate) grid: Option<Grid>,
    /// The canonical dot products of a row with some of `rows`, all of the same length.
    pub(crate) gather: RowProducts,
    /// The same for rows that are in no cache yet.
    pub(crate) fetch: RowProducts,
    /// The canonical dot products of pairs: left row in the upper half, right row in the lower.
    pub(crate) pairs: PairProducts,
    /// Adds the canonical sparse dot products of pairs. Fastest when the pairs of a left row are adjacent.
    pub(crate) sparse_pairs: SparseProducts,
    /// Adds to `sums` the sparse dot products of one right row with the first `sums.len()` rows of an index.
    pub(crate) sparse_dots: fn(&TermIndex, &[u32], &[f32], &mut [f32]),
    /// The pairs of an integer strip that reach a threshold, and all of its sums. Only called on kernels with integers.
    pub(crate) strip: fn(&Strip<'_, u8, i32>, &mut Hits),
    pub(crate) sums: fn(&Strip<'_, u8, i32>, &mut [f32]),
    /// A value near the K-th highest of the bounds, and not above it.
    pub(crate) kth: fn(&[f32], usize) -> f32,
    /// Keeps the candidates whose score reaches a base, in their order; returns their number.
    pub(crate) retain: fn(&mut [u32], &mut [f32], f32) -> usize,
    /// The places of the values that reach a base, ascending; returns their number.
    pub(crate) reaching_places: fn(&[f32], f32, &mut [u32]) -> usize,
    /// Inserts the candidates that matter into sorted lists, if the kernel keeps lists sorted.
    pub(crate) insert_all: Option<fn(SortedLists<'_>, Candidates<'_>, TieOrder<'_>)>,
}

/// The vector instructions that inlined work is compiled for.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Vectors {
    Avx512,
    Avx2,
    Plain,
}

/// Fastest first.
#[cfg(target_arch = "x86_64")]
static INSTRUCTIONS: [&Instructions; 4] = [&AVX512VNNI, &AVX512, &AVX2, &SCALAR];
#[cfg(not(target_arch = "x86_64"))]
static INSTRUCTIONS: [&Instructions; 1] = [&SCALAR];

#[cfg(target_arch = "x86_64")]
const AVX512VNNI: Instructions = Instructions {
    kernel: Kernel::Avx512Vnni,
    available: avx512vnni::available,
    grid: Some(Grid {
        most: 127.0,
        middle: 128,
        half_norm: f32::INFINITY,
        halves: false,
    }),
    strip: avx512vnni::strip,
    sums: avx512vnni::sums,
    ..AVX512
};

#[cfg(target_arch = "x86_64")]
const AVX512: Instructions = Instructions {
    kernel: Kernel::Avx512,
    available: avx512::available,
    vectors: Vectors::Avx512,
    gather: avx512::gather::<false>,
    fetch: avx512::gather::<true>,
    pairs: avx512::pairs,
    sparse_pairs: avx512::sparse_pairs,
    sparse_dots: avx512::sparse_dots,
    kth: avx512lists::kth,
    retain: avx512lists::retain,
    reaching_places: avx512lists::reaching_places,
    insert_all: Some(avx512lists::insert_all),
    ..AVX2
};

#[cfg(target_arch = "x86_64")]
const AVX2: Instructions = Instructions {
    kernel: Kernel::Avx2,
    available: avx2::available,
    vectors: Vectors::Avx2,
    grid: Some(Grid {
        most: 63.0,
        middle: 64,
        half_norm: 181.0,
        halves: true,
    }),
    gather: avx2::gather::<false>,
    fetch: avx2::gather::<true>,
    pairs: avx2::pairs,
    sparse_pairs: avx2::sparse_pairs,
    sparse_dots: avx2::sparse_dots,
    strip: avx2integers::strip,
    sums: avx2integers::sums,
    kth: avx2lists::kth,
    insert_all: Some(avx2lists::insert_all),
    ..SCALAR
};

const SCALAR: Instructions = Instructions {
    kernel: Kernel::Scalar,
    available: || true,
    vectors: Vectors::Plain,
    grid: None,
    gather: scalar::gather,
    fetch: scalar::gather,
    pairs: scalar::pairs,
    sparse_pairs: |lefts, rights, pairs, scores, places| {
        places.add_products(lefts, rights, pairs, scores, |_, _| None);
    },
    sparse_dots: scalar::sparse_dots,
    strip: |_, _| unreachable!("its rows are not integers"),
    sums: |_, _| unreachable!("its rows are not integers"),
    kth: scalar::kth,
    retain: scalar::retain,
    reaching_places: scalar::reaching_places,
    insert_all: None,
};

impl Instructions {
    /// Runs work compiled for the vectors of this instruction set. The work must be `#[inline(always)]`, its closures
    /// too, or it gets none of them.
    #[inline(always)]
    pub(crate) fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        match self.vectors {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => avx512::run(work),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => avx2::run(work),
            _ => work(),
        }
    }

    /// All instruction sets that this CPU has.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        INSTRUCTIONS.iter().copied().filter(|one| (one.available)())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernels_have_names() {
        assert_eq!("auto".parse(), Ok(Kernel::Auto));
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
        assert_eq!(
            "sse9".parse::<Kernel>(),
            Err(KernelError::Unknown("sse9".to_owned()))
        );
    }

    #[test]
    fn auto_is_the_first_that_runs() {
        let first = Kernel::ALL.into_iter().find(|kernel| kernel.available());
        assert_eq!(Kernel::Auto.chosen().ok(), first);
        for kernel in Kernel::ALL {
            let expected = if kernel.available() {
                Ok(kernel)
            } else {
                Err(KernelError::Lacking(kernel))
            };
            assert_eq!(kernel.chosen(), expected);
        }
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

    fn same_bits(expected: &[f32], got: &[f32]) -> Result<(), TestCaseError> {
        for (expected, got) in expected.iter().zip(got) {
            // Sums of huge values may overflow to NaN, whose bits are unspecified.
            prop_assert!(
                expected.to_bits() == got.to_bits() || (expected.is_nan() && got.is_nan()),
                "{expected:e} {got:e}"
            );
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn rows_of_any_length_and_place(
            length in 0..70_usize,
            others in proptest::collection::vec(0..9_u32, 0..11),
            values in proptest::collection::vec(value(), 10 * 70),
        ) {
            let rows: Vec<&[f32]> = values.chunks(70).map(|row| &row[..length]).collect();
            // Padding with zeros must not matter.
            let padded = |row: usize| {
                let mut row = rows[row].to_vec();
                row.resize(length.next_multiple_of(16), 0.0);
                row
            };
            let expected: Vec<f32> = others
                .iter()
                .map(|&other| scalar::dot(&padded(9), &padded(other as usize)))
                .collect();
            for isa in Instructions::all() {
                let mut got = vec![f32::NAN; others.len()];
                (isa.fetch)(rows[9], &rows, &others, &mut got);
                same_bits(&expected, &got)?;
                let pairs: Vec<u32> = others.iter().map(|other| 9 << 16 | other).collect();
                (isa.pairs)(&rows, &rows, &pairs, &mut got);
                same_bits(&expected, &got)?;
            }
        }
    }
}
