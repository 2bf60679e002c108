//! The domain's log ([`crate::log`]): entries become durable in the row of the settings, with what they are about, and
//! are then copied to the table.

use kindred_shared::event::Recorded;

use super::Domain;
use crate::effect::{CommitStep, Ticket};
use crate::intake::{DeliveryTag, Outcome};
use crate::log::{Changed, MOST_IN_ROW};
use crate::store::{SettingsRow, Write};
use crate::time::Now;

/// What is known of the log in the store.
#[derive(Debug, Default)]
pub(super) struct Logging {
    /// Fenced writes of the row that have not been answered, and the number of the newest entry in each.
    writing: Vec<(Ticket, i64)>,
    /// Every entry up to this number is in the stored row or in the table, and no former owner can replace the row any
    /// more. Entries that were only read are not certain: a former owner may still write a row without them.
    durable: i64,
    /// Whether this machine has written entries.
    has_entered: bool,
    /// A copy to the table that has not been answered, and the number of its newest entry.
    copying: Option<(Ticket, i64)>,
    /// The table has nothing below this number.
    floor: i64,
}

impl Logging {
    /// A commit is durable. Only if it was fenced is it certain that the row is not outdated.
    pub(super) fn stored(&mut self, ticket: Ticket) {
        let stored = |(sent, _): &mut (Ticket, i64)| *sent == ticket;
        for (_, last) in self.writing.extract_if(.., stored) {
            self.durable = self.durable.max(last);
        }
    }
}

impl Domain {
    /// Whether events wait until the row has room for entries again.
    pub(super) fn is_log_full(&self) -> bool {
        let set = self.set.as_ref();
        set.is_some_and(|set| set.log.newest().len() >= MOST_IN_ROW)
    }

    /// Commits the settings with all that is stored beside them, and thus the newest entries.
    pub(super) fn commit_settings(&mut self, step: CommitStep, set: SettingsRow) -> Ticket {
        let last = set.log.last();
        let ticket = self.commit(step, true, vec![Write::Settings(set)]);
        if last > self.logging.durable {
            self.logging.has_entered = true;
            self.logging.writing.push((ticket, last));
        }
        ticket
    }

    /// Copies durable entries to the table. Those that were read from the store stay in the row until it is written
    /// anyway: reading a domain changes nothing, unless the row is full.
    pub(super) fn copy_log(&mut self) {
        let may_copy = self.logging.copying.is_none()
            && self.removal.is_none()
            && !self.keeping.is_activating();
        if !may_copy || !self.is_known() {
            return;
        }
        if !self.logging.has_entered {
            if self.is_log_full()
                && let Some(set) = self.set.clone()
            {
                self.commit_settings(CommitStep::Models, set);
            }
            return;
        }
        let Some(set) = &self.set else { return };
        let durable = self.logging.durable;
        let entries = set.log.newest().iter();
        let entries = entries.filter(|entry| entry.number <= durable).cloned();
        let mut writes: Vec<Write> = entries.map(Write::Log).collect();
        let Some(Write::Log(newest)) = writes.last() else {
            return;
        };
        let (last, floor) = (newest.number, set.log.floor());
        if floor > self.logging.floor {
            self.logging.floor = floor;
            writes.push(Write::TrimLog(floor));
        }
        let ticket = self.commit(CommitStep::Log, false, writes);
        self.logging.copying = Some((ticket, last));
    }

    /// The table has the copies, so the row may drop these entries.
    pub(super) fn log_copied(&mut self, ticket: Ticket) {
        let copied = self.logging.copying.take_if(|(sent, _)| *sent == ticket);
        if let (Some((_, last)), Some(set)) = (copied, &mut self.set) {
            set.log.is_in_table(last);
        }
    }

    /// Records the beginning or end of an experiment, which has taken effect already.
    pub(super) fn record(&mut self, now: Now, tag: DeliveryTag, event: &Recorded) {
        let row = self.row.as_ref();
        let is_ours =
            row.is_some_and(|row| row.registered_at.timestamp_millis() == event.registered_at);
        if !is_ours {
            // The domain that it was about is deleted, with its log.
            return self.outbox.settle(vec![tag], &Outcome::Stored(None));
        }
        let mut set = self.set.take().unwrap_or_default();
        if event.number > set.log.recorded() {
            let at = chrono::DateTime::from_timestamp_millis(event.at);
            let changed = Changed {
                what: event.what.clone(),
                before: event.before.clone(),
                after: event.after.clone(),
            };
            set.log
                .append(now, at.unwrap_or_else(|| now.date()), &event.by, changed);
            set.log.is_recorded(event.number);
        }
        self.set = Some(set);
        self.store_models(Some(tag));
    }
}
