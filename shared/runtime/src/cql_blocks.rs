//! Blocks in the database: table `feature_blocks`.
//!
//! A block is stored in parts of [`PART_BYTES`], numbered from 0. The first part that is shorter is
//! the last one; it is empty if the length is a multiple. So a reader notices any missing part, at
//! the ends or in the middle.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use scylla::client::session::Session;
use scylla::errors::{ExecutionError, PrepareError};
use scylla::statement::prepared::PreparedStatement;

use kindred_shared::block_store::{BlockStore, BlockStoreError};
use kindred_shared::name::DomainName;

/// Bytes of a part.
pub const PART_BYTES: usize = 512 << 10;
/// Most parts of a block, 16 MiB in total: several times the size of any block.
const MAX_PARTS: usize = 32;
/// Time in seconds that a block is kept unless it is stored again.
pub const TTL_S: u32 = 86_400;
/// Parts written concurrently.
const IN_FLIGHT: usize = 4;

/// Blocks in a keyspace.
pub struct CqlBlocks {
    session: Arc<Session>,
    get: PreparedStatement,
    /// `None`: read-only.
    write: Option<Write>,
}

struct Write {
    put: PreparedStatement,
    delete: PreparedStatement,
}

impl CqlBlocks {
    /// Read-only access, for a role that may only read.
    ///
    /// # Errors
    /// [`BlockStoreError::Away`] when the statement cannot be prepared.
    pub async fn reader(session: Arc<Session>, keyspace: &str) -> Result<Self, BlockStoreError> {
        let get = prepare(
            &session,
            format!(
                "SELECT part, data FROM \"{keyspace}\".feature_blocks \
                 WHERE domain = ? AND hash = ? LIMIT {MAX_PARTS}"
            ),
        );
        let get = get.await.map_err(|error| away(&error))?;
        Ok(Self {
            session,
            get,
            write: None,
        })
    }

    /// Read and write access.
    ///
    /// # Errors
    /// [`BlockStoreError::Away`] when a statement cannot be prepared.
    pub async fn writer(session: Arc<Session>, keyspace: &str) -> Result<Self, BlockStoreError> {
        let mut blocks = Self::reader(session, keyspace).await?;
        let put = prepare(
            &blocks.session,
            format!(
                "INSERT INTO \"{keyspace}\".feature_blocks (domain, hash, part, data) \
                 VALUES (?, ?, ?, ?) USING TTL {TTL_S}"
            ),
        );
        let put = put.await.map_err(|error| away(&error))?;
        let delete = prepare(
            &blocks.session,
            format!("DELETE FROM \"{keyspace}\".feature_blocks WHERE domain = ? AND hash = ?"),
        );
        let delete = delete.await.map_err(|error| away(&error))?;
        blocks.write = Some(Write { put, delete });
        Ok(blocks)
    }

    fn writing(&self) -> Result<&Write, BlockStoreError> {
        self.write.as_ref().ok_or(BlockStoreError::ReadOnly)
    }
}

async fn prepare(session: &Session, statement: String) -> Result<PreparedStatement, PrepareError> {
    let mut prepared = session.prepare(statement).await?;
    prepared.set_is_idempotent(true);
    Ok(prepared)
}

fn away(error: &dyn std::error::Error) -> BlockStoreError {
    BlockStoreError::Away(error.to_string())
}

/// The parts of a block and their numbers.
fn parts(bytes: &[u8]) -> Result<Vec<(i16, &[u8])>, BlockStoreError> {
    let full = bytes.len() / PART_BYTES;
    if full >= MAX_PARTS {
        return Err(BlockStoreError::TooLarge(bytes.len()));
    }
    (0..=full)
        .map(|n| {
            let part = i16::try_from(n).map_err(|_| BlockStoreError::TooLarge(bytes.len()))?;
            let end = bytes.len().min((n + 1) * PART_BYTES);
            Ok((part, &bytes[n * PART_BYTES..end]))
        })
        .collect()
}

/// Joins parts that are ordered by number; `None` if one is missing.
fn whole<'a>(parts: impl Iterator<Item = (i16, &'a [u8])>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (n, (part, data)) in (0..).zip(parts) {
        if part != n {
            return None;
        }
        bytes.extend_from_slice(data);
        if data.len() < PART_BYTES {
            return Some(bytes);
        }
    }
    None
}

#[async_trait]
impl BlockStore for CqlBlocks {
    async fn put(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
        bytes: &[u8],
    ) -> Result<(), BlockStoreError> {
        let write = self.writing()?;
        let mut writes = Vec::new();
        for (part, data) in parts(bytes)? {
            let values = (domain.as_str(), &hash[..], part, data);
            writes.push(self.session.execute_unpaged(&write.put, values));
        }
        let mut writes = futures_util::stream::iter(writes).buffer_unordered(IN_FLIGHT);
        while let Some(written) = writes.next().await {
            written.map_err(|error: ExecutionError| away(&error))?;
        }
        Ok(())
    }

    async fn get(
        &self,
        domain: &DomainName,
        hash: &[u8; 16],
    ) -> Result<Option<Vec<u8>>, BlockStoreError> {
        let values = (domain.as_str(), &hash[..]);
        let found = self.session.execute_unpaged(&self.get, values).await;
        let found = found.map_err(|error| away(&error))?;
        let found = found.into_rows_result().map_err(|error| away(&error))?;
        let rows = found
            .rows::<(i16, Option<&[u8]>)>()
            .map_err(|error| away(&error))?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| away(&error))?;
        Ok(whole(rows.into_iter().map(|(part, data)| {
            // A part without data does not count: its cell has expired.
            data.map_or((-1, &[][..]), |data| (part, data))
        })))
    }

    async fn delete(&self, domain: &DomainName, hash: &[u8; 16]) -> Result<(), BlockStoreError> {
        let write = self.writing()?;
        let values = (domain.as_str(), &hash[..]);
        let deleted = self.session.execute_unpaged(&write.delete, values).await;
        deleted.map(drop).map_err(|error| away(&error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn a_block_that_misses_a_part_is_not_there() {
        for length in [0, 1, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let all = parts(&bytes).unwrap();
            assert!(all.iter().all(|(_, data)| data.len() <= PART_BYTES));
            assert_eq!(whole(all.iter().copied()), Some(bytes.clone()), "{length}");
            for missing in 0..all.len() {
                let mut rest = all.clone();
                rest.remove(missing);
                assert_eq!(whole(rest.into_iter()), None, "{length} without {missing}");
            }
        }
    }
}
