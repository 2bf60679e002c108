//! Progress of a comparison: a bar on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

/// How often the bar is redrawn.
const TICK: Duration = Duration::from_millis(100);
/// Seconds between two log lines.
const LOG_EVERY_S: u64 = 10;

/// Shows how much of the comparison is done; any thread may update it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// The highest number of steps reported: threads may overtake each other.
    done: AtomicU64,
    /// When the next log line is due, in seconds since the start.
    due_s: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            began: Instant::now(),
            done: AtomicU64::new(0),
            due_s: AtomicU64::new(LOG_EVERY_S),
        }
    }

    /// Shows the current stage, whose length is unknown.
    pub(super) fn stage(&self, words: &'static str) {
        if let Some(bar) = &self.bar {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(words);
        }
    }

    /// Starts counting steps.
    pub(super) fn comparing(&self) {
        if let Some(bar) = &self.bar {
            let template = "{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message("comparing");
            bar.reset_eta();
        }
    }

    /// Reports `done` of `total` steps.
    pub(super) fn steps(&self, done: u64, total: u64) {
        let before = self.done.fetch_max(done, Ordering::Relaxed);
        if before >= done {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let seconds = self.began.elapsed().as_secs();
        let due = self.due_s.load(Ordering::Relaxed);
        let next = seconds + LOG_EVERY_S;
        // Only one of several threads that find it due may log.
        let mine = seconds >= due
            && self
                .due_s
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let percent = 100 * done / total.max(1);
            info!(percent, seconds, "comparing");
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
