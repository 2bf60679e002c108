//! The embedded store: one redb file in the data directory, one process.
//!
//! One thread writes. It commits everything that waits, for any domains, in one transaction with
//! one sync to the disk; a refused batch does not affect the others of its group. So here a batch
//! is written whole or not at all, which is more than the trait requires. Reads run on tokio's
//! blocking threads, at most [`READERS`] at a time, point reads included: any of them may have to
//! wait for the disk.
//!
//! Full disk: after an I/O error redb refuses everything until it is reopened. The writer reopens
//! it by itself, at once and then with every call until it works.

mod encoding;
mod experiment_store;
mod experiments;
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
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::DateTime;
use kindred_shared::{DomainName, ItemId, ModelInputs, ModelName};
use redb::{ReadTransaction, ReadableTable};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::store::damage::{self, Damage};
use crate::store::{OpenError, sound};
use encoding::{
    Malformed, RowReader, end_of, feature_key, id_of, key, log_id, said_id, split_key, split_value,
};
use failure::{Trouble, guarded};
use kindred_domain::keys::{KeyRow, KeyStore};
use kindred_domain::log::LogEntry;
use kindred_domain::models::Swept;
use kindred_domain::store::{
    Beside, Cas, Content, Damaged, DomainRow, Epoch, FeatureRow, FeatureStamp, ItemRow, Lease,
    ListRow, Page, Partition, SettingsRow, Stamp, Store, StoreError, WriteBatch,
};
pub(crate) use opening::FILE;
use opening::{
    builder, create, features_of, lock, make_directory, purge_markers, read_meta, remember,
};
use tables::{LEASES_NAME, StampedTable};
use upgrade::upgrade;
use writer::{Command, Opener, Shared, StoreWriter};

/// Commands that may wait for the writer; beyond it callers wait.
const WAITING: usize = 64;
/// Reads at a time.
const READERS: usize = 16;
/// Decodes a row, given its key.
type Decode<T> = fn(&[u8], RowReader<'_>) -> Result<T, Malformed>;

/// A row, given its key; `None`: it was deleted.
fn decoded<T>(key: &[u8], value: &[u8], decode: Decode<T>) -> Result<Option<T>, Malformed> {
    let (head, reader) = split_value(value)?;
    if head.deleted {
        return Ok(None);
    }
    decode(key, reader).map(Some)
}

/// What a store is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The models that this program knows, and their inputs. A store may have features of other
    /// models, too; they are left alone.
    pub models: Vec<ModelInputs>,
    /// Number of partitions.
    pub partitions: u16,
}

/// The store of one process. Dropping it completes what was sent and closes the file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// The models that this program knows.
    models: Arc<[ModelName]>,
    /// `None` only during drop.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Semaphore>,
    damage: Arc<Damage>,
    /// Until when each instance counts as alive. Only this process can be one, so it need not be
    /// durable.
    instances: Mutex<BTreeMap<String, Instant>>,
    /// Locked until the store is closed; a store in memory has none.
    _lock: Option<File>,
}

