//! The event that changes some fields of an item and leaves the others: a merge patch (RFC 7396) of
//! the fields in [`PATCHABLE`]. Kindred's HTTP interface publishes it for a PATCH.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event::field::Fields;
use crate::event::json::written_time;
use crate::event::parse::in_order;
use crate::event::{Limits, MAX_ADDRESS_BYTES, MAX_LABEL_BYTES, Reason, Refusal, Upsert};
use crate::name::{DomainName, ItemId};

/// The event's type.
pub const PATCHED: &str = "item.patched";

/// The fields that a patch may change.
pub const PATCHABLE: [&str; 9] = [
    "attributes",
    "categories",
    "expires_at",
    "group",
    "hidden",
    "image",
    "publish_at",
    "published_at",
    "url",
];

/// Fields that a patch may not change: whatever is compared comes complete, with an upsert.
const WHOLE: [&str; 5] = ["title", "text", "language", "vector", "vectors"];

/// A change of a field. `None`: it stays; `Some(None)`: it becomes absent.
pub type Change<T> = Option<Option<T>>;

/// Changes of some fields of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// The item's domain.
    pub domain: DomainName,
    /// The item's id.
    pub id: ItemId,
    /// 0 to [`crate::event::MAX_VERSION`]; orders the events of one item.
    pub version: Option<u64>,
    /// The changes of its fields.
    pub changes: Changes,
}

/// The changes of an item's fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// The address of the item for readers.
    pub url: Change<String>,
    /// The address of a picture.
    pub image: Change<String>,
    /// A section or shelf.
    pub group: Change<String>,
    /// All labels.
    pub categories: Change<BTreeSet<String>>,
    /// When readers could first see it.
    pub published_at: Change<DateTime<Utc>>,
    /// Until then the item is live but not visible.
    pub publish_at: Change<DateTime<Utc>>,
    /// From then on it is no longer live.
    pub expires_at: Change<DateTime<Utc>>,
    /// Live, but never shown.
    pub hidden: Change<bool>,
    /// Attributes by name; `None` removes one.
    pub attributes: Change<BTreeMap<String, Option<String>>>,
}

impl Patch {
    /// Reads the changes of a patch; domain, id and version have already been read.
    pub(super) fn read(
        fields: &mut Fields<'_>,
        limits: &Limits,
        domain: DomainName,
        id: ItemId,
        version: Option<u64>,
    ) -> Result<Self, Refusal> {
        if let Some(name) = WHOLE.into_iter().find(|name| fields.is_said(name)) {
            let detail = format!(
                "`{name}` cannot be patched: send the whole item. A patch changes {}",
                PATCHABLE.join(", ")
            );
            return Err(Refusal::new(Reason::InvalidField, Some(name), detail));
        }
        let said = PATCHABLE.map(|name| fields.is_said(name));
        let is_said = |name: &str| {
            let at = PATCHABLE.iter().position(|known| *known == name);
            at.is_some_and(|at| said[at])
        };
        let changes = Changes {
            attributes: is_said("attributes")
                .then(|| fields.attribute_changes(limits.attributes))
                .transpose()?,
            categories: is_said("categories")
                .then(|| fields.categories().map(Some))
                .transpose()?,
            hidden: is_said("hidden")
                .then(|| fields.flag("hidden").map(Some))
                .transpose()?,
            url: is_said("url")
                .then(|| fields.short("url", MAX_ADDRESS_BYTES))
                .transpose()?,
            image: is_said("image")
                .then(|| fields.short("image", MAX_ADDRESS_BYTES))
                .transpose()?,
            group: is_said("group")
                .then(|| fields.short("group", MAX_LABEL_BYTES))
                .transpose()?,
            published_at: is_said("published_at")
                .then(|| fields.time("published_at"))
                .transpose()?,
            publish_at: is_said("publish_at")
                .then(|| fields.time("publish_at"))
                .transpose()?,
            expires_at: is_said("expires_at")
                .then(|| fields.time("expires_at"))
                .transpose()?,
        };
        if let (Some(publish_at), Some(expires_at)) = (changes.publish_at, changes.expires_at) {
            in_order(publish_at, expires_at)?;
        }
        Ok(Self {
            domain,
            id,
            version,
            changes,
        })
    }

