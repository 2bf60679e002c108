//! Standalone: everything in one process, with the embedded implementations of all three edges.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compute_worker::models::{Models, ModelsError};
use compute_worker::{Worker, pool};
use tracing::info;

use crate::actors::comparer::Comparer;
use crate::actors::lease::Instance;
use crate::actors::partition::OpenIntake;
use crate::actors::scans::Scans;
use crate::config::Config;
use crate::dispatch::embedded::EmbeddedJobs;
use crate::event_log::{EventLog, LogError, Retention};
use crate::http::Readiness;
use crate::intake::embedded::{EmbeddedIntake, EmbeddedPublisher, NoWatchers};
use crate::keys;
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessors;
use crate::preprocessing::language::UnknownLanguage;
use crate::service::{
    Access, AccessError, Door, Edges, GuardError, ListenError, Role, Service, Sizes,
};
use crate::store::OpenError;
use crate::store::embedded::{EmbeddedStore, Identity};
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::intake::{Failure, Intake, Publish};
use kindred_domain::keys::KeyStore;
use kindred_domain::store::{Partition, Store};
use kindred_similarity::Kernel;

/// The only partition of a standalone.
const PARTITION: Partition = Partition(0);
/// Most bytes of events in flight from HTTP to the store.
const INTAKE_BYTES: usize = 8 << 20;
/// Longest time to take the partition.
const OWN_DEADLINE: Duration = Duration::from_secs(60);
/// Jobs waiting for the pool.
const JOB_QUEUE: usize = 64;
/// Sizes for one process; texts beyond the bytes kept are read from the store, which is local.
const SIZES: Sizes = Sizes {
    jobs_in_flight: JOB_QUEUE,
    material_bytes: 256 << 10,
};
/// Free disk space required to be ready: 16 MiB, enough for some windows of events and their lists.
const LEAST_ROOM: u64 = 16 << 20;
/// How long lists may still be made and stored during a stop: half of what a stop may take.
const DRAIN: Duration = Duration::from_secs(4);

/// Why a standalone does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log of events could not be opened.
    #[error("{0}")]
    EventLog(String),
    /// Word vectors or encoders are invalid.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A language is unknown.
    #[error(transparent)]
    Language(#[from] UnknownLanguage),
    /// The kernel is not available on this machine.
    #[error("{0}")]
    Kernel(String),
    /// Threads cannot be started.
    #[error("the threads that compute cannot be started: {0}")]
    Threads(String),
    /// Cannot listen on the address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Nobody can be let in.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Keys or TLS cannot be used as configured.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The partition was not taken.
    #[error("the store was opened but does not answer")]
    Owned,
}

/// A running standalone: a [`Service`], and what only a single process has.
pub struct Standalone {
    service: Service,
    /// Durable storage.
    pub store: Arc<EmbeddedStore>,
}

impl Deref for Standalone {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Standalone {
    /// Opens the store, takes its partition, and serves. Call inside an actix system.
    ///
    /// # Errors
    /// [`StartError`], with a message that says what to do.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let opening = Readiness::waiting_for("store", "opening");
        let access = Access::configured(config)?;
        let door = Door::open(&config.http, opening, access)?;
        let readiness = Arc::clone(&door.readiness);
        let models = models(config)?;
        let store = open_store(config, &models)?;
        let keys = Arc::clone(&store) as Arc<dyn KeyStore>;
        door.guard(Arc::clone(&keys)).await?;
        keys::listen(&config.store.data_dir, keys, Arc::clone(&door.keys));
        let me = Instance {
            owner: format!("standalone-{}", std::process::id()),
            address: door.address.to_string(),
        };
        let stores = (
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&store) as Arc<dyn ExperimentStore>,
        );
        let role = role(config, me, stores, models, &door.metrics)?;
        let service = Service::start(config, door, role);
        let owned = tokio::time::timeout(OWN_DEADLINE, service.hosted.until(PARTITION)).await;
        owned.map_err(|_| StartError::Owned)?;
        readiness.set_ready("store");
        let data_dir = config.store.data_dir.clone();
        tokio::task::spawn_local(watch(Arc::clone(&store), data_dir, readiness));
        info!(data_dir = %config.store.data_dir.display(), "the store is open");
        Ok(Self { service, store })
    }

    /// Answers pending requests, finishes work in progress if that is quick, and stops. Unfinished
    /// work is durable and continues at the next start.
    pub async fn stop(self) {
        self.service.stop(DRAIN).await;
    }
}

/// The configured store, for these models, and its log of events if one is kept.
fn open_store(config: &Config, models: &Models) -> Result<Arc<EmbeddedStore>, StartError> {
    let identity = Identity {
        models: models.inputs(),
        partitions: config.domains.partitions,
    };
    let data_dir = &config.store.data_dir;
    let store = EmbeddedStore::open(data_dir, &identity)?;
    if let Some(age) = config.event_log.log_retention {
        let retention = Retention {
            age,
            bytes: config.event_log.log_size as u64,
        };
        // After the store, whose lock is the log's, too.
        let log = EventLog::open(data_dir, retention);
        store.log_events(log.map_err(|error: LogError| StartError::EventLog(error.to_string()))?);
        info!(retention = %humantime::format_duration(age), "events are logged");
    }
    Ok(store)
}

fn compute_threads(config: &Config) -> Result<rayon::ThreadPool, StartError> {
    pool(config.compute.threads).map_err(|error| StartError::Threads(error.to_string()))
}

fn chosen_kernel(config: &Config) -> Result<Kernel, StartError> {
    let chosen = config.compute.kernel.chosen();
    chosen.map_err(|error| StartError::Kernel(error.to_string()))
}

