//! Blocks in the store's keyspace, for workers to read.

use std::sync::Arc;

use kindred_runtime::cql_blocks::CqlBlocks;
use kindred_shared::BlockStoreError;

use super::CassandraStore;

impl CassandraStore {
    /// Where blocks are stored. Workers read them with [`CqlBlocks::reader`], by a role that may
    /// do no more.
    ///
    /// # Errors
    /// When the database does not prepare the statements.
    pub async fn blocks(&self) -> Result<CqlBlocks, BlockStoreError> {
        CqlBlocks::writer(Arc::clone(&self.session), self.keyspace.as_str()).await
    }
}
