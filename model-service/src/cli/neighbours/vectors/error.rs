//! Why a file gives no vectors.

use std::io;

use super::MAX_DIMENSION;

/// Why a file gives no vectors. Rows and columns count from 0.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum VectorsError {
    /// The name does not say what it holds.
    #[error("its name ends neither in .npy nor in .fvecs")]
    Name,
    /// The operating system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as a `.npy` file does.
    #[error("it is no .npy file: it does not begin with \\x93NUMPY")]
    Magic,
    /// A version of the format that is not known.
    #[error("it is a .npy file of version {0}.{1}; 1.0, 2.0 and 3.0 can be read")]
    Version(u8, u8),
    /// The header is not as it should be.
    #[error("its .npy header cannot be read: {0}")]
    Header(String),
    /// Values are not floats.
    #[error(
        "its values are of type {0}; float16, float32 and float64 can be read \
         ('<f2', '<f4', '<f8', or with '>')"
    )]
    Type(String),
    /// It is not a matrix.
    #[error("its shape is {0}; rows of vectors need two dimensions, (rows, values)")]
    Shape(String),
    /// Rows are empty or too long.
    #[error("its rows have {0} values; 1 to {MAX_DIMENSION} are possible")]
    Dimension(usize),
    /// A row says that it has less than one value.
    #[error("row {row} says that it has {length} values; 1 to {MAX_DIMENSION} are possible")]
    Length {
        /// The row.
        row: usize,
        /// What it says.
        length: i32,
    },
    /// More rows than numbers for them.
    #[error("it has {0} rows; at most 4,294,967,295 are possible")]
    TooManyRows(usize),
    /// A row is not as long as the first.
    #[error("row {row} has {length} values, and row 0 has {dimension}")]
    Ragged {
        /// The first such row.
        row: usize,
        /// Its values.
        length: i32,
        /// Values of the first row.
        dimension: usize,
    },
    /// The file ends within a row.
    #[error("it is cut off in row {row}: {left} bytes of {stride}")]
    CutOff {
        /// The row.
        row: usize,
        /// What is there of it.
        left: u64,
        /// What should be.
        stride: usize,
    },
    /// The file is not as long as its header says.
    #[error("it has {found} bytes, and by its header it should have {expected}")]
    Size {
        /// Bytes it should have.
        expected: u128,
        /// Bytes it has.
        found: u64,
    },
    /// A value is infinite or not a number.
    #[error("row {row}, column {column} is {value}, which has no place in a vector")]
    NotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A finite value is no finite `f32`.
    #[error("row {row}, column {column} is {value:e}, which is too large for a float32")]
    TooLarge {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f64,
    },
}
