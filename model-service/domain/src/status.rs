//! How a domain fares.

/// How a domain fares, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainStatus {
    /// The state's word: `loading`, `idle`, `collecting`, `extracting`, `comparing`, `storing`,
    /// `backing-off`.
    pub state: &'static str,
    /// No event, open window, job or dirty mark: every list is exact and stored.
    pub quiet: bool,
    /// Live items.
    pub live: u64,
    /// Visible items.
    pub visible: u64,
    /// Items accepted whose lists are still to be made.
    pub pending: u64,
    /// What keeps it from going on, if something does.
    pub trouble: Option<String>,
}
