//! Looking for habits in the domain's texts ([`Habits`]), beside everything else, and making features again that were
//! made with other habits, behind all events.
//!
//! A few features are made again and compared like those of events. If they are many, they are made again in the store
//! only; then the domain is loaded again, which compares all rows with each other and changes each list once. Until
//! then readers keep the present lists.
//!
//! A domain is not settled before a survey has confirmed that its habits are those of the sample of its items, and
//! every feature records that it was made with them. The catalogue notices every change of either, whatever its cause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::Backoff;

use super::{Domain, Phase};
use crate::backlog::{Pending, UNKNOWN_BYTES};
use crate::comparison::FeatureBatch;
use crate::effect::{CommitStep, Effect, Ticket};
use crate::habits::{Habits, Survey, fingerprint_of};
use crate::intake::Failure;
use crate::mix::kinds_of_texts;
use crate::outbox::Mark;
use crate::slot::Slot;
use crate::store::Write;
use crate::time::{Now, RETRY};
use crate::view_change::ViewChange;

/// Most features of a cycle that are made again and compared, so that no event waits long for them.
const MADE_AGAIN: usize = 512;
/// If at least one in this many features is outdated, they are many.
const MANY: usize = 8;
/// The pause after a survey, as a multiple of its duration: a busy store is read less often.
const PAUSE: u32 = 100;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a growing domain is left alone when there is nothing new to look at.
const GROWING: Duration = Duration::from_millis(250);

/// The habits of the domain's texts, and the surveys for them.
#[derive(Debug)]
pub(super) struct Surveying {
    /// The stored habits, with which features are made.
    pub(super) habits: Arc<Habits>,
    looking: Option<Look>,
    /// Habits on their way to the store.
    storing: Option<(Ticket, Arc<Habits>)>,
    /// Whether a late write of a former owner may still replace them in the store: then they are written again.
    may_be_replaced: bool,
    /// No further survey before this.
    again_at: Option<Duration>,
    retry: Backoff,
}

/// A survey in progress.
#[derive(Debug)]
struct Look {
    ticket: Ticket,
    /// Of the sample.
    fingerprint: u64,
    /// Number of live items when it began.
    live: u64,
    /// Whether the sample was taken from all items, and was kept.
    is_of_all: bool,
    since: Duration,
}

impl Default for Surveying {
    fn default() -> Self {
        Self::with(Habits::default())
    }
}

impl Surveying {
    /// Starts with these habits, which are stored.
    pub(super) fn with(habits: Habits) -> Self {
        Self {
            habits: Arc::new(habits),
            looking: None,
            storing: None,
            may_be_replaced: false,
            again_at: None,
            retry: RETRY,
        }
    }

    /// The domain is loaded. `may_be_replaced`: earlier writes, of habits or of lists, may still arrive.
    pub(super) fn doubt_stored(&mut self, may_be_replaced: bool) {
        self.may_be_replaced = may_be_replaced;
    }

    fn is_under_way(&self) -> bool {
        self.looking.is_some() || self.storing.is_some()
    }

    /// Whether habits are on their way to the store: once they are stored, every item is checked.
    pub(super) fn is_storing(&self) -> bool {
        self.storing.is_some()
    }
}

impl Domain {
    /// Whether the model makes features from texts.
    pub(super) fn reads_texts(&self) -> bool {
        let mix = self.text_settings.mix.as_deref();
        !kinds_of_texts(self.model(), mix).is_empty()
    }

    /// Whether the habits are those of the items, and all features were made with them.
    pub(super) fn are_habits_current(&self) -> bool {
        self.catalogue.knows_sample()
            && !self.surveying.is_under_way()
            && self.catalogue.outdated().is_empty()
    }

