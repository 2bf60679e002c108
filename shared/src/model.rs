//! Models, as far as both programs need to know them.

use std::fmt;

use crate::name::ModelName;

/// A model, and what its features depend on besides texts and vectors. Features made with different
/// inputs cannot be compared, even if the model is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInputs {
    /// The model.
    pub model: ModelName,
    /// A description of what its features depend on; empty: on nothing.
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
