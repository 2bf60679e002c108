//! Where encoded blocks lie between who makes them and who compares them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::name::DomainName;

/// Why a block could not be stored, read or deleted, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BlockStoreError(pub String);

/// Blocks by domain and the hash of their bytes. What is stored never changes.
#[async_trait]
pub trait BlockStore: Send + Sync {
    /// Stores the bytes of a block. Storing the same again keeps it for longer.
    async fn put(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError>;

    /// The bytes of a block. `None`: there is none of this hash (any more).
    async fn get(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError>;

    /// Removes a block, if it is there.
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
