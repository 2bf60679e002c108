//! The rate of a replay.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How far sending may lag behind before the rest is not caught up with: else a pause would be followed by a rush.
const MOST_LAG: Duration = Duration::from_secs(1);

/// Says when the next event is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two events; `None`: as fast as possible.
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self {
            every: rate.map(|rate| Duration::from_secs(1) / rate.get()),
            next: None,
        }
    }

    /// Takes the turn of the next event: how long it must wait for it.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let Some(every) = self.every else {
            return Duration::ZERO;
        };
        let due = match self.next {
            Some(next) if next + MOST_LAG > now => next,
            Some(_) | None => now,
        };
        self.next = Some(due + every);
        due.saturating_duration_since(now)
    }
}
