//! Item events: what publishers send, and why one is refused.
//!
//! [`parse`], [`parse_for`] and [`parse_item`] parse one event from JSON and validate all of it; [`Event::to_json`]
//! writes the canonical form, which parses to the same event.

mod configure;
mod field;
mod json;
mod member;
mod modelled;
mod parse;
mod patch;
mod recorded;
mod removal;

pub use configure::{CONFIGURED, Configure, NOBODY};
pub use member::{Member, Members, whole_characters, without_mark};
pub use modelled::{MIX, MODELLED, MOST_MIXED, ModelChange, Modelled, ONNX, VECTORS, Weight};
pub use parse::{parse, parse_for, parse_item, parse_patch};
pub use patch::{Change, Changes, PATCHABLE, PATCHED, Patch};
pub use recorded::{RECORDED, Recorded};
pub use removal::{REMOVED, Removal};

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::name::{DomainName, ItemId, VectorName};

/// Highest version: 2^53 − 1, the highest whole number that every JSON implementation can represent.
pub const MAX_VERSION: u64 = (1 << 53) - 1;
/// Longest vector of an item.
pub const MAX_VECTOR: usize = 4096;
/// Most vectors of an item, the one of its own included.
pub const MAX_VECTORS: usize = 8;
/// Longest `url` and `image`, in bytes of UTF-8.
pub const MAX_ADDRESS_BYTES: usize = 2 << 10;
/// Longest `group` and label, in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 256;
/// Most labels of an item.
pub const MAX_CATEGORIES: usize = 64;

/// A statement about an item or a domain.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The item exists, and this is all of it.
    Upsert(Box<Upsert>),
    /// Some fields of the item change.
    Patch(Box<Patch>),
    /// The item is withdrawn.
    Delete(Delete),
    /// The domain's settings are replaced.
    Configure(Box<Configure>),
    /// A model of the domain is to be built, activated or deleted.
    Model(Box<Modelled>),
    /// An experiment of the domain has begun or ended, which its log is to record.
    Record(Box<Recorded>),
    /// The domain is removed, with all of its items.
    Remove(Removal),
}

impl Event {
    /// The event's type, as on the wire.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Upsert(upsert) => match upsert.kind {
                UpsertKind::Created => "item.created",
                UpsertKind::Updated => "item.updated",
            },
            Self::Patch(_) => PATCHED,
            Self::Delete(_) => "item.deleted",
            Self::Configure(_) => CONFIGURED,
            Self::Model(_) => MODELLED,
            Self::Record(_) => RECORDED,
            Self::Remove(_) => REMOVED,
        }
    }

    /// The domain.
    pub fn domain(&self) -> &DomainName {
        match self {
            Self::Upsert(upsert) => &upsert.domain,
            Self::Patch(patch) => &patch.domain,
            Self::Delete(delete) => &delete.domain,
            Self::Configure(configure) => &configure.domain,
            Self::Model(modelled) => &modelled.domain,
            Self::Record(recorded) => &recorded.domain,
            Self::Remove(removal) => &removal.domain,
        }
    }

    /// The item, if the event is about one.
    pub fn id(&self) -> Option<&ItemId> {
        match self {
            Self::Upsert(upsert) => Some(&upsert.id),
            Self::Patch(patch) => Some(&patch.id),
            Self::Delete(delete) => Some(&delete.id),
            Self::Configure(_) | Self::Model(_) | Self::Record(_) | Self::Remove(_) => None,
        }
    }

    /// The publisher's version, if it sent one.
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::Upsert(upsert) => upsert.version,
            Self::Patch(patch) => patch.version,
            Self::Delete(delete) => delete.version,
            Self::Configure(_) | Self::Model(_) | Self::Record(_) | Self::Remove(_) => None,
        }
    }

    /// Whether it takes something away from readers, or is not about an item. Quotas never refuse such events.
    pub fn takes_away(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Upsert(upsert) => upsert.hides(now),
            Self::Patch(patch) => patch.hides(now),
            Self::Delete(_)
            | Self::Configure(_)
            | Self::Model(_)
            | Self::Record(_)
            | Self::Remove(_) => true,
        }
    }
}

/// Which of the two types for an upsert the publisher used; both mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpsertKind {
    /// `item.created`
    Created,
    /// `item.updated`
    Updated,
}

