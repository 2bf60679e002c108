//! The watchdog: ends a process whose threads turn no more.
//!
//! What a machine does between two awaits takes milliseconds. A thread that has not come back after
//! [`LIMIT`] never will: an event that stalls the service, which nobody would ever settle. Ended, the
//! process is started again by whoever looks after it, the broker delivers the event once more, and
//! the intake finds out which it is (`intake::poison`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::ArbiterHandle;
use tracing::error;

use crate::crash;

/// How long a thread may take to come back.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a thread says that it turns, and how often it is looked.
const BEAT: Duration = Duration::from_millis(500);

/// A thread that is watched, and how often it said that it turns.
struct Watched {
    beats: Arc<AtomicU64>,
    seen: u64,
    /// Looks since it last did. Looks and not time: a process that was itself frozen, or put to
    /// sleep with its machine, has not stalled.
    missed: u32,
}

/// Watches these arbiters for as long as the process lives.
///
/// # Errors
/// When the operating system gives no thread.
pub fn watch<'a>(arbiters: impl IntoIterator<Item = &'a ArbiterHandle>) -> std::io::Result<()> {
    let watched = arbiters.into_iter().map(Watched::on).collect();
    let limit = crash::stall_limit(LIMIT);
    let looks = u32::try_from(limit.as_millis() / BEAT.as_millis()).unwrap_or(u32::MAX);
    std::thread::Builder::new()
        .name("kindred-watchdog".to_owned())
        .spawn(move || look_after(watched, looks.max(1)))?;
    Ok(())
}

impl Watched {
    fn on(arbiter: &ArbiterHandle) -> Self {
        let beats = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&beats);
        arbiter.spawn(async move {
            let mut beat = tokio::time::interval(BEAT);
            loop {
                beat.tick().await;
                own.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            beats,
            seen: 0,
            missed: 0,
        }
    }

    /// Looks once; whether it has stalled. An arbiter that ended has not.
    fn has_stalled(&mut self, looks: u32) -> bool {
        let beats = self.beats.load(Ordering::Relaxed);
        if beats != self.seen || Arc::strong_count(&self.beats) == 1 {
            self.seen = beats;
            self.missed = 0;
        } else {
            self.missed += 1;
        }
        self.missed > looks
    }
}

fn look_after(mut watched: Vec<Watched>, looks: u32) {
    loop {
        std::thread::sleep(BEAT);
        if watched.iter_mut().any(|one| one.has_stalled(looks)) {
            end("a thread has not come back from an event");
        }
    }
}

/// Ends the process: something in it can never go on. Whoever started it starts it again; all that
/// was acknowledged is durable.
pub fn end(why: &str) -> ! {
    error!(why, "stalled; the process ends, to be started again");
    std::process::abort()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_stalled_when_it_misses_all_looks_in_a_row() {
        let beats = Arc::new(AtomicU64::new(0));
        let mut watched = Watched {
            beats: Arc::clone(&beats),
            seen: 0,
            missed: 0,
        };
        assert!(!watched.has_stalled(2) && !watched.has_stalled(2));
        beats.fetch_add(1, Ordering::Relaxed);
        assert!(!watched.has_stalled(2) && !watched.has_stalled(2) && !watched.has_stalled(2));
        assert!(watched.has_stalled(2));
        drop(beats);
        assert!(!watched.has_stalled(2), "its arbiter has ended");
    }
}
