//! A least-recently-used cache of blocks, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kindred_shared::wire::BlockHash;
use kindred_shared::{Block, DomainName};

/// The name of a block's content within its domain.
pub(crate) type BlockKey = (DomainName, BlockHash);

/// Bytes per row besides its features: id, version, offset, mask.
const ROW_BYTES: usize = 64;

/// Blocks by the hash of their content. The block under a hash never changes, so no entry is ever
/// stale. The domain is part of the key, so no domain is ever given another's block.
#[derive(Debug)]
pub(crate) struct BlockCache {
    capacity: usize,
    bytes: usize,
    clock: u64,
    blocks: HashMap<BlockKey, CachedBlock>,
    /// Keys by last use.
    order: BTreeMap<u64, BlockKey>,
}

#[derive(Debug)]
struct CachedBlock {
    block: Arc<Block>,
    bytes: usize,
    used: u64,
}

impl BlockCache {
    /// A cache of at most `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: 0,
            clock: 0,
            blocks: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The block with this key, which becomes the most recently used.
    pub(crate) fn get(&mut self, key: &BlockKey) -> Option<Arc<Block>> {
        let cached = self.blocks.get_mut(key)?;
        self.clock += 1;
        if let Some(key) = self.order.remove(&cached.used) {
            self.order.insert(self.clock, key);
        }
        cached.used = self.clock;
        Some(Arc::clone(&cached.block))
    }

    /// Caches a block; evicts the least recently used ones. A block larger than the whole cache is
    /// not cached.
    pub(crate) fn put(&mut self, key: BlockKey, block: Arc<Block>) {
        let bytes = weight(&block);
        if bytes > self.capacity || self.get(&key).is_some() {
            return;
        }
        while self.bytes + bytes > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(cached) = self.blocks.remove(&oldest) {
                self.bytes -= cached.bytes;
            }
        }
        self.clock += 1;
        self.bytes += bytes;
        self.order.insert(self.clock, key.clone());
        let used = self.clock;
        self.blocks.insert(key, CachedBlock { block, bytes, used });
    }

    /// Bytes held, never more than the capacity.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// An estimate of the bytes that a block takes in memory, including what comparing it will add (see
/// `Block::kept_bytes`).
fn weight(block: &Block) -> usize {
    let ids: usize = (0..block.rows())
        .map(|row| block.id(row).as_str().len())
        .sum();
    block.bytes() + block.kept_bytes() + ids + ROW_BYTES * block.rows()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::{BlockBuilder, Feature, ItemId, Space};
    use proptest::prelude::*;

    use super::*;

    fn block(rows: usize) -> Arc<Block> {
        let mut builder = BlockBuilder::new(Space::own(2), 2);
        let feature = Feature::new(vec![0.6, 0.8], vec![], vec![]).unwrap();
        for row in 0..rows {
            builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
        }
        Arc::new(builder.build())
    }

    fn key(domain: &str, hash: u8) -> BlockKey {
        (DomainName::new(domain).unwrap(), [hash; 16])
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let one = weight(&block(10));
        let mut cache = BlockCache::new(2 * one);
        cache.put(key("a", 1), block(10));
        cache.put(key("a", 2), block(10));
        assert!(cache.get(&key("a", 1)).is_some());
        cache.put(key("a", 3), block(10));
        assert!(cache.get(&key("a", 2)).is_none());
        assert!(cache.get(&key("a", 1)).is_some() && cache.get(&key("a", 3)).is_some());
        assert_eq!(cache.bytes(), 2 * one);
    }

    #[test]
    fn a_domain_never_gets_the_block_of_another() {
        let mut cache = BlockCache::new(1 << 20);
        cache.put(key("a", 1), block(1));
        assert!(cache.get(&key("b", 1)).is_none());
    }

    #[test]
    fn a_block_larger_than_the_cache_pushes_nothing_out() {
        let mut cache = BlockCache::new(weight(&block(10)));
        cache.put(key("a", 1), block(10));
        cache.put(key("a", 2), block(11));
        assert!(cache.get(&key("a", 1)).is_some() && cache.get(&key("a", 2)).is_none());
    }

    proptest! {
        #[test]
        fn never_holds_more_than_it_may(
            steps in prop::collection::vec((0_u8..12, 1_usize..20, any::<bool>()), 1..80),
        ) {
            let capacity = weight(&block(30));
            let mut cache = BlockCache::new(capacity);
            for (hash, rows, put) in steps {
                if put {
                    cache.put(key("a", hash), block(rows));
                    prop_assert!(cache.get(&key("a", hash)).is_some());
                } else {
                    cache.get(&key("a", hash));
                }
                let cached: usize = cache.blocks.values().map(|cached| cached.bytes).sum();
                prop_assert_eq!(cache.bytes(), cached);
                prop_assert!(cached <= capacity);
                prop_assert_eq!(cache.blocks.len(), cache.order.len());
            }
        }
    }
}