    /// Applies the patch to an item; `attributes` is the most attributes it may have.
    ///
    /// # Errors
    /// A [`Refusal`] if the changed item would not be a valid event.
    pub fn apply(&self, item: &mut Upsert, attributes: usize) -> Result<(), Refusal> {
        let changes = &self.changes;
        set(&mut item.url, &changes.url);
        set(&mut item.image, &changes.image);
        set(&mut item.group, &changes.group);
        set(&mut item.published_at, &changes.published_at);
        set(&mut item.publish_at, &changes.publish_at);
        set(&mut item.expires_at, &changes.expires_at);
        if let Some(categories) = &changes.categories {
            item.categories = categories.clone().unwrap_or_default();
        }
        if let Some(hidden) = changes.hidden {
            item.hidden = hidden.unwrap_or(false);
        }
        match &changes.attributes {
            None => {}
            Some(None) => item.attributes.clear(),
            Some(Some(changed)) => {
                for (name, value) in changed {
                    match value {
                        Some(value) => item.attributes.insert(name.clone(), value.clone()),
                        None => item.attributes.remove(name),
                    };
                }
            }
        }
        if item.attributes.len() > attributes {
            let detail = format!(
                "with this patch the item has {} attributes, the limit is {attributes}: remove some",
                item.attributes.len()
            );
            return Err(Refusal::new(Reason::TooLarge, Some("attributes"), detail));
        }
        in_order(item.publish_at, item.expires_at)
    }

    /// Whether the change hides the item from readers.
    pub fn hides(&self, now: DateTime<Utc>) -> bool {
        let changes = &self.changes;
        let is_later = |at: &Change<DateTime<Utc>>| at.flatten().is_some_and(|at| at > now);
        let is_over = changes.expires_at.flatten().is_some_and(|at| at <= now);
        changes.hidden == Some(Some(true)) || is_later(&changes.publish_at) || is_over
    }
}

