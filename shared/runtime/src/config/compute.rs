//! Configuration of computation.

use std::time::Duration;

use kindred_similarity::Kernel;

use super::section::Role::{ComputeWorker, ModelService, Standalone, Temporary, Tool};
use super::section::{DECIDING, Role, Validate, section};
use super::values;

/// Roles that compare.
const COMPARING: &[Role] = &[Standalone, Temporary, ModelService, ComputeWorker, Tool];

section! {
    /// The threads, kernel and deadline of computing.
    struct Compute;

    /// Threads that extract and compare; 0 takes every core.
    threads: usize = "0" {
        roles: COMPARING,
        expects: "a whole number of 0 to 1024",
        read: |text| values::count(text, 0, 1024),
        show: usize::to_string,
    }

    /// Which implementation compares features; auto takes the fastest this machine can run.
    kernel: Kernel = "auto" {
        roles: COMPARING,
        expects: "one of auto, scalar, avx2, avx512, avx512vnni",
        read: |name| name.parse().ok(),
        show: Kernel::to_string,
    }

    /// How long a job may take before it is dispatched again.
    job_deadline: Duration = "30s" {
        roles: DECIDING,
        expects: "a duration of 100ms to 1h, such as 30s",
        read: |text| values::duration(text, Duration::from_millis(100), Duration::from_secs(3600)),
        show: values::show_duration,
    }
}

impl Validate for Compute {}
