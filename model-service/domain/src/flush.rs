//! Which lists the store does not have as they are.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::effect::Ticket;
use crate::slot::Slot;

/// How long changed lists may wait for more while events keep coming.
pub(crate) const UNDER_LOAD: Duration = Duration::from_secs(2);
/// How long lists may name a gone item, and a gone item have a list, in the store.
pub(crate) const AFTER_DEPARTURE: Duration = Duration::from_millis(500);
/// Most lists of one commit. Many domains may flush at once, and a list on its way to the store is
/// some kilobytes in memory.
const LISTS_PER_COMMIT: usize = 256;

/// Lists that the store does not have as they are.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    due: BTreeSet<Slot>,
    due_at: Option<Duration>,
    in_flight: Option<(Ticket, Vec<Slot>)>,
    /// Lists that are stored and whose watchers are being told.
    notifying: BTreeSet<Ticket>,
}

impl Flush {
    /// Whether the store has all lists, and all watchers know.
    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.in_flight.is_none() && self.notifying.is_empty()
    }

    /// The slot's list is to be stored by `at`.
    pub(crate) fn add(&mut self, slot: Slot, at: Duration) {
        self.due.insert(slot);
        self.due_at = Some(self.due_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When to flush though the domain is busy.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due_at.filter(|_| self.in_flight.is_none())
    }

    /// The next lists to store, unless some are on their way: those that wait, if the domain is
    /// `settled`, else only when they are due.
    pub(crate) fn take(&mut self, now: Duration, settled: bool) -> Option<Vec<Slot>> {
        if self.in_flight.is_some() || self.due.is_empty() {
            return None;
        }
        if !settled && self.due_at.is_none_or(|at| now < at) {
            return None;
        }
        let taken: Vec<Slot> = self.due.iter().take(LISTS_PER_COMMIT).copied().collect();
        match taken.last() {
            Some(last) if taken.len() < self.due.len() => {
                self.due = self.due.split_off(&Slot(last.0 + 1));
                self.due_at = Some(Duration::ZERO);
            }
            _ => {
                self.due.clear();
                self.due_at = None;
            }
        }
        Some(taken)
    }

    /// The lists taken are on their way.
    pub(crate) fn sent(&mut self, ticket: Ticket, slots: Vec<Slot>) {
        self.in_flight = Some((ticket, slots));
    }

    /// The lists on their way are durable; which they are.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Option<Vec<Slot>> {
        let (_, slots) = self.in_flight.take_if(|(sent, _)| *sent == ticket)?;
        Some(slots)
    }

    /// Watchers are being told.
    pub(crate) fn notifying(&mut self, ticket: Ticket) {
        self.notifying.insert(ticket);
    }

    /// Watchers know.
    pub(crate) fn notified(&mut self, ticket: Ticket) {
        self.notifying.remove(&ticket);
    }
}
