//! The log of a domain, applied from its beginning, must make what is stored: no change is missing, and none is made up.

use std::collections::BTreeMap;

use kindred_domain::log::{LogEntry, joined, what};
use kindred_domain::models::{Models, Stage};
use kindred_domain::store::SettingsRow;
use kindred_shared::ModelName;
use serde_json::{Map, Value, json};

use super::tables::Tables;

/// Checks the log of a domain that is there, as a reader has it.
pub(crate) fn check_log(tables: &Tables) -> Result<(), String> {
    let is_there = tables.domain.get(&()).is_some_and(|row| row.is_there());
    let Some(row) = tables.settings.get(&()).filter(|_| is_there) else {
        return Ok(());
    };
    if row.log.floor() > 0 {
        return Ok(());
    }
    let older = tables.log.rows().map(|(_, entry)| entry.clone()).collect();
    let entries = joined(&row.log, older, 0, usize::MAX);
    let mut applied = Applied::default();
    for entry in &entries {
        let fits = applied.apply(entry);
        fits.map_err(|why| format!("{why}: {entry:?} in {:?}", entries))?;
    }
    applied
        .is_that_of(row)
        .map_err(|why| format!("{why}: {:?} makes {applied:?}, stored is {row:?}", entries))
}

/// What a log makes.
#[derive(Debug, Default)]
struct Applied {
    settings: Map<String, Value>,
    beside: BTreeMap<String, Value>,
    active: Option<String>,
    /// The model that was activated last.
    served: Option<Value>,
}

impl Applied {
    fn apply(&mut self, entry: &LogEntry) -> Result<(), &'static str> {
        let name = |value: &Value| value["name"].as_str().map(str::to_owned);
        match entry.what.as_str() {
            what::SETTINGS_CHANGED => {
                let (Value::Object(before), Value::Object(after)) = (&entry.before, &entry.after)
                else {
                    return Err("no settings");
                };
                for (name, value) in after {
                    let was = self.settings.remove(name).unwrap_or_default();
                    if before.get(name) != Some(&was) {
                        return Err("other settings before");
                    }
                    if !value.is_null() {
                        self.settings.insert(name.clone(), value.clone());
                    }
                }
            }
            what::MODEL_ACTIVATED => {
                let (was, is) = (name(&entry.before), name(&entry.after));
                let (Some(was), Some(is)) = (was, is) else {
                    return Err("no models");
                };
                if self.active.as_ref().is_some_and(|active| *active != was) {
                    return Err("another model was served");
                }
                let ready = |told: &Value| {
                    let mut ready = told.clone();
                    ready["state"] = "ready".into();
                    ready
                };
                if self.beside.remove(&is) != Some(ready(&entry.after)) {
                    return Err("a model that was not ready");
                }
                self.beside.insert(was, ready(&entry.before));
                self.served = Some(entry.after.clone());
                self.active = Some(is);
            }
            _ => {
                let named = name(&entry.before).or_else(|| name(&entry.after));
                let Some(named) = named else {
                    return Err("no model");
                };
                let was = self.beside.remove(&named).unwrap_or_default();
                if was != entry.before {
                    return Err("another model before");
                }
                if !entry.after.is_null() {
                    self.beside.insert(named, entry.after.clone());
                }
            }
        }
        Ok(())
    }

    fn is_that_of(&self, row: &SettingsRow) -> Result<(), &'static str> {
        let mut settings = self.settings.clone();
        if let (Some(served), Some(kind)) = (&self.served, &row.settings.model) {
            let mut active = of_kind(&row.models, row.models.active(kind), kind);
            active["state"] = "active".into();
            if active != *served {
                return Err("a model of another kind is served");
            }
            settings.insert("model".to_owned(), kind.as_str().into());
        }
        if serde_json::to_value(&row.settings).ok() != Some(Value::Object(settings)) {
            return Err("other settings");
        }
        if self.beside != beside(&row.models) {
            return Err("other models");
        }
        let kind = row.settings.model.as_ref();
        let active = kind.map(|kind| row.models.active(kind).as_str());
        if self.active.is_some() && self.active.as_deref() != active {
            return Err("another model is served");
        }
        Ok(())
    }
}

fn beside(models: &Models) -> BTreeMap<String, Value> {
    let told = models.beside().iter().map(|(name, entry)| {
        let mut told = of_kind(models, name, &entry.kind);
        told["state"] = match &entry.stage {
            Stage::Building => "building".into(),
            Stage::Ready => "ready".into(),
            Stage::Failed(why) => {
                told["reason"] = why.as_str().into();
                "failed".into()
            }
        };
        (name.to_string(), told)
    });
    told.collect()
}

/// The name of a model, and its kind as it is shown.
fn of_kind(models: &Models, name: &ModelName, kind: &ModelName) -> Value {
    let mut told = json!(models.shown_kind(name, kind));
    told["name"] = name.as_str().into();
    told
}
