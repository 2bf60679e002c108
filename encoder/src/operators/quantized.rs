//! Operators on numbers of 8 bits, each of which stands for (number − zero) · scale.

use kindred_similarity::Kernel;

use super::Inputs;
use crate::arithmetic::{greatest, least, round};
use crate::error::Unfit;
use crate::product::Panels;
use crate::tensor::{Data, Tensor, axis, volume};

/// Highest number of 8 bits without a sign.
const HIGHEST: f32 = 255.0;

/// Numbers, and the scale and zero that represent these values best.
pub(super) fn quantize_dynamically(values: &Tensor, kernel: Kernel) -> Result<Vec<Tensor>, Unfit> {
    let own: &[f32] = values.values()?;
    let mut made = vec![0_u8; own.len()];
    let run = kernel.run(
        #[inline(always)]
        || {
            let (low, high) = (least(own).min(0.0), greatest(own).max(0.0));
            if low == high {
                return (1.0, 0);
            }
            let scale = (high - low) / HIGHEST;
            let zero = round((-low / scale).clamp(0.0, HIGHEST));
            for (made, value) in made.iter_mut().zip(own) {
                *made = (round(value / scale) + zero).clamp(0.0, HIGHEST) as u8;
            }
            (scale, zero as u8)
        },
    );
    let (scale, zero) = run.map_err(|error| Unfit::new(error.to_string()))?;
    if !scale.is_finite() {
        return Err(Unfit::new("values that are not finite"));
    }
    Ok(vec![
        Tensor::of(values.shape.clone(), made)?,
        Tensor::scalar(scale),
        Tensor::scalar(zero),
    ])
}

/// Numbers by a given scale and zero.
pub(super) fn quantize(inputs: Inputs<'_>, along: i64) -> Result<Tensor, Unfit> {
    let (values, scales) = (inputs.get(0)?, inputs.get(1)?);
    let zeros = inputs.given(2);
    let places = Places::of(values, scales, along)?;
    let of_zeros = zeros.map(numbers).transpose()?;
    let own: &[f32] = values.values()?;
    let scales: &[f32] = scales.values()?;
    let number = |(at, value): (usize, &f32)| {
        let place = places.at(at);
        let zero = of_zeros
            .as_ref()
            .map_or(0.0, |zeros| zeros[place.min(zeros.len() - 1)]);
        // Beyond this the result is at a limit of its type anyway.
        round((value / scales[place]).clamp(-1e6, 1e6)) + zero
    };
    let made = own.iter().enumerate().map(number);
    let data = match zeros.map(|zeros| &zeros.data) {
        Some(Data::I8(_)) => Data::I8(made.map(|value| value as i8).collect()),
        _ => Data::U8(made.map(|value| value as u8).collect()),
    };
    Tensor::new(values.shape.clone(), data)
}

/// The values that numbers stand for.
pub(super) fn dequantize(inputs: Inputs<'_>, along: i64) -> Result<Tensor, Unfit> {
    let (values, scales) = (inputs.get(0)?, inputs.get(1)?);
    let places = Places::of(values, scales, along)?;
    let zeros = inputs.given(2).map(numbers).transpose()?;
    let scales: &[f32] = scales.values()?;
    let value = |(at, number): (usize, f32)| {
        let place = places.at(at);
        let zero = zeros
            .as_ref()
            .map_or(0.0, |zeros| zeros[place.min(zeros.len() - 1)]);
        (number - zero) * scales[place]
    };
    let made = numbers(values)?.into_iter().enumerate().map(value);
    Tensor::of(values.shape.clone(), made.collect())
}

/// Which scale belongs to a value: there is one for all, or one for each place along an axis.
struct Places {
    inner: usize,
    count: usize,
}

impl Places {
    fn of(values: &Tensor, scales: &Tensor, along: i64) -> Result<Self, Unfit> {
        let count = scales.data.len();
        if count == 1 {
            return Ok(Self { inner: 1, count });
        }
        let place = axis(along, values.shape.len())?;
        if values.shape[place] != count || count == 0 {
            return Err(Unfit::new("another number of scales than rows"));
        }
        let inner = values.shape[place + 1..].iter().product();
        Ok(Self { inner, count })
    }

    fn at(&self, value: usize) -> usize {
        value / self.inner % self.count
    }
}

/// Numbers of at most 32 bits. Those of 8 bits are exact as `f32`.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>, Unfit> {
    let made: Vec<f32> = match &tensor.data {
        Data::U8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        Data::I8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        Data::I32(values) => values.iter().map(|value| *value as f32).collect(),
        Data::F32(_) | Data::I64(_) | Data::Bool(_) => {
            let found = tensor.data.type_name();
            return Err(Unfit::new(format!(
                "values of type {found} where numbers of 8 bits are expected"
            )));
        }
    };
    if made.is_empty() {
        return Err(Unfit::new("no numbers of 8 bits"));
    }
    Ok(made)
}

/// Numbers of 8 bits less their zero, of which there is one.
fn less_zero(tensor: &Tensor, zero: Option<&Tensor>) -> Result<Vec<f32>, Unfit> {
    let mut made = of_8_bits(tensor)?;
    if let Some(zero) = zero {
        let [zero] = of_8_bits(zero)?[..] else {
            return Err(Unfit::new(
                "more than one zero for the left side of a product",
            ));
        };
        made.iter_mut().for_each(|value| *value -= zero);
    }
    Ok(made)
}

fn of_8_bits(tensor: &Tensor) -> Result<Vec<f32>, Unfit> {
    match tensor.data {
        Data::I32(_) => Err(Unfit::new("a product of numbers of 32 bits")),
        _ => numbers(tensor),
    }
}

/// A right matrix of numbers, less their zeros: one, or one per column.
pub(super) fn panels(right: &Tensor, zeros: Option<&Tensor>) -> Result<Panels, Unfit> {
    let [rows, columns] = right.shape[..] else {
        return Err(Unfit::new("a product of more than matrices"));
    };
    let values = of_8_bits(right)?;
    let zeros = zeros.map_or_else(|| Ok(vec![0.0]), of_8_bits)?;
    let zero = |column: usize| match zeros[..] {
        [zero] => zero,
        _ => zeros[column],
    };
    if zeros.len() != 1 && zeros.len() != columns {
        return Err(Unfit::new("another number of zeros than columns"));
    }
    Ok(Panels::new(rows, columns, |row, column| {
        values[row * columns + column] - zero(column)
    }))
}

/// The exact product of numbers less their zeros.
pub(super) fn multiply(inputs: Inputs<'_>, kernel: Kernel) -> Result<Tensor, Unfit> {
    let panels = panels(inputs.get(1)?, inputs.given(3))?;
    times(inputs.get(0)?, inputs.given(2), &panels, kernel)
}

/// The same with a right matrix whose zeros are subtracted already.
pub(super) fn times(
    left: &Tensor,
    zero: Option<&Tensor>,
    right: &Panels,
    kernel: Kernel,
) -> Result<Tensor, Unfit> {
    let (_, length) = left.rows();
    if left.shape.is_empty() || length != right.rows() || length == 0 {
        let (shape, wanted) = (&left.shape, right.rows());
        return Err(Unfit::new(format!(
            "a product of {shape:?} with a matrix of {wanted} rows"
        )));
    }
    let mut shape = left.shape[..left.shape.len() - 1].to_vec();
    shape.push(right.columns());
    volume(&shape)?;
    let made = right.times_exact(kernel, &less_zero(left, zero)?);
    let made = made.map_err(|error| Unfit::new(error.to_string()))?;
    Tensor::of(shape, made)
}
