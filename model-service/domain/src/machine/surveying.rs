//! Looking at the domain's texts for what is usual in them ([`Habits`]), beside everything else, and making features
//! again that were made with other habits, behind all events.
//!
//! A few are compared as those of events are. Many are made again in the store alone; then the domain is loaded anew,
//! which compares all with all and changes each list once. Readers see what there was until then.
//!
//! A domain is not settled before a look has confirmed that its habits are those of the sample of its items, and
//! each feature says that it was made with them. The catalogue knows of any change of either, wherever that comes
//! from.

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
use crate::outbox::Mark;
use crate::slot::Slot;
use crate::store::Write;
use crate::time::{Now, RETRY};
use crate::view_change::ViewChange;

/// Most features of a cycle that are made again and compared, so that no event waits long for them.
const MADE_AGAIN: usize = 512;
/// From one outdated feature for so many on they are many.
const MANY: usize = 8;
/// How much longer than a look took the next one waits: a store that is busy is looked at less often.
const PAUSE: u32 = 100;
/// Longest it waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a domain that is growing is let alone when there is nothing new to look at.
const GROWING: Duration = Duration::from_millis(250);

/// What is usual in the domain's texts, and the looks at them.
#[derive(Debug)]
pub(super) struct Surveying {
    /// What features are made with: stored.
    pub(super) habits: Arc<Habits>,
    looking: Option<Look>,
    /// Habits on their way to the store.
    storing: Option<(Ticket, Arc<Habits>)>,
    /// Whether what a former owner wrote may still replace them in the store: they are written again.
    may_be_replaced: bool,
    /// Before that there is no other look.
    again_at: Option<Duration>,
    retry: Backoff,
}

/// A look under way.
#[derive(Debug)]
struct Look {
    ticket: Ticket,
    /// Of the sample.
    fingerprint: u64,
    /// Live items when it began.
    live: u64,
    /// Whether the sample was that of all items, and was kept.
    is_of_all: bool,
    since: Duration,
}

impl Default for Surveying {
    fn default() -> Self {
        Self::with(Habits::default())
    }
}

impl Surveying {
    /// Features are made with these habits: the store has them.
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

    /// The domain is loaded. Whether writes of before, of habits as of lists, may still come.
    pub(super) fn doubt_stored(&mut self, may_be_replaced: bool) {
        self.may_be_replaced = may_be_replaced;
    }

    fn is_under_way(&self) -> bool {
        self.looking.is_some() || self.storing.is_some()
    }

    /// Whether habits are on their way to the store: every item is looked at when they are there.
    pub(super) fn is_storing(&self) -> bool {
        self.storing.is_some()
    }
}

impl Domain {
    /// Whether habits are those of the items, and all features were made with them.
    pub(super) fn are_habits_current(&self) -> bool {
        self.catalogue.knows_sample()
            && !self.surveying.is_under_way()
            && self.catalogue.outdated().is_empty()
    }

    /// When to look again, if that is not now.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let again_at = self.surveying.again_at?;
        let waits = self.is_loaded()
            && self.is_settled_but_for_habits()
            && !self.catalogue.knows_sample()
            && !self.surveying.is_under_way();
        waits.then_some(again_at)
    }

    /// Looks at a sample of the texts, when nothing else is to be done and it may be another than the last one. While
    /// there is always something to do, when the domain has doubled: that sample is of what the store has by then.
    pub(super) fn start_survey(&mut self, now: Now) {
        let is_waiting = (self.surveying.again_at).is_some_and(|at| now.monotonic < at);
        // Whether habits must mark the domain dirty again is known when that is answered.
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
            // The others have no feature yet, or are on their way to the store.
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

    /// Habits are those of the items. So are the stored ones, unless what a former owner wrote comes late.
    fn confirm_habits(&mut self) {
        if self.surveying.may_be_replaced && self.row.is_some() {
            self.store_habits(Arc::clone(&self.surveying.habits));
        }
    }

    /// A sample of the texts was looked at. Habits are stored before anything is made with them.
    pub(super) fn surveyed(&mut self, now: Now, ticket: Ticket, result: Result<Survey, Failure>) {
        let Some(look) = self.surveying.looking.take_if(|look| look.ticket == ticket) else {
            return;
        };
        let survey = match result {
            // What is stored of habits is about to be another model's.
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
        // Of texts that may have changed while they were read, they are good enough for the time being.
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

    /// Habits are durable: features of others are outdated.
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
            // Texts that are asked of are read like those of items.
            self.serve(ViewChange::default());
        }
    }

    /// Items whose features can be made again now, of what the store has; none while others are to be compared, or a look
    /// may say otherwise.
    fn outdated(&self) -> impl Iterator<Item = Slot> {
        let may_be =
            self.rebuild.is_none() && self.unmet.is_empty() && !self.surveying.is_under_way();
        let outdated = self.catalogue.outdated().slots();
        // Of what is on its way to the store or in the backlog a feature is made anyway.
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

    /// Whether so many features are outdated that all is compared with all once they are made.
    fn are_many_outdated(&self) -> bool {
        let outdated = self.catalogue.outdated().len();
        let rows = self.catalogue.blocks().live_rows();
        outdated >= self.settings.many_outdated && MANY * outdated >= rows
            || self.catalogue.outdated().is_store_ahead()
    }

    /// Leaves those that were made again in the store, where they are many.
    pub(super) fn leave_in_store(&mut self, batch: &mut FeatureBatch) {
        if !self.are_many_outdated() {
            return;
        }
        let made_again = &batch.made_again;
        let catalogue = &mut self.catalogue;
        batch.made.retain(|made| {
            let is_left =
                made_again.contains(&made.slot) && made.row.is_none() && !catalogue.has_made(made);
            if is_left {
                catalogue.made_in_store(made.slot);
            }
            !is_left
        });
    }

    /// Whether all features are made again, and the domain is to be loaded anew: nothing else is begun.
    pub(super) fn must_reload(&self) -> bool {
        self.is_loaded()
            && matches!(self.phase, Phase::Idle)
            && self.rebuild.is_none()
            && !self.surveying.is_under_way()
            && self.catalogue.outdated().are_all_stored()
    }

    /// What no event asks for.
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

    /// What the store had nothing of to make a feature again is left as it is until its next event, or until the domain
    /// is loaded: it would be asked for for ever.
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
