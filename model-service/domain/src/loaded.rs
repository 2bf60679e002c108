//! What is read of a domain: first its own rows, then everything else. Lists are not read, but computed again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kindred_shared::{Feature, ItemId, ModelName, Space};

use crate::item::Item;
use crate::mix::Mix;
use crate::shown::Interner;
use crate::store::{Beside, BesideRow, DomainRow, FeatureRow, ItemRow, SettingsRow};

/// The domain's own rows, which are read first.
#[derive(Debug, Default)]
pub struct Opened {
    /// The domain's row; `None`: it is not registered.
    pub row: Option<DomainRow>,
    /// The domain's settings.
    pub settings: Option<SettingsRow>,
}

impl Opened {
    /// The same from the view of the machine of a model beside the served one: with this model's own row, and settings
    /// with its kind and habits.
    #[must_use]
    pub fn of_model(self, kind: &ModelName, beside: Beside) -> Self {
        let row = self.row.filter(DomainRow::is_there);
        let set = self.settings.unwrap_or_default();
        let mut settings = set.settings;
        settings.model = Some(kind.clone());
        Self {
            row: row.map(|row| BesideRow::seen(beside.row, row, kind)),
            settings: Some(SettingsRow {
                settings,
                habits: beside.habits,
                updated_at: set.updated_at,
                models: set.models.only_mix_of(kind),
                ..SettingsRow::default()
            }),
        }
    }

    /// What a kind mixes, if it is a mix of which that is known.
    pub fn mix_of(&self, kind: &ModelName) -> Option<&Mix> {
        self.settings.as_ref()?.models.mix_of(kind)
    }

    /// The model for the domain's texts: the one in the settings, otherwise the one with which it was registered;
    /// `None`: it is not registered. The settings take precedence, because the domain's row is updated after them.
    pub fn model(&self) -> Option<&ModelName> {
        let set = self.settings.as_ref();
        let set = set.and_then(|set| set.settings.model.as_ref());
        let row = self.row.as_ref().filter(|row| row.is_there())?;
        Some(set.unwrap_or(&row.model))
    }
}

/// A whole domain, as read from the store.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The domain's row, read after everything else; `None`: it is not registered.
    pub row: Option<DomainRow>,
    /// The kind of model it is read for, and what it mixes; `None`: any of texts.
    kind: Option<(ModelName, Option<Arc<Mix>>)>,
    items: Vec<LoadedItem>,
    by_id: HashMap<ItemId, usize>,
    words: Interner,
    features: Vec<FeatureRow>,
    lists: Vec<ItemId>,
}

/// An item as read.
#[derive(Debug)]
pub(crate) struct LoadedItem {
    pub(crate) id: ItemId,
    pub(crate) item: Item,
    /// Since when it has been live, or gone.
    pub(crate) since: chrono::DateTime<chrono::Utc>,
    /// Whether a feature of its version is stored.
    pub(crate) has_feature: bool,
}

/// A whole domain, with each feature assigned to its item.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) items: Vec<LoadedItem>,
    /// Features, with the index of their item in `items`.
    pub(crate) features: BTreeMap<Space, Vec<(usize, Feature)>>,
    /// Items with nothing to compare, by their index in `items`.
    pub(crate) zeros: Vec<(usize, Space)>,
    /// Items that are gone but have a feature.
    pub(crate) orphans: BTreeSet<ItemId>,
    /// Items that have a stored list.
    pub(crate) lists: Vec<ItemId>,
}

impl Loaded {
    /// Nothing is read yet of what the machine of a model of this kind needs, which mixes these if it is a mix.
    pub fn of(kind: &ModelName, mix: Option<Arc<Mix>>) -> Self {
        Self {
            kind: Some((kind.clone(), mix)),
            ..Self::default()
        }
    }

    /// Number of items read, including those that are gone.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Adds an item.
    pub fn add_item(&mut self, row: &ItemRow) {
        let at = self.items.len();
        let kind = self.kind.as_ref();
        let made_from = kind.map(|(kind, mix)| row.made_from(kind, mix.as_deref()));
        let made_from = made_from.unwrap_or(row.content_hash);
        self.by_id.insert(row.id.clone(), at);
        self.items.push(LoadedItem {
            id: row.id.clone(),
            item: Item::stored(row, made_from, &mut self.words),
            since: row.since,
            has_feature: false,
        });
    }

    /// Adds a feature.
    pub fn add_feature(&mut self, row: FeatureRow) {
        self.features.push(row);
    }

    /// Adds an item that has a stored list. Needed only if the domain is dirty.
    pub fn add_list(&mut self, id: ItemId) {
        self.lists.push(id);
    }

    /// Assigns each feature to its item; leaves out those that do not count (another version, or the item is gone).
    /// `origins`: items as they were before events about them were accepted, because these events may have changed the
    /// rows while they were being read. Items due by `published`, in ms since 1970, count as published.
    pub(crate) fn resolve(
        mut self,
        origins: impl Iterator<Item = (ItemId, Item)>,
        published: i64,
    ) -> Resolved {
        for loaded in &mut self.items {
            let item = std::mem::take(&mut loaded.item);
            loaded.item = item.published_by(published);
        }
        for (id, origin) in origins {
            // The features that were read do not belong to what was written since.
            if let Some(&at) = self.by_id.get(&id) {
                self.items[at].item = origin;
            }
        }
        let mut resolved = Resolved {
            items: self.items,
            lists: self.lists,
            ..Resolved::default()
        };
        let lengths = usual_lengths(&self.features);
        for row in self.features {
            let length = row.feature.dense().len();
            // A feature of another length could be compared with nothing, so it is made again.
            let is_usual = row.space.is_ragged() || lengths.get(&row.space) == Some(&length);
            if length > 0 && !is_usual {
                continue;
            }
            if let Some(&at) = self.by_id.get(&row.id) {
                resolved.add_feature(at, row);
            }
        }
        resolved
    }
}

