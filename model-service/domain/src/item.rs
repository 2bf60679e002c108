//! What a loaded domain remembers of each item.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use chrono::{DateTime, Utc};
use kindred_shared::event::Upsert;
use kindred_shared::{ItemId, Space};
use xxhash_rust::xxh3::Xxh3;

use super::blocks::Place;
use super::round::Pending;
use crate::store::{Content, ItemRow, Liveness};

/// An item of a loaded domain, or the memory of one.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Version of the newest accepted event; `None`: no event yet.
    pub version: Option<u64>,
    /// Whether that event left it live.
    pub live: bool,
    /// Live but not to be shown.
    pub hidden: bool,
    /// From when on it is no longer live, in ms since 1970.
    pub expires_at: Option<i64>,
    /// Of what its feature is made of.
    pub content_hash: u64,
    /// Where its current feature is; `None`: it has none yet, or is not visible.
    pub placement: Option<Placement>,
    /// Version of the item that `placement` was made for, or renewed under.
    pub placed_version: u64,
    /// Whether `placement` was made of another content than the newest, or could not be made.
    pub is_stale: bool,
    /// Whether its content may not have been stored whole: it was rejected, or loaded without a
    /// feature that vouches for it.
    pub is_doubtful: bool,
    /// Whether its list is made and served.
    pub listed: bool,
}

impl Item {
    /// Live and not hidden. (Expired items are made not live when their time comes.)
    pub fn is_visible(&self) -> bool {
        self.live && !self.hidden
    }

    /// Whether it takes part in comparisons and lists now.
    pub fn is_current(&self) -> bool {
        self.is_visible() && self.placement.is_some()
    }

    /// Whether `version` is what its newest event says, and it is live.
    pub fn is_live_at(&self, version: u64) -> bool {
        self.live && self.version == Some(version)
    }

    /// Whether a feature that was asked for is still the one wanted.
    pub fn is_asked_for(&self, pending: &Pending) -> bool {
        self.is_live_at(pending.version) && self.content_hash == pending.content_hash
    }
}

/// Where an item's feature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Nothing to compare.
    Zero(Space),
    /// A row of a block.
    Row(Place),
}

/// Hash of all that an item's feature is made of: equal hashes, equal features.
pub fn content_hash(title: Option<&str>, language: Option<&str>, content: &Content) -> u64 {
    let mut hasher = Xxh3::new();
    for part in [title, language, content.text.as_deref()] {
        hasher.write_u8(u8::from(part.is_some()));
        hasher.write_u64(part.map_or(0, str::len) as u64);
        hasher.write(part.unwrap_or_default().as_bytes());
    }
    if let Some(vector) = &content.vector {
        for value in vector {
            hasher.write_u32(value.to_bits());
        }
    }
    hasher.finish()
}

/// The row and content an upsert asks for.
pub fn rows_of(upsert: &Upsert, version: u64, now: DateTime<Utc>) -> (ItemRow, Content) {
    let content = Content {
        text: upsert.text.clone(),
        vector: upsert.vector.clone(),
    };
    let hash = content_hash(
        upsert.title.as_deref(),
        upsert.language.as_deref(),
        &content,
    );
    let row = ItemRow {
        id: upsert.id.clone(),
        version,
        liveness: Liveness::Live,
        since: now,
        hidden: upsert.hidden,
        title: upsert.title.clone(),
        url: upsert.url.clone(),
        language: upsert.language.clone(),
        group: upsert.group.clone(),
        categories: upsert.categories.clone(),
        published_at: upsert.published_at,
        expires_at: upsert.expires_at,
        attributes: upsert.attributes.clone(),
        rejected: None,
        content_hash: hash,
    };
    (row, content)
}

/// What remains of an item that is gone.
pub fn tombstone(id: ItemId, version: u64, liveness: Liveness, since: DateTime<Utc>) -> ItemRow {
    ItemRow {
        id,
        version,
        liveness,
        since,
        hidden: false,
        title: None,
        url: None,
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        expires_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_parts_apart() {
        let text = |text: &str| Content {
            text: Some(text.into()),
            vector: None,
        };
        let base = content_hash(Some("ab"), None, &text("c"));
        assert_eq!(base, content_hash(Some("ab"), None, &text("c")));
        assert_ne!(base, content_hash(Some("a"), None, &text("bc")));
        assert_ne!(base, content_hash(None, Some("ab"), &text("c")));
        assert_ne!(
            content_hash(
                None,
                None,
                &Content {
                    text: None,
                    vector: Some(vec![1.0])
                }
            ),
            content_hash(
                None,
                None,
                &Content {
                    text: None,
                    vector: Some(vec![2.0])
                }
            )
        );
    }
}
