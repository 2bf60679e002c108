//! What is remembered of domains, so that a commit does not have to ask for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kindred_shared::{DomainName, ItemId};

/// Buckets of a domain that is registered now. Those of a registered one stay as they are.
pub(super) const BUCKETS: i16 = 16;
/// Domains remembered at a time; then all are forgotten.
const REMEMBERED: usize = 16_384;

/// The bucket of an item: the hash of its id, modulo the number of buckets.
pub(super) fn bucket(id: &ItemId, buckets: i16) -> i16 {
    let buckets = u64::try_from(buckets.max(1)).unwrap_or(1);
    i16::try_from(id.hash64() % buckets).unwrap_or(0)
}

/// Each domain's number of buckets, once it is registered.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<HashMap<DomainName, i16>>);

impl Facts {
    /// A registered domain's number of buckets, if it is remembered.
    pub(super) fn buckets(&self, domain: &DomainName) -> Option<i16> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.get(domain).copied()
    }

    /// Remembers a registered domain's number of buckets.
    pub(super) fn registered(&self, domain: &DomainName, buckets: i16) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= REMEMBERED && !facts.contains_key(domain) {
            facts.clear();
        }
        facts.insert(domain.clone(), buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::id;
    use super::*;

    #[test]
    fn buckets_never_move() {
        // What is stored depends on these: they may never change.
        let found = ["a", "a-17", "日本", "x/y"].map(|name| bucket(&id(name), 16));
        assert_eq!(found, EXPECTED);
        let mut sizes = [0; 16];
        for n in 0..16_000 {
            sizes[usize::try_from(bucket(&id(&format!("i{n}")), 16)).unwrap_or(99)] += 1;
        }
        assert!(
            sizes.iter().all(|size| (800..1_200).contains(size)),
            "{sizes:?}"
        );
    }

    const EXPECTED: [i16; 4] = [15, 14, 0, 15];
}
