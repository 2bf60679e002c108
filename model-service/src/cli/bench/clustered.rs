//! The same measurement over RabbitMQ and Cassandra/ScyllaDB: a model service in this process, and
//! its own compute workers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kindred_runtime::amqp::{Names, QueueCounts, close, queue_counts};
use kindred_runtime::cql;

use super::super::exit::CommandError;
use crate::clustered::Clustered;
use crate::config::Config;
use crate::service::Service;

/// The worker program: built and installed next to this one.
const WORKER: &str = "compute-worker";
/// How long the broker, the database and the workers may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often readiness is checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts the service and its workers, measures, and stops everything. `measure`'s last argument is
/// the workers' process ids.
pub(super) async fn with_service<T>(
    workers: u16,
    mut config: Config,
    measure: impl AsyncFnOnce(&Service, &Config, &[u32]) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    config.domains.partitions = 1;
    config.database.cql_keyspace = format!("kindred_bench_{}", std::process::id());
    refuse_busy_broker(&config).await?;
    let service = tokio::time::timeout(READY_WITHIN, Clustered::start(&config))
        .await
        .map_err(|_| {
            CommandError::failed(format!(
                "the broker or the database was not reachable within {READY_WITHIN:?}"
            ))
        })?
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let measured = with_workers(workers, &config, &service, measure).await;
    service.stop().await;
    drop_keyspace(&config).await?;
    measured
}

async fn with_workers<T>(
    count: u16,
    config: &Config,
    service: &Clustered,
    measure: impl AsyncFnOnce(&Service, &Config, &[u32]) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let workers = (0..count)
        .map(|_| Worker::start(config))
        .collect::<Result<Vec<_>, _>>()?;
    let ready = async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        while service.hosted.count() == 0
            || service.workers() < usize::from(count)
            || !service.readiness.reasons().is_empty()
        {
            look.tick().await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready)
        .await
        .map_err(|_| {
            let reasons = service.readiness.reasons().join("; ");
            let there = service.workers();
            CommandError::failed(format!(
                "not ready within {READY_WITHIN:?}: {there} of {count} workers; {reasons}"
            ))
        })?;
    let pids: Vec<u32> = workers.iter().map(|worker| worker.0.id()).collect();
    measure(service, config, &pids).await
}

/// Refuses a broker in use: other programs' events must be neither measured nor consumed.
async fn refuse_busy_broker(config: &Config) -> Result<(), CommandError> {
    let failed = |error: &dyn std::fmt::Display| CommandError::failed(error.to_string());
    let connector = (config.broker.connector("kindred bench")).map_err(|error| failed(&error))?;
    let connection = connector
        .connect("looking")
        .await
        .map_err(|error| failed(&error))?;
    let names = Names::default();
    let counts = queue_counts(&connection, names.partition(0)).await;
    close(&connection).await;
    match counts.map_err(|error| failed(&error))? {
        None
        | Some(QueueCounts {
            messages: 0,
            consumers: 0,
        }) => Ok(()),
        Some(QueueCounts {
            messages,
            consumers,
        }) => Err(CommandError::failed(format!(
            "{} at {} is in use ({messages} messages, {consumers} consumers); measure on a virtual \
             host of its own",
            names.partition(0),
            connector.place(),
        ))),
    }
}

async fn drop_keyspace(config: &Config) -> Result<(), CommandError> {
    let keyspace = &config.database.cql_keyspace;
    let options = config.database.options();
    let left = |error: &dyn std::fmt::Display| {
        CommandError::failed(format!("keyspace {keyspace} could not be dropped: {error}"))
    };
    let session = cql::connect(&options, keyspace)
        .await
        .map_err(|error| left(&error))?;
    session
        .query_unpaged(format!("DROP KEYSPACE IF EXISTS \"{keyspace}\""), ())
        .await
        .map_err(|error| left(&error))?;
    Ok(())
}

/// A compute worker process, killed when this is dropped.
struct Worker(Child);

impl Worker {
    fn start(config: &Config) -> Result<Self, CommandError> {
        let program = std::env::current_exe()
            .map(|here| here.with_file_name(WORKER))
            .ok()
            .filter(|beside| beside.exists())
            .unwrap_or_else(|| PathBuf::from(WORKER));
        let mut command = Command::new(&program);
        command
            .env("KINDRED_AMQP_URL", config.broker.amqp_url.expose())
            .env("KINDRED_CQL_NODES", config.database.cql_nodes.join(","))
            .env("KINDRED_CQL_KEYSPACE", &config.database.cql_keyspace)
            .env("KINDRED_THREADS", config.compute.threads.to_string())
            .env("KINDRED_KERNEL", config.compute.kernel.name())
            .env("KINDRED_LOG", "warn,lapin=off")
            .env_remove("KINDRED_WORKER_LISTEN")
            .stdin(Stdio::null());
        if let Some((user, password)) = config.database.login() {
            command
                .env("KINDRED_CQL_USER", user)
                .env("KINDRED_CQL_PASSWORD", password);
        }
        command.spawn().map(Self).map_err(|error| {
            CommandError::failed(format!(
                "{}: {error}; build it with `cargo build --release --workspace`",
                program.display()
            ))
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
