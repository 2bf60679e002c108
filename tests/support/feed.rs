//! Feeds a stream of batches, again and again until each is acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::corpus::stream::EventBatch;
use crate::support::client::Client;

/// Requests on their way at once.
pub(crate) const FEEDERS: usize = 4;
/// Longest one batch may go unacknowledged, restarts included.
const DEADLINE: Duration = Duration::from_secs(300);

/// How far a feed is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    next: AtomicUsize,
    under_way: AtomicUsize,
    acknowledged: AtomicUsize,
    sent_again: AtomicUsize,
}

impl Progress {
    /// Batches sent and not answered.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Batches answered with 200.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Batches sent more than once.
    pub(crate) fn sent_again(&self) -> usize {
        self.sent_again.load(Ordering::SeqCst)
    }
}

/// One feeder's work: takes batches until none is left. Run [`FEEDERS`] of them.
pub(crate) fn feed(client: &Client, batches: &[EventBatch], progress: &Progress) {
    while let Some(batch) = batches.get(progress.next.fetch_add(1, Ordering::SeqCst)) {
        progress.under_way.fetch_add(1, Ordering::SeqCst);
        deliver(client, batch, progress);
        progress.under_way.fetch_sub(1, Ordering::SeqCst);
        progress.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// Sends a batch until it is acknowledged. Every event of it must be accepted.
fn deliver(client: &Client, batch: &EventBatch, progress: &Progress) {
    let lines: Vec<&str> = batch
        .events
        .iter()
        .map(|event| event.line.as_str())
        .collect();
    let body = lines.join("\n");
    let started = Instant::now();
    loop {
        let refused = match client.try_batch(&batch.domain, &body) {
            Ok(answer) if answer.status == 200 => {
                let answer = answer.json();
                assert_eq!(answer["accepted"], batch.events.len(), "{answer}");
                return;
            }
            // Not ready after a restart.
            Ok(answer) if answer.status == 503 => answer.body,
            Ok(answer) => panic!("a batch: {} {}", answer.status, answer.body),
            Err(error) => error,
        };
        assert!(
            started.elapsed() < DEADLINE,
            "a batch for {} stays unacknowledged: {refused}",
            batch.domain
        );
        progress.sent_again.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
    }
}
