//! Waits for an edge that is unreachable, longer each time, without a log line each time.

use std::time::Duration;

use kindred_runtime::amqp::RECONNECT;
use kindred_shared::Backoff;
use tokio::time::Instant;

/// How often the same trouble is logged again.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// The wait for one edge, with the same delays as for a connection to the broker.
#[derive(Debug)]
pub(crate) struct Waiting {
    edge: &'static str,
    backoff: Backoff,
    told: Option<(String, Instant)>,
}

impl Waiting {
    /// The state before any trouble with the edge of this name.
    pub(crate) fn for_edge(edge: &'static str) -> Self {
        Self {
            edge,
            backoff: RECONNECT,
            told: None,
        }
    }

    /// Logs what is wrong, unless it just did, and waits. Cancel-safe.
    pub(crate) async fn wait(&mut self, why: &str) {
        let pause = self.backoff.failed();
        if self.is_news(why) {
            tracing::warn!(edge = self.edge, why, ?pause, "waiting");
            self.told = Some((why.to_owned(), Instant::now()));
        }
        tokio::time::sleep(pause).await;
    }

    /// The edge works again: the next trouble is a new one.
    pub(crate) fn relieved(&mut self) {
        *self = Self::for_edge(self.edge);
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
        let mut waiting = Waiting::for_edge("broker");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            waiting.wait("connection refused").await;
            pauses.push(before.elapsed());
            assert!(!waiting.is_news("connection refused"));
            assert!(waiting.is_news("access refused"));
        }
        let longest = Duration::from_secs(5);
        assert!(pauses.is_sorted() && pauses[0] < longest && pauses[7] <= longest * 2);
        tokio::time::advance(TOLD_AGAIN).await;
        assert!(waiting.is_news("connection refused"));
        waiting.relieved();
        assert_eq!(waiting.backoff, RECONNECT);
    }
}
