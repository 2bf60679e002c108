//! Compute workers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A compute worker, as it described itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerAnswer {
    /// Its name: host and process.
    #[schema(example = "box-7-4711")]
    pub name: String,
    /// The kernel with which it compares.
    #[schema(example = "avx512vnni")]
    pub kernel: String,
    /// Its threads.
    #[schema(example = 8)]
    pub threads: u32,
    /// Jobs it has done since it started.
    #[schema(example = 1_204)]
    pub jobs_done: u64,
    /// How long ago it was last seen, in seconds.
    #[schema(example = 0.4)]
    pub seen_seconds_ago: f64,
}

/// The compute workers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkersAnswer {
    /// Workers that take jobs now, as counted by the broker; 1 while the service does the jobs itself.
    #[schema(example = 2)]
    pub taking_jobs: usize,
    /// Workers that were seen lately, by name.
    pub workers: Vec<WorkerAnswer>,
}
