//! Time as an argument.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed moment of this process; never goes back. For deadlines.
    pub monotonic: Duration,
    /// Milliseconds since 1970. For versions and expiry; may jump.
    pub unix_ms: i64,
}

impl Now {
    /// The wall clock as a date.
    pub fn date(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.unix_ms).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// Growing delay between tries: 100 ms doubled each time, at most 30 s.
pub fn backoff(attempt: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);
    FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST)
}
