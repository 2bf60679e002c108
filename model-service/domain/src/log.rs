//! The log of a domain: every change of its settings, models and experiments, in order.
//!
//! The row of the settings has the newest entries. So a change and its entry are one write: neither can be lost, or
//! become durable, without the other. A separate table keeps older entries, and the row drops an entry only after that
//! table has it. A reader that reads the row first and the table second gets all entries, up to the row's newest one
//! ([`read_log`](crate::store::read_log)): whatever the row had already dropped was in the table before.
//!
//! Only the domain's owner writes the log, with its stamps. An entry is written to the table once a fenced write of the
//! row was confirmed, so nothing that a former owner writes too late gets there.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kindred_shared::ModelName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::models::{ModelEntry, Models, Stage};
use crate::settings::DomainSettings;
use crate::time::Now;

/// The fewest entries that are kept; at most twice as many are.
pub const KEPT: u32 = 1_000;
/// Most entries in a row of settings that the table does not have yet: further changes have to wait.
pub(crate) const MOST_IN_ROW: usize = 16;
/// The author of changes that no one asked for.
pub const KINDRED: &str = "kindred";

/// What happened: the words of the log.
pub mod what {
    /// Settings were replaced by others.
    pub const SETTINGS_CHANGED: &str = "settings.changed";
    /// A model was added, to be built.
    pub const MODEL_ADDED: &str = "model.added";
    /// A model that had failed is built again.
    pub const MODEL_RETRIED: &str = "model.retried";
    /// A model is built.
    pub const MODEL_READY: &str = "model.ready";
    /// A model cannot be built.
    pub const MODEL_FAILED: &str = "model.failed";
    /// Another model is served.
    pub const MODEL_ACTIVATED: &str = "model.activated";
    /// A model was deleted.
    pub const MODEL_DELETED: &str = "model.deleted";
    /// An experiment began.
    pub const EXPERIMENT_BEGUN: &str = "experiment.begun";
    /// An experiment ended.
    pub const EXPERIMENT_ENDED: &str = "experiment.ended";
}

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its place in the log: the time in milliseconds, or one more than the number before. It rises, also from one
    /// domain to the next of the same name.
    pub number: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who asked for it: the name of a key, `-` if none was needed, or [`KINDRED`].
    pub by: String,
    /// What happened.
    pub what: String,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// What it has been since.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
}

/// The end of a log, in the row of the settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogEnd {
    /// The newest entries, oldest first; the table may lack them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newest: Vec<LogEntry>,
    /// The number of the newest entry ever; 0: there was none.
    #[serde(default)]
    last: i64,
    /// The number of the latest recorded change of an experiment ([`LogEnd::recorded`]).
    #[serde(default)]
    recorded: i64,
    /// Entries below this number are not kept.
    #[serde(default)]
    floor: i64,
    /// The next floor.
    #[serde(default)]
    next_floor: i64,
    /// Entries since that one.
    #[serde(default)]
    since: u32,
}

impl LogEnd {
    /// Whether nothing was ever recorded.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// The entries that the row has, oldest first.
    pub fn newest(&self) -> &[LogEntry] {
        &self.newest
    }

    /// The number of the newest entry; 0: there is none.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Entries below this number are not kept.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// The number of the latest recorded change of an experiment. The numbers of a domain's changes rise; each is
    /// recorded once, in order.
    pub fn recorded(&self) -> i64 {
        self.recorded
    }

    /// Appends an entry.
    pub(crate) fn append(&mut self, now: Now, at: DateTime<Utc>, by: &str, changed: Changed) {
        let Changed {
            what,
            before,
            after,
        } = changed;
        let number = now.unix_ms.max(self.last + 1);
        self.last = number;
        self.newest.push(LogEntry {
            number,
            at,
            by: by.to_owned(),
            what,
            before,
            after,
        });
        self.since += 1;
        if self.since >= KEPT {
            (self.floor, self.next_floor) = (self.next_floor, number);
            self.since = 0;
        }
    }

