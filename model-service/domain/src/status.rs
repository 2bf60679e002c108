//! How a domain fares.

use std::time::Duration;

use crate::memory::Memory;

/// What a domain is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It is being read from the store.
    #[default]
    Loading,
    /// Nothing is to be done.
    Idle,
    /// A window is open.
    Collecting,
    /// Features are being made.
    Extracting,
    /// Rows are being compared.
    Comparing,
    /// Features or lists are being stored.
    Storing,
    /// Something went wrong; it is tried again soon.
    BackingOff,
    /// Its partition belongs to another instance.
    Lost,
}

impl State {
    /// Its word, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Idle => "idle",
            Self::Collecting => "collecting",
            Self::Extracting => "extracting",
            Self::Comparing => "comparing",
            Self::Storing => "storing",
            Self::BackingOff => "backing-off",
            Self::Lost => "lost",
        }
    }

    /// Whether lists wait for workers or the store.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Extracting | Self::Comparing | Self::Storing)
    }
}

impl DomainStatus {
    /// How old the oldest pending item is, on the same clock.
    pub fn oldest_pending_age(&self, now: Duration) -> Option<Duration> {
        self.oldest_pending.map(|at| now.saturating_sub(at))
    }
}

/// How a domain fares, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainStatus {
    /// What it is doing.
    pub state: State,
    /// No event, open window or job: every list is exact and stored.
    pub quiet: bool,
    /// The store says so too: the next owner need not make its lists again.
    pub clean: bool,
    /// Live items.
    pub live: u64,
    /// Visible items.
    pub visible: u64,
    /// Items accepted whose lists are still to be made.
    pub pending: u64,
    /// When the oldest of those came, on the clock that never goes back. `None` also of items that were there
    /// when the domain was loaded.
    pub oldest_pending: Option<Duration>,
    /// Lists that changed and are not stored yet.
    pub unstored: u64,
    /// What it holds in memory, as estimated.
    pub memory: Memory,
    /// What keeps it from going on, if something does.
    pub trouble: Option<String>,
}
