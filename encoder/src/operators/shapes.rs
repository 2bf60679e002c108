//! Operators that move values, or compute shapes.

use super::Inputs;
use crate::error::Unfit;
use crate::tensor::{Data, Element, Tensor, axis, broadcast, each_type, row_starts, size, volume};

pub(super) fn shape(values: &Tensor) -> Result<Tensor, Unfit> {
    let sizes: Vec<i64> = values.shape.iter().map(|size| *size as i64).collect();
    Tensor::of(vec![sizes.len()], sizes)
}

pub(super) fn constant_of_shape(shape: &Tensor, value: &Data) -> Result<Tensor, Unfit> {
    let shape = shape.integers()?.into_iter().map(size);
    let shape: Vec<usize> = shape.collect::<Result<_, _>>()?;
    let count = volume(&shape)?;
    let data = each_type!(value, values => match values.as_slice() {
        [value] => vec![*value; count],
        _ => return Err(Unfit::new("a constant of more than one value")),
    });
    Tensor::new(shape, data)
}

/// The rows, along an axis, that indices name.
pub(super) fn gather(values: &Tensor, indices: &Tensor, along: i64) -> Result<Tensor, Unfit> {
    let place = axis(along, values.shape.len())?;
    let count = values.shape[place];
    let index = |index: i64| {
        let index = if index < 0 {
            index + count as i64
        } else {
            index
        };
        let index = usize::try_from(index).ok().filter(|index| *index < count);
        index.ok_or_else(|| Unfit::new(format!("an index outside of {count} rows")))
    };
    let rows: Vec<usize> = indices
        .integers()?
        .into_iter()
        .map(index)
        .collect::<Result<_, _>>()?;
    let outer: usize = values.shape[..place].iter().product();
    let inner: usize = values.shape[place + 1..].iter().product();
    let mut shape = values.shape[..place].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&values.shape[place + 1..]);
    volume(&shape)?;
    let data = each_type!(&values.data, values => {
        let mut made = Vec::with_capacity(outer * rows.len() * inner);
        for block in 0..outer {
            for row in &rows {
                let start = (block * count + row) * inner;
                made.extend_from_slice(&values[start..start + inner]);
            }
        }
        made
    });
    Tensor::new(shape, data)
}

/// Adds dimensions of size 1 at these places of the result.
pub(super) fn unsqueeze(values: &Tensor, axes: &[i64]) -> Result<Tensor, Unfit> {
    let dimensions = values.shape.len() + axes.len();
    let places = axes.iter().map(|one| axis(*one, dimensions));
    let places: Vec<usize> = places.collect::<Result<_, _>>()?;
    let mut old = values.shape.iter();
    let sizes = (0..dimensions).map(|place| match places.contains(&place) {
        true => Some(1),
        false => old.next().copied(),
    });
    let shape: Option<Vec<usize>> = sizes.collect();
    let shape = shape.ok_or_else(|| Unfit::new("a dimension is named twice"))?;
    Tensor::new(shape, values.data.clone())
}

/// Takes away dimensions of size 1: those at these places, or all.
pub(super) fn squeeze(values: &Tensor, axes: Option<Vec<i64>>) -> Result<Tensor, Unfit> {
    let dimensions = values.shape.len();
    let places: Vec<usize> = match axes {
        Some(axes) => axes
            .into_iter()
            .map(|one| axis(one, dimensions))
            .collect::<Result<_, _>>()?,
        None => (0..dimensions)
            .filter(|place| values.shape[*place] == 1)
            .collect(),
    };
    let kept = values.shape.iter().enumerate();
    let kept = kept.filter(|(place, _)| !places.contains(place));
    Tensor::new(kept.map(|(_, size)| *size).collect(), values.data.clone())
}

/// The same values in another shape; one size may be left open as −1, and 0 takes over the size at that place.
pub(super) fn reshape(values: &Tensor, shape: &Tensor, keeps_zero: bool) -> Result<Tensor, Unfit> {
    let wanted = shape.integers()?;
    let mut open = None;
    let mut made = Vec::with_capacity(wanted.len());
    for (place, wanted) in wanted.into_iter().enumerate() {
        made.push(match wanted {
            -1 if open.replace(place).is_none() => 1,
            0 if !keeps_zero => {
                let own = values.shape.get(place).copied();
                own.ok_or_else(|| Unfit::new("a size that is not there is to be kept"))?
            }
            wanted => size(wanted)?,
        });
    }
    if let Some(place) = open {
        let rest = volume(&made)?;
        made[place] = values.data.len().checked_div(rest).unwrap_or_default();
    }
    Tensor::new(made, values.data.clone())
}

/// Orders the dimensions anew; without an order they are reversed.
pub(super) fn transpose(values: &Tensor, order: Option<&[i64]>) -> Result<Tensor, Unfit> {
    let dimensions = values.shape.len();
    let order: Vec<usize> = match order {
        Some(order) => order
            .iter()
            .map(|one| axis(*one, dimensions))
            .collect::<Result<_, _>>()?,
        None => (0..dimensions).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..dimensions) {
        return Err(Unfit::new(format!(
            "an order of dimensions that is none: {order:?}"
        )));
    }
    // How far it is in `values` from one to the next along each dimension.
    let mut steps = vec![1; dimensions];
    for place in (1..dimensions).rev() {
        steps[place - 1] = steps[place] * values.shape[place];
    }
    let shape: Vec<usize> = order.iter().map(|place| values.shape[*place]).collect();
    let steps: Vec<usize> = order.iter().map(|place| steps[*place]).collect();
    let data = each_type!(&values.data, values => moved(values, &shape, &steps));
    Tensor::new(shape, data)
}

