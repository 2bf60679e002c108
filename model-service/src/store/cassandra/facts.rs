//! Facts about domains cached in memory, so that a commit need not read them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kindred_shared::{DomainName, ItemId};

/// Buckets of newly registered domains. The number is fixed once a domain is registered.
pub(super) const BUCKETS: i16 = 16;
/// Most domains cached; beyond it the cache is cleared.
const REMEMBERED: usize = 16_384;

/// The bucket of an item: the hash of its id, modulo the number of buckets.
pub(super) fn bucket(id: &ItemId, buckets: i16) -> i16 {
    let buckets = u64::try_from(buckets.max(1)).unwrap_or(1);
    i16::try_from(id.hash64() % buckets).unwrap_or(0)
}

/// Each registered domain's number of buckets.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<HashMap<DomainName, i16>>);

impl Facts {
    /// A registered domain's number of buckets, if cached.
    pub(super) fn buckets(&self, domain: &DomainName) -> Option<i16> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.get(domain).copied()
    }

    /// Caches a registered domain's number of buckets.
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
        // Stored rows depend on these values: they must never change.
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
