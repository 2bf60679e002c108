//! The canonical form of an event.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use crate::event::{Delete, Event, Upsert, UpsertKind};
use crate::name::{DomainName, ItemId, VectorName};

impl Event {
    /// The event as one JSON object on one line: fields in a fixed order, times in UTC with `Z`,
    /// absent fields omitted. [`parse`](crate::event::parse) returns the same event.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has string keys only and writes to memory")
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Upsert(upsert) => Written::from(&**upsert).serialize(serializer),
            Self::Patch(patch) => patch.serialize(serializer),
            Self::Delete(delete) => Written::from(delete).serialize(serializer),
            Self::Configure(configure) => configure.serialize(serializer),
            Self::Model(modelled) => modelled.serialize(serializer),
            Self::Record(recorded) => recorded.serialize(serializer),
            Self::Remove(removal) => removal.serialize(serializer),
        }
    }
}

/// The fields of an event in output order.
#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    domain: &'a DomainName,
    id: &'a ItemId,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(flatten)]
    content: Option<Content<'a>>,
}

/// The fields of an upsert that a deletion does not have.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    categories: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vectors: BTreeMap<&'a VectorName, Vec<f64>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Delete> for Written<'a> {
    fn from(delete: &'a Delete) -> Self {
        Self {
            r#type: "item.deleted",
            domain: &delete.domain,
            id: &delete.id,
            version: delete.version,
            content: None,
        }
    }
}

impl<'a> From<&'a Upsert> for Written<'a> {
    fn from(upsert: &'a Upsert) -> Self {
        Self {
            r#type: match upsert.kind {
                UpsertKind::Created => "item.created",
                UpsertKind::Updated => "item.updated",
            },
            domain: &upsert.domain,
            id: &upsert.id,
            version: upsert.version,
            content: Some(Content {
                title: upsert.title.as_deref(),
                text: upsert.text.as_deref(),
                url: upsert.url.as_deref(),
                image: upsert.image.as_deref(),
                language: upsert.language.as_deref(),
                group: upsert.group.as_deref(),
                categories: &upsert.categories,
                published_at: upsert.published_at.map(written_time),
                publish_at: upsert.publish_at.map(written_time),
                expires_at: upsert.expires_at.map(written_time),
                hidden: upsert.hidden,
                vector: upsert.vector.as_deref().map(written_vector),
                vectors: upsert
                    .vectors
                    .iter()
                    .map(|(name, vector)| (name, written_vector(vector)))
                    .collect(),
                attributes: &upsert.attributes,
            }),
        }
    }
}

pub(super) fn written_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn written_vector(vector: &[f32]) -> Vec<f64> {
    vector.iter().copied().map(written_value).collect()
}

/// The number to write for a value of a vector: `0.1` instead of `0.10000000149011612`, unless the
/// short one is so close to the middle between two `f32` that a reader whose `f64` is off by a unit
/// or two in the last place would round it to the other one.
pub(super) fn written_value(value: f32) -> f64 {
    let exact = f64::from(value);
    let short = value.to_string().parse::<f64>().unwrap_or(exact);
    let margin = short.abs() * 1e-15;
    if (short - margin) as f32 == value && (short + margin) as f32 == value {
        short
    } else {
        exact
    }
}
