//! Values of a model: numbers of one type, and their shape.

use crate::error::Unfit;

/// Most values of a tensor: 512 MiB of `f32`. The largest tables of word pieces have fewer.
pub(crate) const MOST_VALUES: usize = 128 << 20;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// Numbers of one type, row after row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

/// The numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    Bool(Vec<bool>),
}

/// Runs code on the numbers of a tensor, whatever their type; if it makes numbers of that type, names the type again.
macro_rules! each_type {
    ($data:expr, $values:ident => $made:expr) => {
        match $data {
            $crate::tensor::Data::F32($values) => $crate::tensor::Data::F32($made),
            $crate::tensor::Data::I64($values) => $crate::tensor::Data::I64($made),
            $crate::tensor::Data::I32($values) => $crate::tensor::Data::I32($made),
            $crate::tensor::Data::U8($values) => $crate::tensor::Data::U8($made),
            $crate::tensor::Data::I8($values) => $crate::tensor::Data::I8($made),
            $crate::tensor::Data::Bool($values) => $crate::tensor::Data::Bool($made),
        }
    };
}
pub(crate) use each_type;

/// A type of number.
pub(crate) trait Element: Copy + Default {
    const NAME: &'static str;

    fn of(data: &Data) -> Option<&[Self]>;

    fn data(values: Vec<Self>) -> Data;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);

            fn of(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }

            fn data(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }
        }
    };
}

element!(f32, F32);
element!(i64, I64);
element!(i32, I32);
element!(u8, U8);
element!(i8, I8);
element!(bool, Bool);

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => f32::NAME,
            Self::I64(_) => i64::NAME,
            Self::I32(_) => i32::NAME,
            Self::U8(_) => u8::NAME,
            Self::I8(_) => i8::NAME,
            Self::Bool(_) => bool::NAME,
        }
    }
}

impl Tensor {
    /// A tensor of this shape.
    ///
    /// # Errors
    /// [`Unfit`] if the shape has another number of values, or more than are allowed.
    pub(crate) fn new(shape: Vec<usize>, data: Data) -> Result<Self, Unfit> {
        let expected = volume(&shape)?;
        if data.len() == expected {
            Ok(Self { shape, data })
        } else {
            let found = data.len();
            Err(Unfit::new(format!(
                "{found} values for the shape {shape:?}"
            )))
        }
    }

    pub(crate) fn of<T: Element>(shape: Vec<usize>, values: Vec<T>) -> Result<Self, Unfit> {
        Self::new(shape, T::data(values))
    }

    /// A single number.
    pub(crate) fn scalar<T: Element>(value: T) -> Self {
        Self {
            shape: Vec::new(),
            data: T::data(vec![value]),
        }
    }

    pub(crate) fn values<T: Element>(&self) -> Result<&[T], Unfit> {
        T::of(&self.data).ok_or_else(|| {
            let (found, wanted) = (self.data.type_name(), T::NAME);
            Unfit::new(format!("values of type {found} where {wanted} is expected"))
        })
    }

    /// Whole numbers of either type.
    pub(crate) fn integers(&self) -> Result<Vec<i64>, Unfit> {
        match &self.data {
            Data::I64(values) => Ok(values.clone()),
            Data::I32(values) => Ok(values.iter().copied().map(i64::from).collect()),
            other => Err(Unfit::new(format!(
                "values of type {} where whole numbers are expected",
                other.type_name()
            ))),
        }
    }

    /// The number of rows of the last dimension, and their length; a single number is a row.
    pub(crate) fn rows(&self) -> (usize, usize) {
        match self.shape.split_last() {
            Some((length, outer)) => (outer.iter().product(), *length),
            None => (1, 1),
        }
    }
}

