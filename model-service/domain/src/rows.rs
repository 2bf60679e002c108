//! The rows of the store.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};
use serde::{Deserialize, Serialize};

use crate::settings::{Answered, DomainSettings};
use crate::stamp::Epoch;

/// A domain: registered once, then marked dirty and clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRow {
    /// Its name.
    pub domain: DomainName,
    /// Its active model.
    pub model: ModelName,
    /// The partition it belongs to for ever.
    pub partition: u16,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// The epoch at which lists may differ from items; `None`: clean, they agree.
    pub dirty: Option<u64>,
    /// Live items when it was last clean.
    pub live: u64,
    /// Visible items when it was last clean.
    pub visible: u64,
    /// When its next item expires or is published, as known when it was last clean; of a domain that was removed,
    /// when this row is not needed any more.
    pub next_expiry: Option<DateTime<Utc>>,
    /// Its latest removal; `None`: there was none.
    pub removal: Option<Removed>,
}

impl DomainRow {
    /// Whether the domain is registered. One that was removed keeps its row for the sake of its stamp.
    pub fn is_there(&self) -> bool {
        let is_past = |removed: &Removed| removed.stage == RemovalStage::Past;
        self.removal.as_ref().is_none_or(is_past)
    }
}

/// How long tombstones are kept, of items and of domains: no event of before comes after that any more.
pub(crate) const TOMBSTONE_AGE: TimeDelta = TimeDelta::days(30);

/// The removal of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The request: one that comes twice has one effect.
    pub request: String,
    /// When it was taken in.
    pub at: DateTime<Utc>,
    /// How far it is.
    pub stage: RemovalStage,
}

impl Removed {
    /// Until when the domain's row is kept for the sake of this; `None`: it is not that alone.
    pub(crate) fn kept_until(&self) -> Option<DateTime<Utc>> {
        (self.stage == RemovalStage::Done).then(|| self.at + TOMBSTONE_AGE)
    }
}

/// How far the removal of a domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalStage {
    /// Its rows are being deleted. None of them counts.
    Sweeping,
    /// Nothing is left but this.
    Done,
    /// The domain has been registered again since.
    Past,
}

/// What is set for a domain, and what became of the latest requests to set it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SettingsRow {
    /// The settings, whole.
    pub settings: DomainSettings,
    /// Requests and what became of them, the latest last.
    #[serde(default)]
    pub answered: Vec<Answered>,
    /// When they were set.
    #[serde(skip)]
    pub updated_at: DateTime<Utc>,
}

/// Whether an item is there, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It is there.
    Live,
    /// Its publisher withdrew it; this row is a tombstone.
    Deleted,
    /// Its time was over; this row is a tombstone.
    Expired,
}

/// An item as stored: what its publisher said but the text, and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// Its id.
    pub id: ItemId,
    /// Its version.
    pub version: u64,
    /// Live, deleted or expired.
    pub liveness: Liveness,
    /// Since when it is that.
    pub since: DateTime<Utc>,
    /// Live but not to be shown.
    pub hidden: bool,
    /// Title.
    pub title: Option<String>,
    /// Address.
    pub url: Option<String>,
    /// Address of a picture.
    pub image: Option<String>,
    /// Language as published.
    pub language: Option<String>,
    /// Section.
    pub group: Option<String>,
    /// Labels.
    pub categories: BTreeSet<String>,
    /// When readers could first see it.
    pub published_at: Option<DateTime<Utc>>,
    /// Until when it is live, but not visible.
    pub publish_at: Option<DateTime<Utc>>,
    /// From when on it is no longer live.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the first event was accepted since which it has been live; `None`: it is gone, or its row was
    /// written before this was kept.
    pub accepted_at: Option<DateTime<Utc>>,
    /// Free keys and values.
    pub attributes: BTreeMap<String, String>,
    /// Why it has no feature of its own, if it was rejected.
    pub rejected: Option<String>,
    /// Hash of what its feature is made of: equal hashes, equal features.
    pub content_hash: u64,
}

impl ItemRow {
    /// When the first event was accepted since which the item has been live. A row that was written before
    /// this was kept says when the newest one was.
    pub fn first_accepted(&self) -> DateTime<Utc> {
        self.accepted_at.unwrap_or(self.since)
    }
}

/// What an item's feature is made of, besides its title.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Content {
    /// Text as published.
    pub text: Option<String>,
    /// Own vector as published.
    pub vector: Option<Vec<f32>>,
}

impl Content {
    /// Bytes of the text and the vector.
    pub fn bytes(&self) -> usize {
        self.text.as_ref().map_or(0, String::len) + self.vector.as_ref().map_or(0, |v| 4 * v.len())
    }
}

/// An item's feature as stored. It counts only while its version is its item's.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// The item.
    pub id: ItemId,
    /// The item's version when the feature was made.
    pub version: u64,
    /// What it is compared with; its model is the feature's.
    pub space: Space,
    /// The feature; zero: nothing to compare.
    pub feature: Feature,
}

/// A feature row without the feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureStamp {
    /// The item's version when the feature was made.
    pub version: u64,
    /// What it is compared with.
    pub space: Space,
    /// Whether there is nothing to compare.
    pub zero: bool,
}

/// A neighbour and its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The other item.
    pub id: ItemId,
    /// The canonical score, > 0.
    pub score: f32,
}

/// An item's neighbours as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRow {
    /// The item.
    pub id: ItemId,
    /// By score descending, then id ascending by bytes.
    pub neighbours: Vec<Neighbour>,
    /// The model the scores come from.
    pub model: ModelName,
    /// When the list was made.
    pub updated_at: DateTime<Utc>,
}

/// Ownership of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Number of this ownership.
    pub epoch: u64,
    /// Who owns it: unique per start of a process. Empty: it was handed over and is anybody's.
    pub owner: String,
    /// Where the owner answers queries.
    pub address: String,
    /// Rises while the owner lives.
    pub beat: u64,
}

impl Lease {
    /// The ownership's number.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// Whether its last owner handed it over.
    pub fn is_vacant(&self) -> bool {
        self.owner.is_empty()
    }
}
