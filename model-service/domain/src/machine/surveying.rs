//! Looking at the domain's texts for what is usual in them ([`Habits`]), beside everything else, and making features
//! again that were made with other habits, behind all events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::{Backoff, Space};

use super::Domain;
use crate::backlog::Pending;
use crate::comparison::Batch;
use crate::effect::{CommitStep, Effect, Ticket};
use crate::habits::{FEWEST, Habits, SAMPLE, Survey, fingerprint_of};
use crate::intake::Failure;
use crate::slot::Slot;
use crate::store::Write;
use crate::time::{Now, RETRY};
use crate::view_change::ViewChange;

/// Most features of a cycle that are made again, so that no event waits long for them.
const MADE_AGAIN: usize = 512;
/// How much longer than a look took the next one waits: a store that is busy is looked at less often.
const PAUSE: u32 = 100;
/// Longest it waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is usual in the domain's texts, the looks at them, and what is still made with other habits.
#[derive(Debug)]
pub(super) struct Surveying {
    /// What features are made with: stored.
    pub(super) habits: Arc<Habits>,
    looking: Option<Look>,
    /// Habits on their way to the store.
    storing: Option<(Ticket, Arc<Habits>)>,
    /// Whether the sample is known to be the one that was looked at last.
    is_same: bool,
    /// Before that there is no other look.
    again_at: Option<Duration>,
    retry: Backoff,
    /// Items whose feature is to be made again.
    outdated: BTreeSet<Slot>,
}

/// A look under way.
#[derive(Debug)]
struct Look {
    ticket: Ticket,
    /// Of the sample.
    fingerprint: u64,
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
            is_same: false,
            again_at: None,
            retry: RETRY,
            outdated: BTreeSet::new(),
        }
    }

    /// Items may be others now.
    pub(super) fn doubt_sample(&mut self) {
        self.is_same = false;
    }

    /// Whether habits are those of the items, and all features are made with them.
    pub(super) fn is_idle(&self) -> bool {
        self.looking.is_none() && self.storing.is_none() && self.outdated.is_empty() && self.is_same
    }

    /// How many features are to be made again.
    pub(super) fn outdated(&self) -> usize {
        self.outdated.len()
    }

    /// Whether habits are on their way to the store: every item is looked at when they are there.
    pub(super) fn is_storing(&self) -> bool {
        self.storing.is_some()
    }

    /// When to look again, if that is not now.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let waits = self.looking.is_none() && self.storing.is_none() && !self.is_same;
        self.again_at.filter(|_| waits)
    }
}

impl Domain {
    /// Looks at a sample of the texts, when nothing else is to be done and it is another than the last one. While there is
    /// always something to do, when the domain has doubled.
    pub(super) fn start_survey(&mut self, now: Now) {
        let surveying = &self.surveying;
        let is_waiting = surveying.again_at.is_some_and(|at| now.monotonic < at);
        let is_under_way = surveying.looking.is_some() || surveying.storing.is_some();
        if surveying.is_same || is_waiting || is_under_way {
            return;
        }
        let live = self.catalogue.live();
        let has_doubled = live >= FEWEST && live >= 2 * surveying.habits.of;
        if !self.is_settled_but_for_habits() && !has_doubled {
            return;
        }
        let sample = self.sample();
        if live >= FEWEST && (sample.len() as u64) < FEWEST && !self.acceptance.is_empty() {
            // The others are on their way to the store.
            return;
        }
        let content = |(hash, slot): &(u64, Slot)| (*hash, self.catalogue.item(*slot).content_hash);
        let fingerprint = fingerprint_of(sample.iter().map(content));
        let is_same = fingerprint == self.surveying.habits.sample;
        // A domain that is not registered has no items.
        let has_none = live < FEWEST && self.surveying.habits.fingerprint() == 0;
        if is_same || has_none {
            self.surveying.is_same = true;
            return;
        }
        let ids = sample
            .iter()
            .map(|(_, slot)| self.catalogue.id(*slot).clone());
        let ids = ids.collect();
        let ticket = self.outbox.ticket();
        self.surveying.again_at = None;
        self.surveying.looking = Some(Look {
            ticket,
            fingerprint,
            since: now.monotonic,
        });
        self.outbox.push(Effect::Survey {
            ticket,
            ids,
            settings: Arc::clone(&self.text_settings),
        });
    }

