//! Reads vectors from `.npy` and `.fvecs` files, directly into rows of `f32`.
//!
//! A format only says where the values are ([`Plan`]). Reading, converting, checking and
//! normalising is shared, and runs on all threads of the current rayon pool in pieces that fit the
//! second-level cache. So a file is never in memory twice.

mod element;
mod error;
mod fvecs;
mod npy;
mod source;

use std::path::Path;

use rayon::prelude::*;

use element::Element;
pub(super) use error::VectorsError;
use source::Source;

/// Most values per row.
pub(super) const MAX_DIMENSION: usize = 4096;
/// Bytes read and converted in one go.
const PIECE_BYTES: usize = 256 << 10;
/// Rows converted together when a file stores column after column.
const COLUMN_ROWS: usize = 2048;

/// Rows of equal length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    /// Row after row; all values are finite.
    pub(super) values: Vec<f32>,
    /// Number of rows.
    pub(super) rows: usize,
    /// Values of a row: 1 to [`MAX_DIMENSION`], or 0 when there are no rows.
    pub(super) dimension: usize,
}

/// Where the values are in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    rows: usize,
    dimension: usize,
    element: Element,
    /// Bytes before the first row.
    start: u64,
    order: Order,
}

/// Which values are adjacent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The values of a row.
    Rows,
    /// Those of a row, preceded by the row's length as an `i32`.
    CountedRows,
    /// The values of a column.
    Columns,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// NumPy's.
    Npy,
    /// Rows of `f32`, each preceded by its length.
    Fvecs,
}

impl Format {
    /// The format that a file's name indicates.
    fn of(path: &Path) -> Result<Self, VectorsError> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("npy") => Ok(Self::Npy),
            Some("fvecs") => Ok(Self::Fvecs),
            _ => Err(VectorsError::Name),
        }
    }
}

impl Matrix {
    /// Reads a file. `unit`: rows are scaled to length 1; rows of zeros stay.
    ///
    /// # Errors
    /// When the file cannot be read, does not match its name, or has a value that is not a finite
    /// `f32`.
    pub(super) fn read(path: &Path, unit: bool) -> Result<Self, VectorsError> {
        let format = Format::of(path)?;
        Self::load(&Source::open(path)?, format, unit)
    }

    /// Reads vectors from bytes.
    ///
    /// # Errors
    /// As [`Matrix::read`].
    #[cfg_attr(not(test), allow(dead_code))] // for tests and fuzzing
    pub(super) fn from_bytes(
        bytes: Vec<u8>,
        format: Format,
        unit: bool,
    ) -> Result<Self, VectorsError> {
        Self::load(&Source::from(bytes), format, unit)
    }

    fn load(source: &Source, format: Format, unit: bool) -> Result<Self, VectorsError> {
        let plan = match format {
            Format::Npy => npy::plan(source)?,
            Format::Fvecs => fvecs::plan(source)?,
        };
        if plan.rows > 0 && !(1..=MAX_DIMENSION).contains(&plan.dimension) {
            return Err(VectorsError::Dimension(plan.dimension));
        }
        if u32::try_from(plan.rows).is_err() {
            return Err(VectorsError::TooManyRows(plan.rows));
        }
        let values = plan.values(source, unit)?;
        if format == Format::Fvecs {
            fvecs::check_end(source, &plan)?;
        }
        Ok(Self {
            values,
            rows: plan.rows,
            dimension: if plan.rows == 0 { 0 } else { plan.dimension },
        })
    }
}

impl Plan {
    fn values(&self, source: &Source, unit: bool) -> Result<Vec<f32>, VectorsError> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let piece_rows = match self.order {
            Order::Rows | Order::CountedRows => (PIECE_BYTES / self.stride()).max(1),
            Order::Columns => COLUMN_ROWS,
        };
        // Fresh zero pages: each is first touched by the thread that fills it.
        let mut values = vec![0.0_f32; self.rows * self.dimension];
        let failure = values
            .par_chunks_mut(piece_rows * self.dimension)
            .enumerate()
            .map_init(Vec::new, |bytes, (piece, values)| {
                let first = piece * piece_rows;
                match self.order {
                    Order::Rows | Order::CountedRows => {
                        self.rows_at(source, first, values, bytes)?;
                    }
                    Order::Columns => self.columns_at(source, first, values, bytes)?,
                }
                for (row, values) in (first..).zip(values.chunks_exact_mut(self.dimension)) {
                    check(row, values)?;
                    if unit {
                        scale(values);
                    }
                }
                Ok(())
            })
            .find_map_first(Result::err);
        match failure {
            Some(error) => Err(error),
            None => Ok(values),
        }
    }

    /// Bytes from one row to the next.
    fn stride(&self) -> usize {
        let count = match self.order {
            Order::CountedRows => fvecs::COUNT_BYTES,
            Order::Rows | Order::Columns => 0,
        };
        count + self.dimension * self.element.bytes()
    }

    fn rows_at(
        &self,
        source: &Source,
        first: usize,
        values: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<(), VectorsError> {
        let stride = self.stride();
        let rows = values.len() / self.dimension;
        bytes.resize(rows * stride, 0);
        source.read_at(self.start + (first * stride) as u64, bytes)?;
        let places = values.chunks_exact_mut(self.dimension);
        for (row, (place, bytes)) in (first..).zip(places.zip(bytes.chunks_exact(stride))) {
            let bytes = match self.order {
                Order::CountedRows => fvecs::counted(row, self.dimension, bytes)?,
                Order::Rows | Order::Columns => bytes,
            };
            self.element
                .decode(bytes, place.iter_mut())
                .map_err(|(column, value)| VectorsError::TooLarge { row, column, value })?;
        }
        Ok(())
    }

    fn columns_at(
        &self,
        source: &Source,
        first: usize,
        values: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<(), VectorsError> {
        let size = self.element.bytes();
        bytes.resize(values.len() / self.dimension * size, 0);
        for column in 0..self.dimension {
            let at = (column * self.rows + first) * size;
            source.read_at(self.start + at as u64, bytes)?;
            let places = values.iter_mut().skip(column).step_by(self.dimension);
            self.element
                .decode(bytes, places)
                .map_err(|(row, value)| VectorsError::TooLarge {
                    row: first + row,
                    column,
                    value,
                })?;
        }
        Ok(())
    }
}

/// Refuses a row with a value that is infinite or not a number.
fn check(row: usize, values: &[f32]) -> Result<(), VectorsError> {
    // Branch-free per value.
    let largest = values
        .iter()
        .fold(0, |most, value| value.abs().to_bits().max(most));
    if largest < f32::INFINITY.to_bits() {
        return Ok(());
    }
    let column = values.iter().position(|value| !value.is_finite());
    let column = column.unwrap_or_default();
    let value = values[column];
    Err(VectorsError::NotFinite { row, column, value })
}

/// Scales a row to length 1, up to rounding; zeros stay zeros. Computed in `f64`, where the square
/// of an `f32` neither overflows nor underflows.
fn scale(values: &mut [f32]) {
    const LANES: usize = 8;
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    let length = sums.iter().sum::<f64>().sqrt();
    if length > 0.0 {
        for value in values {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