    /// When to survey again, if not now.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let again_at = self.surveying.again_at?;
        let waits = self.is_loaded()
            && self.is_settled_but_for_habits()
            && !self.catalogue.knows_sample()
            && !self.surveying.is_under_way();
        waits.then_some(again_at)
    }

    /// Surveys a sample of the texts, if nothing else is to be done and the sample may differ from the last one. A
    /// domain that is never idle is surveyed when it has doubled, with a sample of what the store has by then.
    pub(super) fn start_survey(&mut self, now: Now) {
        let is_waiting = (self.surveying.again_at).is_some_and(|at| now.monotonic < at);
        // Only after that is it known whether storing habits must mark the domain dirty again.
        let is_being_cleaned = matches!(self.outbox.mark(), Mark::Cleaning(_));
        if self.catalogue.knows_sample()
            || self.surveying.is_under_way()
            || is_waiting
            || is_being_cleaned
            || self.keeping.is_activating()
        {
            return;
        }
        let size = self.settings.sample;
        let live = self.catalogue.live();
        let has_doubled = live >= size.fewest && live >= 2 * self.surveying.habits.of;
        let is_of_all = self.is_settled_but_for_habits();
        if !self.reads_texts() {
            // No feature depends on texts, so there is nothing to look for until the next change, and then neither.
            if is_of_all {
                self.catalogue.keep_sample(&[], size.most);
                self.confirm_habits();
            }
            return;
        }
        if !is_of_all && !has_doubled {
            return;
        }
        let is_stored = |slot| !self.acceptance.is_writing(slot);
        let sample = self.catalogue.sample(size.most, is_stored);
        let content = |(hash, slot): &(u64, Slot)| (*hash, self.catalogue.item(*slot).content_hash);
        let fingerprint = fingerprint_of(sample.iter().map(content));
        let are_few = (sample.len() as u64) < size.fewest;
        let is_same = fingerprint == self.surveying.habits.sample;
        if is_of_all {
            self.catalogue.keep_sample(&sample, size.most);
            if is_same || (are_few && !self.surveying.habits.are_known) {
                return self.confirm_habits();
            }
        } else if is_same || are_few {
            // The other items have no feature yet, or are on their way to the store.
            self.surveying.again_at = Some(now.monotonic + GROWING);
            return;
        }
        let ids = sample.iter().map(|(_, slot)| self.catalogue.id(*slot));
        let ids = ids.cloned().collect();
        let ticket = self.outbox.ticket();
        self.surveying.again_at = None;
        self.surveying.looking = Some(Look {
            ticket,
            fingerprint,
            live,
            is_of_all,
            since: now.monotonic,
        });
        self.outbox.push(Effect::Survey {
            ticket,
            ids,
            model: self.model().clone(),
            settings: Arc::clone(&self.text_settings),
        });
    }

    /// The habits are those of the items. So are the stored ones, unless a late write of a former owner arrives.
    fn confirm_habits(&mut self) {
        if self.surveying.may_be_replaced && self.row.is_some() {
            self.store_habits(Arc::clone(&self.surveying.habits));
        }
    }

    /// A sample of the texts was surveyed. Habits are stored before anything is made with them.
    pub(super) fn surveyed(&mut self, now: Now, ticket: Ticket, result: Result<Survey, Failure>) {
        let Some(look) = self.surveying.looking.take_if(|look| look.ticket == ticket) else {
            return;
        };
        let survey = match result {
            // The stored habits are about to be another model's.
            Ok(survey)
                if self.is_loaded() && self.row.is_some() && !self.keeping.is_activating() =>
            {
                survey
            }
            Ok(_) => return self.catalogue.forget_sample(),
            Err(failure) => {
                self.catalogue.forget_sample();
                self.trouble = Some(failure.detail);
                let again_at = now.monotonic + self.surveying.retry.failed();
                self.surveying.again_at = Some(again_at);
                return;
            }
        };
        self.surveying.retry.worked();
        let pause = PAUSE * now.monotonic.saturating_sub(look.since);
        self.surveying.again_at = Some(now.monotonic + pause.min(LONGEST_PAUSE));
        // Texts may have changed while they were being read; the habits are good enough for now.
        let is_exact = look.is_of_all && self.catalogue.knows_sample();
        let sample = if is_exact { look.fingerprint } else { 0 };
        let fewest = self.settings.sample.fewest;
        let habits = Habits::of(fewest, look.live, sample, &survey);
        self.store_habits(Arc::new(habits));
    }

    fn store_habits(&mut self, habits: Arc<Habits>) {
        let mut set = self.set.take().unwrap_or_default();
        set.habits = Habits::clone(&habits);
        let writes = vec![Write::Settings(set.clone())];
        self.set = Some(set);
        let ticket = self.commit(CommitStep::Habits, false, writes);
        self.surveying.storing = Some((ticket, habits));
    }

    /// The habits are durable: features made with others are outdated.
    pub(super) fn habits_stored(&mut self, ticket: Ticket) {
        let Some((_, habits)) = self.surveying.storing.take_if(|(sent, _)| *sent == ticket) else {
            return;
        };
        let fingerprint = habits.fingerprint();
        let is_other = fingerprint != self.surveying.habits.fingerprint();
        self.surveying.habits = habits;
        self.surveying.may_be_replaced = false;
        if !is_other {
            return;
        }
        self.catalogue.use_habits(fingerprint);
        if self.lists.are_served() {
            // The text of a query is read like the texts of items.
            self.serve(ViewChange::default());
        }
    }

    /// Items whose features can be made again now, from the store; none while other items wait to be compared, or a
    /// survey may change the habits again.
    fn outdated(&self) -> impl Iterator<Item = Slot> {
        let may_be =
            self.rebuild.is_none() && self.uncompared.is_empty() && !self.surveying.is_under_way();
        let outdated = self.catalogue.outdated().slots();
        // Items in the backlog, or on their way to the store, get a feature anyway.
        outdated
            .take(if may_be { usize::MAX } else { 0 })
            .filter(|slot| !self.backlog.contains(*slot) && !self.acceptance.is_writing(*slot))
    }

    /// Whether there are such items.
    pub(super) fn has_outdated(&self) -> bool {
        self.outdated().next().is_some()
    }

    /// The next of them, for a cycle that has room for `most` and makes those that were `asked` for anyway.
    pub(super) fn take_outdated(&self, most: usize, asked: &BTreeSet<Slot>) -> Vec<Slot> {
        let others = self.outdated().filter(|slot| !asked.contains(slot));
        let most = if self.are_many_outdated() {
            most
        } else {
            most.min(MADE_AGAIN)
        };
        others.take(most).collect()
    }

    /// Whether so many features are outdated that all rows are compared with each other once the features are made.
    fn are_many_outdated(&self) -> bool {
        let outdated = self.catalogue.outdated().len();
        let rows = self.catalogue.blocks().live_rows();
        outdated >= self.settings.many_outdated && MANY * outdated >= rows
            || self.catalogue.outdated().is_store_ahead()
    }

    /// If they are many, leaves the features that were made again in the store only.
    pub(super) fn leave_in_store(&mut self, batch: &mut FeatureBatch) {
        if !self.are_many_outdated() {
            return;
        }
        let made_again = &batch.made_again;
        let catalogue = &mut self.catalogue;
        batch.made.retain(|made| {
            let may_be_left =
                made_again.contains(&made.slot) && made.row.is_none() && !catalogue.has_made(made);
            let left_with = made.made_with().filter(|_| may_be_left);
            if let Some(habits) = left_with {
                catalogue.made_in_store(made.slot, habits);
            }
            left_with.is_none()
        });
    }

    /// Whether all features have been made again and the domain must be loaded again: nothing else is begun.
    pub(super) fn must_reload(&self) -> bool {
        self.is_loaded()
            && matches!(self.phase, Phase::Idle)
            && self.rebuild.is_none()
            && !self.surveying.is_under_way()
            && self.catalogue.outdated().are_all_stored()
    }

    /// A feature that no event requests.
    pub(super) fn asked_again(&self, now: Now, slot: Slot) -> Pending {
        let item = self.catalogue.item(slot);
        Pending {
            version: item.version.unwrap_or(0),
            content_hash: item.content_hash,
            since: now.monotonic,
            material: None,
            bytes: UNKNOWN_BYTES,
        }
    }

    /// Leaves items alone for which the store had nothing to make a feature from, until their next event or until the
    /// domain is loaded: otherwise they would be requested forever.
    pub(super) fn leave_unmade(&mut self, batch: &FeatureBatch) {
        let made: BTreeSet<Slot> = batch.made.iter().map(|made| made.slot).collect();
        for slot in batch.made_again.difference(&made) {
            let asked = batch.asked.get(slot);
            let item = self.catalogue.item(*slot);
            if asked.is_some_and(|asked| item.is_live_at(asked.version)) {
                self.catalogue.update(*slot, |item| {
                    item.is_stale = true;
                    item.habits = None;
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
