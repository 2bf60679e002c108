//! What an item's feature is made from, and conversions between events and rows of items.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use chrono::{DateTime, Utc};
use kindred_shared::event::{Upsert, UpsertKind};
use kindred_shared::{DomainName, ItemId, VectorName};
use xxhash_rust::xxh3::Xxh3;

use crate::store::{Content, ItemRow, Liveness};

/// What a feature is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Material {
    /// The item, of which the title and language are used.
    pub row: ItemRow,
    /// Its text and vectors.
    pub content: Content,
}

impl Material {
    /// Bytes of what the feature is made from.
    pub fn bytes(&self) -> usize {
        self.content.bytes() + self.row.title.as_ref().map_or(0, String::len)
    }

    /// Whether row and content were written together. The store may have only one of them while the event that wrote
    /// them is not acknowledged.
    pub fn is_whole(&self) -> bool {
        let Self { row, content } = self;
        let hash = content_hash(row.title.as_deref(), row.language.as_deref(), content);
        // The item's own vector is part of the content.
        let own = VectorName::own();
        let hashes = vector_hashes(content);
        let named = hashes.iter().filter(|(name, _)| **name != own);
        let stored = row.vector_hashes.iter().filter(|(name, _)| **name != own);
        hash == row.content_hash && named.eq(stored)
    }
}

/// Hash of what determines an item's features of models of texts: equal hashes mean equal features.
pub fn content_hash(title: Option<&str>, language: Option<&str>, content: &Content) -> u64 {
    let mut hasher = Xxh3::new();
    for part in [title, language, content.text.as_deref()] {
        hasher.write_u8(u8::from(part.is_some()));
        hasher.write_u64(part.map_or(0, str::len) as u64);
        hasher.write(part.unwrap_or_default().as_bytes());
    }
    for value in content.vector.iter().flatten() {
        hasher.write_u32(value.to_bits());
    }
    hasher.finish()
}

/// Hash of each vector, by name: equal hashes mean equal vectors.
pub fn vector_hashes(content: &Content) -> BTreeMap<VectorName, u64> {
    let own = content.vector.as_ref().map(|own| (VectorName::own(), own));
    let named = content.vectors.iter();
    let all = named
        .map(|(name, vector)| (name.clone(), vector))
        .chain(own);
    all.map(|(name, vector)| {
        let mut hasher = Xxh3::new();
        vector
            .iter()
            .for_each(|value| hasher.write_u32(value.to_bits()));
        (name, hasher.finish())
    })
    .collect()
}

/// The row and content for an upsert of an item that was not live before.
pub fn rows_of(upsert: &Upsert, version: u64, now: DateTime<Utc>) -> (ItemRow, Content) {
    let content = Content {
        text: upsert.text.clone(),
        vector: upsert.vector.clone(),
        vectors: upsert.vectors.clone(),
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
        image: upsert.image.clone(),
        language: upsert.language.clone(),
        group: upsert.group.clone(),
        categories: upsert.categories.clone(),
        published_at: upsert.published_at,
        publish_at: upsert.publish_at,
        expires_at: upsert.expires_at,
        accepted_at: Some(now),
        attributes: upsert.attributes.clone(),
        rejected: None,
        content_hash: hash,
        vector_hashes: vector_hashes(&content),
    };
    (row, content)
}

/// The upsert that would produce an item as it is stored.
pub fn upsert_of(domain: &DomainName, stored: Material) -> Upsert {
    let Material { row, content } = stored;
    Upsert {
        kind: UpsertKind::Updated,
        domain: domain.clone(),
        id: row.id,
        title: row.title,
        text: content.text,
        url: row.url,
        image: row.image,
        language: row.language,
        group: row.group,
        categories: row.categories,
        published_at: row.published_at,
        publish_at: row.publish_at,
        expires_at: row.expires_at,
        hidden: row.hidden,
        version: Some(row.version),
        vector: content.vector,
        vectors: content.vectors,
        attributes: row.attributes,
    }
}

/// The tombstone of an item that is gone.
pub fn tombstone(id: ItemId, version: u64, liveness: Liveness, since: DateTime<Utc>) -> ItemRow {
    ItemRow {
        id,
        version,
        liveness,
        since,
        hidden: false,
        title: None,
        url: None,
        image: None,
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        accepted_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
        vector_hashes: BTreeMap::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ModelName;

    use super::*;

    #[test]
    fn the_hash_tells_parts_apart() {
        let text = |text: &str| Content {
            text: Some(text.into()),
            ..Content::default()
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
                    vector: Some(vec![1.0]),
                    ..Content::default()
                }
            ),
            content_hash(
                None,
                None,
                &Content {
                    vector: Some(vec![2.0]),
                    ..Content::default()
                }
            )
        );
    }

    #[test]
    fn a_kind_is_made_from_what_it_uses() {
        let own = VectorName::own();
        let [clip, audio] = ["clip", "audio"].map(|name| VectorName::new(name).unwrap());
        let named = |clip_is: f32, own_is: f32| {
            let mut upsert = upsert_of(
                &DomainName::new("d").unwrap(),
                Material {
                    row: tombstone(
                        ItemId::new("a").unwrap(),
                        1,
                        Liveness::Live,
                        DateTime::UNIX_EPOCH,
                    ),
                    content: Content::default(),
                },
            );
            upsert.title = Some("t".to_owned());
            upsert.vector = Some(vec![own_is]);
            upsert.vectors = [(clip.clone(), vec![clip_is])].into();
            let (row, content) = rows_of(&upsert, 1, DateTime::UNIX_EPOCH);
            Material { row, content }
        };
        let kinds = ["text-2"].map(|name| ModelName::new(name).unwrap());
        let kinds = kinds.into_iter();
        let kinds = kinds.chain([&clip, &own, &audio].map(ModelName::of_vector));
        let differ: Vec<[bool; 2]> = kinds
            .map(|kind| {
                let base = named(1.0, 1.0).row.made_from(&kind, None);
                [named(2.0, 1.0), named(1.0, 2.0)]
                    .map(|other| other.row.made_from(&kind, None) != base)
            })
            .collect();
        // Models of texts use the vector of an item's own.
        let expected = [[false, true], [true, false], [false, true], [false, false]];
        assert_eq!(differ, expected);

        let whole = named(1.0, 1.0);
        assert!(whole.is_whole());
        let mut older = whole.clone();
        older.row.vector_hashes.remove(&own);
        assert!(older.is_whole(), "its own vector is in the other hash");
        let other = Material {
            content: named(2.0, 1.0).content,
            ..whole
        };
        assert!(!other.is_whole());
    }
}
