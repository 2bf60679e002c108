//! Why a file cannot be read as vectors.

use std::io;

use super::MAX_DIMENSION;

/// Why a file cannot be read as vectors. Rows and columns count from 0.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum VectorsError {
    /// The file's name does not tell its format.
    #[error("its name ends neither in .npy nor in .fvecs")]
    Name,
    /// An I/O error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not start like a `.npy` file.
    #[error("it is not a .npy file: it does not begin with \\x93NUMPY")]
    Magic,
    /// An unknown version of the format.
    #[error("it is a .npy file of version {0}.{1}; 1.0, 2.0 and 3.0 can be read")]
    Version(u8, u8),
    /// The header is invalid.
    #[error("its .npy header cannot be read: {0}")]
    Header(String),
    /// The values are not floats.
    #[error(
        "its values are of type {0}; float16, float32 and float64 can be read \
         ('<f2', '<f4', '<f8', or with '>')"
    )]
    Type(String),
    /// It is not a matrix.
    #[error("its shape is {0}; rows of vectors need two dimensions, (rows, values)")]
    Shape(String),
    /// Rows are empty or too long.
    #[error("its rows have {0} values; expected 1 to {MAX_DIMENSION}")]
    Dimension(usize),
    /// A row claims an invalid length.
    #[error("row {row} claims to have {length} values; expected 1 to {MAX_DIMENSION}")]
    Length {
        /// The row.
        row: usize,
        /// What it claims.
        length: i32,
    },
    /// More rows than row numbers.
    #[error("it has {0} rows; at most 4,294,967,295 are supported")]
    TooManyRows(usize),
    /// A row's length differs from the first row's.
    #[error("row {row} has {length} values, but row 0 has {dimension}")]
    Ragged {
        /// The first such row.
        row: usize,
        /// Its number of values.
        length: i32,
        /// Number of values of the first row.
        dimension: usize,
    },
    /// The file ends within a row.
    #[error("it is cut off in row {row}: {left} bytes of {stride}")]
    CutOff {
        /// The row.
        row: usize,
        /// Bytes present of it.
        left: u64,
        /// Bytes expected.
        stride: usize,
    },
    /// The file's size does not match its header.
    #[error("it has {found} bytes, but its header calls for {expected}")]
    Size {
        /// Expected bytes.
        expected: u128,
        /// Actual bytes.
        found: u64,
    },
    /// A value is infinite or not a number.
    #[error("row {row}, column {column} is {value}; values must be finite")]
    NotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A finite value that does not fit in an `f32`.
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
