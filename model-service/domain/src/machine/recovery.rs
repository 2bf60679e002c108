//! Recovery: the machine's state cannot be trusted any more, so it starts again from the store.

use std::sync::Arc;

use super::removing::Removing;
use super::{Domain, Phase};
use crate::effect::{Effect, Passed};
use crate::intake::{Failure, Outcome};
use crate::time::Now;

impl Domain {
    /// Starts again from the store, after a growing delay, because the machine failed. The caller answers unsettled
    /// deliveries. `passed`: what was passed on with the input at which it failed. Whoever waits for that takes it as
    /// processed, so readers see it before anything is read again.
    pub fn restart(&mut self, now: Now, passed: &[Passed]) -> Vec<Effect> {
        // What it requested when it failed was not begun, so those commits will not be answered.
        for effect in self.outbox.drain() {
            if let Effect::Commit { ticket, .. } = effect {
                self.outbox.answered(ticket);
            }
        }
        let detail = "the domain failed and is being loaded again".to_owned();
        let needs_help = false;
        self.reload_later(now, Failure { needs_help, detail });
        self.follow_later(now, passed);
        self.outbox.drain()
    }

    /// Forgets everything and reads the store again, after a growing delay.
    pub(super) fn reload_later(&mut self, now: Now, failure: Failure) {
        self.forget(failure);
        // It is unknown what is durable, so other models' machines must read the store again, too.
        self.keep(Vec::new());
        self.phase = Phase::Unloaded {
            until: now.monotonic + self.retry.failed(),
        };
    }

    /// Reads the store again once nothing is in progress, because the store is ahead of memory. Events wait meanwhile.
    pub(super) fn reload(&mut self) {
        let is_under_way = !self.acceptance.is_empty()
            || !self.configuring.is_empty()
            || !self.naming.is_empty()
            || !self.keeping.has_stored_all()
            || self.keeping.is_activating()
            || !self.unread.is_empty()
            || !self.whole.is_empty()
            || self.removal.is_some()
            || !self.outbox.may_read_store();
        if is_under_way {
            return;
        }
        let (held, since) = (std::mem::take(&mut self.held), self.held_since);
        let trouble = self.trouble.take();
        let wanted = self.keeping.take_wanted();
        // Nothing is unsettled, so nobody is told.
        self.forget(Failure::passing("the domain is being loaded again"));
        (self.held, self.held_since, self.trouble) = (held, since, trouble);
        self.keeping.want(wanted);
        self.open();
    }

    /// Another instance owns the partition now.
    pub(super) fn lose(&mut self) {
        self.forget(Failure {
            needs_help: false,
            detail: "another instance has taken over; send the event again".to_owned(),
        });
        self.phase = Phase::Lost;
        self.outbox.push(Effect::Superseded);
    }

    /// Forgets everything except what is needed to start again. Nothing unsettled will become durable through this
    /// machine.
    fn forget(&mut self, failure: Failure) {
        let mut unsettled = self.acceptance.abandon();
        unsettled.extend(self.configuring.drain(..).map(|one| one.tag));
        unsettled.extend(self.naming.drain(..).map(|(_, tag)| tag));
        unsettled.extend(self.keeping.take_unsettled());
        unsettled.extend(self.unread.take().into_iter().map(|(tag, _)| tag));
        unsettled.extend(self.whole.take().into_iter().map(|(tag, _)| tag));
        unsettled.extend(self.removal.take().map(|(tag, _)| tag));
        if let Phase::Removing(Removing::Marking { tag, .. } | Removing::Marked { tag }) =
            self.phase
        {
            unsettled.push(tag);
        }
        unsettled.extend(self.held.drain(..).map(|(tag, _)| tag));
        self.trouble = Some(failure.detail.clone());
        self.outbox.settle(unsettled, &Outcome::Failed(failure));
        self.outbox.forget();
        let fresh = Self::start(self.tenure.clone(), Arc::clone(&self.settings)).0;
        *self = Self {
            outbox: std::mem::take(&mut self.outbox),
            acceptance: std::mem::take(&mut self.acceptance),
            retry: self.retry,
            trouble: self.trouble.take(),
            keeping: self.keeping.anew(),
            ..fresh
        };
    }
}
