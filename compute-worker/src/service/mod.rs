//! The program `compute-worker`: takes jobs from RabbitMQ, reads the blocks they name from the
//! database, computes, answers. It can be configured by the environment alone, and logs and waits
//! for what is not reachable yet.

mod blocks;
mod broker;
mod cache;
mod crash;
mod greeting;
mod http;
mod job;
mod session;
mod status;
mod suspects;
#[cfg(test)]
mod tests;
mod turns;
mod waiting;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use kindred_runtime::config::{self, Config};
use kindred_runtime::cql;
use kindred_runtime::cql_blocks::CqlBlocks;
use kindred_runtime::host::host_name;
use kindred_shared::wire;
use scylla::client::session::Session;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::blocks::{Blocks, CACHE_BYTES};
use self::greeting::Greeter;
use self::job::JobHandler;
use self::session::{Stop, stopped};
use self::status::{Edge, WorkerStatus};
use self::waiting::Waiting;
use crate::models::Models;
use crate::{Worker, pool};

/// It failed while running.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was started.
const USAGE: u8 = 2;
/// Threads for the network. Computing happens on others.
const WAITING_THREADS: usize = 2;
/// How often the database is probed.
const PROBE: Duration = Duration::from_secs(5);

/// Why the program ends.
struct ExitError {
    exit: u8,
    words: String,
}

impl ExitError {
    fn usage(words: impl ToString) -> Self {
        Self {
            exit: USAGE,
            words: words.to_string(),
        }
    }

    fn failed(words: impl ToString) -> Self {
        Self {
            exit: FAILED,
            words: words.to_string(),
        }
    }
}

/// Runs the program and returns its exit code: 0 stopped on request, 1 failed, 2 the command line
/// or the configuration is wrong.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Whoever closed the pipe has seen enough.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match run(&config::read(&matches, |_| true)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed; the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "compute-worker: {}", failure.words);
            ExitCode::from(failure.exit)
        }
    }
}

fn command() -> Command {
    let command = Command::new("compute-worker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Extracts and compares for Kindred's model services, until told to stop")
        .after_help(
            "Every key of Kindred is accepted; those of the model service mean nothing here.\n\
             Exit codes: 0 told to stop · 1 failed · 2 command line or configuration wrong",
        );
    config::augment(command, |_| true)
}

