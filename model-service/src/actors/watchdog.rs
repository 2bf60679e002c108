//! The watchdog: ends a process when one of its threads hangs.
//!
//! A machine's step takes milliseconds. A thread that is still busy after [`LIMIT`] will never
//! return: some event stalls the service and would never be settled. So the process ends, its
//! service manager restarts it, the broker delivers the event again, and the intake's careful
//! reading finds out which event it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::ArbiterHandle;
use tracing::error;

use crate::crash;

/// How long a thread may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a thread reports that it is alive, and how often that is checked.
const BEAT: Duration = Duration::from_millis(500);

/// A watched thread and the number of its reports.
struct Watched {
    beats: Arc<AtomicU64>,
    seen: u64,
    /// Checks since its last report. Checks rather than time: a process that was itself suspended,
    /// or slept with its machine, has not stalled.
    missed: u32,
}

/// Watches these arbiters for the life of the process.
///
/// # Errors
/// When the operating system refuses to start a thread.
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

    /// Checks once; returns whether the thread has stalled. An arbiter that has ended has not.
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
            end("a thread hangs in an event");
        }
    }
}

/// Ends the process, because something in it can never continue. Its service manager restarts it;
/// everything acknowledged is durable.
pub fn end(why: &str) -> ! {
    error!(why, "stalled; ending the process so that it is restarted");
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