    /// Appends entries about changes that were made just now.
    pub(crate) fn append_all(&mut self, now: Now, by: &str, changes: Vec<Changed>) {
        for changed in changes {
            self.append(now, now.date(), by, changed);
        }
    }

    /// The table has every entry up to this number.
    pub(crate) fn is_in_table(&mut self, number: i64) {
        self.newest.retain(|entry| entry.number > number);
    }

    /// An experiment's change of this number is recorded.
    pub(crate) fn is_recorded(&mut self, number: i64) {
        self.recorded = self.recorded.max(number);
    }
}

/// A change, for an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Changed {
    pub(crate) what: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Changed {
    fn new(what: &str, before: Value, after: Value) -> Self {
        Self {
            what: what.to_owned(),
            before,
            after,
        }
    }

    /// Another model is served. Each is given by its name and kind.
    pub(crate) fn served(
        models: &Models,
        was: (&ModelName, &ModelName),
        now: (&ModelName, &ModelName),
    ) -> Self {
        let active = |(name, kind): (&ModelName, &ModelName)| {
            let mut told = of_kind(models, name, kind);
            told["state"] = "active".into();
            told
        };
        Self::new(what::MODEL_ACTIVATED, active(was), active(now))
    }
}

/// The settings that differ, before and after; null where one is not set.
pub(crate) fn settings_changed(before: &DomainSettings, after: &DomainSettings) -> Option<Changed> {
    let object = |settings: &DomainSettings| match serde_json::to_value(settings) {
        Ok(Value::Object(object)) => object,
        // Settings are a map from text.
        _ => Map::new(),
    };
    let (before, after) = (object(before), object(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    let differ: Vec<&String> = differ.collect();
    let only = |object: &Map<String, Value>| -> Value {
        let value = |name: &&String| object.get(*name).cloned().unwrap_or_default();
        let named = differ.iter().map(|name| ((*name).clone(), value(name)));
        Value::Object(named.collect())
    };
    (!differ.is_empty()).then(|| Changed::new(what::SETTINGS_CHANGED, only(&before), only(&after)))
}

/// What differs among the models beside the served one, which stays the same.
pub(crate) fn models_changed(before: &Models, after: &Models) -> Vec<Changed> {
    let names = before.beside().keys().chain(after.beside().keys());
    let names: BTreeSet<&ModelName> = names.collect();
    names
        .into_iter()
        .filter_map(|name| model_changed(name, before, after))
        .collect()
}

fn model_changed(name: &ModelName, before: &Models, after: &Models) -> Option<Changed> {
    let (was, is) = (before.beside().get(name), after.beside().get(name));
    let word = match (was, is) {
        (was, is) if was == is => return None,
        (None, Some(_)) => what::MODEL_ADDED,
        (_, None) => what::MODEL_DELETED,
        (Some(_), Some(entry)) => match &entry.stage {
            Stage::Building => what::MODEL_RETRIED,
            Stage::Ready => what::MODEL_READY,
            Stage::Failed(_) => what::MODEL_FAILED,
        },
    };
    let told = |models: &Models, entry: Option<&ModelEntry>| {
        entry.map_or(Value::Null, |entry| told(models, name, entry))
    };
    Some(Changed::new(word, told(before, was), told(after, is)))
}

/// A model beside the served one, as the log shows it.
fn told(models: &Models, name: &ModelName, entry: &ModelEntry) -> Value {
    let mut told = of_kind(models, name, &entry.kind);
    told["state"] = match &entry.stage {
        Stage::Building => "building".into(),
        Stage::Ready => "ready".into(),
        Stage::Failed(why) => {
            told["reason"] = why.as_str().into();
            "failed".into()
        }
    };
    told
}

/// The name of a model, and its kind as it is shown.
fn of_kind(models: &Models, name: &ModelName, kind: &ModelName) -> Value {
    let mut told = json!(models.shown_kind(name, kind));
    told["name"] = name.as_str().into();
    told
}

/// Entries of the row, and of the table, which was read after it.
pub fn joined(end: &LogEnd, older: Vec<LogEntry>, after: i64, most: usize) -> Vec<LogEntry> {
    let newest = end.newest.iter().cloned();
    let all = older.into_iter().chain(newest);
    // The table may lack an entry before one that is newer than the row.
    let counts = |entry: &LogEntry| {
        entry.number > after && entry.number >= end.floor && entry.number <= end.last
    };
    let all = all.filter(counts).map(|entry| (entry.number, entry));
    let all: BTreeMap<i64, LogEntry> = all.collect();
    all.into_values().take(most).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::time::Duration;

    use kindred_shared::event::{MIX, ModelChange, Weight};

    use super::*;

    fn at(unix_ms: i64) -> Now {
        Now {
            monotonic: Duration::ZERO,
            unix_ms,
        }
    }

    fn append(end: &mut LogEnd, unix_ms: i64) -> i64 {
        let now = at(unix_ms);
        let changed = Changed::new("x", Value::Null, Value::from(unix_ms));
        end.append(now, now.date(), "k", changed);
        end.last()
    }

    fn numbers(entries: &[LogEntry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn numbers_rise_whatever_the_clock_says() {
        let mut end = LogEnd::default();
        let given = [70, 70, 20, 71, 90].map(|ms| append(&mut end, ms));
        assert_eq!(given, [70, 71, 72, 73, 90]);
        end.is_in_table(72);
        assert_eq!((numbers(end.newest()), end.last()), (vec![73, 90], 90));
    }

    #[test]
    fn the_row_and_the_table_together_are_the_log() {
        let mut end = LogEnd::default();
        for ms in 1..=6 {
            append(&mut end, ms);
        }
        let table = |numbers: &[i64]| -> Vec<LogEntry> {
            let of = |number: &i64| LogEntry {
                number: *number,
                ..end.newest()[0].clone()
            };
            numbers.iter().map(of).collect()
        };
        let older = table(&[1, 2, 3]);
        let mut newer = end.clone();
        newer.is_in_table(2);
        assert_eq!(
            numbers(&joined(&newer, older.clone(), 0, 9)),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(numbers(&joined(&newer, older.clone(), 4, 9)), [5, 6]);
        assert_eq!(numbers(&joined(&newer, older.clone(), 0, 4)), [1, 2, 3, 4]);
        assert_eq!(numbers(&joined(&newer, older, 0, 2)), [1, 2]);
        // Written between the two reads; 7 does not exist yet.
        assert_eq!(numbers(&joined(&newer, table(&[5, 6, 8]), 4, 9)), [5, 6]);
        assert_eq!(numbers(&joined(&newer, Vec::new(), 6, 9)), [0; 0]);
    }

    #[test]
    fn so_many_are_kept_and_never_twice_as_many() {
        let mut end = LogEnd::default();
        for ms in 1..=i64::from(10 * KEPT) {
            append(&mut end, ms);
            end.is_in_table(ms - 1);
            let kept = end.last() - end.floor() + 1;
            let kept = u32::try_from(kept).unwrap();
            let made = u32::try_from(ms).unwrap();
            assert!(kept >= KEPT.min(made) && kept <= 2 * KEPT, "{kept}");
        }
        assert_eq!(end.newest().len(), 1);
    }

    #[test]
    fn says_what_differs() {
        let read = |text: &str| -> DomainSettings { serde_json::from_str(text).unwrap() };
        let before = read(r#"{"window":"1s","max_age":60,"public":true}"#);
        let after = read(r#"{"window":"2s","public":true,"max_items":5}"#);
        let changed = settings_changed(&before, &after).unwrap();
        assert_eq!(changed.what, what::SETTINGS_CHANGED);
        assert_eq!(
            (changed.before, changed.after),
            (
                json!({"window": "1s", "max_age": 60, "max_items": null}),
                json!({"window": "2s", "max_age": null, "max_items": 5})
            )
        );
        assert_eq!(settings_changed(&before, &before), None);

        let name = |name| ModelName::new(name).unwrap();
        let kind = name("text-2");
        let mut models = Models::default();
        let mut step = |change: &dyn Fn(&mut Models)| {
            let before = models.clone();
            change(&mut models);
            let changed = models_changed(&before, &models);
            assert!(changed.len() <= 1, "{changed:?}");
            let entry = changed.into_iter().next();
            entry.map(|entry| (entry.what, entry.before, entry.after))
        };
        let put = ModelChange::Put {
            kind: name("words-1"),
            of: BTreeMap::new(),
        };
        let building = json!({"name": "m", "kind": "words-1", "state": "building"});
        let failed =
            json!({"name": "m", "kind": "words-1", "state": "failed", "reason": "too large"});
        let ready = json!({"name": "m", "kind": "words-1", "state": "ready"});
        let put = |models: &mut Models| drop(models.change(&kind, &name("m"), &put));
        let reach = |stage: Stage| {
            move |models: &mut Models| {
                models.reach(&ModelName::new("m").unwrap(), stage.clone());
            }
        };
        let entry = |what: &str, before: &Value, after: &Value| {
            Some((what.to_owned(), before.clone(), after.clone()))
        };
        assert_eq!(
            step(&put),
            entry(what::MODEL_ADDED, &Value::Null, &building)
        );
        assert_eq!(step(&put), None);
        let fails = Stage::Failed("too large".to_owned());
        assert_eq!(
            step(&reach(fails)),
            entry(what::MODEL_FAILED, &building, &failed)
        );
        assert_eq!(step(&put), entry(what::MODEL_RETRIED, &failed, &building));
        assert_eq!(
            step(&reach(Stage::Ready)),
            entry(what::MODEL_READY, &building, &ready)
        );
        let delete =
            |models: &mut Models| drop(models.change(&kind, &name("m"), &ModelChange::Delete));
        assert_eq!(
            step(&delete),
            entry(what::MODEL_DELETED, &ready, &Value::Null)
        );

        let clip = ModelChange::Put {
            kind: name("vectors-clip"),
            of: BTreeMap::new(),
        };
        let clip = |models: &mut Models| drop(models.change(&kind, &name("clip"), &clip));
        let building =
            json!({"name": "clip", "kind": "vectors", "vector": "clip", "state": "building"});
        assert_eq!(
            step(&clip),
            entry(what::MODEL_ADDED, &Value::Null, &building)
        );
        let weights = [("text-2", 0.7), ("clip", 0.3)];
        let mix = ModelChange::Put {
            kind: name(MIX),
            of: weights
                .map(|(part, weight)| (name(part), Weight::new(weight).unwrap()))
                .into(),
        };
        let mix = |models: &mut Models| drop(models.change(&kind, &name("best"), &mix));
        let building = json!({"name": "best", "kind": "mix", "of": {"text-2": 0.7, "clip": 0.3},
            "state": "building"});
        assert_eq!(
            step(&mix),
            entry(what::MODEL_ADDED, &Value::Null, &building)
        );
        let delete =
            |models: &mut Models| drop(models.change(&kind, &name("best"), &ModelChange::Delete));
        assert_eq!(
            step(&delete),
            entry(what::MODEL_DELETED, &building, &Value::Null)
        );
    }

    #[test]
    fn is_read_back_as_it_was_written() {
        let mut end = LogEnd::default();
        append(&mut end, 5);
        end.is_recorded(12);
        let text = serde_json::to_string(&end).unwrap();
        assert_eq!(serde_json::from_str::<LogEnd>(&text).unwrap(), end);
    }
}
