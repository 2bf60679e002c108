//! Which blocks are already in the block store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kindred_shared::wire::BlockHash;
use kindred_shared::{Block, DomainName};

/// How long a stored block is relied on: 12 hours. Then it is stored again, which extends its life
/// there.
const RELIED_ON: Duration = Duration::from_secs(12 * 3600);
/// Blocks remembered: 65,536. Beyond it, dropped blocks are forgotten, then all.
const CAPACITY: usize = 65_536;

/// Remembers by a block's place in memory, and that it is still the same block there.
#[derive(Default)]
pub(super) struct StoredBlocks(Mutex<HashMap<usize, StoredBlock>>);

struct StoredBlock {
    block: Weak<Block>,
    domain: DomainName,
    hash: BlockHash,
    since: Instant,
}

impl StoredBlocks {
    fn entries(&self) -> MutexGuard<'_, HashMap<usize, StoredBlock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of a block if it is stored.
    pub(super) fn known(&self, domain: &DomainName, block: &Arc<Block>) -> Option<BlockHash> {
        let entries = self.entries();
        let entry = entries.get(&(Arc::as_ptr(block) as usize))?;
        let same = entry.block.as_ptr() == Arc::as_ptr(block) && entry.domain == *domain;
        (same && entry.block.strong_count() > 0 && entry.since.elapsed() < RELIED_ON)
            .then_some(entry.hash)
    }

    pub(super) fn insert(&self, domain: &DomainName, block: &Arc<Block>, hash: BlockHash) {
        let mut entries = self.entries();
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.block.strong_count() > 0);
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        let entry = StoredBlock {
            block: Arc::downgrade(block),
            domain: domain.clone(),
            hash,
            since: Instant::now(),
        };
        entries.insert(Arc::as_ptr(block) as usize, entry);
    }

    /// These turned out not to be stored.
    pub(super) fn forget(&self, hashes: &[BlockHash]) {
        let hashes: HashSet<&BlockHash> = hashes.iter().collect();
        self.entries()
            .retain(|_, entry| !hashes.contains(&entry.hash));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::{BlockBuilder, Space};

    use super::*;

    #[test]
    fn knows_the_very_block_only() {
        let domain = DomainName::new("a").unwrap();
        let block = || Arc::new(BlockBuilder::new(Space::stored("words-1/en"), 3).build());
        let (stored, first, other) = (StoredBlocks::default(), block(), block());
        stored.insert(&domain, &first, [1; 16]);
        assert_eq!(stored.known(&domain, &first), Some([1; 16]));
        assert_eq!(stored.known(&domain, &other), None);
        assert_eq!(stored.known(&DomainName::new("b").unwrap(), &first), None);
        stored.forget(&[[1; 16]]);
        assert_eq!(stored.known(&domain, &first), None);
    }
}
