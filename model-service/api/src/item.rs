//! Items: how they are put, and how they are returned.

use std::collections::{BTreeMap, BTreeSet};

use kindred_shared::{DomainName, ItemId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The status of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is durable; its list is still to be made, or to be made again.
    Accepted,
    /// Its list reflects what was published last.
    Live,
    /// It is hidden until its time comes, and then appears by itself.
    Scheduled,
    /// No feature could be made from it, for the reason given.
    Rejected,
    /// Its publisher deleted it.
    Deleted,
    /// It expired.
    Expired,
}

/// The statuses of an item that exists, so that the OpenAPI description can tell both kinds of answers apart.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StatusThere {
    /// It is durable; its list is still to be made, or to be made again.
    Accepted,
    /// Its list reflects what was published last.
    Live,
    /// It is hidden until its time comes, and then appears by itself.
    Scheduled,
    /// No feature could be made from it, for the reason given.
    Rejected,
}

/// The statuses of an item that is gone, for the OpenAPI description.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StatusGone {
    /// Its publisher deleted it.
    Deleted,
    /// It expired.
    Expired,
}

/// A write is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The item's domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// The item's id.
    #[schema(value_type = String, example = "a-17")]
    pub id: ItemId,
    /// The version with which it was written: the publisher's, or the one that its domain assigned. Left out if a
    /// broker has the event, it has no version, and the domain has not seen it yet. If a newer version is stored, the
    /// write had no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: Option<u64>,
    /// Always `accepted`.
    #[schema(value_type = Status)]
    pub status: Status,
    /// For a deletion, or an item that is put as hidden: whether no instance returns the item any more, for any request
    /// that begins after this answer. False: this was not certain within 2 s, or the event was older than what is
    /// stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
}

/// An item that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its id.
    #[schema(value_type = String, example = "a-17")]
    pub id: ItemId,
    /// Its version.
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: u64,
    /// Its status.
    #[schema(value_type = StatusThere)]
    pub status: Status,
    /// Since when it has this status.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub status_since: String,
    /// Why it was rejected, or why its list is empty.
    pub status_reason: Option<String>,
    /// Since when this list is served, or the previous one while a new one is being made.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub served_since: Option<String>,
    /// Title, as plain text.
    #[schema(example = "Night trains return")]
    pub title: Option<String>,
    /// Address.
    #[schema(example = "https://news.example/a-17")]
    pub url: Option<String>,
    /// Address of a picture.
    #[schema(example = "https://news.example/a-17.webp")]
    pub image: Option<String>,
    /// The language in which its text is read: the given one, otherwise the detected one, otherwise the one that its
    /// domain falls back on. As a canonical code: `de` for `ger` or `de-AT`.
    #[schema(example = "en")]
    pub language: Option<String>,
    /// The language as published.
    #[schema(example = "en-GB")]
    pub language_given: Option<String>,
    /// Section.
    #[schema(example = "travel")]
    pub group: Option<String>,
    /// Labels.
    pub categories: BTreeSet<String>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub published_at: Option<String>,
    /// When it becomes visible.
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// When it expires.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When the event was accepted that made it live.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub accepted_at: Option<String>,
    /// Live, but neither shown nor listed.
    pub hidden: bool,
    /// Additional keys and values.
    pub attributes: BTreeMap<String, String>,
    /// Its text, as plain text; only if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "From spring on, sleepers run again.")]
    pub text: Option<String>,
}

/// An item that is gone: nothing of its content is returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GoneItem {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// Its id.
    #[schema(value_type = String, example = "a-16")]
    pub id: ItemId,
    /// Its version.
    #[schema(example = 1_795_424_460_000_u64)]
    pub version: u64,
    /// Why it is gone.
    #[schema(value_type = StatusGone)]
    pub status: Status,
    /// Since when it is gone.
    #[schema(format = DateTime, example = "2026-11-23T09:01:00.000Z")]
    pub status_since: String,
}

/// An item, existing or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ItemAnswer {
    /// It exists.
    There(Box<Item>),
    /// It is gone.
    Gone(GoneItem),
}

