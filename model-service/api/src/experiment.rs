//! Experiments, and what readers did.

use std::collections::BTreeMap;

use kindred_shared::{DomainName, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::batch::RejectedLine;

/// The definition of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentBody {
    /// Its arms, 2 to 16; the others are compared with the first one.
    #[schema(min_items = 2, max_items = 16)]
    pub arms: Vec<ArmBody>,
    /// The salt for dividing readers: another salt divides them differently. The experiment's name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "autumn")]
    pub salt: Option<String>,
}

/// An arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmBody {
    /// Its name.
    #[schema(example = "fresh")]
    pub name: String,
    /// Its share of all readers: above 0, and together at most 1; the remaining readers take no part.
    #[schema(example = 0.5)]
    pub share: f64,
    /// The model with which its readers are answered; the domain's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "text-2")]
    pub model: Option<ModelName>,
    /// Conditions that replace the domain's default conditions; if left out, those apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"half_life": "7d"}))]
    pub defaults: Option<Map<String, Value>>,
}

/// The experiments of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentsAnswer {
    /// By name: the running one, and the last ones that ended.
    pub experiments: Vec<ExperimentLine>,
}

/// An experiment in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentLine {
    /// Its name.
    #[schema(example = "fresh-first")]
    pub name: String,
    /// When it began.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub since: String,
    /// When it ended; left out while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended: Option<String>,
}

/// An experiment, what readers did, and the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentAnswer {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its name.
    #[schema(example = "fresh-first")]
    pub name: String,
    /// The salt with which readers are divided.
    #[schema(example = "autumn")]
    pub salt: String,
    /// When it began.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub since: String,
    /// When it ended; left out while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// Its arms.
    pub arms: Vec<ArmAnswer>,
    /// The relative difference between the rate of each other arm and that of the first one; left out if the arm has no
    /// views, or the first one has no clicks.
    pub lift: BTreeMap<String, LiftAnswer>,
    /// The p-value of the hypothesis that no arm differs from the first one. It may be read at any time: of experiments
    /// without a difference, at most one in twenty ever falls below 0.05.
    #[schema(example = 0.03)]
    pub p: f64,
    /// The same for the hypothesis that readers are divided by the shares.
    #[schema(example = 1.0)]
    pub sample_ratio_p: f64,
    /// Reasons to doubt the results; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An arm, and what its readers did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArmAnswer {
    /// Its name.
    #[schema(example = "fresh")]
    pub name: String,
    /// Its share of all readers.
    #[schema(example = 0.5)]
    pub share: f64,
    /// The model with which its readers are answered, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub model: Option<ModelName>,
    /// Conditions that replace the domain's default conditions, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub defaults: Option<Map<String, Value>>,
    /// Readers that saw or clicked anything.
    #[schema(example = 5012)]
    pub readers: u64,
    /// Views.
    #[schema(example = 40_213)]
    pub seen: u64,
    /// Clicks.
    #[schema(example = 2_019)]
    pub clicked: u64,
    /// Clicks per view; 0 without views.
    #[schema(example = 0.0502)]
    pub rate: f64,
    /// The lower end of an interval that contains the true rate at all times, in 95 of 100 experiments.
    #[schema(example = 0.0461)]
    pub low: f64,
    /// Its upper end.
    #[schema(example = 0.0546)]
    pub high: f64,
}

/// The relative difference between two rates: 0.1 means a tenth more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiftAnswer {
    /// As observed.
    #[schema(example = 0.11)]
    pub lift: f64,
    /// The lower end of an interval that contains the true value at all times, for all arms together, in 95 of 100
    /// experiments.
    #[schema(example = 0.02)]
    pub low: f64,
    /// Its upper end; left out while any value is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.21)]
    pub high: Option<f64>,
}

/// The outcome of feedback events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct FeedbackAnswer {
    /// Events that are counted, now or earlier.
    #[schema(example = 12)]
    pub accepted: u64,
    /// Events that were refused; `line` is the line, or the place in the array, from 1.
    pub refused: Vec<RejectedLine>,
}
