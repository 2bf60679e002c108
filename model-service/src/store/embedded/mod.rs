//! The embedded twin: one redb file in the data directory, one process.
//!
//! One thread writes. It takes what waits, of whatever domains, and does it in one transaction
//! with one sync to the disk; a batch that is refused does not touch the others of its group. So
//! here a batch is whole or not there, which is more than the trait asks for. Reads run on
//! tokio's threads for blocking work, [`READERS`] at most at a time, point reads too: any of them
//! may have to wait for the disk.
//!
//! Full disk: redb refuses everything after an input or output error until it is opened again.
//! The writer does that by itself, at once and then with every call until it works.

mod encoding;
mod failure;
#[cfg(test)]
mod memory;
mod opening;
mod tables;
mod upgrade;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kindred_shared::{DomainName, ItemId, ModelInputs, ModelName};
use redb::{ReadTransaction, ReadableTable};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::store::OpenError;
use encoding::{Reader, end_of, feature_key, id_of, key, split_value};
use failure::{Trouble, guarded};
use kindred_domain::store::{
    Batch, Cas, Content, DomainRow, Epoch, FeatureRow, FeatureStamp, ItemRow, Lease, ListRow, Page,
    Partition, SettingsRow, Stamp, Store, StoreError,
};
pub(crate) use opening::FILE;
use opening::{builder, create, features_of, lock, purge_markers, read_meta, remember};
use tables::{Kind, LEASES_NAME};
use upgrade::upgrade;
use writer::{Command, Opener, Shared, StoreWriter};

/// Batches and leases waiting for the writer; past them callers wait.
const WAITING: usize = 64;
/// Reads at a time.
const READERS: usize = 16;
/// What a store is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The models that the program knows, and what they make features of. A store has features of
    /// some of them, and perhaps of others, which are left alone.
    pub models: Vec<ModelInputs>,
    /// Number of partitions.
    pub partitions: u16,
}

/// The store of one process. Dropping it finishes what was sent and closes the file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// The models that the program knows.
    models: Arc<[ModelName]>,
    /// `None` only while dropped.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Semaphore>,
    /// Until when each instance is there. Only this process can be, and it need not be durable.
    instances: Mutex<BTreeMap<String, Instant>>,
    /// Locked until the store is closed; one in memory has none.
    _lock: Option<File>,
}

impl EmbeddedStore {
    /// Opens the store of a data directory, making both where they are not there. Blocks: every
    /// page of the file is read and checked, so that damage is found here.
    ///
    /// # Errors
    /// [`OpenError`]; a store is never changed when it is refused for its version, model or
    /// partitions.
    pub fn open(dir: &Path, identity: &Identity) -> Result<Arc<Self>, OpenError> {
        let place = dir.display().to_string();
        let unusable = |error: io::Error| Trouble::from(error).into_open_error(&place);
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = lock(dir, &place)?;
        let file = dir.join(FILE);
        if !file.try_exists().map_err(unusable)? {
            guarded(|| create(dir, identity)).map_err(|trouble| trouble.into_open_error(&place))?;
        }
        Self::start(
            &place,
            Some(lock),
            identity,
            Box::new(move || Ok(builder().open(&file)?)),
        )
    }

