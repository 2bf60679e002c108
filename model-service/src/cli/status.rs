//! `kindred status`: how the domains and compute workers of a running Kindred fare.

use std::io::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Client, Server, printable, segment};
use super::exit::{Exit, Failure, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Shows how the domains and compute workers of a running Kindred fare.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only this domain
    domain: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// One domain, as answered.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DomainAnswer {
    /// Its name.
    pub(crate) domain: String,
    state: String,
    /// Whether every list is exact and stored.
    pub(crate) quiet: bool,
    live: u64,
    visible: u64,
    /// Items whose lists are still to be made.
    pub(crate) pending: u64,
    /// What keeps it from going on.
    #[serde(default)]
    pub(crate) trouble: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DomainsAnswer {
    domains: Vec<DomainAnswer>,
}

#[derive(Debug, Deserialize)]
struct WorkerAnswer {
    name: String,
    kernel: String,
    threads: u32,
    jobs_done: u64,
    seen_seconds_ago: f64,
}

#[derive(Debug, Deserialize)]
struct WorkersAnswer {
    taking_jobs: usize,
    workers: Vec<WorkerAnswer>,
}

/// Every domain of a server.
pub(crate) fn domains(client: &Client) -> Result<Vec<DomainAnswer>, Failure> {
    let answer = client.get("/v1/domains")?;
    if !answer.is_success() {
        return Err(Failure::failed(answer.words()));
    }
    let list: DomainsAnswer = serde_json::from_str(&answer.body).map_err(|e| other(client, &e))?;
    Ok(list.domains)
}

fn other(client: &Client, error: &serde_json::Error) -> Failure {
    Failure::failed(format!(
        "{} answered something else: {error}",
        client.base()
    ))
}

pub(crate) fn run(args: &StatusArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let path = match &args.domain {
        Some(domain) => format!("/v1/domains/{}", segment(domain)),
        None => "/v1/domains".to_owned(),
    };
    let answer = client.get(&path)?;
    if answer.status == 404 {
        return Err(Failure::new(Exit::NotFound, answer.words()));
    }
    if !answer.is_success() {
        return Err(Failure::failed(answer.words()));
    }
    let workers = if args.domain.is_none() {
        Some(workers(&client)?)
    } else {
        None
    };
    if json {
        let whole = match &workers {
            Some((_, workers)) => {
                let mut whole: Map<String, Value> =
                    serde_json::from_str(&answer.body).map_err(|error| other(&client, &error))?;
                whole.extend(workers.clone());
                Value::Object(whole).to_string()
            }
            None => answer.body.trim_end().to_owned(),
        };
        writeln!(out, "{whole}")?;
        return Ok(Exit::Done);
    }
    let domains = if args.domain.is_some() {
        serde_json::from_str(&answer.body).map(|one| vec![one])
    } else {
        serde_json::from_str::<DomainsAnswer>(&answer.body).map(|list| list.domains)
    }
    .map_err(|error| other(&client, &error))?;
    if domains.is_empty() {
        writeln!(out, "no domain yet; the first event of one registers it")?;
    } else {
        table(&domains, out)?;
    }
    if let Some((workers, _)) = &workers {
        writeln!(out)?;
        workers_table(workers, out)?;
    }
    Ok(Exit::Done)
}

/// The compute workers, read and as answered.
fn workers(client: &Client) -> Result<(WorkersAnswer, Map<String, Value>), Failure> {
    let answer = client.get("/v1/workers")?;
    if !answer.is_success() {
        return Err(Failure::failed(answer.words()));
    }
    let read = serde_json::from_str(&answer.body).map_err(|error| other(client, &error))?;
    let whole = serde_json::from_str(&answer.body).map_err(|error| other(client, &error))?;
    Ok((read, whole))
}

fn workers_table(answer: &WorkersAnswer, out: &mut dyn Write) -> std::io::Result<()> {
    if answer.workers.is_empty() {
        return match answer.taking_jobs {
            0 => writeln!(
                out,
                "no compute worker; start `compute-worker` at the same broker"
            ),
            n => writeln!(
                out,
                "{n} compute workers take jobs; none has said anything yet"
            ),
        };
    }
    let width = |of: fn(&WorkerAnswer) -> usize, least: usize| {
        answer.workers.iter().map(of).max().unwrap_or(0).max(least)
    };
    let name = width(|one| printable(&one.name).chars().count(), "worker".len());
    let kernel = width(|one| printable(&one.kernel).chars().count(), "kernel".len());
    writeln!(
        out,
        "{:<name$}  {:<kernel$}  {:>7}  {:>9}  {:>10}",
        "worker", "kernel", "threads", "jobs done", "heard of"
    )?;
    for one in &answer.workers {
        writeln!(
            out,
            "{:<name$}  {:<kernel$}  {:>7}  {:>9}  {:>8.0} s",
            printable(&one.name),
            printable(&one.kernel),
            one.threads,
            one.jobs_done,
            one.seen_seconds_ago
        )?;
    }
    Ok(())
}

fn table(domains: &[DomainAnswer], out: &mut dyn Write) -> std::io::Result<()> {
    let width = domains
        .iter()
        .map(|one| one.domain.len())
        .max()
        .unwrap_or(0)
        .max("domain".len());
    writeln!(
        out,
        "{:<width$}  {:<11}  {:<5}  {:>9}  {:>9}  {:>9}  trouble",
        "domain", "state", "quiet", "live", "visible", "pending"
    )?;
    for one in domains {
        let line = format!(
            "{:<width$}  {:<11}  {:<5}  {:>9}  {:>9}  {:>9}  {}",
            one.domain,
            printable(&one.state),
            if one.quiet { "yes" } else { "no" },
            one.live,
            one.visible,
            one.pending,
            printable(one.trouble.as_deref().unwrap_or(""))
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
