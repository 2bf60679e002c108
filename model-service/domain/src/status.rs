//! The status of a domain.

use std::time::Duration;

use crate::memory::Memory;

/// What a domain is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadedState {
    /// It is being read from the store.
    #[default]
    Loading,
    /// There is nothing to do.
    Idle,
    /// A window is open.
    Collecting,
    /// Features are being made.
    Extracting,
    /// Rows are being compared.
    Comparing,
    /// Features or lists are being stored.
    Storing,
    /// Something failed; it will be tried again soon.
    BackingOff,
    /// Its partition belongs to another instance.
    Lost,
}

impl LoadedState {
    /// Its name, for people and programs.
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
    /// The age of the oldest pending item, on the same clock.
    pub fn oldest_pending_age(&self, now: Duration) -> Option<Duration> {
        self.oldest_pending.map(|at| now.saturating_sub(at))
    }
}

/// The status of a domain, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainStatus {
    /// What it is doing.
    pub state: LoadedState,
    /// Whether no event, open window or job is pending: every list is exact and stored.
    pub quiet: bool,
    /// Whether the store also says so: the next owner need not compute its lists again.
    pub clean: bool,
    /// Number of live items.
    pub live: u64,
    /// Number of visible items.
    pub visible: u64,
    /// Number of accepted items whose lists are still to be computed.
    pub pending: u64,
    /// When the oldest of those arrived, on the monotonic clock. `None` also for items that existed when the domain was
    /// loaded.
    pub oldest_pending: Option<Duration>,
    /// Number of lists that changed and are not stored yet.
    pub unstored: u64,
    /// An estimate of the memory it takes.
    pub memory: Memory,
    /// What keeps it from making progress, if anything does.
    pub trouble: Option<String>,
}