    /// Opens an existing store by an opener.
    fn start(
        place: &str,
        lock: Option<File>,
        identity: &Identity,
        open: Opener,
    ) -> Result<Arc<Self>, OpenError> {
        let in_words = |trouble: Trouble| trouble.into_open_error(place);
        let database = guarded(&open).map_err(in_words)?;
        let found = guarded(|| read_meta(&database)).map_err(in_words)?;
        found.check(place, identity)?;
        guarded(|| upgrade(&database, &found)).map_err(in_words)?;
        guarded(|| remember(&database, &identity.models)).map_err(in_words)?;
        let known = identity.models.iter().map(|known| known.model.clone());
        let models: Arc<[ModelName]> = known.collect();
        for model in found.models.keys().filter(|model| !models.contains(model)) {
            let features = guarded(|| features_of(&database, model)).map_err(in_words)?;
            tracing::warn!(place, %model, features, "store.unknown_model_left_alone");
        }
        let purged = guarded(|| purge_markers(&database, &models)).map_err(in_words)?;
        tracing::info!(place, purged_markers = purged, "store.opened");

        let shared = Arc::new(Shared::new(database));
        let (commands, receiver) = mpsc::channel(WAITING);
        let writer = StoreWriter::new(
            Arc::clone(&shared),
            receiver,
            open,
            Arc::clone(&models),
            found.group,
        );
        let writer = std::thread::Builder::new()
            .name("store-writer".to_string())
            .spawn(move || writer.run())
            .map_err(|error| in_words(error.into()))?;
        Ok(Arc::new(Self {
            shared,
            models,
            commands: Some(commands),
            writer: Some(writer),
            readers: Arc::new(Semaphore::new(READERS)),
            instances: Mutex::default(),
            _lock: lock,
        }))
    }

    /// Commits since the store was opened: each is one sync to the disk for a group of batches.
    pub fn commits(&self) -> u64 {
        self.shared.commits()
    }

