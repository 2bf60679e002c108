//! Operators that are applied to each row by itself.

use kindred_similarity::Kernel;

use super::Inputs;
use crate::arithmetic::{exp, greatest, sum};
use crate::error::Unfit;
use crate::tensor::{Data, Tensor, axis, volume};

/// Means or sums of the last dimensions, which these axes must be.
pub(super) fn reduce(
    values: &Tensor,
    is_mean: bool,
    axes: Option<Vec<i64>>,
    keeps_dimensions: bool,
    kernel: Kernel,
) -> Result<Tensor, Unfit> {
    let dimensions = values.shape.len();
    let axes = axes.filter(|axes| !axes.is_empty());
    let mut places: Vec<usize> = match axes {
        Some(axes) => axes
            .into_iter()
            .map(|one| axis(one, dimensions))
            .collect::<Result<_, _>>()?,
        None => (0..dimensions).collect(),
    };
    places.sort_unstable();
    places.dedup();
    let kept = dimensions - places.len();
    if !places.into_iter().eq(kept..dimensions) {
        return Err(Unfit::new(
            "a mean or sum of other than the last dimensions",
        ));
    }
    let length: usize = values.shape[kept..].iter().product();
    if length == 0 {
        return Err(Unfit::new("a mean or sum of nothing"));
    }
    let own: &[f32] = values.values()?;
    let mut made = vec![0.0; own.len() / length];
    let divisor = if is_mean { length as f32 } else { 1.0 };
    run(
        kernel,
        #[inline(always)]
        || {
            for (made, row) in made.iter_mut().zip(own.chunks_exact(length)) {
                *made = sum(row) / divisor;
            }
        },
    )?;
    let mut shape = values.shape[..kept].to_vec();
    if keeps_dimensions {
        shape.resize(dimensions, 1);
    }
    Tensor::of(shape, made)
}

/// eˣ over the sum of it, in each row.
pub(super) fn softmax(values: &Tensor, along: i64, kernel: Kernel) -> Result<Tensor, Unfit> {
    let dimensions = values.shape.len();
    if axis(along, dimensions)? + 1 != dimensions {
        return Err(Unfit::new(
            "a softmax along another than the last dimension",
        ));
    }
    let (_, length) = values.rows();
    let own: &[f32] = values.values()?;
    let mut made = vec![0.0; own.len()];
    run(
        kernel,
        #[inline(always)]
        || {
            let rows = own.chunks_exact(length.max(1));
            for (made, row) in made.chunks_exact_mut(length.max(1)).zip(rows) {
                let most = greatest(row);
                for (made, value) in made.iter_mut().zip(row) {
                    *made = exp(value - most);
                }
                let all = sum(made);
                for made in made {
                    *made /= all;
                }
            }
        },
    )?;
    Tensor::of(values.shape.clone(), made)
}

/// Each row less its mean, over its deviation; scaled, and shifted.
pub(super) fn normalized(
    inputs: Inputs<'_>,
    along: i64,
    epsilon: f32,
    kernel: Kernel,
) -> Result<Tensor, Unfit> {
    let values = inputs.get(0)?;
    let dimensions = values.shape.len();
    let (_, length) = values.rows();
    let scale: &[f32] = inputs.get(1)?.values()?;
    let shift = inputs.given(2).map(Tensor::values::<f32>).transpose()?;
    let is_of_rows = axis(along, dimensions)? + 1 == dimensions && length > 0;
    if !is_of_rows || scale.len() != length || shift.is_some_and(|shift| shift.len() != length) {
        return Err(Unfit::new(
            "a normalization of other than the last dimension",
        ));
    }
    let own: &[f32] = values.values()?;
    let mut made = vec![0.0; own.len()];
    run(
        kernel,
        #[inline(always)]
        || {
            let mut squares = vec![0.0; length];
            for (made, row) in made.chunks_exact_mut(length).zip(own.chunks_exact(length)) {
                let mean = sum(row) / length as f32;
                for ((made, square), value) in made.iter_mut().zip(&mut squares).zip(row) {
                    *made = value - mean;
                    *square = *made * *made;
                }
                let deviation = (sum(&squares) / length as f32 + epsilon).sqrt();
                for (made, scale) in made.iter_mut().zip(scale) {
                    *made = *made / deviation * scale;
                }
                for (made, shift) in made.iter_mut().zip(shift.unwrap_or_default()) {
                    *made += shift;
                }
            }
        },
    )?;
    Tensor::of(values.shape.clone(), made)
}

/// Sums of all values up to each, along an axis.
pub(super) fn cumulative(values: &Tensor, along: &Tensor) -> Result<Tensor, Unfit> {
    let along = along.integers()?;
    let [along] = along.as_slice() else {
        return Err(Unfit::new("sums along more than one dimension"));
    };
    let place = axis(*along, values.shape.len())?;
    let count = values.shape[place];
    let inner = volume(&values.shape[place + 1..])?;
    let mut made = values.clone();
    let is_first = |at: usize| (at / inner.max(1)).is_multiple_of(count);
    let before = |at: usize| (!is_first(at)).then(|| at - inner);
    match &mut made.data {
        Data::I64(sums) => {
            for at in 0..sums.len() {
                sums[at] = sums[at].wrapping_add(before(at).map_or(0, |before| sums[before]));
            }
        }
        Data::I32(sums) => {
            for at in 0..sums.len() {
                sums[at] = sums[at].wrapping_add(before(at).map_or(0, |before| sums[before]));
            }
        }
        Data::F32(sums) => {
            for at in 0..sums.len() {
                sums[at] += before(at).map_or(0.0, |before| sums[before]);
            }
        }
        Data::U8(_) | Data::I8(_) | Data::Bool(_) => {
            return Err(Unfit::new("sums of values that are no numbers"));
        }
    }
    Ok(made)
}

#[inline(always)]
fn run(kernel: Kernel, work: impl FnOnce()) -> Result<(), Unfit> {
    kernel
        .run(work)
        .map_err(|error| Unfit::new(error.to_string()))
}
