//! Domains, and how they fare.

use std::fmt;

use kindred_shared::{DomainName, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::activity::Freshness;

/// What a domain does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not loaded: nothing happens.
    Asleep,
    /// Its lists are read or made anew.
    Loading,
    /// Loaded, and nothing is to be done.
    Idle,
    /// Its window is open.
    Collecting,
    /// Features of a window are being made.
    Extracting,
    /// A window is being compared.
    Comparing,
    /// Lists are being written.
    Storing,
    /// Something failed; it tries again by itself.
    BackingOff,
    /// Another model service owns it now; this one lets go of it.
    Lost,
    /// No model service answers for it now.
    Unowned,
}

impl State {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Loading => "loading",
            Self::Idle => "idle",
            Self::Collecting => "collecting",
            Self::Extracting => "extracting",
            Self::Comparing => "comparing",
            Self::Storing => "storing",
            Self::BackingOff => "backing-off",
            Self::Lost => "lost",
            Self::Unowned => "unowned",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A domain and how it fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainAnswer {
    /// Its name.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its active model.
    #[schema(value_type = String, example = "words-1")]
    pub model: ModelName,
    /// What it does now.
    pub state: State,
    /// No event, open window or job: every list is exact and stored.
    pub quiet: bool,
    /// Live items.
    #[schema(example = 5000)]
    pub live: u64,
    /// Visible items: live, not hidden, not expired.
    #[schema(example = 4990)]
    pub visible: u64,
    /// Items accepted whose lists are still to be made.
    #[schema(example = 0)]
    pub pending: u64,
    /// How long the oldest of those waits, in seconds; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.2)]
    pub oldest_pending_seconds: Option<f64>,
    /// What it did in the last minutes; left out while it is asleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Recent>,
    /// The partition it belongs to.
    #[serde(default)]
    #[schema(example = 0)]
    pub partition: u16,
    /// Where the model service answers that owns the partition; left out while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.7:8080")]
    pub owner: Option<String>,
    /// When it was registered.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub registered_at: String,
    /// What keeps it from going on, if something does. It tries again by itself.
    pub trouble: Option<String>,
    /// What is set for it; not in the list of all domains.
    #[serde(flatten)]
    pub settings: Option<Box<Settings>>,
}

/// What a domain did in the last minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Recent {
    /// How long that is, in seconds.
    #[schema(example = 300.0)]
    pub over_seconds: f64,
    /// Events decided upon: stored, refused or failed.
    #[schema(example = 12)]
    pub events: u64,
    /// How soon upserts were in lists; left out while none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
}

/// Settings of a domain. What is left out is decided by the configuration of the process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// Languages told apart. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["en", "de"]))]
    pub languages: Option<Vec<String>>,
    /// Language of a text whose language is neither given nor recognised. May change only while the
    /// domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en")]
    pub default_language: Option<String>,
    /// Whether texts of different languages are compared. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub across_languages: Option<bool>,
    /// How long the domain's upserts are collected before they are worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "250ms")]
    pub window: Option<String>,
    /// Score from which on two items are near-duplicates: above 0, at most 1; 0.9 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.9)]
    pub near_duplicate: Option<f64>,
    /// Origins whose pages may ask from a browser (CORS), or `*`; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["https://news.example"]))]
    pub origins: Option<Vec<String>>,
    /// For how long answers may be kept without asking again, in seconds; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 60)]
    pub max_age: Option<u64>,
    /// Conditions of queries that do not say otherwise, as a query says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"collapse": "near"}))]
    pub defaults: Option<Map<String, Value>>,
    /// Whether queries (`similar`) need no key; false if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub public: Option<bool>,
    /// Most live items; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 100_000)]
    pub max_items: Option<u64>,
    /// Most events a second that are let in, at each instance; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 50)]
    pub max_events_per_second: Option<u64>,
    /// Most bytes of a text; as configured if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 65_536)]
    pub max_text: Option<u64>,
}

/// What a domain is to be like: all of its settings. What may change only while the domain is empty stays
/// as it is where it is left out; everything else that is left out is decided by the configuration again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct SettingsBody {
    /// Its model. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "words-1")]
    pub model: Option<String>,
    /// The others.
    #[serde(flatten)]
    pub settings: Settings,
}

/// A domain is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedAnswer {
    /// The domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Whether no instance answers anything of it to any request that begins after this answer, but for what
    /// came after the deletion. False: that was not known within 2 s.
    pub gone: bool,
}

/// Of which items what is stored is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    /// Their ids, at most 1,000; left out: all of the domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000, example = json!(["a-17"]))]
    pub ids: Option<Vec<String>>,
}

/// What is stored is being made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairAnswer {
    /// The domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
}

/// The names of all settings.
pub const SETTINGS: [&str; 13] = [
    "across_languages",
    "default_language",
    "defaults",
    "languages",
    "max_age",
    "max_events_per_second",
    "max_items",
    "max_text",
    "model",
    "near_duplicate",
    "origins",
    "public",
    "window",
];

/// Every registered domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainsAnswer {
    /// By name.
    pub domains: Vec<DomainAnswer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_its_word() {
        for state in [State::Asleep, State::BackingOff, State::Unowned] {
            let written = format!("\"{state}\"");
            assert_eq!(serde_json::to_string(&state).expect("JSON"), written);
            assert_eq!(
                serde_json::from_str::<State>(&written).expect("JSON"),
                state
            );
        }
    }
}
