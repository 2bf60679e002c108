//! Clustered: events and jobs over RabbitMQ, all data in Cassandra/ScyllaDB, one lease per
//! partition, compute workers elsewhere.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chrono::Utc;
use compute_worker::models::Models;
use kindred_runtime::amqp::{Connector, Names, Publisher, RECONNECT, declare, wait_out};
use kindred_runtime::cql_blocks::CqlBlocks;
use kindred_runtime::host::host_name;
use kindred_shared::event::Limits;
use kindred_shared::job::Job;
use kindred_shared::{DomainName, ItemId, ModelInputs, ModelName};
use tokio::time::MissedTickBehavior;
use tracing::info;

use crate::actors::comparer::Comparer;
use crate::actors::lease::Instance;
use crate::actors::partition::OpenIntake;
use crate::actors::scans::Scans;
use crate::actors::services::{PACED_BYTES, PACED_EVENTS};
use crate::actors::watchdog;
use crate::config::Config;
use crate::dispatch::OwnWorker;
use crate::dispatch::embedded::EmbeddedJobs;
use crate::dispatch::rabbitmq::{RabbitJobs, RabbitJobsOptions};
use crate::dispatch::understudy::Understudy;
use crate::http::{Readiness, Steady};
use crate::intake::rabbitmq::{
    Notifier, RabbitIntake, RabbitIntakeOptions, RabbitPublisher, Settlements, TakeFeedback,
    read_feedback,
};
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessors;
use crate::service::{Access, Door, Edges, GuardError, ListenError, Role, Service, Sizes};
use crate::store::cassandra::{Agreement, CassandraOptions, CassandraStore};
use kindred_domain::dispatch::Jobs;
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::intake::{Failure, Intake, Notify};
use kindred_domain::keys::KeyStore;
use kindred_domain::store::{Partition, Store};

/// Most bytes of events delivered and not settled, per partition.
const INTAKE_BYTES: usize = 32 << 20;
/// Messages read ahead, per partition.
const PREFETCH: u16 = 2_000;
/// Events that wait for their domain's turn leave room for those of other domains.
const _: () = assert!(2 * PACED_EVENTS <= PREFETCH as usize && 2 * PACED_BYTES <= INTAKE_BYTES);
/// Most bytes of messages published and not confirmed.
const UNCONFIRMED_BYTES: usize = 32 << 20;
/// Sizes for this role. Reading texts again is slow, so more of them are kept.
const SIZES: Sizes = Sizes {
    jobs_in_flight: 256,
    material_bytes: 4 << 20,
};

/// Why a model service does not start. Problems that may pass by themselves are waited for instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Cannot listen on the address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Only a person can fix it.
    #[error("{0}")]
    Refused(String),
    /// The configuration is invalid.
    #[error("{0}")]
    Misconfigured(String),
}

/// A running model service: a [`Service`] on the broker and the database.
pub struct Clustered {
    service: Service,
    jobs: Arc<RabbitJobs>,
}

impl Deref for Clustered {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Clustered {
    /// Waits for the broker and the database, then serves whichever partitions it can own. Call
    /// inside an actix system.
    ///
    /// # Errors
    /// [`StartError`], with a message that says what to do.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let readiness = Readiness::waiting_for("broker", "not connected yet");
        readiness.not_ready("database", "not connected yet");
        let access = Access::configured(config)
            .map_err(|error| StartError::Misconfigured(error.to_string()))?;
        let door = Door::open(&config.http, readiness, access)?;
        info!(address = %door.address, "waiting for the broker and the database");
        let texts = &config.texts;
        let preprocessors =
            Preprocessors::new(&texts.languages, &texts.default_language).map_err(refused)?;
        let kernel = config.compute.kernel.chosen().map_err(refused)?;
        // Workers extract; the service only specifies their models, and keeps neither vectors nor encoders.
        let (models, encoders) = {
            let models = Models::configured(texts, kernel).map_err(refused)?;
            (models.inputs(), models.of_encoders())
        };
        let connector = config.broker.connector("kindred model-service");
        let connector = connector.map_err(refused)?;
        let threads = config.compute.threads;
        let pool = compute_worker::pool(threads).map_err(refused)?;
        let comparer = Comparer::new(kernel, threads).map_err(refused)?;
        let scans = Scans::new(kernel, threads, Arc::clone(&door.metrics)).map_err(refused)?;

        let store = open_store(config, models.clone()).await?;
        guard(&door, &store).await?;
        door.readiness.set_ready("database");
        let names = Names::default();
        declare_topology(&connector, &names, config).await?;
        let me = Instance {
            owner: boot_id(),
            address: config.http.advertised(door.address, &host_name()),
        };
        let jobs = start_jobs(config, &connector, &names, &store, &me).await?;
        let threads = Arc::new(compute_worker::pool(threads).map_err(refused)?);
        let own = OwnWorker::new(kernel, threads, texts.clone(), models);
        let own = Arc::new(own);
        let understudy = start_understudy(&jobs, Arc::clone(&own), &door.metrics)?;
        door.metrics.set_build_info("none");

