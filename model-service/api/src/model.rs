//! Models of a domain.

use std::fmt;

use kindred_shared::ModelName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Its features and lists are being made.
    Building,
    /// It is as complete as the active one, and may be used in queries.
    Ready,
    /// It is the served one.
    Active,
    /// It cannot be built.
    Failed,
}

impl fmt::Display for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Failed => "failed",
        })
    }
}

/// A request for a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelBody {
    /// The way its features are made: `words-1` or `text-2`; by a sentence encoder if it is `onnx`.
    #[schema(example = "words-1")]
    pub kind: String,
    /// Of kind `onnx`: the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "minilm")]
    pub encoder: Option<String>,
}

/// A model of a domain, and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    /// Its name, which appears in answers and lists.
    #[schema(value_type = String, example = "words-1")]
    pub name: ModelName,
    /// The way its features are made.
    #[schema(example = "words-1")]
    pub kind: String,
    /// Of kind `onnx`: the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "minilm")]
    pub encoder: Option<String>,
    /// Of kind `onnx`: identifies the encoder's files. Features are only made by encoders with exactly these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0f3c9e6d2b418a75")]
    pub fingerprint: Option<String>,
    /// Its state.
    pub state: ModelState,
    /// The share of the domain's items that have a list by it: 0 to 1.
    #[schema(example = 0.42)]
    pub done: f64,
    /// Why it is not built, or is not making progress now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Every model of a domain, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsAnswer {
    /// The models.
    pub models: Vec<ModelAnswer>,
}

/// Another model is served now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActivatedAnswer {
    /// The model that is served now.
    #[schema(value_type = String, example = "words-1")]
    pub active: ModelName,
    /// The model that was served before.
    #[schema(value_type = String, example = "text-2")]
    pub was: ModelName,
}
