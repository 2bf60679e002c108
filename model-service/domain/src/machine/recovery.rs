//! Recovery: the machine's state cannot be trusted any more, and begins again from the store.

use std::sync::Arc;

use super::removing::Removing;
use super::{Domain, Phase};
use crate::effect::Effect;
use crate::intake::{Failure, Outcome};
use crate::time::Now;

impl Domain {
    /// Begins again from the store, after a growing delay, because the machine failed. Whoever
    /// delivered is told by the caller.
    pub fn restart(&mut self, now: Now) -> Vec<Effect> {
        // What it asked for when it failed was not begun: no commit of that will be answered.
        for effect in self.outbox.drain() {
            if let Effect::Commit { ticket, .. } = effect {
                self.outbox.answered(ticket);
            }
        }
        let detail = "the domain failed and is being loaded again".to_owned();
        let needs_help = false;
        self.reload_later(now, Failure { needs_help, detail });
        self.outbox.drain()
    }

    /// Forgets everything and reads the store again, after a growing delay.
    pub(super) fn reload_later(&mut self, now: Now, failure: Failure) {
        self.forget(failure);
        self.phase = Phase::Unloaded {
            until: now.monotonic + self.retry.failed(),
        };
    }

    /// Another instance has the partition.
    pub(super) fn lose(&mut self) {
        self.forget(Failure {
            needs_help: false,
            detail: "another instance has taken over; send the event again".to_owned(),
        });
        self.phase = Phase::Lost;
        self.outbox.push(Effect::Superseded);
    }

    /// Forgets everything but the way back; nothing unsettled will become durable through us.
    fn forget(&mut self, failure: Failure) {
        let mut unsettled = self.acceptance.abandon();
        unsettled.extend(self.configuring.drain(..).map(|one| one.tag));
        unsettled.extend(self.naming.drain(..).map(|(_, tag)| tag));
        unsettled.extend(self.unread.take().into_iter().map(|(tag, _)| tag));
        unsettled.extend(self.whole.take().into_iter().map(|(tag, _)| tag));
        unsettled.extend(self.removal.take().map(|(tag, _)| tag));
        if let Phase::Removing(Removing::Marking { tag, .. }) = self.phase {
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
            ..fresh
        };
    }
}
