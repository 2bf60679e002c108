//! Model `own`: items bring their own vectors.

use kindred_shared::name::OWN;
use kindred_shared::{Feature, Space};

use super::assembly::{Lengths, assemble};
use super::{ExtractError, Model, Rows};

/// There is no sparse part.
const LENGTHS: Lengths = Lengths {
    dense: 1.0,
    sparse: 0.0,
};

/// Model `own`.
#[derive(Debug)]
pub struct Own;

impl Own {
    /// The feature of an item that brings its own vector: the vector scaled to length 1. A vector
    /// that is empty, all zero or not finite gives the zero feature; events with such vectors are
    /// refused earlier.
    pub fn feature(vector: &[f32]) -> Feature {
        let dense: Vec<f64> = vector.iter().copied().map(f64::from).collect();
        assemble(&dense, &[], LENGTHS)
    }
}

impl Model for Own {
    fn name(&self) -> &str {
        OWN
    }

    fn inputs(&self) -> String {
        String::new()
    }

    fn reads_texts(&self) -> bool {
        false
    }

    fn compares_languages(&self) -> bool {
        false
    }

    fn extract(&self, _: &Space, rows: Rows<'_>) -> Result<Vec<Feature>, ExtractError> {
        match rows {
            Rows::Vectors(rows) => Ok(rows.iter().map(|row| Self::feature(row)).collect()),
            Rows::Terms(_) => Err(ExtractError::NotOfTerms(OWN.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_vectors_get_length_one() {
        assert_eq!(Own::feature(&[3.0, 4.0]).dense(), [0.6, 0.8]);
        assert_eq!(Own::feature(&[-3e38, 0.0]).dense(), [-1.0, 0.0]);
        assert_eq!(Own::feature(&[1e-45]).dense(), [1.0]);
        for nothing in [&[][..], &[0.0, -0.0], &[f32::NAN, 1.0], &[f32::INFINITY]] {
            assert!(Own::feature(nothing).is_zero());
        }
    }
}
