//! Combines two parts into one feature.

use kindred_shared::Feature;

/// Lengths of the parts of a feature that has both: the squares sum to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    pub(super) dense: f64,
    pub(super) sparse: f64,
}

/// Scales the parts and combines them: each to its length if both exist, else to 1. A part whose length is 0 or not
/// finite is empty. The weights of the sparse part must be sorted by id, ascending.
pub(super) fn assemble(dense: &[f64], sparse: &[(u32, f64)], lengths: Lengths) -> Feature {
    let dense_norm = length(dense.iter().copied());
    let sparse_norm = length(sparse.iter().map(|&(_, weight)| weight));
    let (dense_length, sparse_length) = match (dense_norm, sparse_norm) {
        (Some(_), Some(_)) => (lengths.dense, lengths.sparse),
        _ => (1.0, 1.0),
    };
    let scaled = |value: f64, norm: f64, length: f64| (value / norm * length) as f32;
    let dense = dense_norm.map_or_else(Vec::new, |norm| {
        dense
            .iter()
            .map(|&value| scaled(value, norm, dense_length))
            .collect()
    });
    let (ids, weights) = sparse_norm.map_or_else(Default::default, |norm| {
        sparse
            .iter()
            .map(|&(id, weight)| (id, scaled(weight, norm, sparse_length)))
            .unzip()
    });
    Feature::new(dense, ids, weights)
        .expect("ids were sorted and made unique, and values over their length are at most 1")
}

/// The Euclidean length, or `None` when it is 0 or not finite.
pub(super) fn length(values: impl Iterator<Item = f64>) -> Option<f64> {
    let squares: f64 = values.map(|value| value * value).sum();
    let length = squares.sqrt();
    (length > 0.0 && length.is_finite()).then_some(length)
}