fn run(flags: &config::Flags) -> Result<(), ExitError> {
    let (config, origins) =
        Config::resolve(flags, std::env::vars_os(), Path::new("")).map_err(ExitError::usage)?;
    config
        .logging
        .start(&origins, config::LOG)
        .map_err(ExitError::usage)?;
    let worker = worker(&config)?;
    let name = format!("{}-{}", host_name(), std::process::id());
    tracing::info!(
        name,
        kernel = %worker.kernel(),
        threads = worker.threads(),
        "compute worker"
    );
    let status = WorkerStatus::new(name.clone(), &worker.kernel().to_string(), worker.threads());
    let status = Arc::new(status);
    if let Some(address) = config.http.worker_listen {
        listen(address, &status)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WAITING_THREADS)
        .thread_name("kindred-worker-io")
        .enable_all()
        .build()
        .map_err(|error| ExitError::failed(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(work(&config, worker, name, status));
    // A computation whose result nobody waits for must not delay the exit.
    runtime.shutdown_background();
    done
}

/// The threads, kernel, word vectors and encoders of the configuration.
fn worker(config: &Config) -> Result<Worker, ExitError> {
    let kernel = config.compute.kernel.chosen().map_err(ExitError::usage)?;
    let models = Models::configured(&config.texts, kernel).map_err(ExitError::usage)?;
    for kind in models.of_encoders() {
        tracing::info!(%kind, "encoder");
    }
    let threads = match config.compute.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let pool = pool(threads)
        .map_err(|error| ExitError::failed(format!("cannot start threads: {error}")))?;
    Ok(Worker::new(models, kernel, Arc::new(pool)))
}

/// Serves HTTP from now on, on a thread of its own until the process ends.
fn listen(address: SocketAddr, status: &Arc<WorkerStatus>) -> Result<(), ExitError> {
    let cannot = |error: std::io::Error| {
        ExitError::failed(format!(
            "worker_listen: cannot listen on {address}: {error}"
        ))
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let status = Arc::clone(status);
    let serve = move || {
        let served = actix_web::rt::System::new()
            .block_on(async move { http::serve(listener, status)?.await });
        if let Err(error) = served {
            tracing::error!(%error, "HTTP ended");
        }
    };
    std::thread::Builder::new()
        .name("kindred-worker-http".to_owned())
        .spawn(serve)
        .map_err(cannot)?;
    tracing::info!(%address, "serving /healthz, /readyz and /metrics");
    Ok(())
}

async fn work(
    config: &Config,
    worker: Worker,
    name: String,
    status: Arc<WorkerStatus>,
) -> Result<(), ExitError> {
    let stop = stop_on_signal(Arc::clone(&status))?;
    let Some((session, store)) = database(config, &stop).await else {
        return Ok(());
    };
    let greeter = Greeter::new(session, &config.database.cql_keyspace, Arc::clone(&status));
    status.edge(Edge::Database, true);
    let connector = config.broker.connector(&name);
    let connector = connector.map_err(|error| ExitError::failed(error.to_string()))?;
    let connector = connector.about(vec![
        ("product", "compute-worker".to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("host", host_name()),
        ("pid", std::process::id().to_string()),
        ("kernel", worker.kernel().to_string()),
        ("threads", worker.threads().to_string()),
    ]);
    let blocks = Arc::new(Blocks::new(
        Arc::new(store),
        read_block,
        CACHE_BYTES,
        Arc::clone(&status),
    ));
    let handler = Arc::new(JobHandler::new(
        worker,
        Arc::clone(&blocks),
        Arc::clone(&status),
    ));
    tokio::select! {
        () = session::run(&connector, &name, &handler, &greeter, &status, &stop) => {}
        () = probe(&blocks) => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Broadcasts SIGTERM and SIGINT.
fn stop_on_signal(status: Arc<WorkerStatus>) -> Result<Stop, ExitError> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| ExitError::failed(format!("cannot listen for signals: {error}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        status.stop();
        tell.send_replace(true);
    });
    Ok(stop)
}

/// The database and its blocks, once it is reachable and has its tables; `None` if told to stop
/// before that.
async fn database(config: &Config, stop: &Stop) -> Option<(Arc<Session>, CqlBlocks)> {
    let options = config.database.options();
    let keyspace = &config.database.cql_keyspace;
    let connect = async {
        let mut waiting = Waiting::for_edge(Edge::Database.word());
        loop {
            let why = match cql::connect(&options, keyspace).await {
                Ok(session) => {
                    let session = Arc::new(session);
                    match CqlBlocks::reader(Arc::clone(&session), keyspace).await {
                        Ok(blocks) => return (session, blocks),
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            waiting.wait(&why).await;
        }
    };
    tokio::select! {
        () = stopped(stop) => None,
        blocks = connect => Some(blocks),
    }
}

/// Keeps `/readyz` up to date about the database while no job uses it.
async fn probe(blocks: &Blocks) {
    let mut again = tokio::time::interval(PROBE);
    loop {
        again.tick().await;
        blocks.probe().await;
    }
}

/// Decodes a stored block and checks it against its name.
fn read_block(bytes: &[u8], hash: &wire::BlockHash) -> Result<kindred_shared::Block, String> {
    let found = wire::hash_of(bytes);
    if found != *hash {
        return Err(format!("its content has the hash {}", wire::hex(&found)));
    }
    wire::decode_block(bytes).map_err(|error| error.to_string())
}
