//! Removing a domain: an event that keeps its place among the domain's other events.
//!
//! Everything before it is stored first. Then the domain's row, durable and fenced, says that the domain is being
//! swept: from then on readers see no domain, and once that is so for all its models, the event is acknowledged. All
//! other rows are deleted in bounded steps, and whoever opens the domain meanwhile continues with that. In the end the
//! row says that the removal is done, and keeps its stamp; events that arrived meanwhile are then processed as for a
//! new domain. The row is deleted as late as tombstones of items; it says itself when to wake the domain for that.

use std::time::Duration;

use kindred_shared::event::Removal;

use super::{Domain, Phase};
use crate::effect::{CommitStep, Effect, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::store::{RemovalStage, Removed, Write};
use crate::time::Now;
use crate::view_change::ViewChange;

/// How far a removal has got.
#[derive(Debug)]
pub(super) enum Removing {
    /// The mark is on its way to the store.
    Marking { ticket: Ticket, tag: DeliveryTag },
    /// The mark is stored, but readers may still see what machines of other models show.
    Marked { tag: DeliveryTag },
    /// Rows are being deleted; without a ticket, the next ones from `from` on.
    Sweeping {
        ticket: Option<Ticket>,
        from: Duration,
    },
    /// The end of the removal, or the deletion of the row, is on its way to the store.
    Ending { ticket: Ticket },
}

impl Removing {
    /// Rows are to be deleted, from this time on.
    pub(super) fn sweeping(from: Duration) -> Self {
        Self::Sweeping { ticket: None, from }
    }

    /// When something must be done without an answer.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Sweeping { ticket: None, from } => Some(*from),
            Self::Sweeping { .. }
            | Self::Marking { .. }
            | Self::Marked { .. }
            | Self::Ending { .. } => None,
        }
    }
}

impl Domain {
    /// Accepts a removal of the domain. Later events wait.
    pub(super) fn remove(&mut self, tag: DeliveryTag, event: &Removal) {
        let removed = self.removed.as_ref();
        if removed.is_some_and(|removed| removed.request == event.request) {
            // It came again.
            self.outbox.settle(vec![tag], &Outcome::Stored(None));
        } else if self.row.is_none() {
            self.refuse_unknown(tag, "there is nothing to delete");
        } else {
            self.removal = Some((tag, event.request.clone()));
        }
    }

    /// Begins the requested removal, once everything before it is stored.
    pub(super) fn start_removing(&mut self, now: Now) {
        let is_known = self.is_loaded() || matches!(self.phase, Phase::Loading(_));
        let is_first = self.acceptance.is_empty()
            && self.unread.is_empty()
            && self.whole.is_empty()
            && self.configuring.is_empty()
            && self.naming.is_empty()
            && self.keeping.has_stored_all()
            && !self.keeping.is_activating();
        if !(is_known && is_first) {
            return;
        }
        let Some((tag, request)) = self.removal.take() else {
            return;
        };
        let Some(mut row) = self.row.take() else {
            return self.refuse_unknown(tag, "there is nothing to delete");
        };
        row.removal = Some(Removed {
            request,
            at: now.date(),
            stage: RemovalStage::Sweeping,
        });
        let detail = "the domain is being removed; send the event again";
        let unsettled = self.keeping.take_unsettled();
        let failed = Outcome::Failed(Failure::passing(detail));
        self.outbox.settle(unsettled, &failed);
        self.begin_anew();
        self.keep(Vec::new());
        self.row = Some(row);
        // It comes with the mark that the domain is dirty: whoever finds that opens the domain.
        self.outbox.inherit(true);
        let ticket = self.commit(CommitStep::Removal, true, Vec::new());
        self.phase = Phase::Removing(Removing::Marking { ticket, tag });
    }

