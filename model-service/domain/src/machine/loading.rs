//! Loading: the machine's state from the store; then all lists are made anew.

use std::collections::BTreeMap;

use kindred_shared::{Feature, Space};

use super::{Domain, Phase};
use crate::backlog::Pending;
use crate::blocks::NewRow;
use crate::effect::{CommitStep, Ticket};
use crate::intake::Failure;
use crate::loaded::{Loaded, LoadedItem};
use crate::outbox::Mark;
use crate::slot::Slot;
use crate::store::Write;
use crate::time::Now;

/// How long a tombstone is kept: 30 days.
const TOMBSTONE_AGE: chrono::TimeDelta = chrono::TimeDelta::days(30);

impl Domain {
    /// The store has been read: items, blocks, what is still to be made; then all lists anew.
    pub(super) fn loaded(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<Box<Loaded>, Failure>,
    ) {
        if !matches!(self.phase, Phase::Loading { ticket: awaited } if awaited == ticket) {
            return;
        }
        let loaded = match result {
            Ok(loaded) => *loaded,
            Err(failure) => return self.reload_later(now, failure),
        };
        let is_dirty = loaded.row.as_ref().is_some_and(|row| row.dirty.is_some());
        self.outbox.inherit(is_dirty);
        self.row = loaded.row;
        if let Some(set) = loaded.settings {
            self.use_settings(set);
        }
        self.phase = Phase::Idle;
        let (slots, too_old) = self.load_items(now, loaded.items);
        for (at, space) in loaded.zeros {
            if let Some(slot) = slots[at] {
                self.catalogue.give_zero(slot, space);
            }
        }
        self.load_features(&slots, loaded.features);
        // Ids without an item row can have a list too, of a former owner.
        for id in &loaded.lists {
            self.catalogue.slot(id);
        }
        let rewrite = self.outbox.mark() != Mark::Clean;
        if !too_old.is_empty() {
            self.commit(CommitStep::Features, false, too_old);
        }
        self.rebuild(now, rewrite);
    }

    /// Takes items in; the slot of each, and what is to be written of those that were kept long
    /// enough.
    fn load_items(&mut self, now: Now, items: Vec<LoadedItem>) -> (Vec<Option<Slot>>, Vec<Write>) {
        let (mut slots, mut too_old) = (Vec::with_capacity(items.len()), Vec::new());
        for LoadedItem {
            id,
            mut item,
            since,
            has_feature,
        } in items
        {
            if !item.live && now.date() - since > TOMBSTONE_AGE {
                too_old.push(Write::PurgeItem(id));
                slots.push(None);
                continue;
            }
            let slot = self.catalogue.slot(&id);
            slots.push(Some(slot));
            if item.live && !has_feature {
                item.is_doubtful = true;
                let pending = Pending {
                    version: item.version.unwrap_or(0),
                    content_hash: item.content_hash,
                    // Its event came before this machine was made.
                    since: now.monotonic,
                    material: None,
                };
                self.backlog.add(slot, pending);
            }
            self.catalogue.update(slot, |place| *place = item);
        }
        (slots, too_old)
    }

    fn load_features(
        &mut self,
        slots: &[Option<Slot>],
        features: BTreeMap<Space, Vec<(usize, Feature)>>,
    ) {
        for (space, rows) in features {
            let rows = rows.into_iter().filter_map(|(at, feature)| {
                let slot = slots[at]?;
                Some(NewRow {
                    slot,
                    id: self.catalogue.id(slot).clone(),
                    version: self.catalogue.item(slot).version.unwrap_or(0),
                    feature,
                })
            });
            let rows = rows.collect();
            self.catalogue.add_rows(&space, rows);
        }
    }
}
