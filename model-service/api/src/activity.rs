//! What a service is doing: rates, freshness, jobs, workers and partitions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::worker::WorkersAnswer;

/// An event of the stream of activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActivityEvent {
    /// `activity`.
    #[schema(example = "activity")]
    pub event: String,
    /// An [`Activity`] as JSON.
    pub data: String,
}

/// What this instance is doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// When it was looked.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub at: String,
    /// Over how long rates and freshness are, in seconds: five minutes, or since the start.
    #[schema(example = 300.0)]
    pub over_seconds: f64,
    /// Events decided upon, a second.
    #[schema(example = 12.5)]
    pub events_per_second: f64,
    /// The same for each five seconds of that time, the oldest first.
    pub events_history: Vec<f64>,
    /// Queries answered, a second.
    #[schema(example = 80.0)]
    pub queries_per_second: f64,
    /// Pairs compared, a second.
    #[schema(example = 40_000.0)]
    pub pairs_per_second: f64,
    /// How soon events were in lists; left out while none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// Events refused for good since the start, by reason.
    pub refused: Vec<Refused>,
    /// Items accepted whose lists are still to be made.
    pub pending: u64,
    /// How long the oldest of them waits, in seconds; 0 without one.
    pub oldest_pending_seconds: f64,
    /// Domains of this instance.
    pub domains: DomainCounts,
    /// Jobs of this instance.
    pub jobs: Jobs,
    /// Queries that wait for their turn to be computed.
    pub queries_waiting: u64,
    /// Memory that active domains are estimated to hold, in bytes.
    pub memory_bytes: u64,
    /// Memory that they may hold, in bytes.
    pub memory_budget_bytes: u64,
    /// What the service does without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Compute workers.
    #[serde(flatten)]
    pub workers: WorkersAnswer,
    /// Every partition.
    pub partitions: Vec<PartitionAnswer>,
}

/// How long it takes from an upsert's arrival to its list being served, in seconds. Between the bounds of the metric's
/// buckets it is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Freshness {
    /// Half of them took no longer.
    #[schema(example = 0.4)]
    pub p50_seconds: f64,
    /// One in a hundred took longer.
    #[schema(example = 0.8)]
    pub p99_seconds: f64,
    /// How many there were.
    #[schema(example = 3_000)]
    pub events: u64,
}

/// Events that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// The word of the reason.
    #[schema(example = "invalid-json")]
    pub reason: String,
    /// How many.
    pub events: u64,
}

/// Domains of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct DomainCounts {
    /// Loaded or loading.
    pub active: u64,
    /// Waiting for jobs or the store.
    pub waiting: u64,
    /// Whose stored lists may differ from their items.
    pub dirty: u64,
    /// That failed, and wait before they try again.
    pub backing_off: u64,
}

/// Jobs of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// Sent out and not answered.
    pub in_flight: u64,
    /// Sent out since the start, to extract.
    pub extract: u64,
    /// Sent out since the start, to compare.
    pub compare: u64,
    /// Whose deadline passed without a reply, since the start.
    pub overdue: u64,
    /// Given up since the start.
    pub failed: u64,
    /// Whether no worker takes jobs, and this instance does them itself.
    pub done_here: bool,
}

/// A partition and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionAnswer {
    /// Its number.
    #[schema(example = 0)]
    pub partition: u16,
    /// Whether this instance owns it.
    pub here: bool,
    /// Where its owner answers; left out while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.7:8080")]
    pub owner: Option<String>,
}