    /// The domain is gone, whatever happens now; or nothing is left of it.
    pub(super) fn removal_stored(&mut self, stored: Ticket) {
        match self.phase {
            Phase::Removing(Removing::Marking { ticket, tag }) if ticket == stored => {
                self.outbox.push(Effect::Serve(ViewChange {
                    replace: true,
                    features: Some(self.catalogue.blocks().features()),
                    ..ViewChange::default()
                }));
                self.phase = Phase::Removing(Removing::Marked { tag });
            }
            Phase::Removing(Removing::Ending { ticket }) if ticket == stored => {
                self.begin_anew();
                self.open();
            }
            _ => {}
        }
    }

    /// Acknowledges the removal once readers see nothing of the domain.
    pub(super) fn acknowledge_removal(&mut self, now: Now) {
        if let Phase::Removing(Removing::Marked { tag }) = self.phase
            && !self.keeping.is_waiting()
        {
            self.outbox.settle(vec![tag], &Outcome::Stored(None));
            self.phase = Phase::Removing(Removing::sweeping(now.monotonic));
        }
    }

    /// Deletes some more rows. Waits for earlier commits: it could miss their rows.
    pub(super) fn sweep(&mut self, now: Now) {
        let is_due = self.outbox.may_read_store() && !self.keeping.is_waiting();
        if let Phase::Removing(Removing::Sweeping { ticket, from }) = &mut self.phase
            && ticket.is_none()
            && *from <= now.monotonic
            && is_due
        {
            let next = self.outbox.ticket();
            *ticket = Some(next);
            self.outbox.push(Effect::Sweep { ticket: next });
        }
    }

    /// Some rows are deleted, or the attempt failed.
    pub(super) fn swept(&mut self, now: Now, swept: Ticket, result: Result<bool, Failure>) {
        if self.keeping.is_swept_by(swept) {
            return self.model_swept(now, result);
        }
        let is_awaited = matches!(
            self.phase,
            Phase::Removing(Removing::Sweeping { ticket, .. }) if ticket == Some(swept)
        );
        if !is_awaited {
            return;
        }
        match result {
            Ok(false) => self.phase = Phase::Removing(Removing::sweeping(now.monotonic)),
            Ok(true) => self.end_removing(),
            Err(failure) => {
                self.trouble = Some(failure.detail);
                let from = now.monotonic + self.retry.failed();
                self.phase = Phase::Removing(Removing::sweeping(from));
            }
        }
    }

    fn end_removing(&mut self) {
        let Some(mut row) = self.row.take() else {
            return;
        };
        if let Some(removed) = &mut row.removal {
            removed.stage = RemovalStage::Done;
        }
        row.dirty = None;
        row.live = 0;
        row.visible = 0;
        row.next_expiry = row.removal.as_ref().and_then(Removed::kept_until);
        let rows = vec![Write::Domain(row.clone())];
        self.row = Some(row);
        let ticket = self.commit(CommitStep::Removed, true, rows);
        self.phase = Phase::Removing(Removing::Ending { ticket });
    }

    /// Whether nothing is left of the domain but a row that is not needed any more.
    pub(super) fn is_kept_long_enough(&self, now: Now) -> bool {
        let until = self.removed.as_ref().and_then(Removed::kept_until);
        until.is_some_and(|until| until <= now.date())
    }

    /// Deletes the domain's row. Events wait meanwhile, so that they come after it.
    pub(super) fn purge(&mut self) {
        let ticket = self.commit(CommitStep::Removed, true, vec![Write::PurgeDomain]);
        self.phase = Phase::Removing(Removing::Ending { ticket });
    }

    /// Forgets everything that was read and made; held events keep waiting.
    pub(super) fn begin_anew(&mut self) {
        self.outbox.forget();
        let fresh = Self::start(self.tenure.clone(), std::sync::Arc::clone(&self.settings)).0;
        *self = Self {
            outbox: std::mem::take(&mut self.outbox),
            acceptance: std::mem::take(&mut self.acceptance),
            held: std::mem::take(&mut self.held),
            held_since: self.held_since,
            keeping: self.keeping.anew(),
            retry: self.retry,
            ..fresh
        };
    }
}
