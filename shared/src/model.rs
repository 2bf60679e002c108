//! Models, as far as both programs speak of them.

use std::fmt;

use crate::name::ModelName;

/// A model, and what its features depend on besides texts and vectors. Features of one model made
/// with other inputs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInputs {
    /// The model.
    pub model: ModelName,
    /// What its features depend on, in words; empty: on nothing.
    pub inputs: String,
}

impl fmt::Display for ModelInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, inputs } = self;
        if inputs.is_empty() {
            write!(f, "{model}")
        } else {
            write!(f, "{model} ({inputs})")
        }
    }
}
