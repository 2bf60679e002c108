//! Clustered: events and jobs over RabbitMQ, everything durable in Cassandra/ScyllaDB, one lease a
//! partition, compute workers elsewhere.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use async_trait::async_trait;
use chrono::Utc;
use kindred_shared::amqp::{Backoff, Connector, Names, Publisher, declare};
use kindred_shared::cql::CqlOptions;
use kindred_shared::cql_blocks::CqlBlocks;
use kindred_shared::event::Limits;
use kindred_shared::host::host_name;
use kindred_shared::name::WORDS_1;
use kindred_shared::{DomainName, ItemId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

use crate::actors::lease::{self, Instance};
use crate::actors::partition::{OpenIntake, PartitionHost};
use crate::actors::supervisor::DurationSupervisor;
use crate::actors::watchdog;
use crate::actors::{Clock, DomainSettings, ServiceParts};
use crate::config::Config;
use crate::dispatch::Jobs;
use crate::dispatch::rabbitmq::{RabbitJobs, RabbitJobsOptions};
use crate::dispatch::table::DispatchLimits;
use crate::domain::window::WindowSize;
use crate::intake::rabbitmq::{Notifier, RabbitIntake, RabbitIntakeOptions, RabbitPublisher};
use crate::intake::{Failure, Intake, Notify, Publish};
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessor;
use crate::serving::view::Views;
use crate::serving::{Api, Readiness};
use crate::store::cassandra::{CassandraOptions, CassandraStore};
use crate::store::{Partition, Store};

/// Bytes of events handed over and not settled, a partition.
const INTAKE_BYTES: usize = 32 << 20;
/// Messages read ahead, a partition.
const PREFETCH: u16 = 2_000;
/// Bytes of messages published and not confirmed.
const UNCONFIRMED_BYTES: usize = 32 << 20;
/// Jobs sent and not answered.
const JOBS_IN_FLIGHT: usize = 64;
/// Jobs of one domain in flight.
const JOBS_PER_DOMAIN: usize = 8;
/// Most right blocks of one compare job: its reply stays below the largest message.
const STRIP_BLOCKS: usize = 1;
/// Bytes of texts a domain keeps in memory for extraction; reading them again takes a while.
const MATERIAL_BYTES: usize = 4 << 20;
/// Threads that run domains' machines.
const DOMAIN_ARBITERS: usize = 2;

/// Why a model service does not start. What may pass by itself is waited for instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Only a person can help.
    #[error("{0}")]
    Refused(String),
}

/// A running model service.
pub struct Clustered {
    /// Where HTTP listens.
    pub address: SocketAddr,
    server: actix_web::dev::ServerHandle,
    readiness: Arc<Readiness>,
    keepers: Vec<JoinHandle<()>>,
    hosts: Vec<JoinHandle<()>>,
    jobs: Arc<RabbitJobs>,
}

impl Clustered {
    /// Waits for broker and database, then serves whatever partitions it can own. Call inside an
    /// actix system.
    ///
    /// # Errors
    /// [`StartError`], in words that say what to do.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let refused = |words: String| StartError::Refused(words);
        let listen = |error| StartError::Listen {
            address: config.listen,
            error,
        };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let preprocessor = Preprocessor::new(&config.languages, &config.default_language)
            .map_err(|error| refused(error.to_string()))?;
        let vectors = config
            .vectors
            .iter()
            .try_fold(
                compute_worker::features::Vectors::builtin(),
                |vectors, more| vectors.with(&more.language, &more.path),
            )
            .map_err(|error| refused(error.to_string()))?;
        let model = format!("{WORDS_1} (vectors {})", vectors.fingerprint());
        // Workers extract; the service only says which vectors they must have.
        drop(vectors);
        let connector = Connector::new(config.amqp_url.expose(), "kindred model-service")
            .map_err(|error| refused(error.to_string()))?;

        let store = open_store(config, model).await?;
        let blocks = CqlBlocks::writer(Arc::clone(store.session()), &config.cql_keyspace)
            .await
            .map_err(|error| refused(error.to_string()))?;
        let names = Names::default();
        declare_topology(&connector, &names, config.partitions).await?;

