//! `kindred bench queries`: query latency over HTTP while events keep coming, on a service of its
//! own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::super::client::Client;
use super::super::demo::beside;
use super::super::exit::{CommandError, Outcome};
use super::super::local::QueriesArgs;
use super::deployment::{Deployment, UnderTest};
use super::machine::Machine;
use super::query_load::{Load, OfKind, QueryKind};
use super::{Percentiles, QUIET_WITHIN, send, settled, tell};
use crate::config::{Config, Origins};

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// `standalone` or `clustered`.
    role: &'static str,
    version: &'static str,
    threads: usize,
    kernel: &'static str,
    items: u32,
    events_per_second: u32,
    queries_per_second: u32,
    seconds: u32,
    kinds: Vec<OfKind>,
}

/// Runs the command.
pub(in crate::cli) fn run(
    args: &QueriesArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let report = Deployment::of(&args.cluster, config, origins)?
        .measure(config, async |under_test| measure(under_test, args).await)?;
    tell(&report, print, json, out)
}

async fn measure(under_test: UnderTest<'_>, args: &QueriesArgs) -> Result<Report, CommandError> {
    let UnderTest {
        role,
        service,
        config,
        ..
    } = under_test;
    let client = Client::new(&format!("http://{}", service.address))?;
    let load = Arc::new(Load::new(args, client.clone())?);
    let batches = load.batches()?;
    beside(move || send(&client, batches)).await?;
    let mut kinds = Vec::new();
    for kind in QueryKind::ALL {
        settled(service, u64::from(args.items), QUIET_WITHIN).await?;
        let going_on = GoingOn::new();
        let (load, is_stopped) = (Arc::clone(&load), Arc::clone(&going_on.is_stopped));
        kinds.push(beside(move || load.measure(kind, &is_stopped)).await?);
    }
    Ok(Report {
        machine: Machine::here(),
        role,
        version: env!("CARGO_PKG_VERSION"),
        threads: config.compute.threads,
        kernel: config.compute.kernel.name(),
        items: args.items,
        events_per_second: args.events,
        queries_per_second: args.queries,
        seconds: args.seconds,
        kinds,
    })
}

/// Stops the threads of a measurement when its future is dropped.
struct GoingOn {
    is_stopped: Arc<AtomicBool>,
}

impl GoingOn {
    fn new() -> Self {
        Self {
            is_stopped: Arc::default(),
        }
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    writeln!(
        out,
        "{}, threads {} (0: all), kernel {}; one domain of {} items, {} events and {} queries a second, {} s of each \
         kind",
        report.role,
        report.threads,
        report.kernel,
        report.items,
        report.events_per_second,
        report.queries_per_second,
        report.seconds
    )?;
    writeln!(
        out,
        "{:<18} {:>8}  {:>20} {:>10} {:>6}  {:>20}",
        "query", "answered", "p50/p99 ms", "from lists", "busy", "events p50/p99 ms"
    )?;
    let times = |p: &Percentiles| format!("{:.1} / {:.1}", p.p50_ms, p.p99_ms);
    for one in &report.kinds {
        writeln!(
            out,
            "{:<18} {:>8}  {:>20} {:>10} {:>6}  {:>20}",
            one.kind.in_words(),
            one.answered.count,
            times(&one.answered),
            one.from_list,
            one.busy,
            times(&one.event_to_durable)
        )?;
    }
    Ok(())
}
