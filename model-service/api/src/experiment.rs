//! Experiments, and what readers did.

use std::collections::BTreeMap;

use kindred_shared::{DomainName, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::batch::RejectedLine;

/// What an experiment is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentBody {
    /// Its arms, 2 to 16; the first one is what others are compared with.
    #[schema(min_items = 2, max_items = 16)]
    pub arms: Vec<ArmBody>,
    /// What readers are divided by: another salt divides them anew. The experiment's name if left out.
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
    /// Its share of all readers: above 0, at most 1 together; readers beyond take no part.
    #[schema(example = 0.5)]
    pub share: f64,
    /// The model its readers are answered with; the domain's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "text-2")]
    pub model: Option<ModelName>,
    /// Conditions in place of those set for the domain; these if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"half_life": "7d"}))]
    pub defaults: Option<Map<String, Value>>,
}

/// The experiments of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentsAnswer {
    /// By name: the one that runs, and the last ones that ended.
    pub experiments: Vec<ExperimentLine>,
}

/// An experiment in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentLine {
    /// Its name.
    #[schema(example = "fresh-first")]
    pub name: String,
    /// Since when it runs, or ran.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub since: String,
    /// When it ended; left out while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended: Option<String>,
}

/// An experiment, what readers did, and what that says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExperimentAnswer {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its name.
    #[schema(example = "fresh-first")]
    pub name: String,
    /// What readers are divided by.
    #[schema(example = "autumn")]
    pub salt: String,
    /// Since when it runs, or ran.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub since: String,
    /// When it ended; left out while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// Its arms.
    pub arms: Vec<ArmAnswer>,
    /// By how much the rate of each other arm is above that of the first one; left out where one has no views, or the
    /// first one no clicks.
    pub lift: BTreeMap<String, LiftAnswer>,
    /// That no arm differs from the first one. It may be looked at at any time: of experiments without a difference at
    /// most one in twenty is ever below 0.05.
    #[schema(example = 0.03)]
    pub p: f64,
    /// That readers are divided by the shares, likewise.
    #[schema(example = 1.0)]
    pub sample_ratio_p: f64,
    /// What makes it doubtful, in words; left out where nothing does.
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
    /// The model its readers are answered with, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub model: Option<ModelName>,
    /// Conditions in place of those set for the domain, where they are said.
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
    /// Clicks a view; 0 without views.
    #[schema(example = 0.0502)]
    pub rate: f64,
    /// The interval that holds the true rate at all times, in 95 of 100 experiments.
    #[schema(example = 0.0461)]
    pub low: f64,
    /// Its upper end.
    #[schema(example = 0.0546)]
    pub high: f64,
}

/// By how much a rate is above another, as a part of that: 0.1 is a tenth more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiftAnswer {
    /// As counted.
    #[schema(example = 0.11)]
    pub lift: f64,
    /// The interval that holds the true one at all times, for all arms together, in 95 of 100 experiments.
    #[schema(example = 0.02)]
    pub low: f64,
    /// Its upper end; left out while it can be anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.21)]
    pub high: Option<f64>,
}

/// What became of events of feedback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct FeedbackAnswer {
    /// Events that are counted, now or before.
    #[schema(example = 12)]
    pub accepted: u64,
    /// Events that are not; `line` is the line or the place in the array, from 1.
    pub refused: Vec<RejectedLine>,
}
