//! The clocks that tell pure machines the time.

use std::time::Instant;

use chrono::Utc;

use kindred_domain::time::Now;

/// Both clocks, started together.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the clocks; the monotonic one begins at zero.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// The current time.
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            unix_ms: Utc::now().timestamp_millis(),
        }
    }
}
