//! All of a domain, as read from the store. Lists are not read back: they are made anew.

use std::collections::{BTreeMap, HashMap};

use kindred_shared::{Feature, ItemId, Space};

use crate::item::Item;
use crate::store::{DomainRow, FeatureRow, ItemRow, Liveness, SettingsRow};

/// All of a domain, as read from the store.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The domain's row, read after everything else; `None`: it is not registered.
    pub row: Option<DomainRow>,
    /// What is set for the domain.
    pub settings: Option<SettingsRow>,
    pub(crate) items: Vec<LoadedItem>,
    /// Features by the place of their item in `items`.
    pub(crate) features: BTreeMap<Space, Vec<(usize, Feature)>>,
    /// Items of which there is nothing to compare, by their place in `items`.
    pub(crate) zeros: Vec<(usize, Space)>,
    by_id: HashMap<ItemId, usize>,
    /// Whose lists are stored.
    pub(crate) lists: Vec<ItemId>,
}

/// An item as read.
#[derive(Debug)]
pub(crate) struct LoadedItem {
    pub(crate) id: ItemId,
    pub(crate) item: Item,
    /// Since when it is live, or gone.
    pub(crate) since: chrono::DateTime<chrono::Utc>,
    /// Whether a feature of its version is stored.
    pub(crate) has_feature: bool,
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
