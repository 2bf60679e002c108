//! What is remembered of domains, so that a commit does not have to ask for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kindred_shared::DomainName;
use kindred_shared::name::{OWN, WORDS_1};
use xxhash_rust::xxh3::xxh3_64;

/// Buckets of a domain that is registered now. Those of a registered one stay as they are.
pub(super) const BUCKETS: i16 = 16;
/// The models a feature can be of. A domain's features of each lie in partitions of their own.
pub(super) const MODELS: [&str; 2] = [WORDS_1, OWN];
/// Domains remembered at a time; then all are forgotten.
const REMEMBERED: usize = 16_384;

/// The bucket of an item: `xxh3-64(id) mod buckets`.
pub(super) fn bucket(id: &str, buckets: i16) -> i16 {
    let buckets = u64::try_from(buckets.max(1)).unwrap_or(1);
    i16::try_from(xxh3_64(id.as_bytes()) % buckets).unwrap_or(0)
}

/// The place of a model in [`MODELS`].
pub(super) fn index_of(model: &str) -> Option<usize> {
    MODELS.iter().position(|known| *known == model)
}

/// What is remembered of one domain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Its number of buckets, once it is registered.
    pub(super) buckets: Option<i16>,
    /// Whether it may have features of each of [`MODELS`]; `None`: not looked yet.
    pub(super) holds: [Option<bool>; MODELS.len()],
}

/// What is remembered of domains.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<HashMap<DomainName, Known>>);

impl Facts {
    pub(super) fn of(&self, domain: &DomainName) -> Known {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.get(domain).copied().unwrap_or_default()
    }

    /// Remembers a registered domain's number of buckets.
    pub(super) fn registered(&self, domain: &DomainName, buckets: i16) {
        self.update(domain, |known| known.buckets = Some(buckets));
    }

    /// Features of the model are about to be written.
    pub(super) fn writes(&self, domain: &DomainName, model: usize) {
        self.update(domain, |known| known.holds[model] = Some(true));
    }

    /// Somebody looked whether there are features of the model.
    pub(super) fn looked(&self, domain: &DomainName, model: usize, found: bool) {
        self.update(domain, |known| {
            known.holds[model].get_or_insert(found);
        });
    }

    fn update(&self, domain: &DomainName, change: impl FnOnce(&mut Known)) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= REMEMBERED && !facts.contains_key(domain) {
            facts.clear();
        }
        change(facts.entry(domain.clone()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_never_move() {
        // What is stored depends on these: they may never change.
        let found = ["a", "a-17", "日本", "x/y"].map(|id| bucket(id, 16));
        assert_eq!(found, EXPECTED);
        let mut sizes = [0; 16];
        for n in 0..16_000 {
            sizes[usize::try_from(bucket(&format!("i{n}"), 16)).unwrap_or(99)] += 1;
        }
        assert!(
            sizes.iter().all(|size| (800..1_200).contains(size)),
            "{sizes:?}"
        );
    }

    const EXPECTED: [i16; 4] = [15, 14, 0, 15];
}
