//! The store through which the model service passes blocks to workers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::name::DomainName;

/// Why a block was not stored, read or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockStoreError {
    /// The database is unreachable or did not answer in time. Retrying is safe.
    #[error("the store of blocks is unreachable: {0}")]
    Away(String),
    /// The store was opened read-only.
    #[error("this store of blocks was opened for reading only")]
    ReadOnly,
    /// The block has more parts than the store can number.
    #[error("a block of {0} bytes is too large to store")]
    TooLarge(usize),
}

/// Blocks by the hash of their content. A block is immutable: whatever is found under a hash is that complete block.
/// Storing it again only extends its lifetime.
#[async_trait]
pub trait BlockStore: Send + Sync {
    /// Stores a block. Once this returns `Ok`, the block can be read for at least a day.
    ///
    /// # Errors
    /// [`BlockStoreError`]; a part of the block may then be stored, which [`Self::get`] does not return.
    async fn put(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError>;

    /// A block, if it is completely stored.
    ///
    /// # Errors
    /// [`BlockStoreError::Away`].
    async fn get(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError>;

    /// Removes a block; it need not exist.
    ///
    /// # Errors
    /// [`BlockStoreError`].
    async fn delete(&self, domain: &DomainName, hash: &[u8; 16]) -> Result<(), BlockStoreError>;
}

/// Bytes by domain and hash.
type Blocks = HashMap<(DomainName, [u8; 16]), Vec<u8>>;

/// Blocks in memory, without a limit: for tests and single-process programs.
#[derive(Debug, Default)]
pub struct MemoryBlockStore(Mutex<Blocks>);

impl MemoryBlockStore {
    /// Number of blocks held.
    pub fn len(&self) -> usize {
        self.blocks().len()
    }

    /// Whether no block is held.
    pub fn is_empty(&self) -> bool {
        self.blocks().is_empty()
    }

    /// Code under the lock cannot panic, so the data behind a poisoned lock is intact.
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BlockStore for MemoryBlockStore {
    async fn put(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError> {
        self.blocks()
            .insert((domain.clone(), *hash), bytes.to_vec());
        Ok(())
    }

    async fn get(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError> {
        Ok(self.blocks().get(&(domain.clone(), *hash)).cloned())
    }

    async fn delete(&self, domain: &DomainName, hash: &[u8; 16]) -> Result<(), BlockStoreError> {
        self.blocks().remove(&(domain.clone(), *hash));
        Ok(())
    }
}
