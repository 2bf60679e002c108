//! The clustered store: a keyspace of Cassandra or ScyllaDB.
//!
//! A row's stamp is its write time, so the database itself lets the last write win. Everything but
//! the lease rows is read and written at QUORUM. Lease rows are written only by lightweight
//! transactions, and read at SERIAL where the outcome of one must be known; observers read them at
//! QUORUM, because a SERIAL read queues among the writes. Every request has a deadline
//! ([`kindred_runtime::cql::REQUEST_TIMEOUT`]); the driver retries idempotent ones.
//!
//! The session's tasks run on the runtime that connected it, so connect on one that outlives the
//! store.

pub(crate) mod agreement;
mod counts;
mod damaged;
mod experiments;
mod facts;
mod failure;
mod instances;
mod keys;
mod lease;
pub(crate) mod opening;
pub(crate) mod partitions;
mod quorum;
mod readers;
mod reads;
mod rows;
pub mod schema;
mod statements;
mod stopped;
mod sweep;
mod writes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kindred_shared::{DomainName, ItemId, ModelName};
use scylla::client::session::Session;
use tokio::sync::Semaphore;

use crate::store::damage::Damage;
pub use agreement::Agreement;
use counts::Counts;
use facts::Facts;
pub use failure::Trouble;
pub(crate) use keys::KeyTable;
use kindred_domain::log::LogEntry;
use kindred_domain::models::Swept;
use kindred_domain::store::{
    Beside, Cas, Content, Damaged, DomainRow, Epoch, FeatureRow, FeatureStamp, ItemRow, Lease,
    ListRow, Page, Partition, Reading, SettingsRow, Stamp, Store, StoreError, WriteBatch,
};
use lease::Gates;
pub use opening::{CassandraOptions, ConnectError};
use partitions::Partitions;
use quorum::Quorum;
use schema::Keyspace;
use statements::Statements;

/// Reads in flight at a time.
const READS: usize = 128;

/// The store in one keyspace.
pub struct CassandraStore {
    session: Arc<Session>,
    statements: Statements,
    keyspace: Keyspace,
    agreement: Agreement,
    /// The configured number of partitions.
    partitions: u16,
    /// The models that this program knows.
    models: Box<[ModelName]>,
    facts: Facts,
    gates: Gates,
    counts: Counts,
    damage: Damage,
    quorum: Quorum,
    reading: Semaphore,
    writing: Semaphore,
}

impl CassandraStore {
    fn new(
        session: Arc<Session>,
        statements: Statements,
        keyspace: Keyspace,
        agreement: Agreement,
        partitions: u16,
        models: Box<[ModelName]>,
    ) -> Self {
        Self {
            session,
            statements,
            keyspace,
            agreement,
            partitions,
            models,
            facts: Facts::default(),
            gates: Gates::default(),
            counts: Counts::default(),
            damage: Damage::default(),
            quorum: Quorum::default(),
            reading: Semaphore::new(READS),
            writing: Semaphore::new(writes::IN_FLIGHT),
        }
    }

    /// How this instance's settings differ from the others', in words. `None`: they do not.
    pub(crate) async fn disagreement(&self) -> Result<Option<String>, StoreError> {
        let found = agreement::harmful(&self.session, &self.keyspace, &self.agreement);
        let differences = found.await.map_err(Trouble::of_read)?;
        if !differences.is_empty() {
            return Ok(Some(agreement::in_words(&differences)));
        }
        let found = partitions::found(&self.session, &self.keyspace).await;
        let found = found.map_err(Trouble::of_read)?;
        let ours = Partitions::Of(self.partitions);
        Ok(found
            .filter(|found| *found != ours)
            .map(|found| format!("partitions is \"{found}\" there and \"{ours}\" here")))
    }

    /// Checks whether any node with rows of the store answers.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let probed = self.session.execute_unpaged(&self.statements.probe, ());
        let probed = probed.await.map_err(Trouble::from);
        probed.map(|_| ()).map_err(Trouble::of_read)
    }

    /// The keys in the same keyspace.
    pub(crate) async fn keys(&self) -> Result<KeyTable, Trouble> {
        KeyTable::prepare(Arc::clone(&self.session), &self.keyspace).await
    }

    /// The session, for statements that are not part of the store.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

#[async_trait]
impl Store for CassandraStore {
    async fn lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError> {
        self.read_lease(partition).await.map_err(Trouble::of_read)
    }

