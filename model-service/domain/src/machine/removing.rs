//! Removal of a domain: an event that has its place among the domain's others.
//!
//! What came before it is stored first. Then the domain's row says that it is being swept, durable and fenced:
//! from then on the domain is gone for readers, and the event is acknowledged. All other rows are deleted in
//! bounded steps, and whoever opens the domain meanwhile goes on with that. In the end the row says that it is
//! done, and keeps its stamp; what came since is taken in as of a domain that never was. The row goes as late as
//! tombstones of items: it says itself when the domain is to be woken for that.

use std::time::Duration;

use kindred_shared::event::Removal;

use super::{Domain, Phase};
use crate::effect::{CommitStep, Effect, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::store::{RemovalStage, Removed, Write};
use crate::time::Now;
use crate::view_change::ViewChange;

/// How far a removal is.
#[derive(Debug)]
pub(super) enum Removing {
    /// The mark is on its way.
    Marking { ticket: Ticket, tag: DeliveryTag },
    /// Rows are being deleted; without a ticket the next ones are from `from` on.
    Sweeping {
        ticket: Option<Ticket>,
        from: Duration,
    },
    /// It is on its way to the store that nothing is left, or that nobody needs to know.
    Ending { ticket: Ticket },
}

impl Removing {
    /// Rows are to be deleted, from a moment on.
    pub(super) fn sweeping(from: Duration) -> Self {
        Self::Sweeping { ticket: None, from }
    }

    /// When something is to be done without an answer.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Sweeping { ticket: None, from } => Some(*from),
            Self::Sweeping { .. } | Self::Marking { .. } | Self::Ending { .. } => None,
        }
    }
}

impl Domain {
    /// Takes in that the domain is to be removed. What comes after it waits.
    pub(super) fn remove(&mut self, tag: DeliveryTag, event: &Removal) {
        let removed = self.removed.as_ref();
        if removed.is_some_and(|removed| removed.request == event.request) {
            // It comes again.
            self.outbox.settle(vec![tag], &Outcome::Stored(None));
        } else if self.row.is_none() {
            self.refuse_unknown(tag, "there is nothing to delete");
        } else {
            self.removal = Some((tag, event.request.clone()));
        }
    }

    /// Begins the removal that was asked for, once all that came before it is stored.
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
        // It goes with the mark that the domain is dirty: whoever finds that opens the domain.
        self.outbox.inherit(true);
        let ticket = self.commit(CommitStep::Removal, true, Vec::new());
        self.phase = Phase::Removing(Removing::Marking { ticket, tag });
    }

    /// The domain is gone, and will be whatever happens; or nothing is left of it.
    pub(super) fn removal_stored(&mut self, now: Now, stored: Ticket) {
        match self.phase {
            Phase::Removing(Removing::Marking { ticket, tag }) if ticket == stored => {
                self.outbox.push(Effect::Serve(ViewChange {
                    replace: true,
                    features: Some(self.catalogue.blocks().features()),
                    ..ViewChange::default()
                }));
                self.outbox.settle(vec![tag], &Outcome::Stored(None));
                self.phase = Phase::Removing(Removing::sweeping(now.monotonic));
            }
            Phase::Removing(Removing::Ending { ticket }) if ticket == stored => {
                self.begin_anew();
                self.open();
            }
            _ => {}
        }
    }

    /// Has some more rows deleted. A commit of before that is still on its way would be missed.
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

    /// Some rows are deleted, or perhaps not.
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

    /// Whether nothing is left of the domain but a row, which nobody needs any more.
    pub(super) fn is_kept_long_enough(&self, now: Now) -> bool {
        let until = self.removed.as_ref().and_then(Removed::kept_until);
        until.is_some_and(|until| until <= now.date())
    }

    /// Has the domain's row deleted. What comes meanwhile waits, so that it comes after that.
    pub(super) fn purge(&mut self) {
        let ticket = self.commit(CommitStep::Removed, true, vec![Write::PurgeDomain]);
        self.phase = Phase::Removing(Removing::Ending { ticket });
    }

    /// Forgets all that was read and made; what came since waits on.
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
