//! The service itself, over whichever implementations of the edges it is given: actors, leases and HTTP.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_server::{Server, ServerHandle};
use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::actors::clock::Clock;
use crate::actors::comparer::Comparer;
use crate::actors::experiments::Experiments;
use crate::actors::lease::Instance;
use crate::actors::memory::MemoryAccount;
use crate::actors::partition::OpenIntake;
use crate::actors::partitions::Partitions;
use crate::actors::scans::Scans;
use crate::actors::services::ServiceParts;
use crate::actors::supervisor::DurationSupervisor;
use crate::actors::texts::{Extract, Texts};
use crate::actors::waking::Waking;
use crate::client::{Trust, TrustError};
use crate::config::{self, Config};
use crate::http::{
    self, Callers, Deadlines, FeedbackDoor, Gate, Guard, Hosts, Lobby, Others, Parts, Queries,
    Readiness, Reads, Tls, Workers, Writes,
};
use crate::keys::{KeyRing, Peers, Sessions};
use crate::metrics::Metrics;
use crate::owners::{HostedPartitions, Owners};
use crate::preprocessing::Preprocessors;
use compute_worker::models::default_model;
use kindred_domain::dispatch::Jobs;
use kindred_domain::dispatch_table::{DispatchLimits, WORK_PER_THREAD};
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::habits::SampleSize;
use kindred_domain::intake::{Notify, Publish};
use kindred_domain::keys::KeyStore;
use kindred_domain::lease::LeaseTimes;
use kindred_domain::memory::Memory;
use kindred_domain::settings::ProcessSettings;
use kindred_domain::status::{DomainStatus, LoadedState};
use kindred_domain::store::{Partition, Store, StoreError};
use kindred_domain::window::WindowSize;
use kindred_query::Views;
use kindred_runtime::host::host_name;
use kindred_runtime::tls::TlsError;
use kindred_shared::{ModelName, effort};

/// Threads that run domains' machines.
const DOMAIN_ARBITERS: usize = 2;
/// How often domains are checked for being quiet.
const QUIET_LOOK: Duration = Duration::from_millis(5);

/// Cannot listen on the address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}; choose another with --{flag}")]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    /// The flag that sets it.
    flag: &'static str,
    /// The system's error.
    error: std::io::Error,
}

/// Where HTTP listens from the very start: until the service is up, the lobby says what it is waiting for.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    lobby: Arc<Lobby>,
    pub(crate) keys: Arc<KeyRing>,
    others: Others,
    /// Whether everyone may do everything while there is no key.
    is_open_without: bool,
    servers: Vec<ServerHandle>,
}

impl Door {
    /// Starts listening. Call inside an actix system.
    pub(crate) fn open(
        config: &config::Http,
        readiness: Readiness,
        access: Access,
    ) -> Result<Self, ListenError> {
        let address = config.listen;
        let refused = |error| ListenError {
            address,
            flag: "listen",
            error,
        };
        raise_open_files(config.connections);
        let listener = TcpListener::bind(address).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let (metrics, readiness) = (Arc::new(Metrics::new()), Arc::new(readiness));
        let advertised = config.advertised(bound, &host_name());
        let hosts = Hosts::new(config, bound, &advertised);
        let is_open_without = access.open_to_network || bound.ip().is_loopback();
        let keys = Arc::new(KeyRing::new(access.admin_key_file, is_open_without));
        let guard = Guard {
            keys: Arc::clone(&keys),
            peers: access.others.peers.clone(),
            address: advertised,
            callers: Arc::new(Callers::new(config)),
            sessions: Sessions::default(),
            is_https: access.tls.is_some(),
        };
        let lobby = Arc::new(Lobby::new(Arc::clone(&readiness), hosts, guard));
        actix::spawn(http::keep_sampling(
            Arc::clone(&lobby),
            Arc::clone(&metrics),
        ));
        let gate = Arc::new(Gate::new(config));
        let (seen, counted) = (Arc::clone(&lobby), Arc::clone(&metrics));
        let tls = access.tls.clone();
        if let Some(tls) = &tls {
            actix::spawn(Arc::clone(tls).keep_reading());
        }
        let server = http::serve(listener, &gate, Deadlines::default(), tls, seen, counted);
        let server = server.map_err(refused)?;
        let mut servers = vec![server.handle()];
        actix::spawn(server);
        if let Some(address) = config.metrics_listen {
            let server = listen_for_metrics(address, Arc::clone(&metrics));
            let server = server.map_err(|error| ListenError {
                address,
                flag: "metrics-listen",
                error,
            })?;
            servers.push(server.handle());
            actix::spawn(server);
        }
        Ok(Self {
            address: bound,
            metrics,
            readiness,
            lobby,
            keys,
            others: access.others,
            is_open_without,
            servers,
        })
    }

