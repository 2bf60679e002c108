//! Exponential back-off: how long to wait before retrying.

use std::time::Duration;

/// Delays that double from the first to the longest. A constant where they are used sets both; a
/// copy of it counts the failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Delays before any failure.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The delay after this many earlier failures: 0 gives the first delay.
    pub fn delay(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// Records a failure; returns the delay before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let delay = self.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Records a success: the next failure counts as the first.
    pub fn worked(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew_once_it_works() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        let delays: Vec<u64> = (0..6).map(|_| backoff.failed().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.delay(u32::MAX), 10 * SECOND);
        backoff.worked();
        assert_eq!(backoff.failed(), SECOND);
    }
}
