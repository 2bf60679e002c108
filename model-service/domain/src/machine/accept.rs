//! Accepting events: what an event changes, decided against the newest accepted event of its id.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use kindred_shared::event::{MAX_VERSION, Refusal, Upsert};

use super::Domain;
use crate::backlog::{Pending, UNKNOWN_BYTES};
use crate::intake::{DeliveryTag, Outcome};
use crate::item::Item;
use crate::material::{Material, rows_of, tombstone};
use crate::quota;
use crate::round::{FeatureWrite, ItemWrites, Renewal};
use crate::shown::Shown;
use crate::slot::Slot;
use crate::store::Liveness;
use crate::time::Now;

impl Domain {
    /// Accepts a valid event about an item of this domain; without an `upsert` it is a deletion. Decides what the next
    /// round writes for it and when it is settled.
    pub(super) fn accept(
        &mut self,
        now: Now,
        tag: DeliveryTag,
        slot: Slot,
        version: Option<u64>,
        upsert: Option<&Upsert>,
    ) {
        let known = self.catalogue.item(slot).version;
        let version = version.unwrap_or_else(|| {
            let clock = u64::try_from(now.unix_ms).unwrap_or(0);
            let next = known.map_or(clock, |known| clock.max(known + 1));
            next.min(MAX_VERSION)
        });
        if known.is_some_and(|known| version < known) {
            if self.acceptance.hold_no_op(tag, slot, version) {
                self.outbox
                    .settle(vec![tag], &Outcome::Stored(Some(version)));
            }
            return;
        }
        match upsert {
            None => self.withdraw(now, slot, version, Liveness::Deleted),
            Some(upsert) => self.upsert(now, slot, version, upsert),
        }
        self.acceptance.hold(tag, slot, version);
    }

    /// Why an item exceeds the domain's quota and is refused, if so. Deletions are never refused, nor are events that
    /// are older than the known version and change nothing.
    pub(super) fn over_quota(&self, now: Now, upsert: &Upsert) -> Option<Refusal> {
        let set = &self.text_settings;
        if set.max_items.is_none() && set.max_text.is_none() {
            return None;
        }
        let is_over = upsert.expires_at.is_some_and(|at| at <= now.date());
        let known = self.catalogue.known(&upsert.id);
        let known = known.map(|slot| self.catalogue.item(slot));
        let newest = known.and_then(|item| item.version);
        let is_older = upsert.version.is_some_and(|version| Some(version) < newest);
        if is_over || is_older || upsert.hides(now.date()) {
            return None;
        }
        if let Err(refusal) = quota::fits(set, upsert) {
            return Some(refusal);
        }
        let is_there = known.is_some_and(|item| item.live);
        let most = set.max_items.filter(|_| !is_there && self.knows_counts())?;
        (self.catalogue.live() >= most).then(|| quota::no_room(most))
    }

