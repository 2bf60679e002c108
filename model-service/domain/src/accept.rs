//! Accepting events: what an event changes, decided against the newest accepted event of its id.

use std::sync::Arc;

use kindred_shared::event::{Event, Upsert};

use super::effect::{Effect, Material};
use super::item::{Item, Placement, rows_of, tombstone};
use super::machine::Domain;
use super::round::{FeatureWrite, ItemWrites, Pending};
use super::slot::Slot;
use super::time::Now;
use super::window::Window;
use crate::intake::{DeliveryTag, Outcome};
use crate::store::{FeatureRow, Liveness};

impl Domain {
    /// Accepts a valid event of this domain: decides what the next round writes for it and when
    /// it is settled.
    pub(super) fn accept(&mut self, now: Now, tag: DeliveryTag, event: &Event) {
        let slot = self.slot(event.id());
        let known = self.items[slot.index()].version;
        let version = event.version().unwrap_or_else(|| {
            let clock = u64::try_from(now.unix_ms).unwrap_or(0);
            known.map_or(clock, |known| clock.max(known + 1))
        });
        if known.is_some_and(|known| version < known) {
            if self.ledger.hold_no_op(tag, slot) {
                self.effects
                    .push(Effect::Settle(vec![(tag, Outcome::Stored)]));
            }
            return;
        }
        match event {
            Event::Delete(_) => self.withdraw(now, slot, version, Liveness::Deleted),
            Event::Upsert(upsert) => self.upsert(now, slot, version, upsert),
        }
        self.ledger.hold(tag, slot, self.round_number);
    }

    /// Withdraws the items whose time is over.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(&(at, slot)) = self.expiries.first() {
            if at > now.unix_ms {
                break;
            }
            let version = self.items[slot.index()].version.unwrap_or(0);
            self.withdraw(now, slot, version, Liveness::Expired);
        }
    }

    fn withdraw(&mut self, now: Now, slot: Slot, version: u64, liveness: Liveness) {
        self.depart(slot);
        self.update(slot, |item| {
            *item = Item {
                version: Some(version),
                ..Item::default()
            };
        });
        let row = tombstone(self.slots.id(slot).clone(), version, liveness, now.date());
        self.round.write(
            slot,
            ItemWrites {
                row,
                content: None,
                feature: FeatureWrite::Delete,
            },
        );
    }

    fn upsert(&mut self, now: Now, slot: Slot, version: u64, upsert: &Upsert) {
        let expires_at = upsert.expires_at.map(|at| at.timestamp_millis());
        if expires_at.is_some_and(|at| at <= now.unix_ms) {
            return self.withdraw(now, slot, version, Liveness::Expired);
        }
        let (row, content) = rows_of(upsert, version, now.date());
        let item = &self.items[slot.index()];
        let same_content = item.live && !item.is_doubtful && item.content_hash == row.content_hash;
        // A change of metadata alone extracts nothing: the feature is written again, under the
        // new version.
        let feature = (same_content && !item.is_stale)
            .then(|| self.current_feature(slot, version))
            .flatten();
        // Another content under the same version: the stored feature would seem to be its.
        let contradicts = !same_content && item.version == Some(version);
        if upsert.hidden {
            self.depart(slot);
        }
        self.update(slot, |item| {
            item.version = Some(version);
            item.live = true;
            item.hidden = upsert.hidden;
            item.expires_at = expires_at;
            item.content_hash = row.content_hash;
            item.is_doubtful = false;
            if feature.is_some() {
                item.placed_version = version;
            } else {
                item.is_stale = true;
            }
        });
        let material = Arc::new(Material { row, content });
        let is_settled = feature.is_some();
        let feature = match feature {
            Some(row) => FeatureWrite::Put(Box::new(row)),
            None if contradicts => FeatureWrite::Delete,
            None => FeatureWrite::Keep,
        };
        let row = material.row.clone();
        self.round.write(
            slot,
            ItemWrites {
                row,
                content: Some(Arc::clone(&material)),
                feature,
            },
        );
        if is_settled {
            if !upsert.hidden {
                self.round.renew(slot);
            }
        } else {
            let content_hash = material.row.content_hash;
            let since = now.monotonic;
            let material = Some(material);
            self.round.arrive(
                slot,
                Pending {
                    version,
                    content_hash,
                    since,
                    material,
                },
            );
            match &mut self.window {
                Some(window) => window.add(),
                None => self.window = Some(Window::open(now.monotonic)),
            }
        }
    }

    /// The item's feature under another version, if it has one in memory.
    fn current_feature(&self, slot: Slot, version: u64) -> Option<FeatureRow> {
        let (space, feature) = match self.items[slot.index()].placement.as_ref()? {
            Placement::Zero(space) => (space.clone(), kindred_shared::Feature::zero()),
            Placement::Row(place) => (
                self.blocks.space(*place).clone(),
                self.blocks.feature(*place),
            ),
        };
        Some(FeatureRow {
            id: self.slots.id(slot).clone(),
            version,
            space,
            feature,
        })
    }

    /// The item takes no part in comparisons any more, and leaves all lists with this round.
    fn depart(&mut self, slot: Slot) {
        self.remove_pending(slot);
        self.repairs.remove(&slot);
        let item = &mut self.items[slot.index()];
        item.listed = false;
        if let Some(Placement::Row(place)) = item.placement.take() {
            self.blocks.retire(place);
        }
        self.round.depart(slot);
    }

    /// The slot of an id, with its places in the tables.
    pub(super) fn slot(&mut self, id: &kindred_shared::ItemId) -> Slot {
        let slot = self.slots.assign(id);
        if self.items.len() < self.slots.len() {
            self.items.resize_with(self.slots.len(), Item::default);
            self.lists.resize_with(self.slots.len(), Default::default);
        }
        slot
    }

    /// Changes an item; counts and expiries follow.
    pub(super) fn update(&mut self, slot: Slot, change: impl FnOnce(&mut Item)) {
        let item = &mut self.items[slot.index()];
        let (live, visible, expires_at) = (item.live, item.is_visible(), item.expires_at);
        change(item);
        self.live = self.live + u64::from(item.live) - u64::from(live);
        self.visible = self.visible + u64::from(item.is_visible()) - u64::from(visible);
        if let Some(at) = expires_at {
            self.expiries.remove(&(at, slot));
        }
        if let Some(at) = item.expires_at.filter(|_| item.live) {
            self.expiries.insert((at, slot));
        }
    }
}
