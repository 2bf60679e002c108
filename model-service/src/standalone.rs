//! Standalone: everything in one process, with the embedded twins of all three edges.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use compute_worker::features::{Extractor, Vectors, VectorsError};
use compute_worker::similarity::Kernel;
use compute_worker::{Worker, pool};
use kindred_shared::name::WORDS_1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

use crate::actors::lease::{self, Instance};
use crate::actors::partition::{OpenIntake, PartitionHost};
use crate::actors::supervisor::DurationSupervisor;
use crate::actors::{Clock, DomainSettings, ServiceParts};
use crate::config::Config;
use crate::dispatch::Jobs;
use crate::dispatch::embedded::EmbeddedJobs;
use crate::dispatch::table::DispatchLimits;
use crate::domain::window::WindowSize;
use crate::intake::embedded::{EmbeddedIntake, EmbeddedPublisher, NoWatchers};
use crate::intake::{Failure, Intake, Publish};
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessor;
use crate::preprocessing::language::UnknownLanguage;
use crate::serving::view::Views;
use crate::serving::{Api, Readiness};
use crate::store::embedded::{EmbeddedStore, Identity};
use crate::store::{OpenError, Partition, Store};

/// The one partition of a standalone.
const PARTITION: Partition = Partition(0);
/// Bytes of events that may be on their way from HTTP to the store.
const INTAKE_BYTES: usize = 8 << 20;
/// Bytes of texts a domain keeps in memory for extraction; more is read from the store, which is
/// near.
const MATERIAL_BYTES: usize = 256 << 10;
/// Most right blocks of one compare job.
const STRIP_BLOCKS: usize = 8;
/// How long taking the partition may take.
const OWN_DEADLINE: Duration = Duration::from_secs(60);
/// Jobs waiting for the pool.
const JOB_QUEUE: usize = 64;
/// Jobs of one domain in flight: two for the one worker there is.
const JOBS_PER_DOMAIN: usize = 2;
/// Jobs in flight.
const JOBS_IN_FLIGHT: usize = 8;
/// Threads that run domains' machines.
const DOMAIN_ARBITERS: usize = 2;

/// Why a standalone does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store is not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Word vectors are not what they should be.
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    /// A language is not known.
    #[error(transparent)]
    Language(#[from] UnknownLanguage),
    /// The kernel is not to be had here.
    #[error("{0}")]
    Kernel(String),
    /// Threads cannot be made.
    #[error("the threads that compute cannot be started: {0}")]
    Threads(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The partition was not taken.
    #[error("the store was opened and does not answer")]
    Owned,
}

/// A running standalone.
pub struct Standalone {
    /// Where HTTP listens.
    pub address: SocketAddr,
    /// The way in for events of this process.
    pub publish: Arc<dyn Publish>,
    /// What readers of active domains see.
    pub views: Arc<Views>,
    /// What is durable.
    pub store: Arc<EmbeddedStore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    server: actix_web::dev::ServerHandle,
    readiness: Arc<Readiness>,
    keeper: JoinHandle<()>,
    arbiters: Vec<Arbiter>,
}

impl Standalone {
    /// Opens the store, takes its partition, and serves. Call inside an actix system.
    ///
    /// # Errors
    /// [`StartError`], in words that say what to do.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let listener = TcpListener::bind(config.listen).map_err(|error| StartError::Listen {
            address: config.listen,
            error,
        })?;
        let address = listener.local_addr().map_err(|error| StartError::Listen {
            address: config.listen,
            error,
        })?;
        let preprocessor = Preprocessor::new(&config.languages, &config.default_language)?;
        let vectors = vectors(config)?;
        let model = format!("{WORDS_1} (vectors {})", vectors.fingerprint());
        let identity = Identity {
            model,
            partitions: config.partitions,
        };
        let store = EmbeddedStore::open(&config.data_dir, &identity)?;

        let pool = pool(config.threads).map_err(|error| StartError::Threads(error.to_string()))?;
        let pool = Arc::new(pool);
        let kernel: Kernel = config
            .kernel
            .word()
            .parse()
            .map_err(|e| StartError::Kernel(format!("{e}")))?;
        let worker = Worker::new(Extractor::new(Arc::new(vectors)), kernel, Arc::clone(&pool));
        info!(%kernel, threads = worker.threads(), "compute worker");

        let metrics = Arc::new(Metrics::new());
        metrics.set_build_info(&kernel.to_string());
        let views = Arc::new(Views::default());
        let clock = Clock::start();
        let (publisher, intake) = EmbeddedIntake::new(INTAKE_BYTES);
        let perform = Arc::new(move |job: &_| worker.perform(job));
        let jobs: Arc<dyn Jobs> = EmbeddedJobs::new(perform, Arc::clone(&pool), JOB_QUEUE)
            .map_err(|error| StartError::Threads(error.to_string()))?;

        let arbiters: Vec<Arbiter> = (0..=DOMAIN_ARBITERS).map(|_| Arbiter::new()).collect();
        let limits = DispatchLimits {
            per_domain: JOBS_PER_DOMAIN,
            total: JOBS_IN_FLIGHT,
            deadline: config.job_deadline,
        };
        let supervisor = DurationSupervisor::start_supervising(
            jobs,
            limits,
            clock,
            Arc::clone(&metrics),
            &arbiters[0].handle(),
        );
        let exhausted = Arc::new(tokio::sync::Notify::new());
        let parts = Arc::new(ServiceParts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            views: Arc::clone(&views),
            watchers: Arc::new(NoWatchers),
            metrics: Arc::clone(&metrics),
            preprocessor: Arc::new(preprocessor),
            pool,
            supervisor,
            settings: DomainSettings {
                model: WORDS_1.to_owned(),
                window: WindowSize {
                    length: config.window,
                    events: config.window_events,
                },
                auto_register: config.auto_register,
                strip_blocks: STRIP_BLOCKS,
                material_bytes: MATERIAL_BYTES,
                idle_after: config.idle_after,
            },
            exhausted: Arc::clone(&exhausted),
            clock,
        });
        let homes = arbiters[1..].iter().map(Arbiter::handle).collect();
        let (told, ownership) = mpsc::channel(1);
        let (hosting, mut hosted) = mpsc::channel(1);
        let me = Instance {
            owner: format!("standalone-{}", std::process::id()),
            address: address.to_string(),
        };
        let keeper = lease::keep(Arc::clone(&parts.store), PARTITION, me, exhausted, told);
        let keeper = tokio::task::spawn_local(keeper);
        let intake = Arc::new(OneIntake(Mutex::new(Some(intake))));
        let host = PartitionHost::new(PARTITION, parts, intake, homes);
        tokio::task::spawn_local(host.follow(ownership, hosting));
        let owned = tokio::time::timeout(OWN_DEADLINE, hosted.recv()).await;
        if !matches!(owned, Ok(Some(_))) {
            return Err(StartError::Owned);
        }
        tokio::task::spawn_local(async move { while hosted.recv().await.is_some() {} });
        observe(&metrics, &views, &store, &publisher);

        let publish: Arc<dyn Publish> = publisher;
        let readiness = Arc::new(Readiness::ready());
        tokio::task::spawn_local(watch(Arc::clone(&store), Arc::clone(&readiness)));
        let api = Arc::new(Api::new(
            Arc::clone(&publish),
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&views),
            Arc::clone(&metrics),
            config.limits(),
            Arc::clone(&readiness),
        ));
        let server = crate::serving::serve(listener, api)
            .map_err(|error| StartError::Listen { address, error })?;
        let handle = server.handle();
        actix::spawn(server);
        info!(%address, data_dir = %config.data_dir.display(), "serving");
        Ok(Self {
            address,
            publish,
            views,
            store,
            metrics,
            server: handle,
            readiness,
            keeper,
            arbiters,
        })
    }

    /// Waits until every active domain is quiet: its lists are exact and stored. `false`: not
    /// within `deadline`.
    pub async fn quiet(&self, deadline: Duration) -> bool {
        let all_quiet = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            loop {
                look.tick().await;
                if self.views.all().iter().all(|(_, view)| view.status().quiet) {
                    break;
                }
            }
        };
        tokio::time::timeout(deadline, all_quiet).await.is_ok()
    }

    /// Answers what has been asked, finishes what has been begun as far as that is quick, and
    /// stops. What is unfinished is durable and goes on at the next start.
    pub async fn stop(self) {
        /// How long lists may still be made and stored: half of what a stop may take.
        const DRAIN: Duration = Duration::from_secs(4);
        self.readiness.not_ready("service", "stopping");
        self.server.stop(true).await;
        if !self.quiet(DRAIN).await {
            info!("stopping with work in hand; it goes on at the next start");
        }
        self.keeper.abort();
        for arbiter in self.arbiters {
            arbiter.stop();
            // The thread ends once its actors have; it holds nothing that must be saved.
            drop(arbiter);
        }
    }
}

