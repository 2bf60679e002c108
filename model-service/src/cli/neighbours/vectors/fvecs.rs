//! `.fvecs`: each row is its length as a little-endian `i32`, followed by its values as `f32`.

use super::element::Element;
use super::source::Source;
use super::{MAX_DIMENSION, Order, Plan, VectorsError};

/// Bytes of a row's length.
pub(super) const COUNT_BYTES: usize = 4;

/// The layout of the file, from its first row and its size.
pub(super) fn plan(source: &Source) -> Result<Plan, VectorsError> {
    let dimension = if source.length() == 0 {
        0
    } else {
        length_at(source, 0, 0)?
    };
    let stride = (COUNT_BYTES + dimension * Element::F32.bytes()) as u64;
    let rows = if dimension == 0 {
        0
    } else {
        source.length() / stride
    };
    Ok(Plan {
        rows: usize::try_from(rows).unwrap_or(usize::MAX),
        dimension,
        element: Element::F32,
        start: 0,
        order: Order::CountedRows,
    })
}

/// The values of a row, if its length is right.
#[inline]
pub(super) fn counted(row: usize, dimension: usize, bytes: &[u8]) -> Result<&[u8], VectorsError> {
    let (count, values) = bytes.split_at(COUNT_BYTES);
    let length = count
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u32::from(*byte)) as i32;
    if usize::try_from(length) == Ok(dimension) {
        return Ok(values);
    }
    Err(VectorsError::Ragged {
        row,
        length,
        dimension,
    })
}

/// Refuses a partial row at the end.
pub(super) fn check_end(source: &Source, plan: &Plan) -> Result<(), VectorsError> {
    let stride = COUNT_BYTES + plan.dimension * Element::F32.bytes();
    let end = (plan.rows * stride) as u64;
    let left = source.length() - end;
    if left == 0 {
        return Ok(());
    }
    let row = plan.rows;
    let length = length_at(source, end, row)?;
    if length != plan.dimension {
        return Err(VectorsError::Ragged {
            row,
            length: i32::try_from(length).unwrap_or(i32::MAX),
            dimension: plan.dimension,
        });
    }
    Err(VectorsError::CutOff { row, left, stride })
}

/// The length that a row claims to have.
fn length_at(source: &Source, offset: u64, row: usize) -> Result<usize, VectorsError> {
    let left = source.length() - offset;
    if left < COUNT_BYTES as u64 {
        let stride = COUNT_BYTES;
        return Err(VectorsError::CutOff { row, left, stride });
    }
    let mut bytes = [0; COUNT_BYTES];
    source.read_at(offset, &mut bytes)?;
    let length = i32::from_le_bytes(bytes);
    match usize::try_from(length) {
        Ok(length @ 1..=MAX_DIMENSION) => Ok(length),
        _ => Err(VectorsError::Length { row, length }),
    }
}
