//! `kindred status`: the state of the domains and compute workers of a running Kindred.

use std::io::Write;

use kindred_api::domain::{DomainAnswer, DomainsAnswer};
use kindred_api::path;
use kindred_api::worker::{WorkerAnswer, WorkersAnswer};
use serde_json::{Map, Value};

use super::client::{Client, Server, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Shows the state of the domains and compute workers of a running Kindred.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only this domain
    domain: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Every domain of a server.
pub(crate) fn domains(client: &Client) -> Result<Vec<DomainAnswer>, CommandError> {
    let answer = client.get_good(path::DOMAINS)?;
    Ok(client.read::<DomainsAnswer>(&answer)?.domains)
}

pub(crate) fn run(args: &StatusArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let path = match &args.domain {
        Some(domain) => path::domain(domain),
        None => path::DOMAINS.to_owned(),
    };
    let answer = client.get_good(&path)?;
    let workers = match args.domain {
        Some(_) => None,
        None => Some(client.get_good(path::WORKERS)?),
    };
    if json {
        let whole = match &workers {
            Some(workers) => {
                let mut whole: Map<String, Value> = client.read(&answer)?;
                whole.extend(client.read::<Map<String, Value>>(workers)?);
                Value::Object(whole).to_string()
            }
            None => answer.text().trim_end().to_owned(),
        };
        writeln!(out, "{whole}")?;
        return Ok(Exit::Done);
    }
    let domains = match args.domain {
        Some(_) => vec![client.read(&answer)?],
        None => client.read::<DomainsAnswer>(&answer)?.domains,
    };
    if domains.is_empty() {
        writeln!(
            out,
            "no domain yet; the first event of a domain registers it"
        )?;
    } else {
        table(&domains, out)?;
    }
    if let Some(workers) = &workers {
        writeln!(out)?;
        workers_table(&client.read(workers)?, out)?;
    }
    Ok(Exit::Done)
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
                "{n} compute workers take jobs; none has reported its state yet"
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

/// How long the oldest pending item waits.
fn oldest(one: &DomainAnswer) -> String {
    let age = one.oldest_pending_seconds;
    age.map_or_else(String::new, |age| format!("{age:.1} s"))
}

fn table(domains: &[DomainAnswer], out: &mut dyn Write) -> std::io::Result<()> {
    let width = domains
        .iter()
        .map(|one| one.domain.as_str().len())
        .max()
        .unwrap_or(0)
        .max("domain".len());
    let owner = |one: &DomainAnswer| printable(one.owner.as_deref().unwrap_or("none"));
    let owners = domains.iter().map(|one| owner(one).chars().count()).max();
    let owners = owners.unwrap_or(0).max("owner".len());
    writeln!(
        out,
        "{:<width$}  {:<11}  {:<5}  {:>9}  {:>9}  {:>9}  {:>8}  {:>4}  {:<owners$}  trouble",
        "domain", "state", "quiet", "live", "visible", "pending", "oldest", "part", "owner"
    )?;
    for one in domains {
        let line = format!(
            "{:<width$}  {:<11}  {:<5}  {:>9}  {:>9}  {:>9}  {:>8}  {:>4}  {:<owners$}  {}",
            one.domain.as_str(),
            one.state,
            if one.quiet { "yes" } else { "no" },
            one.live,
            one.visible,
            one.pending,
            oldest(one),
            one.partition,
            owner(one),
            printable(one.trouble.as_deref().unwrap_or(""))
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
