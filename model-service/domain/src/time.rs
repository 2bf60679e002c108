//! Time as an argument.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kindred_shared::Backoff;

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

/// The earlier of two optional moments.
pub(crate) fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

/// Delays before something of a domain that failed is tried again.
pub const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
