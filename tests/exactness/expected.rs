//! What must be known after a stream of events, whatever happened in between.

use std::collections::BTreeMap;

use crate::corpus::event::{Event, Fate};

/// Domain and id → version and fate of the newest event.
#[derive(Debug, Default)]
pub(crate) struct Expected(BTreeMap<(String, String), (u64, Fate)>);

impl Expected {
    pub(crate) fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut expected = Self::default();
        for event in events {
            let key = (event.domain.clone(), event.id.clone());
            let newest = expected.0.entry(key).or_insert((event.version, event.fate));
            if event.version > newest.0 {
                *newest = (event.version, event.fate);
            }
        }
        expected
    }

    /// Every item as (domain, id, version, fate).
    pub(crate) fn items(&self) -> impl Iterator<Item = (&str, &str, u64, Fate)> {
        self.0
            .iter()
            .map(|((domain, id), (version, fate))| (domain.as_str(), id.as_str(), *version, *fate))
    }

    pub(crate) fn domains(&self) -> std::collections::BTreeSet<&str> {
        self.0.keys().map(|(domain, _)| domain.as_str()).collect()
    }

    /// Items of a domain with this fate.
    pub(crate) fn count(&self, domain: &str, fate: Fate) -> u64 {
        self.items()
            .filter(|(of, _, _, its)| *of == domain && *its == fate)
            .count() as u64
    }
}
