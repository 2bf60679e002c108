//! All with all: the canonical score, its kernels, and the comparison of blocks.
//!
//! The canonical score of two features is the dot product of their dense parts (16 chains of
//! fused multiply-add and a fixed tree, see `scalar`) plus the dot product of their sparse parts
//! (one chain by ascending term id), one `f32` addition. Each kernel is one file; final scores of
//! all have the same bits, and tests hold each to `scalar`.
//!
//! Approximate scores whose error is bounded rule out almost all pairs, and only the rest is scored.
//! Two interfaces use that, `compare` for the jobs of a domain (some rows with some others, floors,
//! lists of both sides) and `neighbours` (all rows with all), each with its own plan of which tiles
//! meet when: `tile` and `best`; `engine`, `exact` (tiles without approximate scores) and `lists`. Below
//! that all is the same: `layout`, `order`, `rotation`, `columns` and `terms` (rows as the kernels want
//! them, and how far off they are), `filter` (what two tiles may have in common), `strip` (what a kernel
//! is asked), and the kernels. `resident` keeps layouts with their blocks.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2integers;
#[cfg(target_arch = "x86_64")]
mod avx2lists;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512lists;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod best;
mod columns;
mod compare;
mod crowd;
mod engine;
mod equal;
mod exact;
mod filter;
mod layout;
mod lists;
mod neighbours;
mod order;
mod products;
mod resident;
mod rotation;
mod rows;
mod scalar;
mod sorted;
mod steps;
mod strip;
mod terms;
mod tile;

use std::fmt;
use std::str::FromStr;

use kindred_shared::Block;

pub use compare::{compare, compare_unless};
use layout::Grid;
use lists::SortedLists;
pub use neighbours::{Neighbours, NeighboursError, Options, Rows, SparseRows, neighbours};
use products::Places;
pub use resident::kept_bytes;
use rows::Sparse;
use strip::{Hits, Strip};
use terms::TermIndex;

/// The instructions a comparison runs on. Results do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// AVX-512 with VNNI (x86-64): 8-bit integers first, then AVX-512.
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
    #[error("{0:?} is no kernel; known are auto, avx512vnni, avx512, avx2 and scalar")]
    Unknown(String),
    /// This CPU lacks its instructions.
    #[error("this CPU cannot run kernel {0}; use auto")]
    Lacking(Kernel),
}