    /// Whether instances sign their requests to each other.
    pub(crate) fn has_peers(&self) -> bool {
        self.others.peers.is_some()
    }

    /// Uses the keys of the store from now on. May be called again until the keys have been read.
    ///
    /// # Errors
    /// When they cannot be read, or there is none and the address can be reached from outside.
    pub(crate) async fn guard(&self, store: Arc<dyn KeyStore>) -> Result<(), GuardError> {
        self.keys.fill_from(store).await?;
        if let Some(path) = self.keys.lacks() {
            return Err(GuardError::AdminFile(path.to_owned()));
        }
        if !self.keys.has_any() && !self.is_open_without {
            return Err(GuardError::Exposed(self.address));
        }
        actix::spawn(Arc::clone(&self.keys).keep_reading());
        Ok(())
    }
}

/// The configuration of keys and TLS, in the form a service needs.
#[derive(Debug)]
pub(crate) struct Access {
    admin_key_file: Option<PathBuf>,
    open_to_network: bool,
    tls: Option<Arc<Tls>>,
    others: Others,
}

/// Keys or TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file of a secret.
    #[error(transparent)]
    Secret(#[from] config::SecretError),
    /// This service's certificate, or the certificates of clients.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The certificates of other instances.
    #[error("TLS: {0}")]
    Trust(#[from] TrustError),
}

impl Access {
    /// From the configuration.
    ///
    /// # Errors
    /// When a file cannot be read or has invalid content.
    pub(crate) fn configured(config: &Config) -> Result<Self, AccessError> {
        let secret = config.access.shared_secret()?;
        Ok(Self {
            admin_key_file: config.access.admin_key_file.clone(),
            open_to_network: config.access.open_to_network,
            tls: Tls::configured(&config.tls)?,
            others: Others {
                peers: secret.map(|secret| Arc::new(Peers::new(secret.expose()))),
                trust: Trust::configured(&config.tls)?,
                scheme: config.tls.scheme(),
            },
        })
    }
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The address can be reached from outside, and there is no key.
    #[error(
        "{0} can be reached from outside, and there is no key: anyone could read and delete \
         everything. Create a key (`kindred keys create --grant admin`), listen on a loopback \
         address, or allow it: open_to_network = true"
    )]
    Exposed(SocketAddr),
    /// There is no key where one should be.
    #[error(
        "admin_key_file = {}: it cannot be read, or does not hold a key, which is kk_ and 43 \
        characters of base64url", .0.display()
    )]
    AdminFile(PathBuf),
    /// The keys cannot be read.
    #[error("keys cannot be read: {0}")]
    Store(#[from] StoreError),
}

fn listen_for_metrics(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<Server> {
    let listener = TcpListener::bind(address)?;
    info!(address = %listener.local_addr()?, "metrics need no key here");
    http::serve_metrics(listener, metrics)
}

/// Files for the store, the broker and the database, besides HTTP connections.
const OTHER_FILES: u64 = 512;

/// Raises this process's limit on open files to the configured number of connections: the default
/// is often lower.
fn raise_open_files(connections: usize) {
    let wanted = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let raised_to = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    let is_raised = setrlimit(Resource::Nofile, raised_to).is_ok();
    if raised < wanted || !is_raised {
        let files = if is_raised {
            Some(raised)
        } else {
            limit.current
        };
        warn!(
            connections,
            files,
            "the limit on open files is lower than the configured number of connections: raise \
            it (ulimit -n)"
        );
    }
}

/// The implementations of the edges.
pub(crate) struct Edges {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) experiments: Arc<dyn ExperimentStore>,
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) intake: Arc<dyn OpenIntake>,
    pub(crate) publish: Arc<dyn Publish>,
    pub(crate) watchers: Arc<dyn Notify>,
}

