//! Waiting for what is not there: longer each time, and not a log line each time.

use std::time::Duration;

use tokio::time::Instant;

/// First pause.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause: how late an edge that is back may be noticed.
const LONGEST: Duration = Duration::from_secs(5);
/// How often the same trouble is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Patience with one edge.
#[derive(Debug)]
pub(crate) struct Patience {
    edge: &'static str,
    pause: Duration,
    told: Option<(String, Instant)>,
}

impl Patience {
    /// Patience with the edge of this name.
    pub(crate) fn with(edge: &'static str) -> Self {
        Self {
            edge,
            pause: FIRST,
            told: None,
        }
    }

    /// Says what is wrong, unless it just did, and waits. Cancel-safe.
    pub(crate) async fn wait(&mut self, why: &str) {
        if self.is_news(why) {
            tracing::warn!(edge = self.edge, why, pause = ?self.pause, "waiting");
            self.told = Some((why.to_owned(), Instant::now()));
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        tokio::time::sleep(pause).await;
    }

    /// It works: the next trouble is a new one.
    pub(crate) fn relieved(&mut self) {
        *self = Self::with(self.edge);
    }

    fn is_news(&self, why: &str) -> bool {
        let told = self.told.as_ref();
        told.is_none_or(|(told, at)| told != why || at.elapsed() >= TOLD_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_longer_each_time_up_to_a_limit_and_tells_once() {
        let mut patience = Patience::with("broker");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            patience.wait("connection refused").await;
            pauses.push(before.elapsed());
            assert!(!patience.is_news("connection refused"));
            assert!(patience.is_news("access refused"));
        }
        assert!(pauses.is_sorted() && pauses[0] < LONGEST && pauses[7] <= LONGEST * 2);
        tokio::time::advance(TOLD_AGAIN).await;
        assert!(patience.is_news("connection refused"));
        patience.relieved();
        assert_eq!(patience.pause, FIRST);
    }
}