impl Kernel {
    /// The fastest kernel of this CPU.
    pub fn detect() -> Self {
        let kernels = [Self::Avx512Vnni, Self::Avx512, Self::Avx2];
        let fastest = kernels.into_iter().find(|kernel| kernel.available());
        fastest.unwrap_or(Self::Scalar)
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512vnni::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Vnni | Self::Avx512 | Self::Avx2 => false,
            Self::Scalar => true,
        }
    }

    /// The integers of its approximate scores, if they are integers.
    fn grid(self) -> Option<Grid> {
        match self {
            Self::Avx512Vnni => Some(Grid {
                most: 127.0,
                middle: 128,
                half_norm: f32::INFINITY,
                halves: false,
            }),
            Self::Avx512 | Self::Avx2 => Some(Grid {
                most: 63.0,
                middle: 64,
                half_norm: 181.0,
                halves: true,
            }),
            Self::Scalar => None,
        }
    }

    /// This kernel, or on a CPU that cannot run it the scalar one: the same bits.
    fn usable(self) -> Self {
        if self.available() { self } else { Self::Scalar }
    }

    /// The canonical dot products of a row with some of `rows`, all as long as it. `FETCH`: they are
    /// in no cache yet.
    fn gather<const FETCH: bool>(
        self,
        row: &[f32],
        rows: &[&[f32]],
        others: &[u32],
        scores: &mut [f32],
    ) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512::gather::<FETCH>(row, rows, others, scores),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::gather::<FETCH>(row, rows, others, scores),
            _ => scalar::gather(row, rows, others, scores),
        }
    }

    /// A value near the `keep`-th highest of the bounds, and not above it.
    fn kth(self, bounds: &[f32], keep: usize) -> f32 {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512lists::kth(bounds, keep),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2lists::kth(bounds, keep),
            _ => scalar::kth(bounds, keep),
        }
    }

    /// The pairs of a strip of integers that reach a threshold. Only for kernels that have
    /// integers.
    fn integer_strip(self, strip: &Strip<'_, u8, i32>, hits: &mut Hits) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512vnni::strip(strip, hits),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => avx2integers::strip(strip, hits),
            _ => unreachable!(
                "{self} has no integers, and {} rows none",
                strip.columns() + hits.count
            ),
        }
    }

    /// What the sums of a strip of integers come to. Only for kernels that have integers.
    fn integer_sums(self, strip: &Strip<'_, u8, i32>, sums: &mut [f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512vnni::sums(strip, sums),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => avx2integers::sums(strip, sums),
            _ => unreachable!(
                "{self} has no integers, and {} rows none",
                strip.columns() + sums.len()
            ),
        }
    }

    /// The canonical dot products of pairs: left row in the upper half, right row in the lower.
    fn pairs(self, left: &[&[f32]], right: &[&[f32]], pairs: &[u32], scores: &mut [f32]) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512::pairs(left, right, pairs, scores),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::pairs(left, right, pairs, scores),
            _ => scalar::pairs(left, right, pairs, scores),
        }
    }

    /// Keeps the candidates whose score reaches a base, in their order; says how many.
    fn retain(self, ids: &mut [u32], scores: &mut [f32], base: f32) -> usize {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512lists::retain(ids, scores, base),
            _ => scalar::retain(ids, scores, base),
        }
    }

    /// Whether it keeps lists sorted.
    fn sorts(self) -> bool {
        matches!(self.usable(), Self::Avx512Vnni | Self::Avx512 | Self::Avx2)
    }

    /// Puts candidates that matter (row, id and score) at their places in sorted lists. Only for kernels
    /// that keep lists sorted.
    fn insert_all(
        self,
        lists: SortedLists<'_>,
        candidates: impl Iterator<Item = (usize, u32, f32)>,
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512lists::insert_all(lists, candidates),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2lists::insert_all(lists, candidates),
            _ => unreachable!(
                "{self} does not sort the {} candidates of {} rows",
                candidates.count(),
                lists.bases.len()
            ),
        }
    }

    /// The places of the values that reach a base, ascending; says how many.
    fn reaching_places(self, values: &[f32], base: f32, places: &mut [u32]) -> usize {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512lists::reaching_places(values, base, places),
            _ => scalar::reaching_places(values, base, places),
        }
    }

    /// Does work that is inlined, with the vectors of this kernel.
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512::run(work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::run(work),
            _ => work(),
        }
    }

    /// Adds the canonical sparse dot products of pairs: left row in the upper half, right row in
    /// the lower. Fastest with the pairs of a left row together.
    fn sparse_pairs(
        self,
        lefts: &[Sparse<'_>],
        rights: &[Sparse<'_>],
        pairs: &[u32],
        scores: &mut [f32],
        places: &mut Places,
    ) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => {
                avx512::sparse_pairs(lefts, rights, pairs, scores, places);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::sparse_pairs(lefts, rights, pairs, scores, places),
            _ => places.add_products(lefts, rights, pairs, scores, |_, _| None),
        }
    }

    /// Adds to `sums` the sparse dot products of one right row with the first `sums.len()` rows
    /// of an index.
    fn sparse_dots(self, index: &TermIndex, ids: &[u32], weights: &[f32], sums: &mut [f32]) {
        match self.usable() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Avx512 => avx512::sparse_dots(index, ids, weights, sums),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::sparse_dots(index, ids, weights, sums),
            _ => scalar::sparse_dots(index, ids, weights, sums),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        })
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    /// Reads `auto`, `avx512vnni`, `avx512`, `avx2` or `scalar`.
    fn from_str(name: &str) -> Result<Self, KernelError> {
        let kernel = match name {
            "auto" => Self::detect(),
            "avx512vnni" => Self::Avx512Vnni,
            "avx512" => Self::Avx512,
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

    fn same_bits(expected: &[f32], got: &[f32]) -> Result<(), TestCaseError> {
        for (expected, got) in expected.iter().zip(got) {
            // Sums of huge values may overflow to NaN, whose bits mean nothing.
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
            for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Scalar] {
                let mut got = vec![f32::NAN; others.len()];
                kernel.gather::<true>(rows[9], &rows, &others, &mut got);
                same_bits(&expected, &got)?;
            }
        }
    }
}
