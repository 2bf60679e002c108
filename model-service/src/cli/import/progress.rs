//! Shows the progress of an import on a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// A bar of the bytes read from the inputs; hidden if nobody watches.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    items: AtomicU64,
    taken: Arc<AtomicU64>,
    visible: bool,
}

impl Progress {
    /// For inputs of this many bytes; `None`: unknown.
    pub(crate) fn new(size: Option<u64>, shown: bool) -> Self {
        let visible = shown && std::io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let (bar, template) = match size {
            Some(size) => (
                ProgressBar::with_draw_target(Some(size), target),
                "{bar:24} {bytes}/{total_bytes}  {msg}  {eta} left",
            ),
            None => (
                ProgressBar::with_draw_target(None, target),
                "{spinner} {bytes}  {msg}  {elapsed}",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if visible {
            bar.enable_steady_tick(TICK);
        }
        Self {
            bar,
            began: Instant::now(),
            items: AtomicU64::new(0),
            taken: Arc::default(),
            visible,
        }
    }

    /// Counts the bytes read from the inputs.
    pub(crate) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// Adds this many answered items.
    pub(crate) fn items(&self, more: u64) {
        let items = self.items.fetch_add(more, Ordering::Relaxed) + more;
        self.bar.set_position(self.taken.load(Ordering::Relaxed));
        let rate = items as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{items} items, {rate:.0}/s"));
    }

    /// Shows what is being waited for.
    pub(crate) fn waiting(&self, words: String) {
        self.bar.set_message(words);
    }

    /// Prints a message above the bar, or on standard error without one.
    pub(crate) fn say(&self, words: &str) {
        if self.visible {
            self.bar.println(words);
        } else {
            use std::io::Write;
            // Standard error may be closed; the import continues.
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
