//! Removes from word vectors what all of them share.
//!
//! Word vectors have a common mean and a few directions that carry frequency rather than meaning;
//! without them, sums of vectors distinguish texts better (Mu and Viswanath, "All-but-the-Top",
//! 2018).

use nalgebra::{DMatrix, SymmetricEigen};

/// Subtracts the mean of all rows and removes the `count` principal components of largest
/// variance, in place. `values` is `rows × dimension`, row by row; finite values only.
pub(super) fn remove_largest(values: &mut [f32], dimension: usize, count: usize) {
    let rows = values.len() / dimension;
    if rows == 0 {
        return;
    }
    let mut mean = vec![0.0_f64; dimension];
    for row in values.chunks_exact(dimension) {
        for (sum, &value) in mean.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= rows as f64);

    let mut centred = vec![0.0_f64; dimension];
    let mut covariance = DMatrix::<f64>::zeros(dimension, dimension);
    for row in values.chunks_exact(dimension) {
        centre(&mut centred, row, &mean);
        for (column, &right) in centred.iter().enumerate() {
            let sums = &mut covariance.as_mut_slice()[column * dimension..][..=column];
            for (sum, &left) in sums.iter_mut().zip(&centred) {
                *sum += left * right;
            }
        }
    }
    covariance.fill_lower_triangle_with_upper_triangle();
    covariance /= rows as f64;

    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..dimension).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let components: Vec<Vec<f64>> = order
        .into_iter()
        .take(count)
        .map(|at| eigen.eigenvectors.column(at).iter().copied().collect())
        .collect();

    for row in values.chunks_exact_mut(dimension) {
        centre(&mut centred, row, &mean);
        for component in &components {
            let along: f64 = component.iter().zip(&centred).map(|(c, v)| c * v).sum();
            for (value, c) in centred.iter_mut().zip(component) {
                *value -= along * c;
            }
        }
        for (out, &value) in row.iter_mut().zip(&centred) {
            *out = value as f32;
        }
    }
}

fn centre(centred: &mut [f64], row: &[f32], mean: &[f64]) {
    for ((out, &value), mean) in centred.iter_mut().zip(row).zip(mean) {
        *out = f64::from(value) - mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_the_mean_and_the_widest_directions() {
        // Spread 100 along the first axis, 10 along the second, 1 along the third, all away
        // from zero: after removing two components only the third is left.
        let mut values = Vec::new();
        for (a, b, c) in [
            (1.0, 1.0, 1.0),
            (1.0, -1.0, -1.0),
            (-1.0, 1.0, -1.0),
            (-1.0, -1.0, 1.0),
        ] {
            values.extend([5.0 + 100.0 * a, 7.0 + 10.0 * b, 9.0 + c]);
        }
        remove_largest(&mut values, 3, 2);
        for (row, expected) in values.chunks(3).zip([1.0_f32, -1.0, -1.0, 1.0]) {
            assert!(row[0].abs() < 1e-5 && row[1].abs() < 1e-5, "{row:?}");
            assert!((row[2] - expected).abs() < 1e-5, "{row:?}");
        }
    }
}