    /// Live items that the store has and whose text can be read: those whose ids have the least hashes, by them.
    fn sample(&self) -> Vec<(u64, Slot)> {
        let mut least: BTreeSet<(u64, Slot)> = BTreeSet::new();
        for slot in self.catalogue.slots() {
            let item = self.catalogue.item(slot);
            if !item.live || item.is_doubtful || self.acceptance.is_writing(slot) {
                continue;
            }
            let hash = self.catalogue.id(slot).hash64();
            if least.len() < SAMPLE || least.last().is_some_and(|(most, _)| hash < *most) {
                least.insert((hash, slot));
                if least.len() > SAMPLE {
                    least.pop_last();
                }
            }
        }
        least.into_iter().collect()
    }

    /// A sample of the texts was looked at. Habits are stored before anything is made with them.
    pub(super) fn surveyed(&mut self, now: Now, ticket: Ticket, result: Result<Survey, Failure>) {
        let Some(look) = self.surveying.looking.take_if(|look| look.ticket == ticket) else {
            return;
        };
        if !self.is_loaded() || self.row.is_none() {
            return;
        }
        let survey = match result {
            Ok(survey) => survey,
            Err(failure) => {
                self.trouble = Some(failure.detail);
                let again_at = now.monotonic + self.surveying.retry.failed();
                self.surveying.again_at = Some(again_at);
                return;
            }
        };
        self.surveying.retry.worked();
        let pause = PAUSE * now.monotonic.saturating_sub(look.since);
        self.surveying.again_at = Some(now.monotonic + pause.min(LONGEST_PAUSE));
        let habits = Habits::of(self.catalogue.live(), look.fingerprint, &survey);
        let mut set = self.set.clone().unwrap_or_default();
        set.habits = habits.clone();
        let writes = vec![Write::Settings(set.clone())];
        self.set = Some(set);
        let ticket = self.commit(CommitStep::Habits, true, writes);
        self.surveying.storing = Some((ticket, Arc::new(habits)));
    }

    /// Habits are durable: features of others are made again.
    pub(super) fn habits_stored(&mut self, ticket: Ticket) {
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
            self.make_again(slot);
        }
    }

    /// A live item's feature is made again of what the store has, unless it is to be made anyway. One that
    /// could not be made is tried again with its next event.
    pub(super) fn make_again(&mut self, slot: Slot) {
        let item = self.catalogue.item(slot);
        let is_own = self.catalogue.space_of(slot).is_some_and(Space::is_own);
        let is_made_anyway = self.backlog.contains(slot) || self.acceptance.has_arrival(slot);
        if !item.live || item.is_doubtful || is_own || is_made_anyway {
            return;
        }
        self.catalogue.update(slot, |item| item.is_stale = true);
        self.surveying.outdated.insert(slot);
    }

    /// Puts items into a batch that has room, whose features are to be made again. What is on its way to the store is
    /// not there yet: it waits.
    pub(super) fn take_outdated(
        &mut self,
        now: Now,
        most: usize,
        batch: &mut Batch,
    ) -> Vec<(Slot, Pending)> {
        let most = most.min(MADE_AGAIN);
        let waits = |slot: &&Slot| !self.acceptance.is_writing(**slot);
        let outdated = self.surveying.outdated.iter();
        let slots: Vec<Slot> = outdated.filter(waits).take(most).copied().collect();
        let mut taken = Vec::with_capacity(slots.len());
        for slot in slots {
            self.surveying.outdated.remove(&slot);
            let item = self.catalogue.item(slot);
            let is_made_anyway = self.backlog.contains(slot) || batch.asked.contains_key(&slot);
            // What could not be made meanwhile is tried again with its next event.
            if !item.live || !item.is_stale || item.is_doubtful || is_made_anyway {
                continue;
            }
            let pending = Pending {
                version: item.version.unwrap_or(0),
                content_hash: item.content_hash,
                since: now.monotonic,
                material: None,
            };
            batch.made_again.insert(slot);
            taken.push((slot, pending));
        }
        taken
    }

    /// Whether items wait whose features can be made again now.
    pub(super) fn has_outdated(&self) -> bool {
        let mut outdated = self.surveying.outdated.iter();
        outdated.any(|slot| !self.acceptance.is_writing(*slot))
    }

    /// Features of a batch that could not be made again, since the item has another version now, still are to be.
    pub(super) fn keep_outdated(&mut self, batch: &Batch) {
        for slot in &batch.made_again {
            let item = self.catalogue.item(*slot);
            let asked = batch.asked.get(slot);
            let is_other = asked.is_some_and(|asked| item.version != Some(asked.version));
            if item.is_stale && is_other {
                self.make_again(*slot);
            }
        }
    }
}

#[cfg(test)]
mod tests;
