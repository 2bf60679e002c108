//! The integer formats of kernels.

/// The integer format that a kernel takes.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// The highest value; the lowest is its negative.
    pub(super) most: f32,
    /// Added to a value to make it unsigned.
    pub(super) middle: u8,
    /// The highest norm of either half of a span of a row: values 0 and 1 of each step, and values 2 and 3.
    pub(super) half_norm: f32,
    /// Whether `offsets` are for 16-bit sums.
    pub(super) halves: bool,
}