fn set<T: Clone>(field: &mut Option<T>, change: &Change<T>) {
    if let Some(change) = change {
        field.clone_from(change);
    }
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn entry<M: SerializeMap, T: Serialize>(
            map: &mut M,
            name: &str,
            change: Option<&Option<T>>,
        ) -> Result<(), M::Error> {
            change.map_or(Ok(()), |change| map.serialize_entry(name, change))
        }
        let changes = &self.changes;
        let time = |change: Change<DateTime<Utc>>| change.map(|at| at.map(written_time));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", PATCHED)?;
        map.serialize_entry("domain", &self.domain)?;
        map.serialize_entry("id", &self.id)?;
        if let Some(version) = self.version {
            map.serialize_entry("version", &version)?;
        }
        entry(&mut map, "url", changes.url.as_ref())?;
        entry(&mut map, "image", changes.image.as_ref())?;
        entry(&mut map, "group", changes.group.as_ref())?;
        entry(&mut map, "categories", changes.categories.as_ref())?;
        entry(
            &mut map,
            "published_at",
            time(changes.published_at).as_ref(),
        )?;
        entry(&mut map, "publish_at", time(changes.publish_at).as_ref())?;
        entry(&mut map, "expires_at", time(changes.expires_at).as_ref())?;
        entry(&mut map, "hidden", changes.hidden.as_ref())?;
        entry(&mut map, "attributes", changes.attributes.as_ref())?;
        map.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;
    use crate::event::{Event, parse, parse_item, parse_patch};

    fn item(said: &str) -> Upsert {
        let domain = DomainName::new("d").unwrap();
        let id = ItemId::new("x").unwrap();
        match parse_item(said.as_bytes(), &Limits::default(), &domain, &id).unwrap() {
            Event::Upsert(upsert) => *upsert,
            other => panic!("{other:?} is no upsert"),
        }
    }

    fn patch(said: &str) -> Result<Patch, Refusal> {
        let domain = DomainName::new("d").unwrap();
        let id = ItemId::new("x").unwrap();
        parse_patch(said.as_bytes(), &Limits::default(), &domain, &id, Some(7))
    }

    #[test]
    fn says_what_changes_and_leaves_the_rest() {
        let before = r#"{"title":"T","text":"t","url":"u","group":"g","categories":["a"],
            "hidden":true,"attributes":{"a":"1","b":"2"},"published_at":"2026-11-23T09:00:00Z"}"#;
        for (said, after) in [
            ("{}", before.to_owned()),
            (
                r#"{"url":"v","type":"item.patched"}"#,
                before.replace("\"u\"", "\"v\""),
            ),
            (r#"{"url":null}"#, before.replace("\"u\"", "null")),
            (
                r#"{"hidden":null,"categories":["c","b"]}"#,
                before
                    .replace("true", "false")
                    .replace(r#"["a"]"#, r#"["b","c"]"#),
            ),
            (r#"{"categories":null}"#, before.replace(r#"["a"]"#, "[]")),
            (
                r#"{"attributes":{"a":null,"c":"3"}}"#,
                before
                    .replace(r#""a":"1","#, "")
                    .replace(r#""2""#, r#""2","c":"3""#),
            ),
            (
                r#"{"attributes":null,"published_at":"2026-11-23T11:00:00+01:00"}"#,
                before
                    .replace(r#"{"a":"1","b":"2"}"#, "{}")
                    .replace("T09:", "T10:"),
            ),
        ] {
            let mut patched = item(before);
            let patch = patch(said).unwrap();
            patch.apply(&mut patched, 64).unwrap();
            assert_eq!(patched, item(&after), "{said}");
            let written = Event::Patch(Box::new(patch.clone())).to_json();
            let read = parse(written.as_bytes(), &Limits::default());
            assert_eq!(read, Ok(Event::Patch(Box::new(patch))), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_patched_is_refused() {
        for (said, reason, field) in [
            (r#"{"title":"x"}"#, Reason::InvalidField, "title"),
            (r#"{"vector":null}"#, Reason::InvalidField, "vector"),
            (r#"{"vectors":{"a":[1]}}"#, Reason::InvalidField, "vectors"),
            (r#"{"hidden":"yes"}"#, Reason::InvalidField, "hidden"),
            (r#"{"type":"item.updated"}"#, Reason::InvalidField, "type"),
            (r#"{"domain":"e"}"#, Reason::DomainMismatch, "domain"),
            (
                r#"{"attributes":{"a":5}}"#,
                Reason::InvalidField,
                "attributes.a",
            ),
            (
                r#"{"publish_at":"2026-11-23T09:00:00Z","expires_at":"2026-11-23T09:00:00Z"}"#,
                Reason::InvalidField,
                "publish_at",
            ),
        ] {
            let refusal = patch(said).unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.field.as_deref()),
                (reason, Some(field)),
                "{said}"
            );
        }
        let late = patch(r#"{"publish_at":"2027-01-01T00:00:00Z"}"#).unwrap();
        let mut over = item(r#"{"title":"T","expires_at":"2026-12-01T00:00:00Z"}"#);
        assert_eq!(
            late.apply(&mut over, 64).unwrap_err().field.as_deref(),
            Some("publish_at")
        );
        let more = patch(r#"{"attributes":{"c":"3"}}"#).unwrap();
        let mut full = item(r#"{"title":"T","attributes":{"a":"1","b":"2"}}"#);
        assert_eq!(
            more.apply(&mut full, 2).unwrap_err().reason,
            Reason::TooLarge
        );
    }

    #[test]
    fn knows_when_it_hides() {
        let now = "2026-11-23T09:00:00Z".parse().unwrap();
        for (said, hides) in [
            (r#"{"hidden":true}"#, true),
            (r#"{"hidden":false}"#, false),
            (r#"{"publish_at":"2026-11-23T09:00:01Z"}"#, true),
            (r#"{"publish_at":"2026-11-23T09:00:00Z"}"#, false),
            (r#"{"expires_at":"2026-11-23T09:00:00Z"}"#, true),
            (r#"{"expires_at":null,"url":null}"#, false),
        ] {
            assert_eq!(patch(said).unwrap().hides(now), hides, "{said}");
        }
    }
}
