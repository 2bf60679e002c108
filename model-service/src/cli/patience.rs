//! How long something is tried again, and the pauses between attempts.

use std::time::{Duration, Instant};

use super::exit::{Exit, Failure};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses that double from 100 ms to 5 s, until a time limit is used up.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Tries for this long, counted from the first failure on.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// It works again: the next failure is a first one.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// How long to wait before the next attempt; `None` when the limit is used up.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause.min(left))
    }

    /// What is said when it is tried again.
    pub(crate) fn words(&self, trouble: &str) -> String {
        format!(
            "{trouble}; trying again for up to {}",
            humantime::format_duration(self.limit)
        )
    }

    /// What is said when it is tried no more.
    pub(crate) fn given_up(&self, exit: Exit, trouble: &str) -> Failure {
        Failure::new(
            exit,
            format!(
                "{trouble}; given up after {}",
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
        let mut patience = Patience::new(Duration::from_secs(3600));
        let pauses: Vec<u128> = (0..8)
            .map(|_| patience.next_pause().unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        patience.renew();
        assert_eq!(patience.next_pause(), Some(FIRST_PAUSE));
        assert_eq!(Patience::new(Duration::ZERO).next_pause(), None);
    }
}
