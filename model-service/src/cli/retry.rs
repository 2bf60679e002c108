//! Retries with a time limit, and pauses between attempts.

use std::time::{Duration, Instant};

use kindred_shared::Backoff;

use super::exit::{CommandError, Exit};

/// Pauses between attempts.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Attempts with growing pauses between them, until a time limit is reached.
#[derive(Debug)]
pub(crate) struct Retry {
    limit: Duration,
    since: Option<Instant>,
    pauses: Backoff,
}

impl Retry {
    /// Retries for this long, counted from the first failure.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            pauses: PAUSES,
        }
    }

    /// It works again: the next failure counts as a first one.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// How long to wait before the next attempt; `None` when the limit is reached.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return None;
        }
        Some(self.pauses.failed().min(left))
    }

    /// The message before another attempt.
    pub(crate) fn words(&self, trouble: &str) -> String {
        format!(
            "{trouble}; trying again for up to {}",
            humantime::format_duration(self.limit)
        )
    }

    /// The failure after the last attempt.
    pub(crate) fn given_up(&self, exit: Exit, trouble: &str) -> CommandError {
        CommandError::new(
            exit,
            format!(
                "{trouble}; gave up after {}",
                humantime::format_duration(self.limit)
            ),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_there_is_no_time_left() {
        let mut retry = Retry::new(Duration::from_secs(3600));
        let pauses: Vec<u128> = (0..8)
            .map(|_| retry.next_pause().unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        retry.renew();
        assert_eq!(retry.next_pause(), Some(PAUSES.delay(0)));
        assert_eq!(Retry::new(Duration::ZERO).next_pause(), None);
    }
}