        let boot_id = boot_id();
        let jobs_options = RabbitJobsOptions {
            names: names.clone(),
            boot_id: boot_id.clone(),
            capacity: JOBS_IN_FLIGHT,
        };
        let jobs = RabbitJobs::start(connector.clone(), jobs_options, Arc::new(blocks));
        let publisher = Publisher::start(connector.clone(), "publish", UNCONFIRMED_BYTES);
        let metrics = Arc::new(Metrics::new());
        metrics.set_build_info("none");
        let views = Arc::new(Views::default());
        let clock = Clock::start();
        let arbiters: Vec<Arbiter> = (0..=DOMAIN_ARBITERS).map(|_| Arbiter::new()).collect();
        let supervisor = DurationSupervisor::start_supervising(
            Arc::clone(&jobs) as Arc<dyn Jobs>,
            DispatchLimits {
                per_domain: JOBS_PER_DOMAIN,
                total: JOBS_IN_FLIGHT,
                deadline: config.job_deadline,
            },
            clock,
            Arc::clone(&metrics),
            &arbiters[0].handle(),
        );
        let pool = compute_worker::pool(config.threads).map_err(|e| refused(e.to_string()))?;
        let exhausted = Arc::new(tokio::sync::Notify::new());
        let parts = Arc::new(ServiceParts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            views: Arc::clone(&views),
            watchers: Arc::new(Watchers(Notifier::new(publisher.clone(), names.clone()))),
            metrics: Arc::clone(&metrics),
            preprocessor: Arc::new(preprocessor),
            pool: Arc::new(pool),
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
        let homes: Vec<ArbiterHandle> = arbiters[1..].iter().map(Arbiter::handle).collect();
        watchdog::watch(
            homes
                .iter()
                .chain([&arbiters[0].handle(), &Arbiter::current()]),
        )
        .map_err(|error| refused(error.to_string()))?;
        let intake: Arc<dyn OpenIntake> = Arc::new(OpenRabbitIntake {
            connector,
            publisher: publisher.clone(),
            names: names.clone(),
            limits: config.limits(),
        });
        let me = Instance {
            owner: boot_id,
            address: config.advertised(address, &host_name()),
        };
        let (hosting, mut hosted) = mpsc::channel(1);
        let (mut keepers, mut hosts) = (Vec::new(), Vec::new());
        for number in 0..config.partitions {
            let partition = Partition(number);
            let (told, ownership) = mpsc::channel(1);
            let keeper = lease::keep(
                Arc::clone(&parts.store),
                partition,
                me.clone(),
                Arc::clone(&exhausted),
                told,
            );
            keepers.push(tokio::task::spawn_local(keeper));
            let host = PartitionHost::new(
                partition,
                Arc::clone(&parts),
                Arc::clone(&intake),
                homes.clone(),
            );
            hosts.push(tokio::task::spawn_local(
                host.follow(ownership, hosting.clone()),
            ));
        }
        tokio::task::spawn_local(async move {
            while let Some(partition) = hosted.recv().await {
                info!(partition = partition.0, "hosting");
            }
        });

        let readiness = Arc::new(Readiness::waiting_for("broker", "not connected yet"));
        let publish = Arc::new(RabbitPublisher::new(publisher, names));
        tokio::task::spawn_local(watch(
            Arc::clone(&publish),
            Arc::clone(&jobs),
            Arc::clone(&store),
            Arc::clone(&readiness),
        ));
        let api = Arc::new(Api::new(
            publish as Arc<dyn Publish>,
            Arc::clone(&store) as Arc<dyn Store>,
            views,
            metrics,
            config.limits(),
            Arc::clone(&readiness),
        ));
        let server = crate::serving::serve(listener, api).map_err(listen)?;
        let handle = server.handle();
        actix::spawn(server);
        info!(%address, partitions = config.partitions, "serving");
        Ok(Self {
            address,
            server: handle,
            readiness,
            keepers,
            hosts,
            jobs,
        })
    }

    /// Answers what has been asked, lets go of the partitions and stops. What is unfinished is
    /// durable, and goes on with the next owner.
    pub async fn stop(self) {
        self.readiness.not_ready("service", "stopping");
        self.server.stop(true).await;
        for keeper in self.keepers {
            keeper.abort();
        }
        // Hosts let go when nobody tells them of the ownership any more.
        for host in self.hosts {
            let _ = host.await;
        }
        self.jobs.close();
    }
}

async fn open_store(config: &Config, model: String) -> Result<Arc<CassandraStore>, StartError> {
    let login = config.cql_login();
    let options = CassandraOptions {
        database: CqlOptions {
            nodes: config.cql_nodes.clone(),
            user: login.map(|(user, _)| user.to_owned()),
            password: login.map(|(_, password)| password.to_owned()),
        },
        keyspace: config.cql_keyspace.clone(),
        replication_factor: u8::try_from(config.cql_replication).unwrap_or(u8::MAX),
        partitions: config.partitions,
        model,
        allow_periodic: config.cql_allow_periodic,
    };
    CassandraStore::wait(&options)
        .await
        .map_err(|error| StartError::Refused(error.to_string()))
}

/// Declares what is not there yet, waiting for the broker for as long as it takes.
async fn declare_topology(
    connector: &Connector,
    names: &Names,
    partitions: u16,
) -> Result<(), StartError> {
    let mut backoff = Backoff::default();
    loop {
        let connection = connector.connect_patiently("topology").await;
        let declared = declare(&connection, names, partitions).await;
        kindred_shared::amqp::close(&connection).await;
        match declared {
            Ok(()) => return Ok(()),
            Err(error) => backoff.wait(&connector.place(), "topology", &error).await,
        }
    }
}

/// Opens the queue of a partition.
struct OpenRabbitIntake {
    connector: Connector,
    publisher: Publisher,
    names: Names,
    limits: Limits,
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
        };
        let intake = RabbitIntake::start(self.connector.clone(), self.publisher.clone(), options);
        Ok(Box::new(intake))
    }
}

/// Those who listen on `kindred.domains`.
struct Watchers(Notifier);

#[async_trait]
impl Notify for Watchers {
    async fn notify(&self, domain: &DomainName, ids: &[ItemId]) -> Result<(), Failure> {
        self.0
            .neighbours_updated(domain, ids, WORDS_1, Utc::now())
            .await
            .map_err(|error| Failure {
                needs_help: false,
                detail: error.to_string(),
            })
    }
}

/// Says whether both edges work.
async fn watch(
    publish: Arc<RabbitPublisher>,
    jobs: Arc<RabbitJobs>,
    store: Arc<CassandraStore>,
    readiness: Arc<Readiness>,
) {
    /// How often it is looked.
    const EVERY: Duration = Duration::from_secs(1);
    let mut look = tokio::time::interval(EVERY);
    loop {
        look.tick().await;
        if publish.is_connected() && jobs.is_connected() {
            readiness.set_ready("broker");
        } else {
            readiness.not_ready("broker", "not connected");
        }
        match store.lease(Partition(0)).await {
            Ok(_) => readiness.set_ready("database"),
            Err(error) => readiness.not_ready("database", error.to_string()),
        }
    }
}

/// Names this start of this process.
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
