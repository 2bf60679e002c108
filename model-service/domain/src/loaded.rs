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
        if loaded.has_feature {
            // Two models have one of this version, by a late write of a former owner. What the item
            // says decides: it is made again.
            loaded.has_feature = false;
            self.zeros.retain(|(other, _)| *other != at);
            for rows in self.features.values_mut() {
                rows.retain(|(other, _)| *other != at);
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::event::{Event, Limits, parse};

    use super::*;
    use crate::material::rows_of;

    #[test]
    fn of_two_features_of_one_version_neither_counts() {
        let said = br#"{"type":"item.created","domain":"d","id":"a","title":"t"}"#;
        let Ok(Event::Upsert(upsert)) = parse(said, &Limits::default()) else {
            panic!("it is an upsert");
        };
        let row = rows_of(&upsert, 7, chrono::DateTime::UNIX_EPOCH).0;
        let feature = |space: &str, version| FeatureRow {
            id: row.id.clone(),
            version,
            space: Space::stored(space),
            feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
        };
        let mut loaded = Loaded::default();
        loaded.add_item(row.clone());
        loaded.add_feature(feature("words-1/en", 6));
        loaded.add_feature(feature("own/1", 7));
        assert!(loaded.items[0].has_feature);
        assert_eq!(loaded.features.values().flatten().count(), 1);
        loaded.add_feature(feature("words-1/en", 7));
        assert!(!loaded.items[0].has_feature);
        assert_eq!(loaded.features.values().flatten().count(), 0);
    }
}