fn moved<T: Element>(values: &[T], shape: &[usize], steps: &[usize]) -> Vec<T> {
    let mut made = Vec::with_capacity(values.len());
    let (Some((length, outer)), Some((step, _))) = (shape.split_last(), steps.split_last()) else {
        return values.to_vec();
    };
    let mut places = vec![0; outer.len()];
    let mut start = 0;
    for _ in 0..outer.iter().product() {
        match step {
            1 => made.extend_from_slice(&values[start..start + length]),
            step => made.extend((0..*length).map(|n| values[start + n * step])),
        }
        for place in (0..outer.len()).rev() {
            places[place] += 1;
            start += steps[place];
            if places[place] < outer[place] {
                break;
            }
            start -= steps[place] * places[place];
            places[place] = 0;
        }
    }
    made
}

pub(super) fn concat(inputs: Inputs<'_>, along: i64) -> Result<Tensor, Unfit> {
    let parts = (0..inputs.0.len()).map(|place| inputs.get(place));
    let parts: Vec<&Tensor> = parts.collect::<Result<_, _>>()?;
    let first = *parts
        .first()
        .ok_or_else(|| Unfit::new("nothing to put together"))?;
    let place = axis(along, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[place] = 0;
    for part in &parts {
        let is_alike = part.shape.len() == shape.len()
            && (0..shape.len()).all(|at| at == place || part.shape[at] == shape[at]);
        if !is_alike {
            return Err(Unfit::new("shapes that cannot be put together"));
        }
        shape[place] = shape[place].saturating_add(part.shape[place]);
    }
    volume(&shape)?;
    match first.data {
        Data::F32(_) => joined::<f32>(&parts, place, shape),
        Data::I64(_) => joined::<i64>(&parts, place, shape),
        Data::I32(_) => joined::<i32>(&parts, place, shape),
        Data::U8(_) => joined::<u8>(&parts, place, shape),
        Data::I8(_) => joined::<i8>(&parts, place, shape),
        Data::Bool(_) => joined::<bool>(&parts, place, shape),
    }
}

fn joined<T: Element>(parts: &[&Tensor], place: usize, shape: Vec<usize>) -> Result<Tensor, Unfit> {
    let outer: usize = shape[..place].iter().product();
    let mut made = Vec::with_capacity(shape.iter().product());
    for block in 0..outer {
        for part in parts {
            let length: usize = part.shape[place..].iter().product();
            let values = part.values::<T>()?;
            made.extend_from_slice(&values[block * length..(block + 1) * length]);
        }
    }
    Tensor::of(shape, made)
}

/// Part of the values: from a start to before an end along some axes, forwards.
pub(super) fn slice(inputs: Inputs<'_>) -> Result<Tensor, Unfit> {
    let (values, starts) = (inputs.get(0)?, inputs.get(1)?.integers()?);
    let ends = inputs.get(2)?.integers()?;
    let axes = match inputs.given(3) {
        Some(axes) => axes.integers()?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = inputs
        .given(4)
        .map_or_else(|| Ok(vec![1; starts.len()]), Tensor::integers)?;
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Unfit::new("starts, ends and axes of different number"));
    }
    let mut made = values.clone();
    for (((start, end), along), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let place = axis(along, made.shape.len())?;
        let count = made.shape[place] as i64;
        let bound = |at: i64| {
            let at = if at < 0 { at.saturating_add(count) } else { at };
            at.clamp(0, count)
        };
        if step < 1 {
            return Err(Unfit::new("a slice that runs backwards"));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let chosen: Vec<i64> = (bound(start)..bound(end)).step_by(step).collect();
        let chosen = Tensor::of(vec![chosen.len()], chosen)?;
        made = gather(&made, &chosen, place as i64)?;
    }
    Ok(made)
}

pub(super) fn expand(values: &Tensor, shape: &Tensor) -> Result<Tensor, Unfit> {
    let wanted = shape.integers()?.into_iter().map(size);
    let wanted: Vec<usize> = wanted.collect::<Result<_, _>>()?;
    let shape = broadcast(&values.shape, &wanted)?;
    let data = match values.data {
        Data::F32(_) => Data::F32(repeated(values, &shape)?),
        Data::I64(_) => Data::I64(repeated(values, &shape)?),
        Data::I32(_) => Data::I32(repeated(values, &shape)?),
        Data::U8(_) => Data::U8(repeated(values, &shape)?),
        Data::I8(_) => Data::I8(repeated(values, &shape)?),
        Data::Bool(_) => Data::Bool(repeated(values, &shape)?),
    };
    Tensor::new(shape, data)
}

/// The values repeated to this shape, which they fit.
pub(super) fn repeated<T: Element>(values: &Tensor, shape: &[usize]) -> Result<Vec<T>, Unfit> {
    let own: &[T] = values.values()?;
    if values.shape == shape {
        return Ok(own.to_vec());
    }
    let length = shape.last().copied().unwrap_or(1);
    let mut made = Vec::with_capacity(volume(shape)?);
    if length > 0 {
        let is_single = values.shape.last().is_none_or(|own| *own == 1) && length != 1;
        for start in row_starts(&values.shape, shape) {
            match is_single {
                true => made.extend(std::iter::repeat_n(own[start], length)),
                false => made.extend_from_slice(&own[start..start + length]),
            }
        }
    }
    Ok(made)
}
