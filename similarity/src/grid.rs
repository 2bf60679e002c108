//! The integers that kernels take.

/// What integers a kernel takes.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// The highest value, and minus the lowest.
    pub(super) most: f32,
    /// What is added to make it unsigned.
    pub(super) middle: u8,
    /// The highest norm of either half of a span of a row: values 0 and 1 of each step, and values 2
    /// and 3.
    pub(super) half_norm: f32,
    /// Whether `offsets` are those of 16-bit sums.
    pub(super) halves: bool,
}
