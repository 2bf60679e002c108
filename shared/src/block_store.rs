//! Where blocks lie between the model service, which stores them, and workers, which read them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::name::DomainName;

/// Why a block was not stored, read or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockStoreError {
    /// The database cannot be reached now, or did not answer in time. Trying again is safe.
    #[error("the store of blocks is away: {0}")]
    Away(String),
    /// It was opened for reading.
    #[error("this store of blocks was opened for reading only")]
    ReadOnly,
    /// The block has more parts than can be numbered.
    #[error("a block of {0} bytes is too large to store")]
    TooLarge(usize),
}

/// Blocks by the hash of their content. A block is immutable: what is found under a hash is that
/// block, whole; putting it again only makes it stay longer.
#[async_trait]
pub trait BlockStore: Send + Sync {
    /// Stores a block; it can be read when this returns `Ok`, for a day at least.
    ///
    /// # Errors
    /// [`BlockStoreError`]; a part of the block may be there then, and is not seen by [`Self::get`].
    async fn put(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError>;

    /// A block, if it is there whole.
    ///
    /// # Errors
    /// [`BlockStoreError::Away`].
    async fn get(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError>;

    /// Removes a block; one that is not there is no error.
    ///
    /// # Errors
    /// [`BlockStoreError`].
    async fn delete(&self, domain: &DomainName, hash: &[u8; 16]) -> Result<(), BlockStoreError>;
}

/// Bytes by domain and hash.
type Blocks = HashMap<(DomainName, [u8; 16]), Vec<u8>>;

/// Blocks in memory, without a limit: for tests and programs of one process.
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

    /// No code that can panic runs under the lock, so a poisoned one is whole.
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