/// All models of a configuration.
pub(crate) fn models(config: &Config) -> Result<Models, StartError> {
    Ok(Models::configured(&config.texts, chosen_kernel(config)?)?)
}

/// The worker of this process.
fn start_worker(config: &Config, models: Models) -> Result<Worker, StartError> {
    let pool = compute_threads(config)?;
    let kernel = chosen_kernel(config)?;
    let worker = Worker::new(models, kernel, Arc::new(pool));
    info!(%kernel, threads = worker.threads(), "compute worker");
    Ok(worker)
}

/// A store, as those who use it know it.
pub(crate) type Stores = (Arc<dyn Store>, Arc<dyn ExperimentStore>);

/// What a process does that has everything in itself, but for its store: it extracts and compares, and takes only its
/// own events.
pub(crate) fn role(
    config: &Config,
    me: Instance,
    stores: Stores,
    models: Models,
    metrics: &Arc<Metrics>,
) -> Result<Role, StartError> {
    let texts = &config.texts;
    let preprocessors = Preprocessors::new(&texts.languages, &texts.default_language)?;
    let encoders = models.of_encoders();
    let worker = start_worker(config, models)?;
    metrics.set_build_info(&worker.kernel().to_string());
    let pool = Arc::clone(worker.pool());
    let comparer = Comparer::new(worker.kernel(), config.compute.threads)
        .map_err(|error| StartError::Threads(error.to_string()))?;
    let scans = Scans::new(worker.kernel(), config.compute.threads, Arc::clone(metrics));
    let scans = scans.map_err(|error| StartError::Threads(error.to_string()))?;
    let of_queries = worker.on(Arc::clone(scans.pool()));
    Ok(Role {
        me,
        edges: edges(stores, worker, metrics)?,
        sizes: SIZES,
        preprocessors: Arc::new(preprocessors),
        pool,
        comparer,
        scans,
        extract: Arc::new(move |job| of_queries.perform(job)),
        encoders,
    })
}

/// The embedded implementations of the edges, with this store.
fn edges(
    (store, experiments): Stores,
    worker: Worker,
    metrics: &Metrics,
) -> Result<Edges, StartError> {
    let (pool, kernel) = (Arc::clone(worker.pool()), worker.kernel().to_string());
    let perform = Arc::new(move |job: &_| worker.perform(job));
    let jobs = EmbeddedJobs::new(perform, pool, JOB_QUEUE, &kernel)
        .map_err(|error| StartError::Threads(error.to_string()))?;
    let (publisher, intake) = EmbeddedIntake::new(INTAKE_BYTES);
    observe(metrics, &publisher);
    Ok(Edges {
        store,
        experiments,
        jobs,
        intake: Arc::new(OneIntake(Mutex::new(Some(intake)))),
        publish: publisher as Arc<dyn Publish>,
        watchers: Arc::new(NoWatchers),
    })
}

/// The intake of this process; there is only one, and its partition is never lost.
struct OneIntake(Mutex<Option<EmbeddedIntake>>);

#[async_trait]
impl OpenIntake for OneIntake {
    async fn open(&self, _: Partition) -> Result<Box<dyn Intake>, Failure> {
        let intake = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match intake {
            Some(intake) => Ok(Box::new(intake)),
            None => Err(Failure {
                needs_help: true,
                detail: "the intake of this process is closed; start it again".to_owned(),
            }),
        }
    }
}

/// Reports whether the store accepts writes and whether its disk has room for them, while anybody
/// needs it.
async fn watch(store: Arc<EmbeddedStore>, data_dir: PathBuf, readiness: Arc<Readiness>) {
    /// Check interval.
    const EVERY: Duration = Duration::from_secs(1);
    let mut look = tokio::time::interval(EVERY);
    loop {
        look.tick().await;
        match store.trouble() {
            Some(trouble) => readiness.not_ready("store", trouble),
            None => readiness.set_ready("store"),
        }
        match too_full(&data_dir, room(&data_dir)) {
            Some(why) => readiness.not_ready("disk", why),
            None => readiness.set_ready("disk"),
        }
    }
}

/// Free bytes on the disk of a directory, for the current user; `None`: unknown.
fn room(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Why the next events may not fit, if so.
fn too_full(dir: &Path, room: Option<u64>) -> Option<String> {
    let room = room.filter(|room| *room < LEAST_ROOM)?;
    Some(format!(
        "the disk of {} has {room} bytes left, but {LEAST_ROOM} are needed; free space there, \
         and Kindred recovers by itself",
        dir.display()
    ))
}

/// Only the publisher knows the bytes in flight.
fn observe(metrics: &Metrics, publisher: &Arc<EmbeddedPublisher>) {
    let publisher = Arc::clone(publisher);
    metrics.on_scrape(Box::new(move |metrics| {
        metrics
            .intake_bytes
            .set(i64::try_from(publisher.bytes_on_their_way()).unwrap_or(i64::MAX));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let dir = Path::new("/data/kindred");
        for enough in [None, Some(LEAST_ROOM), Some(u64::MAX)] {
            assert_eq!(too_full(dir, enough), None);
        }
        for little in [0, LEAST_ROOM - 1] {
            let why = too_full(dir, Some(little)).unwrap_or_default();
            assert!(why.contains("/data/kindred") && why.contains("free space"));
            assert!(why.contains(&format!("{little} bytes left")), "{why}");
        }
    }

    #[test]
    fn the_room_on_a_disk_is_known() {
        assert!(room(Path::new("/")).is_some());
        assert_eq!(room(Path::new("/nowhere/at/all")), None);
    }
}
