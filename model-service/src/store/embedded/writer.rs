//! The writer thread: group commit, and recovery after a failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use kindred_shared::{DomainName, ModelName};
use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{mpsc, oneshot};

use super::experiments::Change;
use super::failure::{Trouble, guarded};
use super::tables::{META, RowCounts, StampedTable, Tables};
use kindred_domain::keys::KeyRow;
use kindred_domain::models::Swept;
use kindred_domain::store::{Cas, Epoch, Lease, Partition, Stamp, StoreError, WriteBatch};

/// Rows after which a group takes no more batches, to limit the memory of a transaction. A batch
/// with more rows is a group of its own.
const GROUP_ROWS: usize = 4096;
/// Minimum time between two attempts to reopen the database: an attempt may read all of it.
const REOPEN_EVERY: Duration = Duration::from_millis(500);
/// Key in the meta table: the number of the last committed group.
pub(super) const GROUP: &str = "group";

/// Opens the database file.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, Trouble> + Send>;

/// Work for the writer.
pub(super) enum Command {
    /// Make a batch durable.
    Commit {
        partition: Partition,
        epoch: Epoch,
        stamp: Stamp,
        batch: WriteBatch,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Remove some rows of a domain.
    Sweep {
        domain: DomainName,
        stamp: Stamp,
        most: usize,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// Remove some rows of a model.
    SweepModel {
        domain: DomainName,
        swept: Swept,
        stamp: Stamp,
        most: usize,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// Compare-and-set a lease row.
    TakeLease {
        partition: Partition,
        expected: Option<Lease>,
        wanted: Lease,
        answer: oneshot::Sender<Result<Cas, StoreError>>,
    },
    /// Add a key.
    AddKey {
        row: Box<KeyRow>,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// Remove a key.
    RemoveKey {
        id: String,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// Change a domain's experiments, or what readers did.
    Experiments {
        partition: Partition,
        epoch: Epoch,
        domain: DomainName,
        change: Change,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    },
    /// A reader found the database failing: try to recover.
    Mend,
}

impl Command {
    fn rows(&self) -> usize {
        match self {
            Self::Commit { batch, .. } => batch.writes.len(),
            Self::Sweep { most, .. } | Self::SweepModel { most, .. } => *most,
            Self::Experiments { change, .. } => change.rows(),
            Self::TakeLease { .. } | Self::AddKey { .. } | Self::RemoveKey { .. } => 1,
            Self::Mend => 0,
        }
    }

    /// Answers with a failure. The caller may have gone.
    fn fail(self, error: StoreError) {
        match self {
            Self::Commit { answer, .. } => drop(answer.send(Err(error))),
            Self::Sweep { answer, .. }
            | Self::SweepModel { answer, .. }
            | Self::Experiments { answer, .. } => {
                drop(answer.send(Err(error)));
            }
            Self::TakeLease { answer, .. } => drop(answer.send(Err(error))),
            Self::AddKey { answer, .. } | Self::RemoveKey { answer, .. } => {
                drop(answer.send(Err(error)));
            }
            Self::Mend => {}
        }
    }

    fn succeed(self, done: Done) {
        match (self, done) {
            (command, Done::Refused(error)) => command.fail(error),
            (Self::Commit { answer, .. }, Done::Written) => drop(answer.send(Ok(()))),
            (
                Self::Sweep { answer, .. }
                | Self::SweepModel { answer, .. }
                | Self::Experiments { answer, .. },
                Done::Swept(all),
            ) => drop(answer.send(Ok(all))),
            (Self::TakeLease { answer, .. }, Done::Cas(cas)) => drop(answer.send(Ok(cas))),
            (Self::AddKey { answer, .. } | Self::RemoveKey { answer, .. }, Done::Key(done)) => {
                drop(answer.send(Ok(done)));
            }
            (
                Self::Commit { .. }
                | Self::Sweep { .. }
                | Self::Experiments { .. }
                | Self::SweepModel { .. }
                | Self::TakeLease { .. }
                | Self::AddKey { .. }
                | Self::RemoveKey { .. }
                | Self::Mend,
                _,
            ) => {}
        }
    }
}

/// The result of one command of a committed group.
enum Done {
    Written,
    Swept(bool),
    Cas(Cas),
    Key(bool),
    Refused(StoreError),
}

enum DatabaseState {
    Open(Database),
    Closed(StoreError),
}

/// State shared by readers and the writer.
pub(super) struct Shared {
    /// Readers lock it shared while they read (a page at most), and so does the writer while it
    /// commits; to close and reopen the database the writer waits for all of them.
    state: RwLock<DatabaseState>,
    /// A reader saw an error after which the database is unusable.
    suspect: AtomicBool,
    rows: [AtomicU64; StampedTable::ALL.len() + 1],
    commits: AtomicU64,
    commit_nanos: AtomicU64,
    /// Why the last write failed, until one succeeds.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(database: Database) -> Self {
        Self {
            state: RwLock::new(DatabaseState::Open(database)),
            suspect: AtomicBool::new(false),
            rows: Default::default(),
            commits: AtomicU64::new(0),
            commit_nanos: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    pub(super) fn rows_written(&self) -> RowCounts {
        self.rows.each_ref().map(|n| n.load(Ordering::Relaxed))
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn commit_time(&self) -> Duration {
        Duration::from_nanos(self.commit_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Closes the database for good.
    #[cfg(test)]
    pub(super) fn close(&self, error: StoreError) {
        self.replace(DatabaseState::Closed(error));
    }

    /// A poisoned lock is used all the same: the state is always replaced as a whole.
    fn state(&self) -> RwLockReadGuard<'_, DatabaseState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, state: DatabaseState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Reads in its own transaction. Blocks on the disk.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let result = guarded(|| match &*self.state() {
            DatabaseState::Open(database) => work(&database.begin_read()?),
            DatabaseState::Closed(error) => Err(Trouble::Store(error.clone())),
        });
        result.map_err(|trouble| {
            if trouble.wants_reopening() {
                self.suspect.store(true, Ordering::Release);
            }
            trouble.into_store_error()
        })
    }

    /// Whether the writer should be sent [`Command::Mend`].
    pub(super) fn is_unwell(&self) -> bool {
        self.suspect.load(Ordering::Acquire) || matches!(*self.state(), DatabaseState::Closed(_))
    }
}

/// The writer's side of the store; lives on its own thread.
pub(super) struct StoreWriter {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    open: Opener,
    models: Arc<[ModelName]>,
    /// Number of the last group known to be committed.
    group: u64,
    last_reopen: Option<Instant>,
}

impl StoreWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        open: Opener,
        models: Arc<[ModelName]>,
        group: u64,
    ) -> Self {
        Self {
            shared,
            commands,
            open,
            models,
            group,
            last_reopen: None,
        }
    }

    /// Works until all senders are gone and everything sent is done, then closes the database.
    pub(super) fn run(mut self) {
        while let Some(first) = self.commands.blocking_recv() {
            let mut rows = first.rows();
            let mut group = vec![first];
            while rows < GROUP_ROWS
                && let Ok(command) = self.commands.try_recv()
            {
                rows += command.rows();
                group.push(command);
            }
            self.serve(group);
        }
        let closed = DatabaseState::Closed(StoreError::Away("the store is closed".to_string()));
        self.shared.replace(closed);
    }

    fn serve(&mut self, mut group: Vec<Command>) {
        if self.shared.is_unwell() {
            self.mend(StoreError::Away(
                "the database is being opened again".to_string(),
            ));
        }
        group.retain(|command| !matches!(command, Command::Mend));
        if group.is_empty() {
            return;
        }
        let mut committing = false;
        let started = Instant::now();
        let result = guarded(|| match &*self.shared.state() {
            DatabaseState::Open(database) => {
                let number = self.group + 1;
                transact(database, &self.models, number, &group, &mut committing)
            }
            DatabaseState::Closed(error) => Err(Trouble::Store(error.clone())),
        });
        match result {
            Ok((done, written)) => {
                if committing {
                    self.group += 1;
                    self.count(started.elapsed(), written);
                }
                for (command, done) in group.into_iter().zip(done) {
                    command.succeed(done);
                }
            }
            Err(trouble) => self.fail(group, trouble, committing),
        }
    }

    fn count(&self, took: Duration, written: RowCounts) {
        self.shared.set_trouble(None);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shared.commit_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        for (total, rows) in self.shared.rows.iter().zip(written) {
            total.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// A group failed: recovers if necessary, then reports to each command. One command's bad row
    /// or page must not fail the others, so with damage each is tried alone.
    fn fail(&mut self, group: Vec<Command>, trouble: Trouble, committing: bool) {
        let reopen = trouble.wants_reopening();
        let mut error = trouble.into_store_error();
        self.shared.set_trouble(Some(error.to_string()));
        tracing::error!(commands = group.len(), committing, %error, "store.group_failed");
        if reopen {
            self.mend(error.clone());
        }
        if committing {
            // What redb wrote before the failure may have reached the disk: ask the database.
            match self.shared.read(last_group) {
                Ok(last) if last == self.group => {}
                Ok(last) => {
                    self.group = last;
                    error = StoreError::Unknown(error.to_string());
                }
                Err(_) if matches!(error, StoreError::Full(_)) => {}
                Err(_) => error = StoreError::Unknown(error.to_string()),
            }
        } else if matches!(error, StoreError::Damaged(_)) && group.len() > 1 {
            return group.into_iter().for_each(|one| self.serve(vec![one]));
        }
        for command in group {
            command.fail(error.clone());
        }
    }

    /// Closes and reopens the database, unless that was tried just now or needs a person. `because`
    /// is the error for readers and writers until it works.
    fn mend(&mut self, because: StoreError) {
        if let DatabaseState::Closed(StoreError::Damaged(_)) = *self.shared.state() {
            return;
        }
        let too_soon = self
            .last_reopen
            .is_some_and(|last| last.elapsed() < REOPEN_EVERY);
        if too_soon {
            return;
        }
        // Closing a failed database may fail, too; it is gone either way.
        let _ = guarded(|| {
            self.shared.replace(DatabaseState::Closed(because));
            Ok(())
        });
        self.shared.suspect.store(false, Ordering::Release);
        let state = match guarded(|| (self.open)()) {
            Ok(database) => {
                tracing::info!("store.reopened");
                DatabaseState::Open(database)
            }
            Err(trouble) => {
                let error = trouble.into_store_error();
                tracing::error!(%error, "store.not_reopened");
                DatabaseState::Closed(error)
            }
        };
        self.shared.replace(state);
        self.last_reopen = Some(Instant::now());
    }
}

/// The number of the last committed group.
pub(super) fn last_group(transaction: &ReadTransaction) -> Result<u64, Trouble> {
    let meta = transaction.open_table(META)?;
    let group = meta.get(GROUP)?;
    let bytes = group.and_then(|value| <[u8; 8]>::try_from(value.value()).ok());
    Ok(bytes.map_or(0, u64::from_le_bytes))
}

/// Runs a group in one transaction with one sync to the disk. `committing` is set once the
/// transaction may be durable.
fn transact(
    database: &Database,
    models: &[ModelName],
    number: u64,
    group: &[Command],
    committing: &mut bool,
) -> Result<(Vec<Done>, RowCounts), Trouble> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction, models)?;
    let mut done = Vec::with_capacity(group.len());
    for command in group {
        done.push(match apply(&mut tables, command) {
            Ok(outcome) => outcome,
            Err(Trouble::Store(error)) => Done::Refused(error),
            Err(trouble) => return Err(trouble),
        });
    }
    let (written, has_changed_more) = (tables.written, tables.has_changed_more);
    drop(tables);
    if written == RowCounts::default() && !has_changed_more {
        transaction.abort()?;
        return Ok((done, written));
    }
    transaction
        .open_table(META)?
        .insert(GROUP, number.to_le_bytes().as_slice())?;
    *committing = true;
    transaction.commit()?;
    Ok((done, written))
}

fn apply(tables: &mut Tables<'_>, command: &Command) -> Result<Done, Trouble> {
    match command {
        Command::Commit {
            partition,
            epoch,
            stamp,
            batch,
            ..
        } => {
            if batch.fence {
                tables.check_fence(*partition, *epoch)?;
            }
            tables.write(*stamp, batch)?;
            Ok(Done::Written)
        }
        Command::Sweep {
            domain,
            stamp,
            most,
            ..
        } => Ok(Done::Swept(tables.sweep(domain, *stamp, *most)?)),
        Command::Experiments {
            partition,
            epoch,
            domain,
            change,
            ..
        } => {
            tables.check_fence(*partition, *epoch)?;
            tables.has_changed_more = true;
            Ok(Done::Swept(tables.experiments.apply(domain, change)?))
        }
        Command::SweepModel {
            domain,
            swept,
            stamp,
            most,
            ..
        } => Ok(Done::Swept(
            tables.sweep_model(domain, swept, *stamp, *most)?,
        )),
        Command::TakeLease {
            partition,
            expected,
            wanted,
            ..
        } => Ok(Done::Cas(tables.take_lease(
            *partition,
            expected.as_ref(),
            wanted,
        )?)),
        Command::AddKey { row, .. } => Ok(Done::Key(tables.add_key(row)?)),
        Command::RemoveKey { id, .. } => Ok(Done::Key(tables.remove_key(id)?)),
        Command::Mend => Ok(Done::Written),
    }
}
