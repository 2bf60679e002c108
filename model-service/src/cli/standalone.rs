//! `kindred standalone`: runs everything in one process until it is told to stop.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{CommandError, Exit, Outcome};
use crate::config::{Config, Origins};
use crate::service::GuardError;
use crate::standalone::{Standalone, StartError};

/// Longest time to drain: a process that is told to stop exits within 10 s.
pub(super) const DRAIN: Duration = Duration::from_secs(9);

/// The number of SIGXFSZ on Linux and macOS.
const SIGXFSZ: std::ffi::c_int = 25;

/// Longest time that a start which is told to stop may still take.
const STARTING: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT.
///
/// Also SIGXFSZ, which would kill the process when a file reaches the system's size limit. With a
/// handler that ignores it, the write fails instead, as on a full disk.
pub(super) struct Stop {
    _file_size: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on signals only end the process the way this program decides.
    pub(super) fn listen() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CommandError::failed(format!("signals cannot be handled: {error}"))
            })
        };
        Ok(Self {
            _file_size: listen(SignalKind::from_raw(SIGXFSZ))?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a start; also returns whether the process was told to stop meanwhile. The service
    /// may already answer and own partitions, so the start is allowed to complete, and the service
    /// is then stopped as usual. `None`: that took too long.
    pub(super) async fn while_starting<T>(
        &mut self,
        start: impl Future<Output = T>,
    ) -> (Option<T>, bool) {
        let mut start = std::pin::pin!(start);
        tokio::select! {
            started = &mut start => return (Some(started), false),
            () = self.asked() => {}
        }
        (tokio::time::timeout(STARTING, start).await.ok(), true)
    }
}

/// Lets a service finish its work. What it does not finish in time is done after the next start:
/// nothing acknowledged is lost.
pub(super) async fn drain(service: Standalone) {
    tracing::info!("stopping");
    if tokio::time::timeout(DRAIN, service.stop()).await.is_err() {
        tracing::warn!(after = ?DRAIN, "stopped before all was drained");
    }
}

/// Example requests, for people.
pub(super) fn curl_lines(scheme: &str, address: &str, domain: &str, id: &str) -> [String; 2] {
    [
        format!(
            "curl -X PUT {scheme}://{address}/v1/domains/{domain}/items/{id} \
             -H 'content-type: application/json' \
             -d '{{\"title\":\"A fox in the garden\",\"text\":\"It came at dusk.\"}}'"
        ),
        format!("curl {scheme}://{address}/v1/domains/{domain}/items/{id}/similar?limit=5"),
    ]
}

pub(super) fn run(config: &Config, origins: &Origins, json: bool, out: &mut dyn Write) -> Outcome {
    config.domains.check_standalone(origins)?;
    actix::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let (started, is_over) = stop.while_starting(Standalone::start(config)).await;
        let Some(started) = started else {
            return Ok(Exit::Done);
        };
        let service = started.map_err(failure)?;
        if !is_over {
            // The service runs whether or not anybody reads this.
            let _ = greet(&service, config, json, out);
            stop.asked().await;
        }
        drain(service).await;
        Ok(Exit::Done)
    })
}

/// Reports configuration errors as such.
pub(super) fn failure(error: StartError) -> CommandError {
    match error {
        StartError::Guard(GuardError::Exposed(_) | GuardError::AdminFile(_))
        | StartError::Access(_) => CommandError::usage(error.to_string()),
        _ => CommandError::failed(error.to_string()),
    }
}

fn greet(
    service: &Standalone,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let (address, scheme) = (service.address.to_string(), config.tls.scheme());
    if json {
        let started = serde_json::json!({"address": address, "data_dir": config.store.data_dir});
        writeln!(out, "{started}")?;
    } else if std::io::stdout().is_terminal() {
        writeln!(out, "Kindred listens on {scheme}://{address}")?;
        writeln!(
            out,
            "and keeps its data in {}",
            config.store.data_dir.display()
        )?;
        writeln!(out, "\nTry:")?;
        for line in curl_lines(scheme, &address, "news.example", "a-1") {
            writeln!(out, "  {line}")?;
        }
    }
    out.flush()
}