    /// Why the last write failed, until one succeeds.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    /// Time spent in them.
    pub fn commit_time(&self) -> Duration {
        self.shared.commit_time()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Away("the store is closed".to_string());
        let (answer, answered) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(command(answer)).await.map_err(|_| gone())?;
        answered
            .await
            .map_err(|_| StoreError::Unknown("the writer stopped".to_string()))?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Away("the store is closed".to_string());
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let turn = turn.map_err(|_| stopped())?;
        let shared = Arc::clone(&self.shared);
        let result = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            shared.read(work)
        })
        .await
        .unwrap_or_else(|_| Err(stopped()));
        if result.is_err()
            && self.shared.is_unwell()
            && let Some(commands) = &self.commands
        {
            // When the channel is full, the writer is about to look by itself.
            let _ = commands.try_send(Command::Mend);
        }
        result
    }

    /// Rows whose keys are this one, of an empty id, and an id.
    async fn scan<T: Send + 'static>(
        &self,
        kind: Kind,
        before: Vec<u8>,
        from: Option<&ItemId>,
        limit: usize,
        decode: fn(&[u8], Reader<'_>) -> Result<T, Trouble>,
    ) -> Result<Page<T>, StoreError> {
        let mut first = before.clone();
        first.extend_from_slice(from.map_or("", ItemId::as_str).as_bytes());
        let end = end_of(before);
        self.read(move |transaction| {
            let table = transaction.open_table(kind.definition())?;
            let mut rows = Vec::new();
            for entry in table.range(&*first..&*end)? {
                let (key, value) = entry?;
                let (head, reader) = split_value(value.value())?;
                if head.deleted {
                    continue;
                }
                if rows.len() == limit.max(1) {
                    let next = Some(id_of(key.value())?);
                    return Ok(Page { rows, next });
                }
                rows.push(decode(key.value(), reader)?);
            }
            Ok(Page { rows, next: None })
        })
        .await
    }

    async fn get<T: Send + 'static>(
        &self,
        kind: Kind,
        keys: Vec<Vec<u8>>,
        decode: fn(&[u8], Reader<'_>) -> Result<T, Trouble>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        self.read(move |transaction| {
            let table = transaction.open_table(kind.definition())?;
            keys.iter()
                .map(|key| match table.get(&**key)? {
                    None => Ok(None),
                    Some(value) => match split_value(value.value())? {
                        (head, _) if head.deleted => Ok(None),
                        (_, reader) => decode(key, reader).map(Some),
                    },
                })
                .collect()
        })
        .await
    }

    async fn get_one<T: Send + 'static>(
        &self,
        kind: Kind,
        key: Vec<u8>,
        decode: fn(&[u8], Reader<'_>) -> Result<T, Trouble>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.get(kind, vec![key], decode).await?.pop().flatten())
    }

    /// The instances that are there now.
    fn present(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        let mut instances = self
            .instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        instances.retain(|_, until| *until > Instant::now());
        instances
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("store.writer_panicked");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn lease(&self, partition: Partition) -> Result<Option<Lease>, StoreError> {
        self.read(move |transaction| tables::lease(transaction, partition))
            .await
    }

    async fn take_lease(
        &self,
        partition: Partition,
        expected: Option<&Lease>,
        wanted: &Lease,
    ) -> Result<Cas, StoreError> {
        self.ask(|answer| Command::TakeLease {
            partition,
            expected: expected.cloned(),
            wanted: wanted.clone(),
            answer,
        })
        .await
    }

    async fn sweep(
        &self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError> {
        let domain = domain.clone();
        self.ask(|answer| Command::Sweep {
            domain,
            stamp,
            most,
            answer,
        })
        .await
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn announce(&self, owner: &str, _: &str, lasting: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + lasting;
        self.present().insert(owner.to_owned(), until);
        Ok(())
    }

    async fn withdraw(&self, owner: &str) -> Result<(), StoreError> {
        self.present().remove(owner);
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.present().keys().cloned().collect())
    }

    async fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: Batch,
    ) -> Result<(), StoreError> {
        self.ask(|answer| Command::Commit {
            partition,
            epoch,
            stamp,
            batch,
            answer,
        })
        .await
    }

    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(Kind::Domains.definition())?;
            let mut rows = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                let (head, row) = split_value(value.value())?;
                if !head.deleted {
                    rows.push(row.domain(key.value())?);
                }
            }
            Ok(rows)
        })
        .await
    }

    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError> {
        self.get_one(Kind::Domains, key(domain, ""), |key, r| Ok(r.domain(key)?))
            .await
    }

    async fn settings(&self, domain: &DomainName) -> Result<Option<SettingsRow>, StoreError> {
        self.get_one(Kind::Settings, key(domain, ""), |_, r| Ok(r.settings()?))
            .await
    }

    async fn scan_items(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemRow>, StoreError> {
        self.scan(Kind::Items, key(domain, ""), from, limit, |key, r| {
            Ok(r.item(key)?)
        })
        .await
    }

    fn knows(&self, model: &ModelName) -> bool {
        self.models.contains(model)
    }

    async fn scan_features(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<FeatureRow>, StoreError> {
        let before = feature_key(domain.as_str(), model, "");
        self.scan(Kind::Features, before, from, limit, |key, r| {
            Ok(r.feature(key)?)
        })
        .await
    }

    async fn scan_list_ids(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        self.scan(Kind::Lists, key(domain, ""), from, limit, |key, _| {
            Ok(id_of(key)?)
        })
        .await
    }

    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError> {
        let keys = ids.iter().map(|id| key(domain, id.as_str())).collect();
        self.get(Kind::Items, keys, |key, r| Ok(r.item(key)?)).await
    }

    async fn contents(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError> {
        let keys = ids.iter().map(|id| key(domain, id.as_str())).collect();
        self.get(Kind::Contents, keys, |_, r| Ok(r.content()?))
            .await
    }

    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError> {
        let key = feature_key(domain.as_str(), model, id.as_str());
        self.get_one(Kind::Features, key, |_, mut r| Ok(r.feature_stamp()?))
            .await
    }

    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError> {
        let key = key(domain, id.as_str());
        self.get_one(Kind::Lists, key, |key, r| Ok(r.list(key)?))
            .await
    }

    /// A write that lost to a higher stamp does not count.
    fn rows_written(&self) -> Vec<(&'static str, u64)> {
        let names = Kind::ALL.map(Kind::name).into_iter().chain([LEASES_NAME]);
        names.zip(self.shared.rows_written()).collect()
    }
}
