//! Models of a domain.

use std::collections::BTreeMap;
use std::fmt;

use kindred_shared::{ModelName, VectorName};
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelBody {
    /// The way its features are made: `words-1` or `text-2` from texts; `vectors` are brought by the items; a `mix` weighs other
    /// models; a sentence encoder makes those of kind `onnx`.
    #[schema(example = "words-1")]
    pub kind: String,
    /// Of kind `vectors`: the name of the vectors; `own` is the one that items bring as `vector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "clip")]
    pub vector: Option<String>,
    /// Of kind `mix`: 1 to 8 other models of the domain, each with its weight, a number above 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"text-2": 0.7, "clip": 0.3}))]
    pub of: BTreeMap<String, f64>,
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
    /// Of kind `vectors`: the name of the vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "clip")]
    pub vector: Option<VectorName>,
    /// Of kind `mix`: the models that it mixes, and their weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, f64>, example = json!({"text-2": 0.7, "clip": 0.3}))]
    pub of: BTreeMap<ModelName, f64>,
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
