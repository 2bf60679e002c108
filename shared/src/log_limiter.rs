//! Rate limiting for log lines about outside input, however often it occurs.

use std::time::Duration;

/// Lets one occurrence through per period, and counts the others.
#[derive(Debug, Clone)]
pub struct LogLimiter {
    every: Duration,
    /// When the next one is let through; `None`: at any time.
    next: Option<Duration>,
    left_out: u64,
}

impl LogLimiter {
    /// At most one per `every`.
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            next: None,
            left_out: 0,
        }
    }

    /// Whether an occurrence at `now`, on a monotonic clock, should be reported: if so, how many were left out since
    /// the last report.
    pub fn tell(&mut self, now: Duration) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.next = Some(now.saturating_add(self.every));
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_while_is_told_with_the_number_of_the_others() {
        let mut limiter = LogLimiter::new(Duration::from_secs(10));
        let mut told = |second| limiter.tell(Duration::from_secs(second));
        assert_eq!(told(3), Some(0));
        for second in 3..13 {
            assert_eq!(told(second), None);
        }
        assert_eq!(told(13), Some(10));
        assert_eq!(told(14), None);
        assert_eq!(told(100), Some(1));
    }
}
