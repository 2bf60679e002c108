//! Models of a domain.

use std::fmt;

use kindred_shared::ModelName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Its features and lists are being made.
    Building,
    /// It is as exact as the active one, and can be asked.
    Ready,
    /// It is the one that is served.
    Active,
    /// It cannot be made.
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

/// A model as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelBody {
    /// The way its features are made: `words-1` or `text-2`.
    #[schema(example = "words-1")]
    pub kind: String,
}

/// A model of a domain, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    /// Its name, which answers and lists say.
    #[schema(value_type = String, example = "words-1")]
    pub name: ModelName,
    /// The way its features are made.
    #[schema(value_type = String, example = "words-1")]
    pub kind: ModelName,
    /// How far it is.
    pub state: ModelState,
    /// The share of the domain's items that have their list by it: 0 to 1.
    #[schema(example = 0.42)]
    pub done: f64,
    /// Why it is not made, or is not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Every model of a domain, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsAnswer {
    /// The models.
    pub models: Vec<ModelAnswer>,
}

/// Another model is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActivatedAnswer {
    /// The one that is served now.
    #[schema(value_type = String, example = "words-1")]
    pub active: ModelName,
    /// The one that was.
    #[schema(value_type = String, example = "text-2")]
    pub was: ModelName,
}