/// All of an item, as published.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    /// Created or updated.
    pub kind: UpsertKind,
    /// The item's domain.
    pub domain: DomainName,
    /// The item's id.
    pub id: ItemId,
    /// Plain text or HTML.
    pub title: Option<String>,
    /// Plain text or HTML.
    pub text: Option<String>,
    /// The address of the item for readers; at most [`MAX_ADDRESS_BYTES`].
    pub url: Option<String>,
    /// The address of a picture; at most [`MAX_ADDRESS_BYTES`].
    pub image: Option<String>,
    /// A language tag, as sent; [`language::canonical`](crate::language::canonical) tells which language it means.
    pub language: Option<String>,
    /// A section or shelf; at most [`MAX_LABEL_BYTES`].
    pub group: Option<String>,
    /// Labels: at most [`MAX_CATEGORIES`] of [`MAX_LABEL_BYTES`].
    pub categories: BTreeSet<String>,
    /// When readers could first see it.
    pub published_at: Option<DateTime<Utc>>,
    /// Until then the item is live but not visible; before `expires_at`.
    pub publish_at: Option<DateTime<Utc>>,
    /// From then on it is no longer live.
    pub expires_at: Option<DateTime<Utc>>,
    /// Live, but never shown or listed.
    pub hidden: bool,
    /// 0 to [`MAX_VERSION`]; orders the events of one item.
    pub version: Option<u64>,
    /// A feature of its own: 1 to [`MAX_VECTOR`] finite values, not all zero.
    pub vector: Option<Vec<f32>>,
    /// Its other vectors by name, each like the one of its own: with that at most [`MAX_VECTORS`].
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
    /// Arbitrary keys and values.
    pub attributes: BTreeMap<String, String>,
}

impl Upsert {
    /// Whether this upsert makes the item invisible to readers.
    pub fn hides(&self, now: DateTime<Utc>) -> bool {
        self.hidden || self.publish_at.is_some_and(|at| at > now)
    }
}

/// An item is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The item's domain.
    pub domain: DomainName,
    /// The item's id.
    pub id: ItemId,
    /// 0 to [`MAX_VERSION`]; orders the events of one item.
    pub version: Option<u64>,
}

/// Size limits of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole event.
    pub message_bytes: usize,
    /// Bytes of its text.
    pub text_bytes: usize,
    /// Number of attributes.
    pub attributes: usize,
}

impl Default for Limits {
    /// 1 MiB, 256 KiB, 64.
    fn default() -> Self {
        Self {
            message_bytes: 1 << 20,
            text_bytes: 256 << 10,
            attributes: 64,
        }
    }
}

/// Why an event is refused, as a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Not UTF-8, not JSON, or not a JSON object.
    InvalidJson,
    /// The event or one of its fields exceeds a limit.
    TooLarge,
    /// `type` is unknown.
    UnknownType,
    /// A required field is missing.
    MissingField,
    /// A field has a value of the wrong type or outside its range.
    InvalidField,
    /// `domain` is not a domain name.
    InvalidDomain,
    /// `id` is not an item id.
    InvalidId,
    /// `domain` differs from the routing key or the address it was sent to.
    DomainMismatch,
    /// `id` differs from the address it was sent to.
    IdMismatch,
    /// `version` is not a whole number from 0 to 2^53 − 1.
    InvalidVersion,
    /// A vector is empty, too long, not finite or all zero, or its name is not one.
    InvalidVector,
    /// The domain is not registered, and automatic registration is off.
    UnknownDomain,
    /// A patch of an item that does not exist.
    UnknownItem,
    /// The event exceeds a quota of its domain.
    OverQuota,
    /// Feedback of an experiment that does not run.
    UnknownExperiment,
    /// Feedback of an arm that its experiment does not have, or that its reader is not in.
    UnknownArm,
}

impl Reason {
    /// The stable word, used in headers, rejects files and problem types.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid-json",
            Self::TooLarge => "too-large",
            Self::UnknownType => "unknown-type",
            Self::MissingField => "missing-field",
            Self::InvalidField => "invalid-field",
            Self::InvalidDomain => "invalid-domain",
            Self::InvalidId => "invalid-id",
            Self::DomainMismatch => "domain-mismatch",
            Self::IdMismatch => "id-mismatch",
            Self::InvalidVersion => "invalid-version",
            Self::InvalidVector => "invalid-vector",
            Self::UnknownDomain => "unknown-domain",
            Self::UnknownItem => "unknown-item",
            Self::OverQuota => "over-quota",
            Self::UnknownExperiment => "unknown-experiment",
            Self::UnknownArm => "unknown-arm",
        }
    }
}

/// A refused event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.word())]
pub struct Refusal {
    /// The stable word.
    pub reason: Reason,
    /// The field at fault, if it is a single one (`attributes.author`, `vector[3]`).
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the whole event (`field` is `None`) or of one field.
    pub fn new(reason: Reason, field: Option<&str>, detail: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.map(str::to_owned),
            detail: detail.into(),
        }
    }
}
