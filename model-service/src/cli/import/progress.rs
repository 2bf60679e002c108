//! How far an import is, on a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it is drawn.
const TICK: Duration = Duration::from_millis(200);

/// A bar by the bytes taken from the inputs; nothing where nobody watches.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    items: AtomicU64,
    taken: Arc<AtomicU64>,
    visible: bool,
}

impl Progress {
    /// For inputs of this many bytes; `None`: not known.
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

    /// Counts the bytes taken from the inputs.
    pub(crate) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// This many more items were answered.
    pub(crate) fn items(&self, more: u64) {
        let items = self.items.fetch_add(more, Ordering::Relaxed) + more;
        self.bar.set_position(self.taken.load(Ordering::Relaxed));
        let rate = items as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{items} items, {rate:.0}/s"));
    }

    /// What is waited for.
    pub(crate) fn waiting(&self, words: String) {
        self.bar.set_message(words);
    }

    /// Says something above the bar, or on standard error where there is none.
    pub(crate) fn say(&self, words: &str) {
        if self.visible {
            self.bar.println(words);
        } else {
            use std::io::Write;
            // Nobody may listen there, and the import goes on all the same.
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
