//! Blocks that jobs name by the hash of their content: read from memory, else from the store.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kindred_shared::block_store::BlockStore;
use kindred_shared::wire::{BlockHash, hex};
use kindred_shared::{Block, DomainName};

use super::cache::{BlockCache, BlockKey};
use super::status::{Edge, WorkerStatus};

/// Bytes of blocks kept in memory: 512 MiB, at least 128 full blocks or half a million rows.
pub(crate) const CACHE_BYTES: usize = 512 << 20;
/// Timeout of one read from the store.
const READ_DEADLINE: Duration = Duration::from_secs(8);

/// Why a block is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockError {
    /// The block is gone from the store; the job is out of date.
    #[error("block {0} is not in the store")]
    Missing(String),
    /// The store holds something else under its name.
    #[error("block {0} cannot be read: {1}")]
    Malformed(String, String),
    /// The store is unreachable; it may come back.
    #[error("{0}")]
    Away(String),
}

/// Decodes a block from its stored bytes, and checks it against its hash.
pub(crate) type ReadBlock = fn(&[u8], &BlockHash) -> Result<Block, String>;

/// Blocks by domain and hash.
pub(crate) struct Blocks {
    store: Arc<dyn BlockStore>,
    read: ReadBlock,
    cache: Mutex<BlockCache>,
    status: Arc<WorkerStatus>,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl Blocks {
    /// Blocks of a store, of which at most `capacity` bytes are cached in memory.
    pub(crate) fn new(
        store: Arc<dyn BlockStore>,
        read: ReadBlock,
        capacity: usize,
        status: Arc<WorkerStatus>,
    ) -> Self {
        Self {
            store,
            read,
            cache: Mutex::new(BlockCache::new(capacity)),
            status,
        }
    }

    /// A block; reads from the store at most once.
    ///
    /// # Errors
    /// [`BlockError`].
    pub(crate) async fn get(
        &self,
        domain: &DomainName,
        hash: BlockHash,
    ) -> Result<Arc<Block>, BlockError> {
        let key: BlockKey = (domain.clone(), hash);
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(block) = cache.get(&key) {
                self.status.block(true, cache.bytes());
                return Ok(block);
            }
        }
        let name = hex(&hash);
        let bytes = self
            .ask(domain, &hash)
            .await?
            .ok_or_else(|| BlockError::Missing(name.clone()))?;
        let block = (self.read)(&bytes, &hash).map_err(|why| BlockError::Malformed(name, why))?;
        let block = Arc::new(block);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(key, Arc::clone(&block));
        self.status.block(false, cache.bytes());
        Ok(block)
    }

    /// Asks the store for a block that cannot exist, to learn whether it answers.
    pub(crate) async fn probe(&self) {
        let nowhere = DomainName::new("-").expect("a hyphen is a domain name");
        // Only the effect on the status matters.
        let _ = self.ask(&nowhere, &[0; 16]).await;
    }

    async fn ask(
        &self,
        domain: &DomainName,
        hash: &BlockHash,
    ) -> Result<Option<Vec<u8>>, BlockError> {
        let asked = tokio::time::timeout(READ_DEADLINE, self.store.get(domain, hash)).await;
        let answer = match asked {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {READ_DEADLINE:?}")),
        };
        match answer {
            Ok(found) => {
                if self.status.edge(Edge::Database, true) {
                    tracing::info!("database answers");
                }
                Ok(found)
            }
            Err(why) => {
                if self.status.edge(Edge::Database, false) {
                    tracing::warn!(why, "database is unreachable; trying again");
                }
                Err(BlockError::Away(why))
            }
        }
    }
}