/// Most items per cycle of a domain.
const BATCH_ITEMS: usize = 4_096;
/// Most lists that removed items are taken out of in one step: a millisecond's work or two.
const SCRUB_LISTS: usize = 8_192;
/// From this many outdated features on, all items are compared with all once the features are
/// recomputed; fewer are compared in cycles, some hundreds at a time.
const MANY_OUTDATED: usize = 4_096;

/// Sizes that depend on the cost of the edges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Jobs sent and not answered, however many workers there are.
    pub(crate) jobs_in_flight: usize,
    /// Bytes of texts that a domain keeps in memory for extraction.
    pub(crate) material_bytes: usize,
}

/// What a role provides to its service.
pub(crate) struct Role {
    /// This instance, as the others know it.
    pub(crate) me: Instance,
    pub(crate) edges: Edges,
    pub(crate) sizes: Sizes,
    pub(crate) preprocessors: Arc<Preprocessors>,
    /// Runs the service's own CPU work.
    pub(crate) pool: Arc<rayon::ThreadPool>,
    /// Compares all rows of a domain when it is loaded.
    pub(crate) comparer: Comparer,
    /// Computes queries.
    pub(crate) scans: Scans,
    /// Makes features of texts in queries.
    pub(crate) extract: Extract,
    /// The kinds of models whose features this program's encoders make.
    pub(crate) encoders: Vec<ModelName>,
}

/// A running service.
pub struct Service {
    /// The address of HTTP.
    pub address: SocketAddr,
    /// Publishes events of this process.
    pub publish: Arc<dyn Publish>,
    /// The views of active domains.
    pub views: Arc<Views>,
    pub(crate) store: Arc<dyn Store>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) hosted: Arc<HostedPartitions>,
    /// Accepts feedback that does not come over HTTP.
    pub(crate) feedback: Arc<FeedbackDoor>,
    servers: Vec<ServerHandle>,
    partitions: Partitions,
    arbiters: Vec<Arbiter>,
}

impl Service {
    /// Takes whichever partitions it can own, and serves. Call inside an actix system.
    pub(crate) fn start(config: &Config, door: Door, role: Role) -> Self {
        let arbiters: Vec<Arbiter> = (0..=DOMAIN_ARBITERS).map(|_| Arbiter::new()).collect();
        let of_jobs = arbiters[0].handle();
        let of_domains: Vec<ArbiterHandle> = arbiters[1..].iter().map(Arbiter::handle).collect();

        let Role { me, edges, .. } = &role;
        let parts = Arc::new(role.parts(config, &door.metrics, &of_jobs));
        let hosted = Arc::new(HostedPartitions::default());
        let count = config.domains.partitions;
        let intake = &edges.intake;
        let partitions = Partitions::start(count, me.clone(), &parts, intake, &of_domains, &hosted);
        observe(&parts, &hosted, count);
        let memory = parts.memory.balance().budget;
        let queries = role.queries(config, &parts);
        let encoders = role.encoders.clone();
        let behind = edges.behind_http(
            config,
            me,
            &parts,
            &hosted,
            (queries, encoders),
            door.others,
        );
        let (reads, queries) = (Arc::clone(&behind.reads), Arc::clone(&behind.queries));
        door.lobby.open(behind);
        info!(address = %door.address, partitions = count, memory, "serving");
        Self {
            address: door.address,
            publish: Arc::clone(&edges.publish),
            views: Arc::clone(&parts.views),
            store: Arc::clone(&parts.store),
            metrics: door.metrics,
            readiness: door.readiness,
            hosted,
            feedback: Arc::new(FeedbackDoor::new(reads, queries)),
            servers: door.servers,
            partitions,
            arbiters,
        }
    }