        let publisher = Publisher::start(connector.clone(), "publish", UNCONFIRMED_BYTES);
        let of_feedback = (connector.clone(), publisher.clone(), names.clone());
        let broker = (connector, publisher, names);
        let role = Role {
            edges: Edges {
                jobs: understudy,
                ..edges(config, broker, &me.owner, &store, &jobs, &door)
            },
            me,
            sizes: SIZES,
            preprocessors: Arc::new(preprocessors),
            pool: Arc::new(pool),
            comparer,
            extract: {
                let pool = Arc::clone(scans.pool());
                Arc::new(move |job| own.perform_on(&pool, job))
            },
            encoders,
            scans,
        };
        let service = Service::start(config, door, role);
        let door = Arc::clone(&service.feedback) as Arc<dyn TakeFeedback>;
        let (connector, publisher, names) = of_feedback;
        tokio::task::spawn_local(read_feedback(connector, publisher, names, door));
        watchdog::watch(&service.arbiters()).map_err(refused)?;
        Ok(Self { service, jobs })
    }

    /// Compute workers that currently take jobs.
    pub fn workers(&self) -> usize {
        self.jobs.workers()
    }

    /// Answers pending requests, releases the partitions and stops. Unfinished work is durable, and
    /// continues with the next owner.
    pub async fn stop(self) {
        self.service.stop(Duration::ZERO).await;
        self.jobs.close();
    }
}

fn refused(error: impl ToString) -> StartError {
    StartError::Refused(error.to_string())
}

pub(crate) async fn open_store(
    config: &Config,
    models: Vec<ModelInputs>,
) -> Result<Arc<CassandraStore>, StartError> {
    let options = CassandraOptions {
        database: config.database.options(),
        keyspace: config.database.cql_keyspace.clone(),
        replication_factor: config.database.cql_replication,
        partitions: config.domains.partitions,
        models,
        agreement: Agreement::of(config),
        allow_periodic: config.database.cql_allow_periodic,
    };
    CassandraStore::wait(&options).await.map_err(refused)
}

/// Loads keys from the database, as soon as it answers.
async fn guard(door: &Door, store: &CassandraStore) -> Result<(), StartError> {
    let keys = Arc::new(store.keys().await.map_err(refused)?);
    let mut backoff = RECONNECT;
    loop {
        let keys = Arc::clone(&keys) as Arc<dyn KeyStore>;
        match door.guard(keys).await {
            Ok(()) => break,
            Err(GuardError::Store(error)) => {
                let delay = backoff.failed();
                tracing::warn!(%error, ?delay, "waiting for keys");
                tokio::time::sleep(delay).await;
            }
            Err(error) => return Err(StartError::Misconfigured(error.to_string())),
        }
    }
    if door.keys.has_any() && !door.has_peers() {
        tracing::warn!(
            "there are keys but no cluster_key: instances cannot ask each other. Set the same \
            cluster_key on all"
        );
    }
    Ok(())
}

/// The job queue to the workers; blocks are passed through the database.
async fn start_jobs(
    config: &Config,
    connector: &Connector,
    names: &Names,
    store: &CassandraStore,
    me: &Instance,
) -> Result<Arc<RabbitJobs>, StartError> {
    let keyspace = &config.database.cql_keyspace;
    let blocks = CqlBlocks::writer(Arc::clone(store.session()), keyspace).await;
    let options = RabbitJobsOptions {
        names: names.clone(),
        boot_id: me.owner.clone(),
        capacity: SIZES.jobs_in_flight,
    };
    let blocks = Arc::new(blocks.map_err(refused)?);
    Ok(RabbitJobs::start(connector.clone(), options, blocks))
}

