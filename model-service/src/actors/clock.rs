//! The clocks that pure machines are told the time of.

use std::time::Instant;

use chrono::Utc;

use kindred_domain::time::Now;

/// Both clocks, from one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Clocks whose monotonic side begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            unix_ms: Utc::now().timestamp_millis(),
        }
    }
}