    /// The threads that run actors.
    pub(crate) fn arbiters(&self) -> Vec<ArbiterHandle> {
        let own = self.arbiters.iter().map(Arbiter::handle);
        own.chain([Arbiter::current()]).collect()
    }

    /// Waits until every active domain is quiet: its lists are exact and stored. Returns `false` if
    /// that takes longer than `deadline`.
    pub async fn quiet(&self, deadline: Duration) -> bool {
        self.all(deadline, |status| status.quiet).await
    }

    /// Waits until the condition holds for every active domain. `false`: not within `deadline`.
    async fn all(&self, deadline: Duration, is_so: impl Fn(&DomainStatus) -> bool) -> bool {
        let all = async {
            let mut look = tokio::time::interval(QUIET_LOOK);
            loop {
                look.tick().await;
                if self
                    .views
                    .all()
                    .iter()
                    .all(|(_, view)| is_so(&view.status()))
                {
                    break;
                }
            }
        };
        timeout(deadline, all).await.is_ok()
    }

    /// Answers pending requests, waits up to `drain` for lists in progress to become durable and
    /// for domains to be marked clean, hands the partitions over and stops. Unfinished work is
    /// durable and continues with the next owner.
    pub(crate) async fn stop(self, drain: Duration) {
        self.readiness.not_ready("service", "stopping");
        join_all(self.servers.iter().map(|server| server.stop(true))).await;
        if !drain.is_zero() && !self.all(drain, |status| status.clean).await {
            info!("stopping with unfinished work; it continues at the next start");
        }
        self.partitions.hand_over().await;
        for arbiter in self.arbiters {
            arbiter.stop();
            // The thread ends when its actors have; it holds nothing that must be saved.
            drop(arbiter);
        }
    }
}

impl Role {
    /// The services shared by all domains; their jobs are supervised on an arbiter.
    fn parts(
        &self,
        config: &Config,
        metrics: &Arc<Metrics>,
        of_jobs: &ArbiterHandle,
    ) -> ServiceParts {
        let clock = Clock::start();
        let limits = DispatchLimits {
            total: self.sizes.jobs_in_flight,
            per_thread: WORK_PER_THREAD,
            deadline: config.compute.job_deadline,
        };
        let jobs = Arc::clone(&self.edges.jobs);
        let counted = Arc::clone(metrics);
        let supervisor =
            DurationSupervisor::start_supervising(jobs, limits, clock, counted, of_jobs);
        let views = Arc::new(Views::default());
        let experiments = Experiments::new(
            Arc::clone(&self.edges.experiments),
            Arc::clone(&self.edges.store),
            Arc::clone(&views),
            Arc::clone(&self.edges.watchers),
            Arc::clone(metrics),
        );
        ServiceParts {
            store: Arc::clone(&self.edges.store),
            views,
            experiments,
            watchers: Arc::clone(&self.edges.watchers),
            metrics: Arc::clone(metrics),
            preprocessors: Arc::clone(&self.preprocessors),
            pool: Arc::clone(&self.pool),
            comparer: self.comparer.clone(),
            supervisor,
            settings: Arc::new(ProcessSettings {
                model: default_model(),
                window: WindowSize {
                    length: config.domains.window,
                    events: config.domains.window_events,
                },
                auto_register: config.domains.auto_register,
                task_pairs: effort::PIECE_PAIRS,
                batch_items: BATCH_ITEMS,
                scrub_lists: SCRUB_LISTS,
                attributes: config.events.max_attributes,
                material_bytes: self.sizes.material_bytes,
                sample: SampleSize::default(),
                many_outdated: MANY_OUTDATED,
            }),
            idle_after: config.domains.idle_after,
            lease: lease_times(&config.lease),
            memory: Arc::new(MemoryAccount::new(config.domains.memory.bytes())),
            waking: Arc::new(Waking::default()),
            clock,
        }
    }