/// The understudy, which does jobs while there are no workers, and both job queues.
fn start_understudy(
    workers: &Arc<RabbitJobs>,
    own: Arc<OwnWorker>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Understudy>, StartError> {
    let metrics = Arc::clone(metrics);
    let (pool, kernel) = (Arc::clone(own.pool()), own.kernel().to_string());
    let worker = Arc::clone(&own);
    let perform = Arc::new(move |job: &Job| worker.perform(job));
    let embedded = EmbeddedJobs::new(perform, pool, SIZES.jobs_in_flight, &kernel);
    let told = move |is_on: bool| {
        metrics.jobs_done_here.set(i64::from(is_on));
        if is_on {
            info!("no workers: jobs are done in this process until one arrives");
        } else {
            info!("workers are back");
            own.rest();
        }
    };
    Ok(Understudy::start(
        Arc::clone(workers) as Arc<dyn Jobs>,
        embedded.map_err(refused)?,
        SIZES.jobs_in_flight,
        Box::new(told),
    ))
}

/// Implements the edges over broker and database, and says who watches whether they work.
fn edges(
    config: &Config,
    (connector, publisher, names): (Connector, Publisher, Names),
    boot_id: &str,
    store: &Arc<CassandraStore>,
    jobs: &Arc<RabbitJobs>,
    door: &Door,
) -> Edges {
    let settlements = Settlements::new(boot_id.to_owned());
    let waiting = Arc::clone(&settlements);
    let publish = Arc::new(RabbitPublisher::new(
        publisher.clone(),
        names.clone(),
        waiting,
    ));
    tokio::task::spawn_local(watch(
        Arc::clone(&publish),
        Arc::clone(jobs),
        Arc::clone(store),
        Arc::clone(&door.readiness),
    ));
    Edges {
        store: Arc::clone(store) as Arc<dyn Store>,
        experiments: Arc::clone(store) as Arc<dyn ExperimentStore>,
        jobs: Arc::clone(jobs) as Arc<dyn Jobs>,
        watchers: Arc::new(Watchers(Notifier::new(publisher.clone(), names.clone()))),
        intake: Arc::new(OpenRabbitIntake {
            connector,
            publisher,
            names,
            limits: config.events.limits(),
            settlements,
            metrics: Arc::clone(&door.metrics),
        }),
        publish,
    }
}

/// Declares what is missing in the topology, waiting for the broker for as long as it takes.
async fn declare_topology(
    connector: &Connector,
    names: &Names,
    config: &Config,
) -> Result<(), StartError> {
    let log = config.event_log.retention();
    let mut backoff = RECONNECT;
    loop {
        let connection = connector.connect_patiently("topology").await;
        let declared = declare(&connection, names, config.domains.partitions, log).await;
        kindred_runtime::amqp::close(&connection).await;
        match declared {
            Ok(()) => return Ok(()),
            Err(error) => wait_out(&mut backoff, &connector.place(), "topology", &error).await,
        }
    }
}

/// Opens the queue of a partition.
struct OpenRabbitIntake {
    connector: Connector,
    publisher: Publisher,
    names: Names,
    limits: Limits,
    settlements: Arc<Settlements>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl OpenIntake for OpenRabbitIntake {
    async fn open(&self, partition: Partition) -> Result<Box<dyn Intake>, Failure> {
        let options = RabbitIntakeOptions {
            names: self.names.clone(),
            partition: partition.0,
            limits: self.limits,
            prefetch: PREFETCH,
            capacity_bytes: INTAKE_BYTES,
            settlements: Arc::clone(&self.settlements),
        };
        let (connector, publisher) = (self.connector.clone(), self.publisher.clone());
        let metrics = Arc::clone(&self.metrics);
        let intake = RabbitIntake::start(connector, publisher, options, metrics);
        Ok(Box::new(intake))
    }
}

/// The listeners on `kindred.domains`.
struct Watchers(Notifier);

#[async_trait]
impl Notify for Watchers {
    async fn notify(
        &self,
        domain: &DomainName,
        model: &ModelName,
        ids: &[ItemId],
    ) -> Result<(), Failure> {
        self.0
            .neighbours_updated(domain, ids, model, Utc::now())
            .await
            .map_err(|error| Failure::passing(error.to_string()))
    }

    async fn tell(&self, domain: &DomainName, kind: &str, message: String) -> Result<(), Failure> {
        let told = self.0.tell(domain, kind, message).await;
        told.map_err(|error| Failure::passing(error.to_string()))
    }
}

/// Reports whether both edges work. Without a broker readers can still be answered, once it has
/// been connected; without any node of the database, not for long.
async fn watch(
    publish: Arc<RabbitPublisher>,
    jobs: Arc<RabbitJobs>,
    store: Arc<CassandraStore>,
    readiness: Arc<Readiness>,
) {
    /// Check interval.
    const EVERY: Duration = Duration::from_secs(1);
    /// How long no database node must answer before the service is not ready.
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    /// Number of checks between two comparisons of the shared settings.
    const COMPARED: usize = 10;
    let begun = tokio::time::Instant::now();
    let mut looks = 0;
    let (mut database, mut was_connected) = (Steady::new(PATIENCE), false);
    loop {
        look.tick().await;
        if publish.is_connected() && jobs.is_connected() {
            was_connected = true;
            readiness.set_ready("broker");
        } else if was_connected {
            readiness.degrade("broker", "not connected");
        }
        looks += 1;
        if looks % COMPARED == 0 {
            match store.disagreement().await {
                Ok(Some(differences)) => {
                    tracing::error!(differences, "other instances have different settings");
                    readiness.not_ready("configuration", differences);
                }
                Ok(None) => readiness.set_ready("configuration"),
                Err(_) => {}
            }
        }
        let probed = store.probe().await;
        let is_steady = database.seen(begun.elapsed(), probed.is_ok());
        match probed {
            Ok(()) => readiness.set_ready("database"),
            Err(error) if is_steady => readiness.degrade("database", error.to_string()),
            Err(error) => readiness.not_ready("database", error.to_string()),
        }
    }
}

/// Identifies this start of this process.
fn boot_id() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{}-{}-{:x}",
        host_name(),
        std::process::id(),
        since.as_millis()
    )
}
