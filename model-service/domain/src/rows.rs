//! The rows of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use chrono::{DateTime, TimeDelta, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, VectorName};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::habits::Habits;
use crate::log::LogEnd;
use crate::mix::Mix;
use crate::models::Models;
use crate::settings::{Answered, DomainSettings, SettingsOutcome};
use crate::stamp::Epoch;

/// A domain: registered once, then alternately dirty and clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRow {
    /// Its name.
    pub domain: DomainName,
    /// Its active model.
    pub model: ModelName,
    /// The partition it always belongs to.
    pub partition: u16,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// The epoch at which lists may differ from items; `None`: clean, lists match the items.
    pub dirty: Option<u64>,
    /// Number of live items when it was last clean.
    pub live: u64,
    /// Number of visible items when it was last clean.
    pub visible: u64,
    /// When its next item expires or is published, as of the time when it was last clean; for a removed domain, when
    /// this row may be deleted.
    pub next_expiry: Option<DateTime<Utc>>,
    /// Its latest removal; `None`: it was never removed.
    pub removal: Option<Removed>,
}

impl DomainRow {
    /// Whether the domain is registered. A removed domain keeps its row, because the row's stamp is still needed.
    pub fn is_there(&self) -> bool {
        let is_past = |removed: &Removed| removed.stage == RemovalStage::Past;
        self.removal.as_ref().is_none_or(is_past)
    }
}

/// How long tombstones of items and domains are kept. No older event arrives after that.
pub(crate) const TOMBSTONE_AGE: TimeDelta = TimeDelta::days(30);

/// The removal of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The request; a repeated request has no further effect.
    pub request: String,
    /// When the removal was accepted.
    pub at: DateTime<Utc>,
    /// How far it has got.
    pub stage: RemovalStage,
}

impl Removed {
    /// When the domain's row may be deleted; `None`: the removal is not done, or the domain was registered again since.
    pub(crate) fn kept_until(&self) -> Option<DateTime<Utc>> {
        (self.stage == RemovalStage::Done).then(|| self.at + TOMBSTONE_AGE)
    }
}

/// How far the removal of a domain has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalStage {
    /// Its rows are being deleted. None of them counts any more.
    Sweeping,
    /// Only the domain's row is left.
    Done,
    /// The domain has been registered again since.
    Past,
}

/// The settings of a domain, and the outcomes of the latest requests to set them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SettingsRow {
    /// All settings.
    pub settings: DomainSettings,
    /// Requests and their outcomes, the latest last.
    #[serde(default)]
    pub answered: Vec<Answered>,
    /// What is usual in the domain's texts. It is stored here because it is created and deleted with the domain.
    #[serde(default, skip_serializing_if = "Habits::is_new")]
    pub habits: Habits,
    /// Its models. The settings name the kind of the served one.
    #[serde(default, skip_serializing_if = "Models::is_default")]
    pub models: Models,
    /// The end of the log. Its last entries are the changes that produced this row.
    #[serde(default, skip_serializing_if = "LogEnd::is_new")]
    pub log: LogEnd,
    /// When they were set.
    #[serde(skip)]
    pub updated_at: DateTime<Utc>,
}

/// Number of requests whose outcome is kept: their senders ask for it soon.
const ANSWERED: usize = 32;

impl SettingsRow {
    /// The kinds of models whose features may be stored.
    pub fn kinds(&self) -> Vec<ModelName> {
        let of_others = self.models.kinds().cloned();
        self.settings
            .model
            .iter()
            .cloned()
            .chain(of_others)
            .collect()
    }

    /// Records the outcome of a request.
    pub(crate) fn answer(&mut self, request: &str, outcome: SettingsOutcome) {
        self.answered.push(Answered {
            request: request.to_owned(),
            outcome,
        });
        let surplus = self.answered.len().saturating_sub(ANSWERED);
        self.answered.drain(..surplus);
    }
}

