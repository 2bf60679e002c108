//! Loading: a machine's state from the store. Lists are never read back; they are made anew.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kindred_shared::{Feature, ItemId, Space};

use super::blocks::NewRow;
use super::cycle::Comparison;
use super::effect::{Effect, Observation, Ticket};
use super::item::{Item, Placement};
use super::machine::{Domain, Mark, Phase};
use super::round::Pending;
use super::slot::Slot;
use super::time::Now;
use crate::intake::Failure;
use crate::store::{DomainRow, FeatureRow, ItemRow, Liveness, SettingsRow, Write};
use crate::view_change::ViewChange;

/// How long a tombstone is kept: 30 days.
const TOMBSTONE_AGE: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// All of a domain, as read from the store.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The domain's row, read after everything else; `None`: it is not registered.
    pub row: Option<DomainRow>,
    /// What is set for the domain.
    pub settings: Option<SettingsRow>,
    items: Vec<LoadedItem>,
    features: BTreeMap<Space, Vec<(usize, Feature)>>,
    zeros: Vec<(usize, Space)>,
    by_id: HashMap<ItemId, usize>,
    lists: Vec<ItemId>,
}

#[derive(Debug)]
struct LoadedItem {
    id: ItemId,
    item: Item,
    since: chrono::DateTime<chrono::Utc>,
    has_feature: bool,
}

impl Loaded {
    /// An item, before its feature.
    pub fn add_item(&mut self, row: ItemRow) {
        let live = row.liveness == Liveness::Live;
        let item = Item {
            version: Some(row.version),
            live,
            hidden: live && row.hidden,
            expires_at: row.expires_at.map(|at| at.timestamp_millis()),
            content_hash: row.content_hash,
            placed_version: row.version,
            is_stale: row.rejected.is_some(),
            is_doubtful: row.rejected.is_some(),
            ..Item::default()
        };
        self.by_id.insert(row.id.clone(), self.items.len());
        self.items.push(LoadedItem {
            id: row.id,
            item,
            since: row.since,
            has_feature: false,
        });
    }

    /// A feature; one that does not count (another version, an item that is gone) is dropped.
    pub fn add_feature(&mut self, row: FeatureRow) {
        let Some(&at) = self.by_id.get(&row.id) else {
            return;
        };
        let loaded = &mut self.items[at];
        if !loaded.item.is_live_at(row.version) {
            return;
        }
        loaded.has_feature = true;
        if loaded.item.hidden {
            return;
        }
        if row.feature.is_zero() {
            self.zeros.push((at, row.space));
        } else {
            self.features
                .entry(row.space)
                .or_default()
                .push((at, row.feature));
        }
    }

    /// An item that has a stored list. Needed only when the domain is dirty.
    pub fn add_list(&mut self, id: ItemId) {
        self.lists.push(id);
    }
}

impl Domain {
    /// The store has been read: tables, blocks, what is still to be made; then all lists anew.
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
            Err(failure) => return self.load_failed(now, failure),
        };
        let Loaded {
            row,
            items,
            features,
            zeros,
            lists,
            ..
        } = loaded;
        self.mark = match row.as_ref().and_then(|row| row.dirty) {
            None => Mark::Clean,
            Some(_) => Mark::Inherited,
        };
        self.row = row;
        self.phase = Phase::Idle;
        let mut expired_tombstones = Vec::new();
        let mut slots: Vec<Option<Slot>> = Vec::with_capacity(items.len());
        for LoadedItem {
            id,
            item,
            since,
            has_feature,
        } in items
        {
            if !item.live && now.date() - since > TOMBSTONE_AGE {
                expired_tombstones.push(Write::PurgeItem(id));
                slots.push(None);
                continue;
            }
            let slot = self.slot(&id);
            slots.push(Some(slot));
            if item.live && !has_feature {
                let version = item.version.unwrap_or(0);
                // Its event came before this machine was made.
                let since = now.monotonic;
                let content_hash = item.content_hash;
                self.add_pending(
                    slot,
                    Pending {
                        version,
                        content_hash,
                        since,
                        material: None,
                    },
                );
            }
            self.update(slot, |place| {
                *place = item;
                place.is_doubtful |= place.live && !has_feature;
            });
        }
        for (at, space) in zeros {
            if let Some(slot) = slots[at] {
                self.items[slot.index()].placement = Some(Placement::Zero(space));
            }
        }
        for (space, rows) in features {
            let rows = rows
                .into_iter()
                .filter_map(|(at, feature)| {
                    let slot = slots[at]?;
                    let version = self.items[slot.index()].version.unwrap_or(0);
                    Some(NewRow {
                        slot,
                        id: self.slots.id(slot).clone(),
                        version,
                        feature,
                    })
                })
                .collect();
            let keys = self.blocks.add_rows(&space, rows);
            self.settle_in(&keys);
        }
        // Ids without an item row can have a list too, of a former owner.
        for id in &lists {
            self.slot(id);
        }
        let rewrite = self.mark != Mark::Clean;
        if !expired_tombstones.is_empty() {
            self.commit(
                super::effect::CommitStep::Features,
                false,
                expired_tombstones,
            );
        }
        self.rebuild(now, rewrite);
    }

    /// All lists are made anew, and readers see them at once.
    pub(super) fn merge_rebuilt(&mut self, comparison: Comparison, rewrite: bool) {
        self.merge_found(comparison);
        self.observe(Observation::Rebuilt);
        let mut change = ViewChange {
            replace: true,
            ..ViewChange::default()
        };
        for index in 0..self.items.len() {
            let slot = slot_at(index);
            if self.items[index].is_current() {
                self.items[index].listed = true;
            }
            if let Some(listed) = self.listing(slot) {
                change.listed.push(listed);
                if self.lists[index].needs_recomputation() {
                    self.repairs.insert(slot);
                }
            }
        }
        self.effects.push(Effect::Serve(change));
        if rewrite {
            // Every row is written at our epoch, and deleted where no item is visible: what a
            // former owner wrote, or writes late, loses.
            for index in 0..self.items.len() {
                self.flush.add(slot_at(index), Duration::ZERO);
            }
        }
    }
}

fn slot_at(index: usize) -> Slot {
    Slot(u32::try_from(index).expect("slots are counted in u32"))
}
