//! A model of one domain's tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use kindred_domain::habits::Habits;
use kindred_domain::loaded::{Loaded, Opened};
use kindred_domain::log::LogEntry;
use kindred_domain::mix::Mix;
use kindred_domain::models::Swept;
use kindred_domain::store::{
    Beside, BesideRow, Content, DomainRow, FeatureRow, ItemRow, ListRow, SettingsRow, Stamp, Write,
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
    /// Deletes at most this many rows with this stamp or a lower one; returns their number. Once none are left, none
    /// can arrive late if the table is `one_partition`.
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
    pub(crate) beside: Table<ModelName, BesideRow>,
    beside_habits: Table<ModelName, Habits>,
    /// One database partition per model.
    pub(crate) beside_lists: BTreeMap<ModelName, Table<ItemId, ListRow>>,
    pub(crate) log: Table<i64, LogEntry>,
}

impl Tables {
    /// Applies a write; returns whether a row changed.
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
            Write::DeleteFeature(model, id) => self.features.write(stamp, (id, model), None),
            Write::Beside(model, row) => self.beside.write(stamp, model, Some(row)),
            Write::BesideHabits(model, habits) => {
                self.beside_habits.write(stamp, model, Some(habits))
            }
            Write::BesideList(model, row) => {
                let lists = self.beside_lists.entry(model).or_default();
                lists.write(stamp, row.id.clone(), Some(row))
            }
            Write::DeleteBesideList(model, id) => {
                let lists = self.beside_lists.entry(model).or_default();
                lists.write(stamp, id, None)
            }
            Write::Log(entry) => self.log.write(stamp, entry.number, Some(entry)),
            Write::TrimLog(floor) => {
                let old = self.log.rows().map(|(number, _)| *number);
                let old: Vec<i64> = old.filter(|number| *number < floor).collect();
                let mut wins = false;
                for number in old {
                    wins |= self.log.write(stamp, number, None);
                }
                wins
            }
        }
    }

    /// Deletes at most this many rows of the domain, except its own; returns whether none are left. A text that arrives
    /// late belongs to an item that does not exist.
    pub(crate) fn sweep(&mut self, stamp: Stamp, most: usize) -> bool {
        let mut left = most;
        left -= self.lists.sweep(stamp, left, true);
        left -= self.contents.sweep(stamp, left, false);
        left -= self.items.sweep(stamp, left, true);
        left -= self.features.sweep(stamp, left, true);
        left -= self.log.sweep(stamp, left, true);
        left -= self.settings.sweep(stamp, left, true);
        // Each model has a partition of lists, even if none has been written yet.
        let names: Vec<ModelName> = self.beside.rows().map(|(name, _)| name.clone()).collect();
        for name in names {
            self.beside_lists.entry(name).or_default();
        }
        for lists in self.beside_lists.values_mut() {
            left -= lists.sweep(stamp, left, true);
        }
        left -= self.beside.sweep(stamp, left, true);
        left -= self.beside_habits.sweep(stamp, left, true);
        left > 0
    }

    /// Deletes at most this many rows of a model; returns whether none are left.
    pub(crate) fn sweep_model(&mut self, swept: &Swept, stamp: Stamp, most: usize) -> bool {
        let lists = self.beside_lists.entry(swept.name.clone()).or_default();
        let mut left = most - lists.sweep(stamp, most, true);
        if let Some(kind) = &swept.features {
            let is_of = |((_, model), _): &(&(ItemId, ModelName), _)| model == kind;
            let keys = self.features.rows().filter(is_of);
            let keys: Vec<_> = keys.take(left).map(|(key, _)| key.clone()).collect();
            left -= keys.len();
            for key in keys {
                self.features.write(stamp, key, None);
            }
        }
        if swept.wholly && left > 0 {
            self.beside.write(stamp, swept.name.clone(), None);
            self.beside_habits.write(stamp, swept.name.clone(), None);
        }
        left > 0
    }

    pub(crate) fn beside(&self, model: &ModelName) -> Beside {
        Beside {
            row: self.beside.get(model).cloned(),
            habits: self.beside_habits.get(model).cloned().unwrap_or_default(),
        }
    }

    /// The whole domain, as read by the machine of a model beside the served one.
    pub(crate) fn load_beside(
        &self,
        items: &[ItemRow],
        features: &[FeatureRow],
        name: &ModelName,
        (kind, mix): (&ModelName, Option<Arc<Mix>>),
    ) -> Box<Loaded> {
        let items = items.iter().map(|row| ItemRow {
            rejected: None,
            ..row.clone()
        });
        let mut loaded = self.load(&items.collect::<Vec<_>>(), features, (kind, mix));
        loaded.row = self.open().of_model(kind, self.beside(name)).row;
        for (id, _) in self
            .beside_lists
            .get(name)
            .iter()
            .flat_map(|one| one.rows())
        {
            loaded.add_list(id.clone());
        }
        loaded
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

    /// The whole domain, as read by someone who already has its items and features.
    pub(crate) fn load(
        &self,
        items: &[ItemRow],
        features: &[FeatureRow],
        (model, mix): (&ModelName, Option<Arc<Mix>>),
    ) -> Box<Loaded> {
        let mut loaded = Box::new(Loaded::of(model, mix));
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
