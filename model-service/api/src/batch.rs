//! Many events in one request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rejected lines an answer lists; more are counted.
pub const REJECTS_LISTED: usize = 10_000;

/// Rejected lines after which the rest of a batch is not read.
pub const REJECTS_MOST: u64 = 100_000;

/// How a batch went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// Events that are durable.
    #[schema(example = 2)]
    pub accepted: u64,
    /// Lines that were not taken, in the order of the body; the first 10,000 of them.
    pub rejected: Vec<RejectedLine>,
    /// How many more lines were rejected than are listed; missing when all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_more: Option<u64>,
}

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedLine {
    /// Its number, from 1.
    #[schema(example = 3)]
    pub line: u64,
    /// The problem's type, as for a single event.
    #[serde(rename = "type")]
    #[schema(example = "/problems/missing-field")]
    pub kind: String,
    /// What is wrong, and what to do about it.
    #[schema(example = "an item needs a title, a text or a vector; add one")]
    pub detail: String,
    /// The field at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "title")]
    pub field: Option<String>,
}