/// A page of a domain's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemsAnswer {
    /// In the requested order.
    pub items: Vec<ListedItem>,
    /// To be passed as `after` for the next page; left out if there is none. Its format may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A live item, as it is listed. Fields without a value are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedItem {
    /// Its id.
    #[schema(value_type = String, example = "a-17")]
    pub id: ItemId,
    /// Its version.
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: u64,
    /// Title, as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Night trains return")]
    pub title: Option<String>,
    /// Address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The language as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_given: Option<String>,
    /// Section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub categories: BTreeSet<String>,
    /// When readers could first see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub published_at: Option<String>,
    /// When it becomes visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When the event was accepted that made it live.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub accepted_at: String,
    /// Live, but not shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Additional keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A change of an item, as a JSON merge patch. Fields that are left out stay; fields that are null are removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBody {
    /// Where readers find the item; at most 2 KiB.
    #[schema(example = "https://news.example/a-17")]
    pub url: Option<String>,
    /// Address of a picture; at most 2 KiB.
    pub image: Option<String>,
    /// A section or shelf; at most 256 bytes.
    pub group: Option<String>,
    /// All labels; at most 64, of at most 256 bytes each.
    pub categories: Option<Vec<String>>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00Z")]
    pub published_at: Option<String>,
    /// When it becomes visible; until then it is live, but hidden.
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// When it expires.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Live, but neither shown nor listed.
    #[schema(example = true)]
    pub hidden: Option<bool>,
    /// Attributes by name: those that are null are removed, those that are left out stay.
    pub attributes: Option<BTreeMap<String, Option<String>>>,
}

/// An item as it is put. The server reads it with the parser of events, which has the same limits and reasons for
/// refusal wherever an event comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemBody {
    /// `item.created` or `item.updated`, which mean the same; may be left out.
    #[serde(rename = "type")]
    #[schema(example = "item.updated")]
    pub kind: Option<String>,
    /// As in the address; may be left out.
    #[schema(example = "news.example")]
    pub domain: Option<String>,
    /// As in the address; may be left out.
    #[schema(example = "a-17")]
    pub id: Option<String>,
    /// Plain text or HTML.
    #[schema(example = "Night trains return")]
    pub title: Option<String>,
    /// Plain text or HTML; at most 256 KiB.
    #[schema(example = "From spring on, sleepers run again.")]
    pub text: Option<String>,
    /// Where readers find the item; at most 2 KiB.
    #[schema(example = "https://news.example/a-17")]
    pub url: Option<String>,
    /// Address of a picture; at most 2 KiB.
    #[schema(example = "https://news.example/a-17.webp")]
    pub image: Option<String>,
    /// A BCP 47 tag or ISO 639 code; if it is left out, or `und`, `mul`, `zxx` or `mis`, the language is detected.
    #[schema(example = "en")]
    pub language: Option<String>,
    /// A section or shelf; at most 256 bytes.
    #[schema(example = "travel")]
    pub group: Option<String>,
    /// Labels; at most 64, of at most 256 bytes each.
    pub categories: Option<Vec<String>>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00Z")]
    pub published_at: Option<String>,
    /// When it becomes visible by itself; until then it is live, but hidden. Must be before `expires_at`.
    #[schema(format = DateTime, example = "2026-12-01T06:00:00Z")]
    pub publish_at: Option<String>,
    /// When it expires.
    #[schema(format = DateTime, example = "2027-11-23T09:00:00Z")]
    pub expires_at: Option<String>,
    /// Live, but neither shown nor listed.
    #[schema(example = false)]
    pub hidden: Option<bool>,
    /// Orders the item's events: 0 to 2^53 - 1. An event that is older than the stored version has no effect.
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: Option<u64>,
    /// A vector to be used instead of the text: 1 to 4,096 finite numbers, not all zero.
    #[schema(min_items = 1, max_items = 4096)]
    pub vector: Option<Vec<f32>>,
    /// Further vectors by name (`[a-z0-9-]{1,56}`), for models of kind `vectors`. Each is like `vector`, which is the
    /// one named `own`; an item has at most 8.
    #[schema(example = json!({"clip": [0.12, -0.05, 0.4]}))]
    pub vectors: Option<BTreeMap<String, Vec<f32>>>,
    /// Additional keys and values; at most 64.
    pub attributes: Option<BTreeMap<String, String>>,
}