/// The built-in word vectors, and those of the configuration.
fn vectors(config: &Config) -> Result<Vectors, VectorsError> {
    config
        .vectors
        .iter()
        .try_fold(Vectors::builtin(), |vectors, more| {
            vectors.with(&more.language, &more.path)
        })
}

/// The intake of this process; there is one, and its one partition is never lost.
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

/// Says whether the store takes writes, for as long as somebody asks.
async fn watch(store: Arc<EmbeddedStore>, readiness: Arc<Readiness>) {
    /// How often it is looked.
    const EVERY: Duration = Duration::from_secs(1);
    let mut look = tokio::time::interval(EVERY);
    loop {
        look.tick().await;
        match store.trouble() {
            Some(trouble) => readiness.not_ready("store", trouble),
            None => readiness.set_ready("store"),
        }
    }
}

/// Gauges that follow from other state are set when somebody looks.
fn observe(
    metrics: &Metrics,
    views: &Arc<Views>,
    store: &Arc<EmbeddedStore>,
    publisher: &Arc<EmbeddedPublisher>,
) {
    let (views, store) = (Arc::clone(views), Arc::clone(store));
    let publisher = Arc::clone(publisher);
    metrics.on_scrape(Box::new(move |metrics| {
        let (mut active, mut waiting, mut dirty, mut backing_off, mut pending) = (0, 0, 0, 0, 0);
        for (_, view) in views.all() {
            let status = view.status();
            active += 1;
            waiting += i64::from(matches!(
                status.state,
                "extracting" | "comparing" | "storing"
            ));
            dirty += i64::from(!status.quiet);
            backing_off += i64::from(status.state == "backing-off");
            pending += i64::try_from(status.pending).unwrap_or(i64::MAX);
        }
        metrics.domains_active.set(active);
        metrics.domains_waiting.set(waiting);
        metrics.domains_dirty.set(dirty);
        metrics.domains_backing_off.set(backing_off);
        metrics.items_pending.set(pending);
        metrics
            .intake_bytes
            .set(i64::try_from(publisher.bytes_on_their_way()).unwrap_or(i64::MAX));
        for (table, rows) in store.writes() {
            let counter = metrics.store_rows_written.with_label_values(&[table]);
            counter.inc_by(rows.saturating_sub(counter.get()));
        }
    }));
}
