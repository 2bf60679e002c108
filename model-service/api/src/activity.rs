//! What a service is doing: rates, freshness, jobs, workers and partitions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::worker::WorkersAnswer;

/// An event of the activity stream.
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
    /// When this was measured.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub at: String,
    /// The period of rates and freshness, in seconds: five minutes, or since the start.
    #[schema(example = 300.0)]
    pub over_seconds: f64,
    /// Events decided per second.
    #[schema(example = 12.5)]
    pub events_per_second: f64,
    /// The same for each five seconds of the period, oldest first.
    pub events_history: Vec<f64>,
    /// Queries answered per second.
    #[schema(example = 80.0)]
    pub queries_per_second: f64,
    /// Pairs compared per second.
    #[schema(example = 40_000.0)]
    pub pairs_per_second: f64,
    /// Time from events to their lists; left out if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// Events refused for good since the start, by reason.
    pub refused: Vec<Refused>,
    /// Accepted items whose lists are still to be made.
    pub pending: u64,
    /// How long the oldest of them has been waiting, in seconds; 0 if there is none.
    pub oldest_pending_seconds: f64,
    /// Domains of this instance.
    pub domains: DomainCounts,
    /// Jobs of this instance.
    pub jobs: Jobs,
    /// Queries that wait to be computed.
    pub queries_waiting: u64,
    /// Estimated memory of active domains, in bytes.
    pub memory_bytes: u64,
    /// Most memory they should take, in bytes.
    pub memory_budget_bytes: u64,
    /// Parts that do not work at present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Compute workers.
    #[serde(flatten)]
    pub workers: WorkersAnswer,
    /// Every partition.
    pub partitions: Vec<PartitionAnswer>,
}

/// The time from an upsert's arrival to its list being served, in seconds. It is interpolated between the bounds of the
/// metric's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Freshness {
    /// The median.
    #[schema(example = 0.4)]
    pub p50_seconds: f64,
    /// The 99th percentile.
    #[schema(example = 0.8)]
    pub p99_seconds: f64,
    /// Their number.
    #[schema(example = 3_000)]
    pub events: u64,
}

/// Refused events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// The reason.
    #[schema(example = "invalid-json")]
    pub reason: String,
    /// Their number.
    pub events: u64,
}

/// Domains of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct DomainCounts {
    /// Domains that are loaded or being loaded.
    pub active: u64,
    /// Domains that wait for jobs or for the store.
    pub waiting: u64,
    /// Domains whose stored lists may differ from their items.
    pub dirty: u64,
    /// Domains that failed and will try again.
    pub backing_off: u64,
}

/// Jobs of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// Jobs that were sent and not answered.
    pub in_flight: u64,
    /// Extract jobs sent since the start.
    pub extract: u64,
    /// Compare jobs sent since the start.
    pub compare: u64,
    /// Jobs without a reply before their deadline, since the start.
    pub overdue: u64,
    /// Jobs given up since the start.
    pub failed: u64,
    /// Whether this instance does jobs itself because no worker takes them.
    pub done_here: bool,
}

/// A partition and its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionAnswer {
    /// Its number.
    #[schema(example = 0)]
    pub partition: u16,
    /// Whether this instance owns it.
    pub here: bool,
    /// The address of its owner; left out if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.7:8080")]
    pub owner: Option<String>,
}
