//! Many events in one request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most rejected lines that an answer lists; further ones are only counted.
pub const REJECTS_LISTED: usize = 10_000;

/// Number of rejected lines after which the rest of a batch is not read.
pub const REJECTS_MOST: u64 = 100_000;

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// Events that are durable.
    #[schema(example = 2)]
    pub accepted: u64,
    /// Lines that were rejected, in the order of the body; the first 10,000 of them.
    pub rejected: Vec<RejectedLine>,
    /// How many more lines were rejected than are listed; left out if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_more: Option<u64>,
}

/// A rejected line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedLine {
    /// Its number, from 1.
    #[schema(example = 3)]
    pub line: u64,
    /// The problem's type, as for a single event.
    #[serde(rename = "type")]
    #[schema(example = "/problems/missing-field")]
    pub kind: String,
    /// What is wrong, and how to fix it.
    #[schema(example = "an item needs a title, a text or a vector; add one")]
    pub detail: String,
    /// The invalid field, if a single one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "title")]
    pub field: Option<String>,
}
