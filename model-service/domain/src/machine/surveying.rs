//! Looking at the domain's texts for what is usual in them ([`Habits`]), beside everything else.

use std::sync::Arc;
use std::time::Duration;

use kindred_shared::{ItemId, Space};

use super::Domain;
use crate::backlog::Pending;
use crate::effect::{CommitStep, Effect, Ticket};
use crate::habits::{FEWEST, Habits, SAMPLE, Survey};
use crate::intake::Failure;
use crate::slot::Slot;
use crate::store::Write;
use crate::time::Now;
use crate::view_change::ViewChange;

/// How long after a look that failed the next one is.
const AGAIN: Duration = Duration::from_secs(5);

/// What is usual in the domain's texts, and the looks at them.
#[derive(Debug, Default)]
pub(super) struct Surveying {
    /// What features are made with: stored.
    pub(super) habits: Arc<Habits>,
    /// A look under way.
    looking: Option<Ticket>,
    /// Habits on their way to the store.
    storing: Option<(Ticket, Arc<Habits>)>,
    /// Texts that are new since the last look.
    new: u64,
    /// When to look again, after a look that failed.
    again_at: Option<Duration>,
}

impl Surveying {
    /// Features are made with these habits: the store has them.
    pub(super) fn with(habits: Habits) -> Self {
        Self {
            habits: Arc::new(habits),
            ..Self::default()
        }
    }

    /// A text is new.
    pub(super) fn count_new(&mut self) {
        self.new += 1;
    }

    /// Whether no look is under way or due.
    pub(super) fn is_idle(&self, live: u64) -> bool {
        self.looking.is_none() && self.storing.is_none() && !self.habits.are_due(live, self.new)
    }

    fn is_due(&self, live: u64) -> bool {
        self.looking.is_none() && self.storing.is_none() && self.habits.are_due(live, self.new)
    }

    /// When to look again after a look that failed.
    pub(super) fn deadline(&self, live: u64) -> Option<Duration> {
        self.again_at.filter(|_| self.is_due(live))
    }
}

impl Domain {
    /// Looks at a sample of the texts if it is time to.
    pub(super) fn start_survey(&mut self, now: Now) {
        let is_due = self.surveying.is_due(self.catalogue.live());
        if !is_due || (self.surveying.again_at).is_some_and(|at| now.monotonic < at) {
            return;
        }
        self.surveying.again_at = None;
        let ids = self.sample();
        if (ids.len() as u64) < FEWEST {
            // The others are on their way to the store.
            return;
        }
        let ticket = self.outbox.ticket();
        self.surveying.looking = Some(ticket);
        self.outbox.push(Effect::Survey {
            ticket,
            ids,
            settings: Arc::clone(&self.text_settings),
        });
    }

    /// Live items that the store has, spread evenly over all.
    fn sample(&self) -> Vec<ItemId> {
        let live = usize::try_from(self.catalogue.live()).unwrap_or(usize::MAX);
        let every = live.div_ceil(SAMPLE).max(1);
        let slots = self.catalogue.slots();
        let is_stored =
            |slot: &Slot| self.catalogue.item(*slot).live && !self.acceptance.is_writing(*slot);
        let lives = slots.filter(is_stored);
        let chosen = lives.step_by(every);
        chosen.map(|slot| self.catalogue.id(slot).clone()).collect()
    }

    /// A sample of the texts was looked at. Habits are stored before anything is made with them.
    pub(super) fn surveyed(&mut self, now: Now, ticket: Ticket, result: Result<Survey, Failure>) {
        if self.surveying.looking != Some(ticket) {
            return;
        }
        self.surveying.looking = None;
        if !self.is_loaded() || self.row.is_none() {
            return;
        }
        let survey = match result {
            Ok(survey) => survey,
            Err(_) => {
                self.surveying.again_at = Some(now.monotonic + AGAIN);
                return;
            }
        };
        let habits = self.surveying.habits.after(self.catalogue.live(), &survey);
        self.surveying.new = 0;
        let mut set = self.set.clone().unwrap_or_default();
        set.habits = habits.clone();
        let writes = vec![Write::Settings(set.clone())];
        self.set = Some(set);
        let ticket = self.commit(CommitStep::Habits, false, writes);
        self.surveying.storing = Some((ticket, Arc::new(habits)));
    }

    /// Habits are durable: features of others are made again.
    pub(super) fn habits_stored(&mut self, now: Now, ticket: Ticket) {
        let Some((_, habits)) = self.surveying.storing.take_if(|(sent, _)| *sent == ticket) else {
            return;
        };
        let is_other = habits.fingerprint() != self.surveying.habits.fingerprint();
        self.surveying.habits = habits;
        if !is_other {
            return;
        }
        if self.lists.are_served() {
            // Texts that are asked of are read like those of items.
            self.serve(ViewChange::default());
        }
        let slots: Vec<Slot> = self.catalogue.slots().collect();
        for slot in slots {
            self.make_again(now, slot);
        }
    }

    /// A live item's feature is made again of what the store has, unless it waits for that anyway.
    pub(super) fn make_again(&mut self, now: Now, slot: Slot) {
        let item = self.catalogue.item(slot);
        let is_own = (self.catalogue.space_of(slot)).is_some_and(Space::is_own);
        if !item.live || is_own || self.backlog.contains(slot) || self.acceptance.has_arrival(slot)
        {
            return;
        }
        let pending = Pending {
            version: item.version.unwrap_or(0),
            content_hash: item.content_hash,
            since: now.monotonic,
            material: None,
        };
        self.catalogue.update(slot, |item| item.is_stale = true);
        self.backlog.add(slot, pending);
    }
}
