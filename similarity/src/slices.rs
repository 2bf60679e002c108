//! Rows as slices.

/// Dense rows are zero-padded to a multiple of this many values, one per chain of the canonical dot product.
pub const LANES: usize = 16;

/// A sparse row: term ids strictly ascending, and their weights.
pub(crate) type Sparse<'a> = (&'a [u32], &'a [f32]);
