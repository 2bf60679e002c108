//! How compute workers identify themselves: by a header on each reply, and by periodic greetings,
//! so that idle workers are known too.

use std::fmt;

/// Name of the header that holds a [`WorkerCard`].
pub const WORKER_HEADER: &str = "worker";

/// Type of a message that answers no job: a worker announces that it is running.
pub const GREETING: &str = "worker.greeting";

/// A worker's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCard {
    /// Its name, unique while it runs: host and process id.
    pub name: String,
    /// The kernel it compares with.
    pub kernel: String,
    /// Its threads.
    pub threads: u32,
    /// Jobs answered since it started, including this one.
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
