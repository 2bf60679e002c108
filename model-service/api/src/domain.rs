//! Domains and their state.

use std::fmt;

use kindred_shared::{DomainName, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::activity::Freshness;

/// What a domain is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = State)]
pub enum DomainState {
    /// It is not loaded: nothing happens.
    Asleep,
    /// Its lists are being read or computed again.
    Loading,
    /// It is loaded, and there is nothing to do.
    Idle,
    /// Its window is open.
    Collecting,
    /// Features of a window are being made.
    Extracting,
    /// A window is being compared.
    Comparing,
    /// Lists are being written.
    Storing,
    /// Something failed; it will try again by itself.
    BackingOff,
    /// Another model service owns it now; this one is releasing it.
    Lost,
    /// No model service owns it now.
    Unowned,
}

impl DomainState {
    /// Its name.
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

impl fmt::Display for DomainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A domain and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainAnswer {
    /// Its name.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its active model.
    #[schema(value_type = String, example = "words-1")]
    pub model: ModelName,
    /// What it is doing.
    pub state: DomainState,
    /// True if no event, open window or job is pending: every list is exact and stored.
    pub quiet: bool,
    /// Live items.
    #[schema(example = 5000)]
    pub live: u64,
    /// Visible items: live, not hidden, not expired.
    #[schema(example = 4990)]
    pub visible: u64,
    /// Accepted items whose lists are still to be made.
    #[schema(example = 0)]
    pub pending: u64,
    /// How long the oldest of those has been waiting, in seconds; left out if there is none.
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
    /// Address of the model service that owns the partition; left out if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.7:8080")]
    pub owner: Option<String>,
    /// When it was registered.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub registered_at: String,
    /// What keeps it from making progress, if anything does. It will try again by itself.
    pub trouble: Option<String>,
    /// Its settings; not in the list of all domains.
    #[serde(flatten)]
    pub settings: Option<Box<Settings>>,
}

/// What a domain did in the last minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Recent {
    /// How long that is, in seconds.
    #[schema(example = 300.0)]
    pub over_seconds: f64,
    /// Events that were settled: stored, refused or failed.
    #[schema(example = 12)]
    pub events: u64,
    /// How soon upserts were in lists; left out if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
}

/// Settings of a domain. For settings that are left out, the configuration of the process applies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// The languages that are distinguished. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["en", "de"]))]
    pub languages: Option<Vec<String>>,
    /// The language of a text whose language is neither given nor detected. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en")]
    pub default_language: Option<String>,
    /// Whether texts of different languages are compared. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub across_languages: Option<bool>,
    /// How long the domain's upserts are collected before they are processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "250ms")]
    pub window: Option<String>,
    /// Score from which on two items are near-duplicates: above 0, at most 1; 0.9 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.9)]
    pub near_duplicate: Option<f64>,
    /// Origins whose pages may send requests from a browser (CORS), or `*`; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["https://news.example"]))]
    pub origins: Option<Vec<String>>,
    /// How long answers may be cached, in seconds; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 60)]
    pub max_age: Option<u64>,
    /// Default conditions of queries, in the same form as in a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"collapse": "near"}))]
    pub defaults: Option<Map<String, Value>>,
    /// Whether queries (`similar`) need no key; false if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub public: Option<bool>,
    /// Most live items; unlimited if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 100_000)]
    pub max_items: Option<u64>,
    /// Most events per second, at each instance; unlimited if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 50)]
    pub max_events_per_second: Option<u64>,
    /// Most bytes of a text; as configured if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", example = 65_536)]
    pub max_text: Option<u64>,
}

/// All settings of a domain. Settings that may change only while the domain is empty keep their value if they are left
/// out; for all others that are left out, the configuration applies again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct SettingsBody {
    /// Its model. May change only while the domain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "words-1")]
    pub model: Option<String>,
    /// All other settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// A domain is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedAnswer {
    /// The domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Whether no instance returns anything of it any more, for any request that begins after this answer, except what
    /// was added after the deletion. False: this was not certain within 2 s.
    pub gone: bool,
}

/// The items whose stored features and lists are to be computed again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    /// Their ids, at most 1,000; if left out, all items of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000, example = json!(["a-17"]))]
    pub ids: Option<Vec<String>>,
}

/// Stored features and lists are being computed again.
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
        for state in [
            DomainState::Asleep,
            DomainState::BackingOff,
            DomainState::Unowned,
        ] {
            let written = format!("\"{state}\"");
            assert_eq!(serde_json::to_string(&state).expect("JSON"), written);
            assert_eq!(
                serde_json::from_str::<DomainState>(&written).expect("JSON"),
                state
            );
        }
    }
}