    /// Removes the items that have expired.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(slot) = self.catalogue.expired(now.unix_ms) {
            let version = self.catalogue.item(slot).version.unwrap_or(0);
            self.withdraw(now, slot, version, Liveness::Expired);
        }
    }

    /// Shows the items whose time of publication has come. Their features are made again from the store: it has these
    /// features, but only those of visible items are in memory.
    pub(super) fn publish(&mut self, now: Now) {
        let mut renewed = BTreeMap::new();
        while let Some(slot) = self.catalogue.due(now.unix_ms) {
            self.catalogue.update(slot, |item| item.publish_at = None);
            let item = self.catalogue.item(slot).clone();
            let version = item.version.unwrap_or(0);
            if let Some(shown) = item.shown {
                renewed.insert(slot, Renewal { version, shown });
            }
            let pending = Pending {
                version,
                content_hash: item.content_hash,
                since: now.monotonic,
                material: None,
                bytes: UNKNOWN_BYTES,
            };
            self.backlog.collect(now.monotonic);
            self.backlog.add(slot, pending);
        }
        self.renew(now, renewed);
    }

    pub(super) fn withdraw(&mut self, now: Now, slot: Slot, version: u64, liveness: Liveness) {
        self.depart(slot);
        self.catalogue.update(slot, |item| {
            *item = Item {
                version: Some(version),
                ..Item::default()
            };
        });
        let row = tombstone(
            self.catalogue.id(slot).clone(),
            version,
            liveness,
            now.date(),
        );
        self.acceptance.write(
            slot,
            ItemWrites {
                row,
                content: None,
                // While the domain is loading, its lists will still be computed with the feature.
                feature: if self.is_loaded() {
                    FeatureWrite::Delete
                } else {
                    FeatureWrite::Keep
                },
            },
        );
    }

    fn upsert(&mut self, now: Now, slot: Slot, version: u64, upsert: &Upsert) {
        if upsert.expires_at.is_some_and(|at| at <= now.date()) {
            return self.withdraw(now, slot, version, Liveness::Expired);
        }
        let (mut row, content) = rows_of(upsert, version, now.date());
        let accepted_at = self.catalogue.item(slot).accepted_at;
        let accepted_at = accepted_at.unwrap_or(now.unix_ms);
        row.accepted_at = DateTime::from_timestamp_millis(accepted_at);
        self.put(now, slot, Material { row, content }.into(), true);
    }

    /// Makes the item live with this material; if its content is missing, it must be read from the store.
    pub(super) fn put(&mut self, now: Now, slot: Slot, material: Arc<Material>, has_content: bool) {
        let row = &material.row;
        let version = row.version;
        let made_from = row.made_from(self.model(), self.text_settings.mix.as_deref());
        let expires_at = row.expires_at.map(|at| at.timestamp_millis());
        let publish_at = row.publish_at.map(|at| at.timestamp_millis());
        let publish_at = publish_at.filter(|at| *at > now.unix_ms);
        let accepted_at = row.accepted_at.map(|at| at.timestamp_millis());
        let item = self.catalogue.item(slot);
        let same_content = item.live && !item.is_doubtful && item.content_hash == made_from;
        // A change of metadata alone needs no extraction: the feature is written again under the new version. A zero
        // feature is made again, which is cheap: it may stand in for one that could not be made, and the part of the
        // round that was to delete it may have been lost.
        let feature = (same_content && !item.is_stale)
            .then(|| self.catalogue.feature_row(slot, version))
            .flatten()
            .filter(|row| !row.feature.is_zero());
        // Different content under the same version: the stored feature would be taken for its own. Unless only this
        // machine does not know: then the stored one may be another machine's, and right.
        let comes_again = has_content && item.version == Some(version);
        let contradicts = comes_again && !same_content;
        // It was perhaps stored only in part before, and other models' features say so.
        let deletes = contradicts || comes_again && self.outbox.model_beside().is_none();
        if contradicts {
            self.doubt_stored_lists();
        }
        if self.catalogue.item(slot).publish_at.is_some() {
            // What would have been shown is outdated, and the new state is not durable yet.
            self.catalogue.show(slot, None);
        }
        let is_hidden = material.row.hidden;
        if is_hidden || publish_at.is_some() {
            self.depart(slot);
        }
        self.catalogue.update(slot, |item| {
            item.version = Some(version);
            item.live = true;
            item.hidden = is_hidden;
            item.publish_at = publish_at;
            item.expires_at = expires_at;
            item.accepted_at = accepted_at;
            item.content_hash = made_from;
            item.is_doubtful = false;
            if feature.is_some() {
                item.placed_version = version;
            } else {
                item.is_stale = true;
            }
        });
        let is_settled = feature.is_some();
        let feature = match feature {
            Some(row) => FeatureWrite::Put(Box::new(row)),
            None if deletes => FeatureWrite::Delete,
            None => FeatureWrite::Keep,
        };
        let row = material.row.clone();
        self.acceptance.write(
            slot,
            ItemWrites {
                row,
                content: Some(Arc::clone(&material)),
                feature,
            },
        );
        if !is_hidden {
            let shown = Arc::new(Shown::of(&material.row, &mut self.words));
            self.acceptance.renew(slot, Renewal { version, shown });
        }
        if !is_settled {
            let since = now.monotonic;
            let bytes = if has_content {
                material.bytes()
            } else {
                UNKNOWN_BYTES
            };
            let material = has_content.then_some(material);
            self.acceptance.arrive(
                slot,
                Pending {
                    version,
                    content_hash: made_from,
                    since,
                    material,
                    bytes,
                },
            );
            self.backlog.collect(now.monotonic);
        }
    }

    /// Excludes the item from comparisons; with this round it leaves all lists.
    fn depart(&mut self, slot: Slot) {
        self.backlog.remove(slot);
        self.lists.cancel_repair(slot);
        self.catalogue.set_listed(slot, false);
        self.catalogue.show(slot, None);
        self.uncompared.remove(slot);
        self.retire(slot);
        self.departs_early(slot);
        self.acceptance.depart(slot);
    }
}
