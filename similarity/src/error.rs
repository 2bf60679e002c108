//! What can go wrong.

use super::kernel::KernelError;

/// Why rows cannot be taken, or there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values are not whole rows.
    #[error("{values} values are not {count} rows of {dimension}")]
    Shape {
        /// Values there are.
        values: usize,
        /// Rows.
        count: usize,
        /// Values a row.
        dimension: usize,
    },
    /// There are more rows or longer ones than can be compared.
    #[error("at most 4,294,967,295 rows of at most 65,536 values can be compared")]
    TooLarge,
    /// A value is infinite or no number.
    #[error("row {0} has a value that is infinite or not a number")]
    NotFinite(usize),
    /// The sparse part of a row is not as described.
    #[error("the sparse part of row {0} is not within bounds, finite and ascending by term")]
    Sparse(usize),
    /// This CPU lacks the kernel's instructions.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}