    async fn look_at_lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError> {
        self.seen_lease(partition).await.map_err(Trouble::of_read)
    }

    async fn take_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError> {
        self.set_lease(partition, expected, wanted).await
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn announce(
        &self,
        owner: &str,
        address: &str,
        lasting: Duration,
    ) -> Result<(), StoreError> {
        let written = self.write_instance(owner, address, lasting).await;
        written.map_err(Trouble::of_write)
    }

    async fn withdraw(&self, owner: &str) -> Result<(), StoreError> {
        let deleted = self.delete_instance(owner).await;
        deleted.map_err(Trouble::of_write)
    }

    async fn instances(&self) -> Result<Vec<String>, StoreError> {
        self.read_instances().await.map_err(Trouble::of_read)
    }

    async fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: WriteBatch,
    ) -> Result<(), StoreError> {
        let domain = batch.domain.clone();
        let mended = self.damage.mended_by(&domain, &batch.writes);
        self.write_batch(partition, epoch, stamp, batch).await?;
        self.damage.mended(&domain, &mended);
        Ok(())
    }

    async fn sweep(
        &self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError> {
        let swept = self.sweep_domain(domain, stamp, most).await;
        if swept == Ok(true) {
            self.damage.swept(domain);
        }
        swept
    }

    async fn sweep_model(
        &self,
        domain: &DomainName,
        swept: &Swept,
        stamp: Stamp,
        _most: usize,
    ) -> Result<bool, StoreError> {
        self.sweep_one_model(domain, swept, stamp).await
    }

    async fn beside(&self, domain: &DomainName, model: &ModelName) -> Result<Beside, StoreError> {
        let stored = self.stored_beside(domain, model).await;
        stored.map_err(Trouble::of_read)
    }

    async fn scan_beside_list_ids(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        let page = self.scan_lists(domain, Some(model), from, limit).await;
        page.map_err(Trouble::of_read)
    }

    async fn beside_list(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, StoreError> {
        let list = self.beside_list_of(domain, model, id).await;
        list.map_err(Trouble::of_read)
    }

    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError> {
        self.all_domains().await.map_err(Trouble::of_read)
    }

    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError> {
        let stored = self.stored_domain(domain).await;
        Ok(stored.map_err(Trouble::of_read)?.map(|(row, _)| row))
    }

    async fn settings(&self, domain: &DomainName) -> Result<Option<SettingsRow>, StoreError> {
        let stored = self.stored_settings(domain).await;
        stored.map_err(Trouble::of_read)
    }

    async fn log(
        &self,
        domain: &DomainName,
        after: i64,
        most: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let stored = self.stored_log(domain, after, most).await;
        stored.map_err(Trouble::of_read)
    }

    async fn scan_items(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemRow>, StoreError> {
        let page = self.scan(domain, None, from, limit).await;
        page.map_err(Trouble::of_read)
    }

    fn knows(&self, model: &ModelName) -> bool {
        self.models.contains(model) || model.is_of_domain()
    }

    async fn scan_features(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<FeatureRow>, StoreError> {
        let page = self.scan(domain, Some(model), from, limit).await;
        page.map_err(Trouble::of_read)
    }

    async fn scan_list_ids(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        let page = self.scan_lists(domain, None, from, limit).await;
        page.map_err(Trouble::of_read)
    }

    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError> {
        self.items_of(domain, ids).await.map_err(Trouble::of_read)
    }

    async fn contents(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError> {
        let contents = self.contents_of(domain, ids).await;
        contents.map_err(Trouble::of_read)
    }

    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError> {
        let row = self.feature(domain, model, id).await;
        Ok(row.map_err(Trouble::of_read)?.map(|row| FeatureStamp {
            version: row.version,
            zero: row.feature.is_zero(),
            space: row.space,
        }))
    }

    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError> {
        self.list_of(domain, id).await.map_err(Trouble::of_read)
    }

    fn damaged(&self, domain: &DomainName) -> Damaged {
        self.damage.of(domain)
    }

    fn damaged_rows(&self) -> u64 {
        self.damage.count()
    }

    async fn reading(&self, domain: &DomainName, id: &ItemId) -> Result<Reading, StoreError> {
        self.read_for_readers(domain, id).await
    }

    /// Unlike in the embedded store, a write that lost to a higher stamp counts: the database does
    /// not tell.
    fn rows_written(&self) -> Vec<(&'static str, u64)> {
        self.counts.read()
    }
}
