//! Operators that are applied to each value by itself, or to each two.

use kindred_similarity::Kernel;

use super::shapes::repeated;
use super::{Type, map};
use crate::arithmetic;
use crate::error::Unfit;
use crate::tensor::{Data, Element, Tensor, broadcast, row_starts};

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
}

impl Binary {
    pub(super) fn apply(self, left: &Tensor, right: &Tensor) -> Result<Tensor, Unfit> {
        if let (Data::I64(_), Data::I64(_)) = (&left.data, &right.data) {
            return pairs(left, right, |l: i64, r: i64| self.of_integers(l, r));
        }
        match self {
            Self::Add => pairs(left, right, |l: f32, r: f32| l + r),
            Self::Sub => pairs(left, right, |l: f32, r: f32| l - r),
            Self::Mul => pairs(left, right, |l: f32, r: f32| l * r),
            Self::Div => pairs(left, right, |l: f32, r: f32| l / r),
            Self::Pow => power(left, right),
        }
    }

    /// Sizes are computed like this. What is undefined is 0.
    fn of_integers(self, l: i64, r: i64) -> i64 {
        match self {
            Self::Add => l.wrapping_add(r),
            Self::Sub => l.wrapping_sub(r),
            Self::Mul => l.wrapping_mul(r),
            Self::Div => l.checked_div(r).unwrap_or_default(),
            Self::Pow => u32::try_from(r).map_or(0, |r| l.wrapping_pow(r)),
        }
    }
}

fn power(base: &Tensor, exponent: &Tensor) -> Result<Tensor, Unfit> {
    match exponent.values::<f32>()? {
        [2.0] => map(base, |value: f32| value * value),
        [3.0] => map(base, |value: f32| value * value * value),
        _ => pairs(base, exponent, libm::powf),
    }
}

/// A comparison of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    Greater,
}

impl Comparison {
    pub(super) fn apply(self, left: &Tensor, right: &Tensor) -> Result<Tensor, Unfit> {
        match left.data {
            Data::F32(_) => self.of::<f32>(left, right),
            Data::I32(_) => self.of::<i32>(left, right),
            Data::Bool(_) => self.of::<bool>(left, right),
            Data::I64(_) | Data::U8(_) | Data::I8(_) => self.of::<i64>(left, right),
        }
    }

    fn of<T: Element + PartialOrd>(self, left: &Tensor, right: &Tensor) -> Result<Tensor, Unfit> {
        match self {
            Self::Equal => pairs(left, right, |l: T, r: T| l == r),
            Self::Less => pairs(left, right, |l: T, r: T| l < r),
            Self::Greater => pairs(left, right, |l: T, r: T| l > r),
        }
    }
}

/// An operation on one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Sqrt,
    Erf,
    Exp,
    Tanh,
    Relu,
    Neg,
}

impl Unary {
    pub(super) fn apply(self, values: &Tensor, kernel: Kernel) -> Result<Tensor, Unfit> {
        match self {
            Self::Sqrt => map(values, f32::sqrt),
            Self::Erf => vectorized(values, kernel, arithmetic::erf),
            Self::Exp => vectorized(values, kernel, arithmetic::exp),
            Self::Tanh => map(values, libm::tanhf),
            Self::Relu => map(values, |value: f32| value.max(0.0)),
            Self::Neg => match values.data {
                Data::I64(_) => map(values, i64::wrapping_neg),
                _ => map(values, |value: f32| -value),
            },
        }
    }
}

/// Applies a function compiled for the kernel's vectors.
#[inline(always)]
fn vectorized(values: &Tensor, kernel: Kernel, f: impl Fn(f32) -> f32) -> Result<Tensor, Unfit> {
    let values_in: &[f32] = values.values()?;
    let mut made = vec![0.0; values_in.len()];
    let run = kernel.run(
        #[inline(always)]
        || {
            for (made, value) in made.iter_mut().zip(values_in) {
                *made = f(*value);
            }
        },
    );
    run.map_err(|error| Unfit::new(error.to_string()))?;
    Tensor::of(values.shape.clone(), made)
}

pub(super) fn not(values: &Tensor) -> Result<Tensor, Unfit> {
    map(values, |value: bool| !value)
}