/// The stored state of a model beside the served one: what the domain's row says for the served one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideRow {
    /// The epoch at which its lists may differ from items; `None`: they match.
    pub dirty: Option<u64>,
    /// Number of live items when it was last clean.
    pub live: u64,
    /// Number of visible items when it was last clean.
    pub visible: u64,
    /// When the next item expires or is published, as of the time when it was last clean.
    pub next_expiry: Option<DateTime<Utc>>,
}

impl BesideRow {
    /// The state that a machine records in its domain row, as a row of its model.
    pub(crate) fn of(row: &DomainRow) -> Self {
        Self {
            dirty: row.dirty,
            live: row.live,
            visible: row.visible,
            next_expiry: row.next_expiry,
        }
    }

    /// The domain's row as seen by the machine of a model of this kind. Without a row of its own, its lists may be
    /// anything. While the domain is dirty, so is each of its models, whose machine perhaps was not running when items
    /// changed.
    pub fn seen(row: Option<Self>, of_domain: DomainRow, kind: &ModelName) -> DomainRow {
        let row = row.unwrap_or(Self {
            // Epochs start at 1.
            dirty: Some(0),
            live: 0,
            visible: 0,
            next_expiry: None,
        });
        DomainRow {
            model: kind.clone(),
            dirty: row.dirty.or(of_domain.dirty),
            live: row.live,
            visible: row.visible,
            next_expiry: row.next_expiry,
            removal: None,
            ..of_domain
        }
    }
}

/// What is stored about one model beside the served one, except features and lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beside {
    /// Its state.
    pub row: Option<BesideRow>,
    /// The habits with which its features were made.
    pub habits: Habits,
}

/// Whether an item is there, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It is there.
    Live,
    /// Its publisher deleted it; this row is a tombstone.
    Deleted,
    /// It expired; this row is a tombstone.
    Expired,
}

/// An item as stored: everything its publisher sent except the text and vector, and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// Its id.
    pub id: ItemId,
    /// Its version.
    pub version: u64,
    /// Live, deleted or expired.
    pub liveness: Liveness,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Live, but not shown.
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
    /// When readers could first see it, according to its publisher.
    pub published_at: Option<DateTime<Utc>>,
    /// When it becomes visible; until then it is live, but hidden.
    pub publish_at: Option<DateTime<Utc>>,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the event was accepted that made it live; `None`: it is gone, or its row is older than this field.
    pub accepted_at: Option<DateTime<Utc>>,
    /// Additional keys and values.
    pub attributes: BTreeMap<String, String>,
    /// Why no feature could be made from it.
    pub rejected: Option<String>,
    /// Hash of title, language, text and own vector: equal hashes mean equal features of models of texts.
    pub content_hash: u64,
    /// Hash of each of its vectors, by name. Rows that are older than this field lack the one of its own.
    #[serde(default)]
    pub vector_hashes: BTreeMap<VectorName, u64>,
}

impl ItemRow {
    /// Bytes of its texts, about.
    pub fn bytes(&self) -> usize {
        let Self {
            title,
            url,
            image,
            language,
            group,
            categories,
            attributes,
            rejected,
            ..
        } = self;
        let single = [title, url, image, language, group, rejected];
        let single = single.into_iter().flatten().map(String::len);
        let attributes = attributes
            .iter()
            .map(|(key, value)| key.len() + value.len());
        let categories = categories.iter().map(String::len);
        size_of::<Self>() + single.chain(categories).chain(attributes).sum::<usize>()
    }

    /// When the event was accepted that made the item live. For a row that is older than that field, when the newest
    /// event was accepted.
    pub fn first_accepted(&self) -> DateTime<Utc> {
        self.accepted_at.unwrap_or(self.since)
    }

