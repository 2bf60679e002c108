//! The configuration for all domains, and the settings that replace it for a single one.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::ModelName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::habits::SampleSize;
use crate::mix::Mix;
use crate::window::WindowSize;

/// What the process's configuration says for all domains.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The model of domains that have none set.
    pub model: ModelName,
    /// When a window closes.
    pub window: WindowSize,
    /// Whether an unknown domain is registered by its first event.
    pub auto_register: bool,
    /// Most pairs of one compare task.
    pub task_pairs: usize,
    /// Most items of one cycle: windows of a domain with backlog are merged up to this.
    pub batch_items: usize,
    /// Most lists from which removed items are taken out in one step.
    pub scrub_lists: usize,
    /// Most attributes of an item: the limit for events also applies to the result of a patch.
    pub attributes: usize,
    /// Bytes of titles, texts and vectors that a domain keeps in memory for extraction; the rest is read from the store
    /// again.
    pub material_bytes: usize,
    /// Size of the sample that is surveyed for habits.
    pub sample: SampleSize,
    /// From this many features with other habits on, they are made again in the store only, and the domain is loaded
    /// again.
    pub many_outdated: usize,
}

/// Valid lengths of a window, as in the configuration.
pub const WINDOW: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Score from which on two items are near-duplicates, unless the domain sets another.
pub const NEAR_DUPLICATE: f64 = 0.9;

/// Settings of a domain; `None`: the configuration of the process, or a default, applies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DomainSettings {
    /// The languages that are distinguished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// The language of a text whose language is neither given nor detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_language: Option<String>,
    /// Whether texts of different languages are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub across_languages: Option<bool>,
    /// The model for its texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// How long upserts are collected; written like `250ms`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "length")]
    pub window: Option<Duration>,
    /// Score from which on two items are near-duplicates: above 0, at most 1; [`NEAR_DUPLICATE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicate: Option<f64>,
    /// Origins whose pages may send requests from a browser; default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// How long answers may be cached, in seconds; default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// Default conditions of queries, by name; default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Map<String, Value>>,
    /// Whether queries need no key; default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Most live items; default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Most events per second; default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_events_per_second: Option<u64>,
    /// Most bytes of a text; default: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_text: Option<u64>,
    /// Settings of a newer version of Kindred, kept unchanged.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
    /// What the model mixes, if it is a mix. No setting: it follows from the stored models, and is here for those who
    /// make features.
    #[serde(skip)]
    pub mix: Option<Arc<Mix>>,
}

/// The outcome of a request to change a domain's settings or models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The request's name.
    pub request: String,
    /// Its outcome.
    pub outcome: SettingsOutcome,
}

/// The outcome of a request to change a domain's settings or models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettingsOutcome {
    /// The domain or model is new.
    Created,
    /// The settings were replaced; or the model existed already.
    Replaced,
    /// Nothing changed: this setting may change only while the domain is empty; or why a model cannot change.
    Conflict(String),
    /// The model is served now; this one was served before.
    Activated(ModelName),
    /// The model was deleted.
    Deleted,
    /// There is no such model.
    Unknown,
}

impl DomainSettings {
    /// These settings, as a replacement of the `current` ones. Settings that may change only while the domain is empty
    /// keep their current value where these have none.
    ///
    /// # Errors
    /// The name of the first setting that would change although the domain is not empty.
    pub fn replacing(mut self, current: &Self, is_empty: bool) -> Result<Self, &'static str> {
        fn keep<T: Clone + PartialEq>(
            wanted: &mut Option<T>,
            current: &Option<T>,
            is_empty: bool,
        ) -> bool {
            if wanted.is_none() {
                wanted.clone_from(current);
            }
            is_empty || wanted == current
        }
        let kept = [
            (
                "languages",
                keep(&mut self.languages, &current.languages, is_empty),
            ),
            (
                "default_language",
                keep(
                    &mut self.default_language,
                    &current.default_language,
                    is_empty,
                ),
            ),
            (
                "across_languages",
                keep(
                    &mut self.across_languages,
                    &current.across_languages,
                    is_empty,
                ),
            ),
            ("model", keep(&mut self.model, &current.model, is_empty)),
        ];
        match kept.iter().find(|(_, kept)| !kept) {
            Some((name, _)) => Err(name),
            None => Ok(self),
        }
    }
}

/// A duration as people write it.
mod length {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    // serde asks for a reference to the field.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => serializer.collect_str(&humantime::format_duration(*length)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| humantime::parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn says_only_what_is_set_and_keeps_what_it_does_not_know() {
        assert_eq!(
            serde_json::to_string(&DomainSettings::default()).unwrap(),
            "{}"
        );
        let text = r#"{"languages":["de"],"model":"words-1","window":"1s 500ms","near_duplicate":0.85,"origins":["https://x.example"],"max_age":60,"defaults":{"balance":true},"public":true,"max_items":5,"max_events_per_second":10,"max_text":1000,"shape":"round","tint":3}"#;
        let settings: DomainSettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.window, Some(Duration::from_millis(1_500)));
        assert_eq!(settings.model, Some(ModelName::new("words-1").unwrap()));
        assert_eq!(settings.across_languages, None);
        assert_eq!(settings.near_duplicate, Some(0.85));
        assert_eq!(settings.max_age, Some(60));
        assert_eq!(settings.public, Some(true));
        assert_eq!(settings.unknown.len(), 2);
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        for bad in [
            r#"{"model":"No"}"#,
            r#"{"window":"soon"}"#,
            r#"{"window":5}"#,
        ] {
            assert!(
                serde_json::from_str::<DomainSettings>(bad).is_err(),
                "{bad}"
            );
        }
    }
}
