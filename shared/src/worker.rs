//! How a compute worker makes itself known: a header on each of its replies, and a greeting now and
//! then, so that one without work is known too.

use std::fmt;

/// Name of the header that holds a [`WorkerCard`].
pub const WORKER_HEADER: &str = "worker";

/// Type of a message that answers no job: a worker only says that it is there.
pub const GREETING: &str = "worker.greeting";

/// What a worker says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCard {
    /// Its name, unique while it runs: host and process id.
    pub name: String,
    /// The kernel it compares with.
    pub kernel: String,
    /// Its threads.
    pub threads: u32,
    /// Jobs it answered since it started, this one included.
    pub jobs_done: u64,
}

impl fmt::Display for WorkerCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} threads, {} jobs done)",
            self.name, self.kernel, self.threads, self.jobs_done
        )
    }
}