impl EmbeddedStore {
    /// Opens the store of a data directory, creating both if missing. Blocks: every page of the
    /// file is read and verified, so that damage is found here.
    ///
    /// # Errors
    /// [`OpenError`]; a store that is refused for its version, model or partitions is not changed.
    pub fn open(dir: &Path, identity: &Identity) -> Result<Arc<Self>, OpenError> {
        let place = dir.display().to_string();
        let unusable = |error: io::Error| Trouble::from(error).into_open_error(&place);
        make_directory(dir).map_err(unusable)?;
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

    /// Opens the store of a data directory for whatever it was created for, creating one if
    /// missing; for work that does not involve models.
    ///
    /// # Errors
    /// [`OpenError`], if the store is in use or cannot be read.
    pub(crate) fn open_as_it_is(dir: &Path) -> Result<Arc<Self>, OpenError> {
        let place = dir.display().to_string();
        let unusable = |error: io::Error| Trouble::from(error).into_open_error(&place);
        let in_words = |trouble: Trouble| trouble.into_open_error(&place);
        let file = dir.join(FILE);
        if !file.try_exists().map_err(unusable)? {
            // A standalone has one partition, and registers its models itself.
            let identity = Identity {
                models: Vec::new(),
                partitions: 1,
            };
            return Self::open(dir, &identity);
        }
        let lock = lock(dir, &place)?;
        let found = guarded(|| read_meta(&builder().open(&file)?)).map_err(in_words)?;
        let open: Opener = Box::new(move || Ok(builder().open(&file)?));
        Self::start(&place, Some(lock), &found.identity(), open)
    }

    /// Opens an existing store with an opener.
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
            damage: Arc::default(),
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

    /// Time spent in commits.
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
            // If the channel is full, the writer is about to check anyway.
            let _ = commands.try_send(Command::Mend);
        }
        result
    }

    /// Rows of a domain, given the keys for an empty id and for the first id.
    async fn scan<T: Send + 'static>(
        &self,
        (domain, kind): (&DomainName, StampedTable),
        before: Vec<u8>,
        from: Option<&ItemId>,
        limit: usize,
        decode: Decode<T>,
    ) -> Result<Page<T>, StoreError> {
        let mut first = before.clone();
        first.extend_from_slice(from.map_or("", ItemId::as_str).as_bytes());
        let end = end_of(before);
        let (damage, domain) = (Arc::clone(&self.damage), domain.clone());
        self.read(move |transaction| {
            let table = transaction.open_table(kind.definition())?;
            let mut rows = Vec::new();
            for entry in table.range(&*first..&*end)? {
                let (key, value) = entry?;
                let key = key.value();
                let row = match decoded(key, value.value(), decode) {
                    Ok(None) => continue,
                    Ok(Some(row)) if rows.len() < limit.max(1) => Ok(row),
                    Ok(Some(_)) => match id_of(key) {
                        Ok(next) => {
                            let next = Some(next);
                            return Ok(Page { rows, next });
                        }
                        Err(malformed) => Err(malformed),
                    },
                    Err(malformed) => Err(malformed),
                };
                match row {
                    Ok(row) => rows.push(row),
                    Err(malformed) => {
                        damage.found(&domain, kind.name(), &said_id(key), malformed);
                    }
                }
            }
            Ok(Page { rows, next: None })
        })
        .await
    }

    async fn get<T: Send + 'static>(
        &self,
        (domain, kind): (&DomainName, StampedTable),
        keys: Vec<Vec<u8>>,
        decode: Decode<T>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let (damage, domain) = (Arc::clone(&self.damage), domain.clone());
        self.read(move |transaction| {
            let table = transaction.open_table(kind.definition())?;
            let mut rows = Vec::with_capacity(keys.len());
            for key in &keys {
                let row = match table.get(&**key)? {
                    None => Ok(None),
                    Some(value) => decoded(key, value.value(), decode),
                };
                rows.push(row.unwrap_or_else(|malformed| {
                    damage.found(&domain, kind.name(), &said_id(key), malformed);
                    None
                }));
            }
            Ok(rows)
        })
        .await
    }

    async fn get_one<T: Send + 'static>(
        &self,
        of: (&DomainName, StampedTable),
        key: Vec<u8>,
        decode: Decode<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.get(of, vec![key], decode).await?.pop().flatten())
    }

    /// The model of a domain whose row does not name it: the one in its settings, else the one of
    /// its features. `None`: no model is set, and there are no features of texts.
    async fn model_of(&self, domain: &DomainName) -> Result<Option<ModelName>, StoreError> {
        let set = self.settings(domain).await?;
        if let Some(model) = set.and_then(|set| set.settings.model) {
            return Ok(Some(model));
        }
        for model in self
            .models
            .iter()
            .filter(|model| **model != ModelName::own())
        {
            let page = self.scan_features(domain, model, None, 1).await?;
            if !page.rows.is_empty() {
                return Ok(Some(model.clone()));
            }
        }
        Ok(None)
    }

    /// A damaged row of a domain, rebuilt as far as possible.
    async fn made_up(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError> {
        let model = self.model_of(domain).await?;
        Ok(model.map(|model| DomainRow {
            domain: domain.clone(),
            model,
            // There is only one partition.
            partition: 0,
            registered_at: DateTime::UNIX_EPOCH,
            // No epoch is 0: its lists may be anything.
            dirty: Some(0),
            live: 0,
            visible: 0,
            next_expiry: None,
            removal: None,
        }))
    }

    /// A domain's row as read, repaired.
    async fn put_right(
        &self,
        domain: &DomainName,
        read: Result<Option<DomainRow>, Malformed>,
    ) -> Result<Option<DomainRow>, StoreError> {
        match read {
            Ok(None) => Ok(None),
            Ok(Some(mut row)) => {
                if let Some(wrong) = sound::domain(&mut row) {
                    self.damage.found(domain, damage::DOMAINS, "", wrong);
                }
                Ok(Some(row))
            }
            Err(malformed) => {
                self.damage.found(domain, damage::DOMAINS, "", malformed);
                self.made_up(domain).await
            }
        }
    }

    /// The instances that are alive.
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
        let name = domain.clone();
        let swept = self
            .ask(|answer| Command::Sweep {
                domain: name,
                stamp,
                most,
                answer,
            })
            .await;
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
        most: usize,
    ) -> Result<bool, StoreError> {
        let (domain, swept) = (domain.clone(), swept.clone());
        self.ask(|answer| Command::SweepModel {
            domain,
            swept,
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
        batch: WriteBatch,
    ) -> Result<(), StoreError> {
        let domain = batch.domain.clone();
        let mended = self.damage.mended_by(&domain, &batch.writes);
        let committed = self
            .ask(|answer| Command::Commit {
                partition,
                epoch,
                stamp,
                batch,
                answer,
            })
            .await;
        if committed.is_ok() {
            self.damage.mended(&domain, &mended);
        }
        committed
    }

    async fn domains(&self) -> Result<Vec<DomainRow>, StoreError> {
        let read = self.read(|transaction| {
            let table = transaction.open_table(StampedTable::Domains.definition())?;
            let mut rows = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                let key = key.value();
                let name = split_key(key).ok().map(|(name, _)| DomainName::new(name));
                let Some(Ok(name)) = name else {
                    tracing::error!(key = said_id(key), "store.domain_without_name");
                    continue;
                };
                rows.push((name, decoded(key, value.value(), |key, r| r.domain(key))));
            }
            Ok(rows)
        });
        let mut rows = Vec::new();
        for (domain, row) in read.await? {
            rows.extend(self.put_right(&domain, row).await?);
        }
        Ok(rows)
    }

    async fn domain(&self, domain: &DomainName) -> Result<Option<DomainRow>, StoreError> {
        let key = key(domain, "");
        let read = self.read(move |transaction| {
            let table = transaction.open_table(StampedTable::Domains.definition())?;
            Ok(match table.get(&*key)? {
                None => Ok(None),
                Some(value) => decoded(&key, value.value(), |key, r| r.domain(key)),
            })
        });
        self.put_right(domain, read.await?).await
    }

    async fn settings(&self, domain: &DomainName) -> Result<Option<SettingsRow>, StoreError> {
        let of = (domain, StampedTable::Settings);
        self.get_one(of, key(domain, ""), |_, r| r.settings()).await
    }

    async fn log(
        &self,
        domain: &DomainName,
        after: i64,
        most: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let from = ItemId::new(&log_id(after.saturating_add(1))).ok();
        let of = (domain, StampedTable::Log);
        let page = self.scan(of, key(domain, ""), from.as_ref(), most, |_, r| r.log());
        Ok(page.await?.rows)
    }

    async fn scan_items(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemRow>, StoreError> {
        let of = (domain, StampedTable::Items);
        self.scan(of, key(domain, ""), from, limit, |key, r| r.item(key))
            .await
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
        let before = feature_key(domain.as_str(), model, "");
        let of = (domain, StampedTable::Features);
        self.scan(of, before, from, limit, |key, r| r.feature(key))
            .await
    }

    async fn scan_list_ids(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        // A damaged list counts as existing, so that it is rewritten with the others.
        let of = (domain, StampedTable::Lists);
        self.scan(of, key(domain, ""), from, limit, |key, _| id_of(key))
            .await
    }

    async fn beside(&self, domain: &DomainName, model: &ModelName) -> Result<Beside, StoreError> {
        let key = feature_key(domain.as_str(), model, "");
        let of = (domain, StampedTable::Models);
        let row = self.get_one(of, key.clone(), |_, r| r.beside()).await?;
        let of = (domain, StampedTable::ModelHabits);
        let habits = self.get_one(of, key, |_, r| r.habits()).await?;
        let habits = habits.unwrap_or_default();
        Ok(Beside { row, habits })
    }

    async fn scan_beside_list_ids(
        &self,
        domain: &DomainName,
        model: &ModelName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, StoreError> {
        let before = feature_key(domain.as_str(), model, "");
        let of = (domain, StampedTable::ModelLists);
        self.scan(of, before, from, limit, |key, _| id_of(key))
            .await
    }

    async fn beside_list(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, StoreError> {
        let key = feature_key(domain.as_str(), model, id.as_str());
        let of = (domain, StampedTable::ModelLists);
        self.get_one(of, key, |key, r| r.list(key)).await
    }

    async fn items(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, StoreError> {
        let keys = ids.iter().map(|id| key(domain, id.as_str())).collect();
        let of = (domain, StampedTable::Items);
        self.get(of, keys, |key, r| r.item(key)).await
    }

    async fn contents(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, StoreError> {
        let keys = ids.iter().map(|id| key(domain, id.as_str())).collect();
        let of = (domain, StampedTable::Contents);
        self.get(of, keys, |_, r| r.content()).await
    }

    async fn feature_stamp(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureStamp>, StoreError> {
        let key = feature_key(domain.as_str(), model, id.as_str());
        let of = (domain, StampedTable::Features);
        self.get_one(of, key, |key, r| r.feature_of(key)).await
    }

    async fn list(&self, domain: &DomainName, id: &ItemId) -> Result<Option<ListRow>, StoreError> {
        let key = key(domain, id.as_str());
        let of = (domain, StampedTable::Lists);
        self.get_one(of, key, |key, r| r.list(key)).await
    }

    fn damaged(&self, domain: &DomainName) -> Damaged {
        self.damage.of(domain)
    }

    fn damaged_rows(&self) -> u64 {
        self.damage.count()
    }

    /// A write that lost to a higher stamp does not count.
    fn rows_written(&self) -> Vec<(&'static str, u64)> {
        let names = StampedTable::ALL
            .map(StampedTable::name)
            .into_iter()
            .chain([LEASES_NAME]);
        names.zip(self.shared.rows_written()).collect()
    }
}

#[async_trait]
impl KeyStore for EmbeddedStore {
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(tables::keys).await
    }

    async fn add_key(&self, row: &KeyRow) -> Result<bool, StoreError> {
        let row = Box::new(row.clone());
        self.ask(|answer| Command::AddKey { row, answer }).await
    }

    async fn remove_key(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.ask(|answer| Command::RemoveKey { id, answer }).await
    }
}