/// Where the condition holds the first one's values, else the other's.
pub(super) fn choose(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor, Unfit> {
    match yes.data {
        Data::F32(_) => chosen::<f32>(condition, yes, no),
        Data::I64(_) => chosen::<i64>(condition, yes, no),
        Data::I32(_) => chosen::<i32>(condition, yes, no),
        Data::U8(_) => chosen::<u8>(condition, yes, no),
        Data::I8(_) => chosen::<i8>(condition, yes, no),
        Data::Bool(_) => chosen::<bool>(condition, yes, no),
    }
}

fn chosen<T: Element>(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor, Unfit> {
    let shape = broadcast(&broadcast(&condition.shape, &yes.shape)?, &no.shape)?;
    let [yes, no] = [yes, no].map(|values| repeated::<T>(values, &shape));
    let condition: Vec<bool> = repeated(condition, &shape)?;
    let values = condition.into_iter().zip(yes?.into_iter().zip(no?));
    let made = values.map(|(condition, (yes, no))| if condition { yes } else { no });
    Tensor::of(shape, made.collect())
}

/// Converts values; numbers too large for their new type become its limit.
#[allow(clippy::cast_lossless, clippy::unnecessary_cast)] // one macro for all types
pub(super) fn cast(values: &Tensor, to: Type) -> Result<Tensor, Unfit> {
    macro_rules! to {
        ($type:ty) => {
            match values.data {
                Data::F32(_) => map(values, |value: f32| value as $type),
                Data::I64(_) => map(values, |value: i64| value as $type),
                Data::I32(_) => map(values, |value: i32| value as $type),
                Data::U8(_) => map(values, |value: u8| value as $type),
                Data::I8(_) => map(values, |value: i8| value as $type),
                Data::Bool(_) => map(values, |value: bool| u8::from(value) as $type),
            }
        };
    }
    match to {
        Type::F32 => to!(f32),
        Type::I64 => to!(i64),
        Type::I32 => to!(i32),
        Type::U8 => to!(u8),
        Type::I8 => to!(i8),
        Type::Bool => match values.data {
            Data::F32(_) => map(values, |value: f32| value != 0.0),
            Data::I64(_) => map(values, |value: i64| value != 0),
            Data::I32(_) => map(values, |value: i32| value != 0),
            Data::U8(_) => map(values, |value: u8| value != 0),
            Data::I8(_) => map(values, |value: i8| value != 0),
            Data::Bool(_) => Ok(values.clone()),
        },
    }
}

/// Applies a function to each two values that meet.
fn pairs<T: Element, U: Element>(
    left: &Tensor,
    right: &Tensor,
    f: impl Fn(T, T) -> U,
) -> Result<Tensor, Unfit> {
    let (lefts, rights): (&[T], &[T]) = (left.values()?, right.values()?);
    let shape = broadcast(&left.shape, &right.shape)?;
    let length = shape.last().copied().unwrap_or(1);
    if left.shape == right.shape {
        let made = lefts.iter().zip(rights).map(|(l, r)| f(*l, *r)).collect();
        return Tensor::of(shape, made);
    }
    if let [right] = rights
        && shape == left.shape
    {
        let made = lefts.iter().map(|left| f(*left, *right)).collect();
        return Tensor::of(shape, made);
    }
    let starts = (
        row_starts(&left.shape, &shape),
        row_starts(&right.shape, &shape),
    );
    let row = |start: usize, of: &[usize], values: &[T]| {
        let is_single = of.last().is_none_or(|own| *own == 1) && length != 1;
        (is_single, start, values[start])
    };
    let mut made = Vec::with_capacity(starts.0.len() * length);
    if length > 0 {
        for (l, r) in starts.0.into_iter().zip(starts.1) {
            let (left_row, right_row) = (row(l, &left.shape, lefts), row(r, &right.shape, rights));
            match (left_row, right_row) {
                ((false, l, _), (false, r, _)) => {
                    let pairs = lefts[l..l + length].iter().zip(&rights[r..r + length]);
                    made.extend(pairs.map(|(l, r)| f(*l, *r)));
                }
                ((false, l, _), (true, _, r)) => {
                    made.extend(lefts[l..l + length].iter().map(|l| f(*l, r)));
                }
                ((true, _, l), (false, r, _)) => {
                    made.extend(rights[r..r + length].iter().map(|r| f(l, *r)));
                }
                ((true, _, l), (true, _, r)) => made.extend(std::iter::repeat_n(f(l, r), length)),
            }
        }
    }
    Tensor::of(shape, made)
}