/// The length of most dense parts in each space.
fn usual_lengths(features: &[FeatureRow]) -> HashMap<Space, usize> {
    let mut counts: HashMap<&Space, BTreeMap<usize, usize>> = HashMap::new();
    for row in features {
        let length = row.feature.dense().len();
        if length > 0 {
            let of_space = counts.entry(&row.space).or_default();
            *of_space.entry(length).or_default() += 1;
        }
    }
    let usual = |lengths: BTreeMap<usize, usize>| {
        let most = lengths.into_iter().max_by_key(|(_, rows)| *rows);
        most.map(|(length, _)| length)
    };
    let counts = counts.into_iter();
    counts
        .filter_map(|(space, lengths)| Some((space.clone(), usual(lengths)?)))
        .collect()
}

impl Resolved {
    /// Whether the items match those of a domain that was left clean with this many live and visible ones: every live
    /// item has its feature, and no other item has one.
    pub(crate) fn is_as_left(&self, (live, visible): (u64, u64)) -> bool {
        let all_made = self
            .items
            .iter()
            .all(|one| !one.item.live || one.has_feature);
        let live_items = self.items.iter().filter(|one| one.item.live);
        let visible_items = self.items.iter().filter(|one| one.item.is_visible());
        all_made
            && self.orphans.is_empty()
            && live_items.count() as u64 == live
            && visible_items.count() as u64 == visible
    }

    fn add_feature(&mut self, at: usize, row: FeatureRow) {
        let loaded = &mut self.items[at];
        if !loaded.item.live {
            self.orphans.insert(row.id);
            return;
        }
        if !loaded.item.is_live_at(row.version) {
            return;
        }
        if loaded.item.is_doubtful && !row.feature.is_zero() {
            // It was made before it turned out that none can be made now; what stands in for such a feature is not
            // stored.
            return;
        }
        if loaded.has_feature {
            // Two models have a feature of this version, because of a late write by a former owner. The item's row
            // decides: the feature is made again.
            loaded.has_feature = false;
            loaded.item.habits = None;
            self.zeros.retain(|(other, _)| *other != at);
            for rows in self.features.values_mut() {
                rows.retain(|(other, _)| *other != at);
            }
            return;
        }
        loaded.has_feature = true;
        // A rejected item is tried again only with its next event.
        let depends = !loaded.item.is_doubtful && row.space.language().is_some();
        loaded.item.habits = depends.then_some(row.habits);
        if !loaded.item.is_visible() {
            return;
        }
        if row.feature.is_zero() {
            self.zeros.push((at, row.space));
        } else {
            let rows = self.features.entry(row.space).or_default();
            rows.push((at, row.feature));
        }
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
            habits: 0,
            feature: Feature::new(vec![1.0], vec![], vec![]).unwrap(),
        };
        let resolved = |features: &[(&str, u64)]| {
            let mut loaded = Loaded::default();
            loaded.add_item(&row);
            for (space, version) in features {
                loaded.add_feature(feature(space, *version));
            }
            let resolved = loaded.resolve(std::iter::empty(), 0);
            let features = resolved.features.values().flatten().count();
            (resolved.items[0].has_feature, features)
        };
        assert_eq!(resolved(&[("words-1/en", 6)]), (false, 0));
        assert_eq!(resolved(&[("words-1/en", 6), ("own/1", 7)]), (true, 1));
        assert_eq!(resolved(&[("own/1", 7), ("words-1/en", 7)]), (false, 0));
    }

    #[test]
    fn a_feature_of_another_length_than_most_is_made_again() {
        let mut loaded = Loaded::default();
        for (n, dense) in [vec![1.0, 0.0], vec![1.0], vec![0.0, 1.0], vec![]]
            .into_iter()
            .enumerate()
        {
            let id = format!("i{n}");
            let said = format!(r#"{{"type":"item.created","domain":"d","id":"{id}","title":"t"}}"#);
            let Ok(Event::Upsert(upsert)) = parse(said.as_bytes(), &Limits::default()) else {
                panic!("it is an upsert");
            };
            let row = rows_of(&upsert, 1, chrono::DateTime::UNIX_EPOCH).0;
            loaded.add_item(&row);
            loaded.add_feature(FeatureRow {
                id: row.id,
                version: 1,
                space: Space::stored("words-1/en"),
                feature: Feature::new(dense, vec![4], vec![0.5]).unwrap(),
                habits: 0,
            });
        }
        let resolved = loaded.resolve(std::iter::empty(), 0);
        let made: Vec<bool> = resolved.items.iter().map(|one| one.has_feature).collect();
        assert_eq!(made, [true, false, true, true]);
        assert_eq!(resolved.features.values().flatten().count(), 3);
    }
}
