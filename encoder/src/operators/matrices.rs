//! Products of matrices.

use kindred_similarity::Kernel;

use super::Inputs;
use super::shapes::{repeated, transpose};
use crate::error::Unfit;
use crate::product::Panels;
use crate::tensor::{Tensor, broadcast, row_starts, volume};

/// Products of the matrices in the last two dimensions.
pub(super) fn multiply(left: &Tensor, right: &Tensor, kernel: Kernel) -> Result<Tensor, Unfit> {
    let ([.., rows, inner], [.., right_rows, columns]) =
        (left.shape.as_slice(), right.shape.as_slice())
    else {
        return Err(Unfit::new("a product of vectors"));
    };
    let (rows, inner, columns) = (*rows, *inner, *columns);
    if inner != *right_rows {
        return Err(no_product(left, right));
    }
    let outer = |tensor: &Tensor| tensor.shape[..tensor.shape.len() - 2].to_vec();
    let (left_outer, right_outer) = (outer(left), outer(right));
    let mut shape = broadcast(&left_outer, &right_outer)?;
    // Matrices are like the rows of something with one more dimension.
    let mut of_matrices = shape.clone();
    of_matrices.push(1);
    let starts = |mut outer: Vec<usize>| {
        outer.push(1);
        row_starts(&outer, &of_matrices)
    };
    shape.extend([rows, columns]);
    let (lefts, rights): (&[f32], &[f32]) = (left.values()?, right.values()?);
    let mut made = Vec::with_capacity(volume(&shape)?);
    for (l, r) in starts(left_outer).into_iter().zip(starts(right_outer)) {
        let (l, r) = (l * rows * inner, r * inner * columns);
        let panels = Panels::of_rows(inner, columns, &rights[r..r + inner * columns]);
        made.extend(product(&panels, kernel, &lefts[l..l + rows * inner], rows)?);
    }
    Tensor::of(shape, made)
}

/// The product of the matrices in the last two dimensions with a constant one.
pub(super) fn times(left: &Tensor, right: &Panels, kernel: Kernel) -> Result<Tensor, Unfit> {
    let (rows, length) = left.rows();
    if left.shape.is_empty() || length != right.rows() {
        let (shape, wanted) = (&left.shape, right.rows());
        return Err(Unfit::new(format!(
            "a product of {shape:?} with a matrix of {wanted} rows"
        )));
    }
    let mut shape = left.shape[..left.shape.len() - 1].to_vec();
    shape.push(right.columns());
    volume(&shape)?;
    let made = product(right, kernel, left.values()?, rows)?;
    Tensor::of(shape, made)
}

/// α · A · B + β · C.
pub(super) fn general(
    inputs: Inputs<'_>,
    alpha: f32,
    beta: f32,
    transposes: (bool, bool),
    kernel: Kernel,
) -> Result<Tensor, Unfit> {
    let turned = |tensor: &Tensor, is_turned: bool| match is_turned {
        true => transpose(tensor, None),
        false => Ok(tensor.clone()),
    };
    let left = turned(inputs.get(0)?, transposes.0)?;
    let right = turned(inputs.get(1)?, transposes.1)?;
    if left.shape.len() != 2 || right.shape.len() != 2 {
        return Err(no_product(&left, &right));
    }
    let made = multiply(&left, &right, kernel)?;
    let added = match inputs.given(2) {
        Some(added) if broadcast(&added.shape, &made.shape)? == made.shape => {
            Some(repeated::<f32>(added, &made.shape)?)
        }
        Some(added) => return Err(no_product(&made, added)),
        None => None,
    };
    let values = made.values::<f32>()?.iter().map(|value| value * alpha);
    let values: Vec<f32> = match added {
        Some(added) => values
            .zip(added)
            .map(|(value, more)| value + more * beta)
            .collect(),
        None => values.collect(),
    };
    Tensor::of(made.shape, values)
}

/// With an inner dimension of 0, all sums are 0.
fn product(right: &Panels, kernel: Kernel, left: &[f32], rows: usize) -> Result<Vec<f32>, Unfit> {
    if right.rows() == 0 {
        return Ok(vec![0.0; rows * right.columns()]);
    }
    let made = right.times(kernel, left);
    made.map_err(|error| Unfit::new(error.to_string()))
}

fn no_product(left: &Tensor, right: &Tensor) -> Unfit {
    let (left, right) = (&left.shape, &right.shape);
    Unfit::new(format!("a product of {left:?} and {right:?}"))
}
