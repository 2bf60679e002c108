//! `kindred standalone`: everything in one process, until it is told to stop.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure, Outcome};
use crate::config::{Config, Origins};
use crate::standalone::Standalone;

/// How long draining may take: a process that was told to stop is gone within 10 s.
pub(super) const DRAIN: Duration = Duration::from_secs(9);

/// The number of SIGXFSZ on Linux and macOS.
const SIGXFSZ: std::ffi::c_int = 25;

/// SIGTERM and SIGINT.
///
/// And SIGXFSZ, which would end the process when a file reaches the limit the system gives it:
/// listened to and left alone, the write fails instead, as on a full disk.
pub(super) struct Stop {
    _file_size: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on the signals end the process only as we say.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))
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
}

/// Lets a service finish what is at hand. What it does not finish in time is done after the next
/// start: nothing acknowledged is lost.
pub(super) async fn drain(service: Standalone) {
    tracing::info!("stopping");
    if tokio::time::timeout(DRAIN, service.stop()).await.is_err() {
        tracing::warn!(after = ?DRAIN, "stopped before all was drained");
    }
}

/// Example requests, for people.
pub(super) fn curl_lines(address: &str, domain: &str, id: &str) -> [String; 2] {
    [
        format!(
            "curl -X PUT http://{address}/v1/domains/{domain}/items/{id} \
             -H 'content-type: application/json' \
             -d '{{\"title\":\"A fox in the garden\",\"text\":\"It came at dusk.\"}}'"
        ),
        format!("curl http://{address}/v1/domains/{domain}/items/{id}/similar?limit=5"),
    ]
}

pub(super) fn run(config: &Config, origins: &Origins, json: bool, out: &mut dyn Write) -> Outcome {
    config.domains.check_standalone(origins)?;
    actix::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let service = tokio::select! {
            started = Standalone::start(config) => {
                started.map_err(|error| Failure::failed(error.to_string()))?
            }
            () = stop.asked() => return Ok(Exit::Done),
        };
        // The service goes on whether anybody reads this or not.
        let _ = greet(&service, config, json, out);
        stop.asked().await;
        drain(service).await;
        Ok(Exit::Done)
    })
}

fn greet(
    service: &Standalone,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let address = service.address.to_string();
    if json {
        let started = serde_json::json!({"address": address, "data_dir": config.store.data_dir});
        writeln!(out, "{started}")?;
    } else if std::io::stdout().is_terminal() {
        writeln!(out, "Kindred listens on http://{address}")?;
        writeln!(
            out,
            "and keeps its data in {}",
            config.store.data_dir.display()
        )?;
        writeln!(out, "\nTry:")?;
        for line in curl_lines(&address, "news.example", "a-1") {
            writeln!(out, "  {line}")?;
        }
    }
    out.flush()
}
