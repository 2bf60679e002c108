//! Flushing: changed lists into the store, watchers told, and the domain marked clean.

use std::collections::BTreeSet;
use std::time::Duration;

use super::effect::{CommitStep, Effect, Ticket};
use super::list::NEIGHBOURS;
use super::machine::{Domain, Mark};
use super::slot::Slot;
use super::time::Now;
use crate::store::{ListRow, Neighbour, Write};

/// How long changed lists may wait for more while events keep coming.
pub const UNDER_LOAD: Duration = Duration::from_secs(2);
/// How long lists may name a gone item, and a gone item have a list, in the store.
pub const AFTER_DEPARTURE: Duration = Duration::from_millis(500);
/// Most lists of one commit. Many domains may flush at once, and a list on its way to the store is
/// some kilobytes in memory.
const LISTS_PER_COMMIT: usize = 256;

/// Lists that the store does not have as they are.
#[derive(Debug, Default)]
pub struct Flush {
    due: BTreeSet<Slot>,
    due_at: Option<Duration>,
    in_flight: Option<(Ticket, Vec<Slot>)>,
    /// Lists that are stored and whose watchers are being told.
    notifying: BTreeSet<Ticket>,
}

impl Flush {
    /// Whether the store has all lists, and all watchers know.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.in_flight.is_none() && self.notifying.is_empty()
    }

    /// The slot's list is to be stored by `at`.
    pub fn add(&mut self, slot: Slot, at: Duration) {
        self.due.insert(slot);
        self.due_at = Some(self.due_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When to flush though the domain is busy.
    pub fn deadline(&self) -> Option<Duration> {
        self.due_at.filter(|_| self.in_flight.is_none())
    }

    fn take(&mut self) -> Vec<Slot> {
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
        taken
    }
}

impl Domain {
    /// Stores changed lists: at once when nothing else is going on, else when they are due.
    pub(super) fn start_flush(&mut self, now: Now) {
        if self.flush.in_flight.is_some() || self.flush.due.is_empty() {
            return;
        }
        if !self.is_settled() && self.flush.due_at.is_none_or(|at| now.monotonic < at) {
            return;
        }
        let slots = self.flush.take();
        let rows = slots
            .iter()
            .map(|slot| self.list_write(now, *slot))
            .collect();
        let ticket = self.commit(CommitStep::Lists, false, rows);
        self.flush.in_flight = Some((ticket, slots));
    }

    /// Lists are durable: watchers are told.
    pub(super) fn lists_stored(&mut self, ticket: Ticket) {
        if let Some((_, slots)) = self.flush.in_flight.take_if(|(sent, _)| *sent == ticket) {
            let ids = slots
                .into_iter()
                .map(|slot| self.slots.id(slot).clone())
                .collect();
            let ticket = self.ticket();
            self.flush.notifying.insert(ticket);
            self.effects.push(Effect::Notify { ticket, ids });
        }
    }

    /// Watchers know.
    pub(super) fn notified(&mut self, ticket: Ticket) {
        self.flush.notifying.remove(&ticket);
    }

    /// Marks the domain clean once nothing is left to do.
    pub(super) fn start_cleaning(&mut self) {
        if self.is_calm() && matches!(self.mark, Mark::Dirty | Mark::Inherited) {
            let row = self.domain_row(None);
            let ticket = self.commit(CommitStep::Clean, false, vec![Write::Domain(row)]);
            self.mark = Mark::Cleaning(ticket);
        }
    }

    fn list_write(&self, now: Now, slot: Slot) -> Write {
        let id = self.slots.id(slot).clone();
        if self.listing(slot).is_none() {
            return Write::DeleteList(id);
        }
        let neighbours = self.lists[slot.index()]
            .entries()
            .iter()
            .take(NEIGHBOURS)
            .map(|entry| Neighbour {
                id: self.slots.id(entry.slot).clone(),
                score: entry.score,
            })
            .collect();
        let model = self.model_of(slot).to_owned();
        Write::List(ListRow {
            id,
            neighbours,
            model,
            updated_at: now.date(),
        })
    }
}
