//! Flushing: storing changed lists, telling watchers, and marking the domain clean.

use std::time::Duration;

use super::{Domain, domain_row};
use crate::effect::{CommitStep, Effect, Ticket};
use crate::list::NEIGHBOURS;
use crate::outbox::Mark;
use crate::slot::Slot;
use crate::store::{ListRow, Neighbour, Write};
use crate::time::Now;
use kindred_shared::Space;

/// How long the domain must have been idle before it is marked clean. Each mark is a write, and so is its removal by
/// the next event: events that arrive one by one would pay for both.
const QUIET: Duration = Duration::from_secs(1);

impl Domain {
    /// Stores changed lists: at once if nothing else is going on, otherwise when they are due.
    pub(super) fn start_flush(&mut self, now: Now) {
        let is_settled = self.is_settled();
        let Some(slots) = self.flush.take(now.monotonic, is_settled) else {
            return;
        };
        let rows = slots.iter().map(|slot| self.list_write(now, *slot));
        let rows = rows.collect();
        let ticket = self.commit(CommitStep::Lists, false, rows);
        self.flush.sent(ticket, slots);
    }

    /// Lists are durable: watchers are told.
    pub(super) fn lists_stored(&mut self, ticket: Ticket) {
        let Some(slots) = self.flush.stored(ticket) else {
            return;
        };
        self.note_stored(&slots);
        let ids = slots.into_iter();
        let ids = ids.map(|slot| self.catalogue.id(slot).clone()).collect();
        let ticket = self.outbox.ticket();
        self.flush.notifying(ticket);
        let model = self.model_name().clone();
        self.outbox.push(Effect::Notify { ticket, model, ids });
    }

    /// Marks the domain clean once it has been idle for [`QUIET`].
    pub(super) fn start_cleaning(&mut self, now: Now) {
        let is_dirty = matches!(self.outbox.mark(), Mark::Dirty | Mark::Inherited);
        if !is_dirty || !self.is_calm() {
            self.clean_at = None;
            return;
        }
        let clean_at = *self.clean_at.get_or_insert(now.monotonic + QUIET);
        if now.monotonic >= clean_at {
            self.clean_at = None;
            let row = domain_row(&mut self.row, &self.catalogue, None);
            self.commit(CommitStep::Clean, false, vec![Write::Domain(row)]);
        }
    }

    fn list_write(&self, now: Now, slot: Slot) -> Write {
        let id = self.catalogue.id(slot).clone();
        if !self.catalogue.item(slot).is_listed() {
            return Write::DeleteList(id);
        }
        let entries = self.lists.of(slot).entries().iter();
        // Items that left may still be in the list.
        let entries = entries.filter(|entry| self.catalogue.item(entry.slot).is_current());
        let neighbours = entries.take(NEIGHBOURS).map(|entry| Neighbour {
            id: self.catalogue.id(entry.slot).clone(),
            score: entry.score,
        });
        let space = self.catalogue.space_of(slot);
        let own = space.filter(|space| space.is_own()).map(Space::model);
        Write::List(ListRow {
            id,
            neighbours: neighbours.collect(),
            model: own.unwrap_or_else(|| self.model_name().clone()),
            updated_at: now.date(),
        })
    }
}