/// The number of values in a shape.
///
/// # Errors
/// [`Unfit`] if there are more than [`MOST_VALUES`], or more dimensions than allowed.
pub(crate) fn volume(shape: &[usize]) -> Result<usize, Unfit> {
    if shape.len() > MOST_DIMENSIONS {
        return Err(Unfit::new(format!("{} dimensions", shape.len())));
    }
    let mut sizes = shape.iter();
    let volume = sizes.try_fold(1_usize, |volume, size| volume.checked_mul(*size));
    volume
        .filter(|volume| *volume <= MOST_VALUES)
        .ok_or_else(|| Unfit::new(format!("more than {MOST_VALUES} values: {shape:?}")))
}

/// The place of a dimension, which may be counted from the end.
pub(crate) fn axis(axis: i64, dimensions: usize) -> Result<usize, Unfit> {
    let count = i64::try_from(dimensions).unwrap_or(i64::MAX);
    let place = if axis < 0 { axis + count } else { axis };
    usize::try_from(place)
        .ok()
        .filter(|place| *place < dimensions)
        .ok_or_else(|| Unfit::new(format!("dimension {axis} of {dimensions}")))
}

/// A size as a model states it.
pub(crate) fn size(size: i64) -> Result<usize, Unfit> {
    usize::try_from(size).map_err(|_| Unfit::new(format!("a size of {size}")))
}

/// The shape of the result if these two meet: dimensions are aligned at the end, and those of size 1 repeat.
pub(crate) fn broadcast(left: &[usize], right: &[usize]) -> Result<Vec<usize>, Unfit> {
    let dimensions = left.len().max(right.len());
    let at = |shape: &[usize], place: usize| {
        let missing = dimensions - shape.len();
        place.checked_sub(missing).map_or(1, |place| shape[place])
    };
    let size = |place| match (at(left, place), at(right, place)) {
        (l, r) if l == r => Ok(l),
        (1, r) => Ok(r),
        (l, 1) => Ok(l),
        _ => Err(Unfit::new(format!(
            "shapes {left:?} and {right:?} do not fit"
        ))),
    };
    let shape: Vec<usize> = (0..dimensions).map(size).collect::<Result<_, _>>()?;
    volume(&shape)?;
    Ok(shape)
}

/// For each row of a result (its last dimension left out), where the row of an operand begins.
pub(crate) fn row_starts(shape: &[usize], result: &[usize]) -> Vec<usize> {
    let outer = &result[..result.len().saturating_sub(1)];
    let missing = result.len() - shape.len();
    // How far the operand moves with each step of a dimension of the result.
    let mut steps = vec![0; outer.len()];
    let mut length = shape.last().copied().unwrap_or(1);
    for place in (0..outer.len()).rev() {
        if let Some(own) = place.checked_sub(missing) {
            let size = shape[own];
            steps[place] = if size == 1 { 0 } else { length };
            length *= size;
        }
    }
    let rows = outer.iter().product();
    let mut places = vec![0; outer.len()];
    let mut start = 0;
    let mut starts = Vec::with_capacity(rows);
    for _ in 0..rows {
        starts.push(start);
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
    starts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn shapes_are_aligned_at_their_ends() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]), Ok(vec![2, 3, 4]));
        assert_eq!(broadcast(&[], &[5]), Ok(vec![5]));
        assert!(broadcast(&[2], &[3]).is_err());
        assert_eq!(row_starts(&[2, 1, 4], &[2, 3, 4]), [0, 0, 0, 4, 4, 4]);
        assert_eq!(row_starts(&[3, 1], &[2, 3, 4]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(row_starts(&[], &[5]), [0]);
        assert_eq!(row_starts(&[], &[]), [0]);
    }

    #[test]
    fn a_tensor_has_the_values_of_its_shape() {
        assert!(Tensor::of(vec![2, 2], vec![1.0_f32; 4]).is_ok());
        assert!(Tensor::of(vec![2, 2], vec![1_u8; 3]).is_err());
        assert!(volume(&[usize::MAX, 2]).is_err() && volume(&[MOST_VALUES, 2]).is_err());
        assert_eq!(axis(-1, 3), Ok(2));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err());
        let whole = Tensor::scalar(3_i32);
        assert_eq!(whole.integers(), Ok(vec![3]));
        assert!(whole.values::<f32>().is_err());
    }
}