    /// What queries use.
    fn queries(&self, config: &Config, parts: &ServiceParts) -> Queries {
        let texts = Texts::new(Arc::clone(&self.preprocessors), Arc::clone(&self.extract));
        Queries {
            scans: self.scans.clone(),
            texts,
            waking: Arc::clone(&parts.waking),
            limits: config.events.limits(),
            experiments: Arc::clone(&parts.experiments),
        }
    }
}

impl Edges {
    /// What HTTP handlers use.
    fn behind_http(
        &self,
        config: &Config,
        me: &Instance,
        parts: &ServiceParts,
        hosted: &Arc<HostedPartitions>,
        (queries, encoders): (Queries, Vec<ModelName>),
        others: Others,
    ) -> Parts {
        let (store, views) = (Arc::clone(&self.store), Arc::clone(&parts.views));
        let count = config.domains.partitions;
        let dead_after = config.lease.lease_take;
        let owners = Owners::new(Arc::clone(&store), Arc::clone(hosted), count, dead_after);
        let (publish, metrics) = (Arc::clone(&self.publish), Arc::clone(&parts.metrics));
        Parts {
            reads: Arc::new(Reads::new(
                me.address.clone(),
                store,
                views,
                owners,
                parts.clock,
                others,
            )),
            queries: Arc::new(queries),
            writes: Arc::new(
                Writes::new(publish, config.events.limits(), metrics).with_encoders(encoders),
            ),
            workers: Arc::new(Workers(Arc::clone(&self.jobs))),
        }
    }
}

/// Lease times, as configured.
fn lease_times(config: &config::Lease) -> LeaseTimes {
    LeaseTimes {
        beat: config.lease_beat,
        stop: config.lease_stop,
        take: config.lease_take,
    }
}

/// Sets the gauges derived from other state at every scrape.
fn observe(parts: &ServiceParts, hosted: &Arc<HostedPartitions>, partitions: u16) {
    let (views, store) = (Arc::clone(&parts.views), Arc::clone(&parts.store));
    let (account, hosted) = (Arc::clone(&parts.memory), Arc::clone(hosted));
    let clock = parts.clock;
    parts.metrics.on_scrape(Box::new(move |metrics| {
        let (mut active, mut waiting, mut dirty, mut backing_off, mut pending) = (0, 0, 0, 0, 0);
        let (mut oldest, mut unstored) = (Duration::ZERO, 0);
        let now = clock.now().monotonic;
        let mut memory = Memory::default();
        for (_, view) in views.all() {
            let status = view.status();
            memory += status.memory;
            active += 1;
            waiting += i64::from(status.state.is_waiting());
            dirty += i64::from(!status.clean);
            backing_off += i64::from(status.state == LoadedState::BackingOff);
            pending += gauge(status.pending);
            unstored += gauge(status.unstored);
            oldest = oldest.max(status.oldest_pending_age(now).unwrap_or_default());
        }
        metrics.domains_active.set(active);
        metrics.domains_waiting.set(waiting);
        metrics.domains_dirty.set(dirty);
        metrics.domains_backing_off.set(backing_off);
        metrics.items_pending.set(pending);
        metrics.oldest_pending.set(oldest.as_secs_f64());
        metrics.flush_queue.set(unstored);
        for partition in (0..partitions).map(Partition) {
            let owned = metrics
                .partition_owned
                .with_label_values(&[partition.0.to_string()]);
            owned.set(i64::from(hosted.has(partition)));
        }
        let balance = account.balance();
        metrics.memory.set(gauge(balance.used));
        metrics.memory_budget.set(gauge(balance.budget));
        let loading = [("loading", balance.loading)];
        for (part, bytes) in memory.parts().into_iter().chain(loading) {
            let of_part = metrics.memory_parts.with_label_values(&[part]);
            of_part.set(gauge(bytes));
        }
        metrics.damaged_rows.set(gauge(store.damaged_rows()));
        for (table, rows) in store.rows_written() {
            let counter = metrics.store_rows_written.with_label_values(&[table]);
            counter.inc_by(rows.saturating_sub(counter.get()));
        }
    }));
}

/// A count as a gauge's value.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
