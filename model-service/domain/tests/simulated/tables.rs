//! A model of one domain's tables.

use std::collections::BTreeMap;

use kindred_domain::loaded::{Loaded, Opened};
use kindred_domain::store::{
    Content, DomainRow, FeatureRow, ItemRow, ListRow, SettingsRow, Stamp, Write,
};
use kindred_shared::{ItemId, ModelName};

use super::reference::MODELS;

/// Rows by key, each last-write-wins by stamp; a deletion is a write.
#[derive(Debug)]
pub(crate) struct Table<K, V>(BTreeMap<K, (Stamp, Option<V>)>, Option<Stamp>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new(), None)
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    /// Deletes rows that have this stamp or a lower one, at most so many; how many. Once none are left, none
    /// can come late, if they are `one_partition`.
    fn sweep(&mut self, stamp: Stamp, most: usize, one_partition: bool) -> usize {
        let old = self.0.iter();
        let old = old.filter(|(_, (written, value))| *written <= stamp && value.is_some());
        let keys: Vec<K> = old.take(most).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.0.insert(key.clone(), (stamp, None));
        }
        if keys.len() < most && one_partition {
            self.1 = self.1.max(Some(stamp));
        }
        keys.len()
    }

    /// Whether the write won.
    fn write(&mut self, stamp: Stamp, key: K, value: Option<V>) -> bool {
        let old = self.0.get(&key).map(|(stamp, _)| *stamp);
        let wins = old.max(self.1).is_none_or(|old| old <= stamp);
        if wins {
            self.0.insert(key, (stamp, value));
        }
        wins
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).and_then(|(_, value)| value.as_ref())
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0
            .iter()
            .filter_map(|(key, (_, value))| Some((key, value.as_ref()?)))
    }
}

/// All rows of one domain.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) domain: Table<(), DomainRow>,
    pub(crate) items: Table<ItemId, ItemRow>,
    pub(crate) settings: Table<(), SettingsRow>,
    pub(crate) contents: Table<ItemId, Content>,
    pub(crate) features: Table<(ItemId, ModelName), FeatureRow>,
    pub(crate) lists: Table<ItemId, ListRow>,
}

impl Tables {
    /// Whether a row is another now.
    pub(crate) fn apply(&mut self, stamp: Stamp, write: Write) -> bool {
        match write {
            Write::Domain(row) => self.domain.write(stamp, (), Some(row)),
            Write::PurgeDomain => self.domain.write(stamp, (), None),
            Write::Settings(row) => self.settings.write(stamp, (), Some(row)),
            Write::Item(row) => self.items.write(stamp, row.id.clone(), Some(row)),
            Write::PurgeItem(id) => self.items.write(stamp, id, None),
            Write::Content(id, content) => self.contents.write(stamp, id, Some(content)),
            Write::DeleteContent(id) => self.contents.write(stamp, id, None),
            Write::Feature(row) => {
                let key = (row.id.clone(), row.space.model());
                self.features.write(stamp, key, Some(row))
            }
            Write::DeleteFeatures(id) => {
                let mut wins = false;
                for model in MODELS {
                    let model = ModelName::new(model).expect("a plain name");
                    wins |= self.features.write(stamp, (id.clone(), model), None);
                }
                wins
            }
            Write::List(row) => self.lists.write(stamp, row.id.clone(), Some(row)),
            Write::DeleteList(id) => self.lists.write(stamp, id, None),
        }
    }

    /// Deletes rows of the domain but its own, at most so many. Whether none are left. A text that comes late is
    /// of an item that is not there.
    pub(crate) fn sweep(&mut self, stamp: Stamp, most: usize) -> bool {
        let mut left = most;
        left -= self.lists.sweep(stamp, left, true);
        left -= self.contents.sweep(stamp, left, false);
        left -= self.items.sweep(stamp, left, true);
        left -= self.features.sweep(stamp, left, true);
        left -= self.settings.sweep(stamp, left, true);
        left > 0
    }

    pub(crate) fn open(&self) -> Opened {
        Opened {
            row: self.domain.get(&()).cloned(),
            settings: self.settings.get(&()).cloned(),
        }
    }

    pub(crate) fn scan_items(&self) -> Vec<ItemRow> {
        self.items.rows().map(|(_, row)| row.clone()).collect()
    }

    pub(crate) fn scan_features(&self) -> Vec<FeatureRow> {
        self.features.rows().map(|(_, row)| row.clone()).collect()
    }

    /// All of the domain, as somebody reads it who has its items and features already.
    pub(crate) fn load(
        &self,
        items: &[ItemRow],
        features: &[FeatureRow],
        model: &ModelName,
    ) -> Box<Loaded> {
        let mut loaded = Box::<Loaded>::default();
        items.iter().for_each(|row| loaded.add_item(row));
        let counts = |row: &&FeatureRow| {
            let of = row.space.model();
            of == *model || of == ModelName::own()
        };
        let features = features.iter().filter(counts);
        features.for_each(|row| loaded.add_feature(row.clone()));
        loaded.row = self.domain.get(&()).cloned();
        if loaded.row.as_ref().is_some_and(|row| row.dirty.is_some()) {
            self.lists
                .rows()
                .for_each(|(id, _)| loaded.add_list(id.clone()));
        }
        loaded
    }
}
