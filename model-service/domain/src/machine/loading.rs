//! Loading: first the domain's own rows are read, and events are accepted from then on; then everything else is read,
//! and all lists are computed again.
//!
//! An event that arrives before everything is read needs only its item's row ([`Effect::ReadItems`]). Accepted events
//! are durable and acknowledged. Lists are first computed as if these events had come just after loading, with the
//! previous features, so that lists that differ from the stored ones are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kindred_shared::ItemId;
use kindred_shared::event::Event;

use super::removing::Removing;
use super::surveying::Surveying;
use super::{Domain, Phase};
use crate::backlog::{Pending, UNKNOWN_BYTES};
use crate::blocks::NewRow;
use crate::comparison::Comparison;
use crate::effect::{CommitStep, Effect, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::item::Item;
use crate::loaded::{Loaded, LoadedItem, Opened, Resolved};
use crate::outbox::Mark;
use crate::rows::TOMBSTONE_AGE;
use crate::slot::Slot;
use crate::store::{DomainRow, ItemRow, RemovalStage, Write};
use crate::time::Now;

/// What is known about a domain that is being read.
#[derive(Debug)]
pub(super) struct Loading {
    ticket: Ticket,
    /// Whether the stored lists may not match the stored items.
    rewrite: bool,
    /// Numbers of live and visible items when the domain was last marked clean; `None`: it is dirty.
    clean: Option<(u64, u64)>,
    /// Items that were read because of an event, as they were before the event.
    origins: BTreeMap<Slot, Item>,
    /// Those of them that have left all lists since, even if they came back.
    departed: BTreeSet<Slot>,
    /// The stored lists include items published up to this time, in ms since 1970. Later ones are published once
    /// everything is read, so that the lists that they enter are known.
    published: i64,
}

impl Domain {
    /// Reads the store.
    pub(super) fn open(&mut self) {
        let ticket = self.outbox.ticket();
        self.phase = Phase::Opening { ticket };
        self.outbox.push(Effect::Open { ticket });
    }

    /// The domain's own rows are read: events can be accepted, and the rest is read.
    pub(super) fn opened(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Box<Opened>, Failure>,
    ) {
        if !matches!(self.phase, Phase::Opening { ticket: awaited } if awaited == ticket) {
            return;
        }
        let mut opened = match result {
            Ok(opened) => *opened,
            Err(failure) => return self.reload_later(now, failure),
        };
        self.removed = opened.row.as_ref().and_then(|row| row.removal.clone());
        if self.is_being_swept() {
            self.row = opened.row;
            self.outbox.inherit(true);
            self.phase = Phase::Removing(Removing::sweeping(now.monotonic));
            return;
        }
        if self.is_kept_long_enough(now) {
            return self.purge();
        }
        opened.row = opened.row.filter(DomainRow::is_there);
        let is_dirty = opened.row.as_ref().is_some_and(|row| row.dirty.is_some());
        // A domain is marked clean only if nothing that was due for publication by then is left.
        let next = opened.row.as_ref().and_then(|row| row.next_expiry);
        let next = next
            .filter(|_| !is_dirty)
            .map(|at| at.timestamp_millis() - 1);
        let published = next.map_or(now.unix_ms, |next| next.min(now.unix_ms));
        self.outbox.inherit(is_dirty);
        let clean = opened.row.as_ref().map(|row| (row.live, row.visible));
        if let Some(row) = &opened.row {
            self.catalogue.expect(row);
        }
        self.row = opened.row;
        if let Some(set) = opened.settings {
            self.surveying = Surveying::with(set.habits.clone());
            self.catalogue.use_habits(set.habits.fingerprint());
            self.use_settings(set);
        }
        self.name_chosen();
        self.keep_models();
        let (ticket, model) = (self.outbox.ticket(), self.model().clone());
        let mix = self.text_settings.mix.clone();
        self.outbox.push(Effect::Load { ticket, model, mix });
        self.phase = Phase::Loading(Loading {
            ticket,
            rewrite: is_dirty,
            clean: clean.filter(|_| !is_dirty),
            origins: BTreeMap::new(),
            departed: BTreeSet::new(),
            published,
        });
        for (tag, event) in std::mem::take(&mut self.held) {
            self.take_early(now, tag, event);
        }
    }

    /// Whether the domain was removed, and may still have rows.
    fn is_being_swept(&self) -> bool {
        let removed = self.removed.as_ref();
        removed.is_some_and(|removed| removed.stage == RemovalStage::Sweeping)
    }

    /// Processes an event while the domain is being read.
    pub(super) fn take_early(&mut self, now: Now, tag: DeliveryTag, event: Arc<Event>) {
        // Settings depend on whether there are items, registration on whether the domain exists. Later events stay
        // behind them.
        let must_wait = !self.held.is_empty()
            || self.row.is_none()
            || self.removal.is_some()
            || self.keeping.is_activating();
        match event.id() {
            None if !must_wait
                && matches!(
                    *event,
                    Event::Model(_) | Event::Record(_) | Event::Remove(_)
                ) =>
            {
                self.take(now, tag, &event);
            }
            Some(id) if !must_wait => match self.catalogue.known(id) {
                Some(_) => self.take(now, tag, &event),
                None => self.unread.wait(now.monotonic, tag, event),
            },
            _ => self.hold(now, tag, event),
        }
    }

    /// Reads the rows of items about which events have arrived.
    pub(super) fn read_items(&mut self) {
        if !matches!(self.phase, Phase::Loading(_)) {
            return;
        }
        let outbox = &mut self.outbox;
        if let Some((ticket, ids)) = self.unread.ask(|| outbox.ticket(), |_| true) {
            self.outbox.push(Effect::ReadItems { ticket, ids });
        }
    }

    /// The rows of some items are read: the events about them are processed.
    pub(super) fn items_read(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Vec<Option<ItemRow>>, Failure>,
    ) {
        if !matches!(self.phase, Phase::Loading(_)) {
            return;
        }
        let Some(asked) = self.unread.answered(ticket) else {
            return;
        };
        let rows = match result {
            Ok(rows) => rows,
            Err(failure) => {
                let tags = asked.events.into_iter().map(|(tag, _)| tag).collect();
                self.outbox.settle(tags, &Outcome::Failed(failure.clone()));
                return self.reload_later(now, failure);
            }
        };
        let (kind, mix) = (self.model().clone(), self.text_settings.mix.clone());
        for (id, row) in asked.ids.iter().zip(rows) {
            let slot = self.catalogue.slot(id);
            let words = &mut self.words;
            let item = row.as_ref().map(|row| {
                let made_from = row.made_from(&kind, mix.as_deref());
                Item::stored(row, made_from, words)
            });
            let Phase::Loading(loading) = &mut self.phase else {
                return;
            };
            let item = item.unwrap_or_default().published_by(loading.published);
            self.catalogue.recall(slot, item.clone());
            loading.origins.insert(slot, item);
        }
        for (tag, event) in asked.events {
            self.admit(now, tag, &event);
        }
    }

    /// The stored lists may have been computed with other features than the stored ones.
    pub(super) fn doubt_stored_lists(&mut self) {
        if let Phase::Loading(loading) = &mut self.phase {
            loading.rewrite = true;
        }
    }

    /// Whether the item counts match the store. While a domain that is not clean is being read, the counts in its row
    /// may be outdated.
    pub(super) fn knows_counts(&self) -> bool {
        match &self.phase {
            Phase::Loading(loading) => loading.clean.is_some(),
            _ => true,
        }
    }

    /// An item leaves all lists; the store may still have lists from before.
    pub(super) fn departs_early(&mut self, slot: Slot) {
        if let Phase::Loading(loading) = &mut self.phase {
            loading.departed.insert(slot);
        }
    }

    /// The store has been read: sets up items, blocks and pending features, then computes all lists.
    pub(super) fn loaded(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Box<Loaded>, Failure>,
    ) {
        let loading = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Loading(loading) if loading.ticket == ticket => loading,
            other => {
                self.phase = other;
                return;
            }
        };
        let mut loaded = match result {
            Ok(loaded) => *loaded,
            Err(failure) => return self.reload_later(now, failure),
        };
        if let Some(row) = &loaded.row
            && !row.is_there()
            && self.row.is_some()
        {
            // A former owner removed the domain while it was being read.
            let failure = Failure::passing("the domain was removed while it was read");
            return self.reload_later(now, failure);
        }
        loaded.row = loaded.row.filter(DomainRow::is_there);
        // A former owner may have marked it dirty while it was being read. So may this owner's machine of the served
        // model, with changes that the machine of a model beside it has read in part.
        let marked = loaded.row.as_ref().and_then(|row| row.dirty);
        let is_beside = self.outbox.model_beside().is_some();
        let is_inherited = marked.is_some_and(|epoch| is_beside || epoch != self.tenure.epoch.0);
        if is_inherited && self.outbox.mark() == Mark::Clean {
            self.outbox.inherit(true);
        }
        if self.row.is_none() {
            self.row = loaded.row.take();
        }
        self.catalogue.all_read();
        let origins = loading.origins.iter();
        let origins = origins.map(|(slot, item)| (self.catalogue.id(*slot).clone(), item.clone()));
        let resolved = loaded.resolve(origins, loading.published);
        let is_as_left = loading.clean.is_none_or(|clean| resolved.is_as_left(clean));
        let purged = self.load_all(now, resolved, &loading.origins);
        if !purged.is_empty() && self.row.is_some() {
            self.commit(CommitStep::Features, false, purged);
        }
        // No mark reveals rows that a former owner wrote after the domain was clean.
        let rewrite = loading.rewrite || is_inherited || !is_as_left;
        self.surveying.doubt_stored(rewrite);
        self.rebuild(now, Comparison::default(), rewrite);
        // The comparison still includes them, so that lists that named them are found.
        for slot in loading.departed {
            self.retire(slot);
        }
        self.catch_up(now);
    }

    /// Sets up the whole domain; returns the deletions of rows that need not be kept any more.
    fn load_all(
        &mut self,
        now: Now,
        resolved: Resolved,
        origins: &BTreeMap<Slot, Item>,
    ) -> Vec<Write> {
        // What came back meanwhile may have new features already, made by other models' machines.
        let is_back = |id: &ItemId| {
            let known = self.catalogue.known(id);
            known.is_some_and(|slot| self.catalogue.item(slot).live) || self.behind.is_back(id)
        };
        let orphans = resolved.orphans.into_iter().filter(|id| !is_back(id));
        let mut purged: Vec<Write> = orphans.map(Write::DeleteFeatures).collect();
        let mut rows: Vec<Option<(Slot, u64)>> = Vec::with_capacity(resolved.items.len());
        for loaded in resolved.items {
            let early = self.catalogue.known(&loaded.id);
            let early = early.filter(|slot| origins.contains_key(slot));
            let version = loaded.item.version.unwrap_or(0);
            let slot = match early {
                Some(slot) => {
                    self.keep_accepted(now, slot, &loaded, &mut purged);
                    slot
                }
                None if !loaded.item.live && now.date() - loaded.since > TOMBSTONE_AGE => {
                    purged.push(Write::PurgeItem(loaded.id));
                    rows.push(None);
                    continue;
                }
                None => self.load_item(now, loaded),
            };
            rows.push(Some((slot, version)));
        }
        for (at, space) in resolved.zeros {
            if let Some((slot, _)) = rows[at] {
                self.catalogue.give_zero(slot, space);
            }
        }
        for (space, features) in resolved.features {
            let new = features.into_iter().filter_map(|(at, feature)| {
                let (slot, version) = rows[at]?;
                let id = self.catalogue.id(slot).clone();
                Some(NewRow {
                    slot,
                    id,
                    version,
                    feature,
                })
            });
            let mut new: Vec<NewRow> = new.collect();
            self.catalogue.fit_lengths(&space, &mut new);
            self.catalogue.add_rows(&space, new);
        }
        // Ids without an item row may have a list too, from a former owner.
        for id in &resolved.lists {
            self.catalogue.slot(id);
        }
        purged
    }

    /// Sets up an item as it was read.
    fn load_item(&mut self, now: Now, loaded: LoadedItem) -> Slot {
        let LoadedItem {
            id,
            mut item,
            has_feature,
            ..
        } = loaded;
        let slot = self.catalogue.slot(&id);
        if item.live && !has_feature {
            item.is_doubtful = true;
            self.is_unmade(slot);
            self.make_feature(now, slot, &item);
        }
        self.catalogue.update(slot, |place| *place = item);
        slot
    }

    /// Sets up an item about which events were accepted before everything was read: it is as the events say, with its
    /// previous feature until the next one is made.
    fn keep_accepted(
        &mut self,
        now: Now,
        slot: Slot,
        before: &LoadedItem,
        purged: &mut Vec<Write>,
    ) {
        let item = self.catalogue.item(slot).clone();
        if !item.live {
            if before.has_feature {
                purged.push(Write::DeleteFeatures(before.id.clone()));
            }
            return;
        }
        let was = &before.item;
        if !before.has_feature && was.wants_feature_of(item.version.unwrap_or(0), item.content_hash)
        {
            self.make_feature(now, slot, &item);
            self.catalogue.update(slot, |item| item.is_doubtful = true);
        }
        let (placed, habits) = (was.version.unwrap_or(0), was.habits);
        self.catalogue.update(slot, |item| {
            item.placed_version = placed;
            item.habits = habits;
        });
    }

    /// The item's feature must be made from the store's content.
    pub(super) fn make_feature(&mut self, now: Now, slot: Slot, item: &Item) {
        let pending = Pending {
            version: item.version.unwrap_or(0),
            content_hash: item.content_hash,
            // Its event arrived before this machine existed.
            since: now.monotonic,
            material: None,
            bytes: UNKNOWN_BYTES,
        };
        self.backlog.add(slot, pending);
    }
}
