//! Which items a source has, and a hash of each.

use std::collections::{BTreeMap, HashMap};

use kindred_shared::DomainName;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// Ids by domain, each with a hash of its event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Known(BTreeMap<DomainName, HashMap<String, u64>>);

impl Known {
    /// A source without any item of a domain.
    pub(super) fn nothing_of(domain: DomainName) -> Self {
        Self(BTreeMap::from([(domain, HashMap::new())]))
    }

    /// Records an event; returns whether it differs from what was recorded before.
    pub(super) fn keep(
        &mut self,
        before: &Self,
        domain: &DomainName,
        id: &str,
        line: &[u8],
    ) -> bool {
        let hash = xxh3_64(line);
        let items = self.0.entry(domain.clone()).or_default();
        items.insert(id.to_owned(), hash);
        let said = before.0.get(domain).and_then(|items| items.get(id));
        said != Some(&hash)
    }

    /// Records an event of a file of events; a deletion removes the item.
    pub(super) fn keep_event(&mut self, domain: &DomainName, line: &[u8]) {
        #[derive(Deserialize)]
        struct Head {
            r#type: String,
            id: String,
        }
        let Ok(head) = serde_json::from_slice::<Head>(line) else {
            return;
        };
        let items = self.0.entry(domain.clone()).or_default();
        if head.r#type == "item.deleted" {
            items.remove(&head.id);
        } else {
            items.insert(head.id, xxh3_64(line));
        }
    }

    /// Merges another source.
    pub(super) fn extend(&mut self, other: Self) {
        for (domain, items) in other.0 {
            self.0.entry(domain).or_default().extend(items);
        }
    }

    /// Each domain with its ids.
    pub(super) fn domains(&self) -> impl Iterator<Item = (&DomainName, &HashMap<String, u64>)> {
        self.0.iter()
    }

    /// Whether some item of `before` is gone.
    pub(super) fn lacks_some_of(&self, before: &Self) -> bool {
        before.0.iter().any(|(domain, items)| {
            let now = self.0.get(domain);
            items
                .keys()
                .any(|id| now.is_none_or(|now| !now.contains_key(id)))
        })
    }

    /// Adds the domains known before: they are checked even if none of their items is left.
    pub(super) fn with_domains_of(mut self, before: &Self) -> Self {
        for domain in before.0.keys() {
            self.0.entry(domain.clone()).or_default();
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_from_what_stayed() {
        let domain = DomainName::new("d").unwrap();
        let mut before = Known::default();
        assert!(before.keep(&Known::default(), &domain, "a", b"1"));
        assert!(before.keep(&Known::default(), &domain, "b", b"1"));
        let mut now = Known::default();
        assert!(!now.keep(&before, &domain, "a", b"1"));
        assert!(now.lacks_some_of(&before) && !before.lacks_some_of(&now));
        assert!(now.keep(&before, &domain, "b", b"2"));
        assert!(!now.lacks_some_of(&before));
        let none = Known::default();
        assert!(none.lacks_some_of(&before));
        assert_eq!(none.with_domains_of(&before).domains().count(), 1);
    }

    #[test]
    fn events_that_delete_leave_no_item() {
        let domain = DomainName::new("d").unwrap();
        let mut known = Known::default();
        for event in [
            r#"{"type":"item.created","id":"a"}"#,
            r#"{"type":"item.updated","id":"b"}"#,
            r#"{"type":"item.deleted","id":"a"}"#,
            r#"{"type":"item.deleted"}"#,
        ] {
            known.keep_event(&domain, event.as_bytes());
        }
        let (_, items) = known.domains().next().unwrap();
        assert_eq!(items.keys().collect::<Vec<_>>(), ["b"]);
    }
}
