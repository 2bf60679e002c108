//! Items: as they are put, and as they are told.

use std::collections::{BTreeMap, BTreeSet};

use kindred_shared::{DomainName, ItemId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an item fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Durable; its list is not made yet, or not made anew yet.
    Accepted,
    /// Its list is that of what was published last.
    Live,
    /// It is kept back until its time comes, and appears then by itself.
    Scheduled,
    /// It has no feature of its own, for the reason given.
    Rejected,
    /// Its publisher withdrew it.
    Deleted,
    /// Its time is over.
    Expired,
}

/// The statuses of an item that is there, for the description: so that it tells both kinds of answers apart.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StatusThere {
    /// Durable; its list is not made yet, or not made anew yet.
    Accepted,
    /// Its list is that of what was published last.
    Live,
    /// It is kept back until its time comes, and appears then by itself.
    Scheduled,
    /// It has no feature of its own, for the reason given.
    Rejected,
}

/// The statuses of an item that is gone, for the description.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StatusGone {
    /// Its publisher withdrew it.
    Deleted,
    /// Its time is over.
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
    /// The version it was written with: the publisher's, or the one its domain gave it. Left out where a
    /// broker has an event without a version that the domain has not seen yet. Where a newer version is
    /// stored, the write had no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: Option<u64>,
    /// Always `accepted`.
    #[schema(value_type = Status)]
    pub status: Status,
    /// Of a deletion, or of an item that is put as hidden: whether no instance answers the item to any request
    /// that begins after this answer. False: not known within 2 s, or it was older than what is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
}

/// An item that is there.
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
    /// How it fares.
    #[schema(value_type = StatusThere)]
    pub status: Status,
    /// Since when it is there.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub status_since: String,
    /// Why it was rejected, or why its list is empty.
    pub status_reason: Option<String>,
    /// Since when this list is served, or an older one while a newer is being made.
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
    /// The language that its text is read in: the one given, else the one detected, else the one its
    /// domain falls back on. Its canonical code: `de` for `ger` or `de-AT`.
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
    /// Until when it is kept back.
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// From when on it is no longer live.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When the first event was accepted since which it has been live.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub accepted_at: Option<String>,
    /// Live but not to be shown or listed.
    pub hidden: bool,
    /// Free keys and values.
    pub attributes: BTreeMap<String, String>,
    /// Its text, as plain text: only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "From spring on, sleepers run again.")]
    pub text: Option<String>,
}

/// An item that is no longer there: nothing of its content is told.
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
    /// Since when.
    #[schema(format = DateTime, example = "2026-11-23T09:01:00.000Z")]
    pub status_since: String,
}

/// An item, there or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ItemAnswer {
    /// It is there.
    There(Box<Item>),
    /// It is gone.
    Gone(GoneItem),
}

/// A page of a domain's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemsAnswer {
    /// In the order asked for.
    pub items: Vec<ListedItem>,
    /// Give it back as `after` to go on; left out where nothing follows. What is in it may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A live item, as it is listed. What has no value is left out.
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
    /// Until when it is kept back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// From when on it is no longer live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When the first event was accepted since which it has been live.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    pub accepted_at: String,
    /// Live but not to be shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Free keys and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What of an item changes: a JSON merge patch. A field that is left out stays, one that is null is gone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBody {
    /// Where readers find the item; at most 2 KiB.
    #[schema(example = "https://news.example/a-17")]
    pub url: Option<String>,
    /// Where a picture of it is; at most 2 KiB.
    pub image: Option<String>,
    /// A section or shelf; at most 256 bytes.
    pub group: Option<String>,
    /// All labels; at most 64 of 256 bytes.
    pub categories: Option<Vec<String>>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00Z")]
    pub published_at: Option<String>,
    /// Until then it is live, but not visible.
    #[schema(format = DateTime)]
    pub publish_at: Option<String>,
    /// From when on it is no longer live.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Live but not to be shown or listed.
    #[schema(example = true)]
    pub hidden: Option<bool>,
    /// Attributes by name: those that are null go, those that are left out stay.
    pub attributes: Option<BTreeMap<String, Option<String>>>,
}

/// An item as it is put. The server reads it with the parser of events, whose limits and words
/// of refusal are every door's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemBody {
    /// `item.created` or `item.updated`, which mean the same; may be left out.
    #[serde(rename = "type")]
    #[schema(example = "item.updated")]
    pub kind: Option<String>,
    /// That of the address; may be left out.
    #[schema(example = "news.example")]
    pub domain: Option<String>,
    /// That of the address; may be left out.
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
    /// Where a picture of it is; at most 2 KiB.
    #[schema(example = "https://news.example/a-17.webp")]
    pub image: Option<String>,
    /// A tag of BCP 47 or a code of ISO 639; without one, or with `und`, `mul`, `zxx` or `mis`, the
    /// language is detected.
    #[schema(example = "en")]
    pub language: Option<String>,
    /// A section or shelf; at most 256 bytes.
    #[schema(example = "travel")]
    pub group: Option<String>,
    /// Labels; at most 64 of 256 bytes.
    pub categories: Option<Vec<String>>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00Z")]
    pub published_at: Option<String>,
    /// Until then it is live, but not visible; it appears by itself. Before `expires_at`.
    #[schema(format = DateTime, example = "2026-12-01T06:00:00Z")]
    pub publish_at: Option<String>,
    /// From when on it is no longer live.
    #[schema(format = DateTime, example = "2027-11-23T09:00:00Z")]
    pub expires_at: Option<String>,
    /// Live but not to be shown or listed.
    #[schema(example = false)]
    pub hidden: Option<bool>,
    /// Orders the item's events: 0 to 2^53 - 1. An older one than the stored has no effect.
    #[schema(example = 1_795_424_400_000_u64)]
    pub version: Option<u64>,
    /// An own feature instead of the text's: 1 to 4,096 finite numbers, not all zero.
    #[schema(min_items = 1, max_items = 4096)]
    pub vector: Option<Vec<f32>>,
    /// Free keys and values; at most 64.
    pub attributes: Option<BTreeMap<String, String>>,
}