    /// Hash of what its feature of a model of this kind is made from, which mixes these if it is a mix: equal hashes mean
    /// equal features.
    pub fn made_from(&self, kind: &ModelName, mix: Option<&Mix>) -> u64 {
        if let Some(mix) = mix {
            let mut hasher = Xxh3::new();
            for part in mix.kinds() {
                hasher.write_u64(self.made_from(part, None));
            }
            return hasher.finish();
        }
        match kind.vector() {
            None => self.content_hash,
            Some(name) => match self.vector_hashes.get(&name) {
                Some(hash) => *hash,
                // It may have one nevertheless, in a row that does not say so.
                None if name == VectorName::own() => self.content_hash,
                None => 0,
            },
        }
    }
}

/// What an item's feature is made from, besides its title.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Content {
    /// Text as published.
    pub text: Option<String>,
    /// Own vector as published.
    pub vector: Option<Vec<f32>>,
    /// Its other vectors as published, by name.
    #[serde(default)]
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
}

impl Content {
    /// Bytes of the text and the vectors.
    pub fn bytes(&self) -> usize {
        let vectors = self.vector.iter().chain(self.vectors.values());
        let vectors: usize = vectors.map(|vector| 4 * vector.len()).sum();
        self.text.as_ref().map_or(0, String::len) + vectors
    }

    /// The vector of this name.
    pub fn vector_named(&self, name: &VectorName) -> Option<&[f32]> {
        if *name == VectorName::own() {
            self.vector.as_deref()
        } else {
            self.vectors.get(name).map(Vec::as_slice)
        }
    }
}

/// An item's feature as stored. It counts only while its version equals the item's.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// The item.
    pub id: ItemId,
    /// The item's version from which the feature was made.
    pub version: u64,
    /// What it is compared with; the space's model is the feature's model.
    pub space: Space,
    /// Fingerprint of the domain's habits with which it was made ([`Habits::fingerprint`]).
    pub habits: u64,
    /// The feature; zero: there is nothing to compare.
    pub feature: Feature,
}

/// A feature row without the feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureStamp {
    /// The item's version from which the feature was made.
    pub version: u64,
    /// What it is compared with.
    pub space: Space,
    /// Whether the feature is zero: there is nothing to compare.
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
    /// The model that computed the scores.
    pub model: ModelName,
    /// When the list was computed.
    pub updated_at: DateTime<Utc>,
}

/// A row that Kindred cannot have written. It is treated as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRow {
    /// Its table.
    pub table: &'static str,
    /// Its item; empty: it is the domain's own row.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The damaged rows of a domain that were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damaged {
    /// Some of them.
    pub rows: Vec<DamagedRow>,
    /// Their number.
    pub count: u64,
}

impl Damaged {
    /// A description of the damage and the remedy; `None`: nothing is damaged.
    pub fn in_words(&self, domain: &DomainName) -> Option<String> {
        let (named, count) = (&self.rows, self.count);
        if count == 0 {
            return None;
        }
        let named = named.iter().map(|DamagedRow { table, id, reason }| {
            if id.is_empty() {
                format!("{table} ({reason})")
            } else {
                format!("{table} of {id:?} ({reason})")
            }
        });
        let named: Vec<String> = named.collect();
        let more = count.saturating_sub(named.len() as u64);
        let more = match more {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let rows = if count == 1 { "row is" } else { "rows are" };
        Some(format!(
            "{count} {rows} damaged: {}{more}. Features and lists are made anew by `kindred repair {domain}`; publish items \
             whose row or text is damaged again",
            named.join(", ")
        ))
    }
}

/// Ownership of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The number of this ownership.
    pub epoch: u64,
    /// The owner's name, unique per start of a process. Empty: the partition was handed over and is free.
    pub owner: String,
    /// Where the owner answers queries.
    pub address: String,
    /// Rises while the owner is alive.
    pub beat: u64,
}

impl Lease {
    /// The ownership's number.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// Whether its last owner handed the partition over.
    pub fn is_vacant(&self) -> bool {
        self.owner.is_empty()
    }
}
