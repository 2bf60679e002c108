//! An item's feature: a dense and a sparse part.

use std::fmt;
use std::sync::Arc;

/// How far the squared length of a feature may be from 1, because its values are rounded to `f32` one by one.
const LENGTH_TOLERANCE: f64 = 1e-3;
/// Upper bound of the score of any two features: features of length 1 score at most 1, and rounding adds far less than
/// this margin.
pub const HIGHEST_SCORE: f32 = 1.01;

/// The parts do not form a valid feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The numbers of ids and weights differ.
    #[error("{ids} term ids but {weights} term weights")]
    Uneven {
        /// Number of term ids.
        ids: usize,
        /// Number of term weights.
        weights: usize,
    },
    /// Term ids do not ascend strictly.
    #[error("term ids must be strictly ascending; position {0} is not")]
    Order(usize),
    /// A value is not finite.
    #[error("a value is not a finite number")]
    NotFinite,
}

/// A dense part (`f32`, one length per space) and a sparse part (term id → weight, ids strictly ascending). Either may
/// be empty. Together they are scaled to length 1; or the feature is zero (both parts empty), which means there is
/// nothing to compare. Cheap to clone.
#[derive(Clone, PartialEq, Default)]
pub struct Feature(Arc<Parts>);

#[derive(PartialEq, Default)]
struct Parts {
    dense: Box<[f32]>,
    term_ids: Box<[u32]>,
    term_weights: Box<[f32]>,
}

impl Feature {
    /// A feature with checked parts.
    ///
    /// # Errors
    /// [`FeatureError`] if the numbers of ids and weights differ, ids do not ascend strictly, or a value is not finite.
    pub fn new(
        dense: Vec<f32>,
        term_ids: Vec<u32>,
        term_weights: Vec<f32>,
    ) -> Result<Self, FeatureError> {
        if term_ids.len() != term_weights.len() {
            return Err(FeatureError::Uneven {
                ids: term_ids.len(),
                weights: term_weights.len(),
            });
        }
        if let Some(at) = term_ids.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(FeatureError::Order(at + 1));
        }
        if !dense.iter().chain(&term_weights).all(|v| v.is_finite()) {
            return Err(FeatureError::NotFinite);
        }
        Ok(Self(Arc::new(Parts {
            dense: dense.into(),
            term_ids: term_ids.into(),
            term_weights: term_weights.into(),
        })))
    }

    /// The zero feature: nothing to compare.
    pub fn zero() -> Self {
        Self::default()
    }

    /// Whether there is nothing to compare.
    pub fn is_zero(&self) -> bool {
        self.0.dense.is_empty() && self.0.term_ids.is_empty()
    }

    /// Whether it has length 1, as nearly as `f32` allows, or is zero. Features are made that way and scores rely on
    /// it, so check values from elsewhere.
    pub fn is_scaled(&self) -> bool {
        let values = self.0.dense.iter().chain(&self.0.term_weights);
        let squares: f64 = values.map(|value| f64::from(*value).powi(2)).sum();
        self.is_zero() || (squares - 1.0).abs() <= LENGTH_TOLERANCE
    }

    /// The same with a dense part of this length, which goes on with zeros; without a dense part, or with one that is
    /// longer, it is unchanged. No score with another feature changes.
    #[must_use]
    pub fn padded(&self, length: usize) -> Self {
        let dense = self.dense();
        if dense.is_empty() || dense.len() >= length {
            return self.clone();
        }
        let mut padded = Vec::with_capacity(length);
        padded.extend_from_slice(dense);
        padded.resize(length, 0.0);
        self.with_dense(padded.into())
    }

    /// The same with a dense part of exactly this length, unless it has none: for scores with features that have no more
    /// values. It may be shorter than 1.
    #[must_use]
    pub fn fitted(&self, length: usize) -> Self {
        match self.dense().get(..length) {
            Some(dense) => self.with_dense(dense.into()),
            None => self.padded(length),
        }
    }

    /// The same without the zeros at the end of its dense part.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        let dense = self.dense();
        let end = dense.iter().rposition(|value| *value != 0.0);
        let end = end.map_or(0, |last| last + 1);
        if end == dense.len() {
            return self.clone();
        }
        self.with_dense(dense[..end].into())
    }

    fn with_dense(&self, dense: Box<[f32]>) -> Self {
        Self(Arc::new(Parts {
            dense,
            term_ids: self.0.term_ids.clone(),
            term_weights: self.0.term_weights.clone(),
        }))
    }

    /// Bytes of its values.
    pub fn bytes(&self) -> usize {
        let Parts {
            dense,
            term_ids,
            term_weights,
        } = &*self.0;
        size_of_val(&**dense) + size_of_val(&**term_ids) + size_of_val(&**term_weights)
    }

    /// The dense part; empty if the feature has none.
    pub fn dense(&self) -> &[f32] {
        &self.0.dense
    }

    /// Term ids, strictly ascending.
    pub fn term_ids(&self) -> &[u32] {
        &self.0.term_ids
    }

    /// The weight of each term, in the order of [`Self::term_ids`].
    pub fn term_weights(&self) -> &[f32] {
        &self.0.term_weights
    }
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feature")
            .field("dense", &self.0.dense.len())
            .field("terms", &self.0.term_ids.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_feature() {
        assert_eq!(
            Feature::new(vec![], vec![1], vec![]),
            Err(FeatureError::Uneven { ids: 1, weights: 0 })
        );
        assert_eq!(
            Feature::new(vec![], vec![2, 2], vec![1.0, 1.0]),
            Err(FeatureError::Order(1))
        );
        assert_eq!(
            Feature::new(vec![f32::NAN], vec![], vec![]),
            Err(FeatureError::NotFinite)
        );
        assert!(Feature::new(vec![], vec![], vec![]).is_ok_and(|f| f.is_zero()));
    }

    #[test]
    fn zeros_are_added_and_taken_off_at_the_end() {
        let feature = Feature::new(vec![0.0, 0.6], vec![3], vec![0.8]).expect("a feature");
        let padded = feature.padded(4);
        assert_eq!(padded.dense(), [0.0, 0.6, 0.0, 0.0]);
        assert_eq!(padded.term_ids(), [3]);
        assert_eq!(padded.trimmed(), feature);
        assert_eq!(
            (padded.fitted(2), feature.fitted(4)),
            (feature.clone(), padded)
        );
        assert_eq!(
            (feature.trimmed(), feature.padded(1)),
            (feature.clone(), feature.clone())
        );
        let sparse = Feature::new(vec![], vec![3], vec![1.0]).expect("a feature");
        assert_eq!(
            (sparse.padded(4), sparse.trimmed()),
            (sparse.clone(), sparse)
        );
    }

    #[test]
    fn knows_whether_its_length_is_one() {
        let is_scaled = |dense: &[f32], weights: &[f32]| {
            let ids = (0..).take(weights.len()).collect();
            Feature::new(dense.to_vec(), ids, weights.to_vec()).map(|feature| feature.is_scaled())
        };
        assert_eq!(is_scaled(&[], &[]), Ok(true));
        assert_eq!(is_scaled(&[0.6], &[-0.8]), Ok(true));
        assert_eq!(is_scaled(&[0.600_01], &[0.8]), Ok(true));
        assert_eq!(is_scaled(&[0.61], &[0.8]), Ok(false));
        assert_eq!(is_scaled(&[0.0], &[]), Ok(false));
        // Its square overflows `f32`.
        assert_eq!(is_scaled(&[f32::MAX], &[]), Ok(false));
    }
}
