//! The log of a domain.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A part of the log of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogAnswer {
    /// Changes, the oldest first; empty if there is nothing new.
    pub entries: Vec<LogLine>,
    /// Where the log continues, now or later: pass it as `after`.
    #[schema(example = "1795424400000")]
    pub next: String,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub at: String,
    /// Who asked for it: the name of a key, `-` if no key was needed, or `kindred` for changes that the service made by
    /// itself.
    #[schema(example = "kindred")]
    pub by: String,
    /// What happened.
    #[schema(example = "settings.changed")]
    pub what: String,
    /// What it was before; null: nothing.
    #[schema(value_type = Option<Object>, example = json!({"window": "250ms"}))]
    pub before: Value,
    /// What it has been since; null: nothing.
    #[schema(value_type = Option<Object>, example = json!({"window": "1s"}))]
    pub after: Value,
}
