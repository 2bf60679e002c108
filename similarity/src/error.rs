//! What can go wrong.

use super::kernel::KernelError;

/// Why rows are refused, or there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of values does not match the rows and their dimension.
    #[error("{values} values are not {count} rows of {dimension}")]
    Shape {
        /// Number of values.
        values: usize,
        /// Number of rows.
        count: usize,
        /// Values per row.
        dimension: usize,
    },
    /// More or longer rows than can be compared.
    #[error("at most 4,294,967,295 rows of at most 65,536 values can be compared")]
    TooLarge,
    /// A value is infinite or NaN.
    #[error("row {0} has a value that is infinite or not a number")]
    NotFinite(usize),
    /// The sparse part of a row breaks the rules for sparse rows.
    #[error("the sparse part of row {0} is not within bounds, finite and ascending by term")]
    Sparse(usize),
    /// This CPU lacks the kernel's instructions.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}
