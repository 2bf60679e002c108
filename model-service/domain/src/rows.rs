//! The rows of the store.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};
use serde::{Deserialize, Serialize};

use crate::habits::Habits;
use crate::models::Models;
use crate::settings::{Answered, DomainSettings, SettingsOutcome};
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
    /// What is usual in the domain's texts. It is stored here since it goes and comes with the domain, too.
    #[serde(default, skip_serializing_if = "Habits::is_new")]
    pub habits: Habits,
    /// Its models. What is set names the kind of the served one.
    #[serde(default, skip_serializing_if = "Models::is_default")]
    pub models: Models,
    /// When they were set.
    #[serde(skip)]
    pub updated_at: DateTime<Utc>,
}

/// Requests whose outcome is kept: those who made them look for it soon.
const ANSWERED: usize = 32;

impl SettingsRow {
    /// Keeps what became of a request.
    pub(crate) fn answer(&mut self, request: &str, outcome: SettingsOutcome) {
        self.answered.push(Answered {
            request: request.to_owned(),
            outcome,
        });
        let surplus = self.answered.len().saturating_sub(ANSWERED);
        self.answered.drain(..surplus);
    }
}

/// How a model beside the served one stands in the store: what a domain's row says of the served one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideRow {
    /// The epoch at which its lists may differ from items; `None`: they agree.
    pub dirty: Option<u64>,
    /// Live items when it was last clean.
    pub live: u64,
    /// Visible items when it was last clean.
    pub visible: u64,
    /// When the next item expires or is published, as known when it was last clean.
    pub next_expiry: Option<DateTime<Utc>>,
}

impl BesideRow {
    /// What a machine says of its domain, of which it has one model.
    pub(crate) fn of(row: &DomainRow) -> Self {
        Self {
            dirty: row.dirty,
            live: row.live,
            visible: row.visible,
            next_expiry: row.next_expiry,
        }
    }

    /// The domain's row as the machine of a model of this kind sees it. Without a row of its own its lists may be
    /// anything.
    pub fn seen(row: Option<Self>, of_domain: DomainRow, kind: &ModelName) -> DomainRow {
        let row = row.unwrap_or(Self {
            // No epoch is 0.
            dirty: Some(0),
            live: 0,
            visible: 0,
            next_expiry: None,
        });
        DomainRow {
            model: kind.clone(),
            dirty: row.dirty,
            live: row.live,
            visible: row.visible,
            next_expiry: row.next_expiry,
            removal: None,
            ..of_domain
        }
    }
}

/// What is stored of one model beside the served one, besides features and lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beside {
    /// How it stands.
    pub row: Option<BesideRow>,
    /// What is usual in the domain's texts, as its features were made with.
    pub habits: Habits,
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
    /// Fingerprint of the habits of the domain that it was made with ([`Habits::fingerprint`]).
    pub habits: u64,
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

/// A row that cannot be what Kindred wrote. It counts as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRow {
    /// Its table.
    pub table: &'static str,
    /// Its item; empty: it is the domain's own.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Damaged rows of a domain, as far as they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damaged {
    /// Some of them.
    pub rows: Vec<DamagedRow>,
    /// How many there are.
    pub count: u64,
}

impl Damaged {
    /// What is damaged, in words, and what to do; `None`: nothing is.
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
