//! `kindred replay`: applies the log of events again, to a running Kindred, a keyspace or a data directory.
//!
//! The log is read twice: first only to find out how many events there are and which domains were deleted ([`plan`]),
//! then to apply them. Every event that is applied has a version ([`versions`]), so versions decide, and applying an
//! event again changes nothing.

mod account;
mod judge;
mod pace;
mod plan;
mod record;
mod running;
mod since;
mod source;
mod state;
mod stream;
mod target;
mod versions;
mod within;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use kindred_shared::DomainName;
use serde::Serialize;

use self::account::Account;
use self::judge::{Judge, SettingsRule};
use self::pace::Pace;
use self::plan::Plan;
use self::since::Since;
use self::source::Log;
use self::state::{Counts, State, Task};
use self::target::Target;
use super::client::Server;
use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use super::import::domain;
use super::interrupt::Interrupt;
use super::output::json_line;
use super::state_file::StateFile;
use crate::config::Config;

/// Applies the log of events again.
///
/// Reads what log_retention keeps: kindred.log of the broker, or, with --from-dir, the log of a
/// standalone. Every event is applied with its version, so applying it again changes nothing.
/// Without --into, events go to the running Kindred, over HTTP. With --into they go into a keyspace
/// or a data directory that nothing else uses; it is made if missing, and the lists are made here.
/// What cannot be read is named and counted; the rest is applied. The position is saved, and
/// --resume continues from there.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// From when on: `start`, or a time such as 2026-11-23T09:00:00Z or 2026-11-23
    #[arg(long, value_name = "TIME|start", value_parser = Since::parse)]
    from: Since,
    /// Only events of this domain
    #[arg(long, value_parser = domain)]
    domain: Option<DomainName>,
    /// A keyspace, or a data directory, which has a slash in its name (./rebuilt) [default: the running Kindred]
    #[arg(long, value_name = "KEYSPACE|DIR", value_parser = Target::parse)]
    into: Option<Target>,
    /// Read the log of the standalone with this data directory, running or not, instead of the broker's
    #[arg(long, value_name = "DIR")]
    from_dir: Option<PathBuf>,
    /// Most events a second [default: as many as possible]
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    /// Also apply what came before the domain was deleted
    #[arg(long, requires = "domain")]
    undelete: bool,
    /// Continue an earlier replay of the same log into the same place
    #[arg(long)]
    resume: bool,
    /// File that stores the position [default: <DIR or KEYSPACE>.replay.json, or kindred.replay.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long to retry while the broker, the database or the server is unreachable or takes nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// The result of a replay; with --resume, including earlier runs.
#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    /// Domains that have events in this part of the log.
    domains: usize,
    /// Seconds from the first event of this run until the last one was applied.
    seconds: f64,
    /// Events that this run applied per second.
    events_per_second: f64,
    /// Seconds after that until all lists were exact and stored, if they were made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    lists_after_seconds: Option<f64>,
    /// Whether everything was applied.
    complete: bool,
    /// The saved position, if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<PathBuf>,
}

/// How a target was filled.
#[derive(Debug, Default)]
struct Filled {
    /// How long the lists took after the last event; `None`: they are not made here, or not ready.
    lists_after: Option<Duration>,
}

pub(crate) fn run(args: &ReplayArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    if args.into.is_some() && args.server.url.is_some() {
        return Err(CommandError::usage(
            "--url names a running Kindred, --into a keyspace or a directory that none uses: \
            leave one out",
        ));
    }
    let log = Log::configured(args.from_dir.as_deref(), config, args.timeout)?;
    // Nothing is read if the target cannot be meant.
    let client = match &args.into {
        None => Some(args.server.client(config)?),
        Some(_) => None,
    };
    let interrupt = Interrupt::listen()?;
    let task = Task {
        log: log.name(),
        from: args.from.to_string(),
        domain: args.domain.clone(),
        into: match (&args.into, &client) {
            (Some(target), _) => target.to_string(),
            (None, Some(client)) => client.base().to_owned(),
            (None, None) => String::new(),
        },
        undelete: args.undelete,
    };
    let state_file = StateFile::new(args.state.clone().unwrap_or_else(|| {
        let target = args.into.as_ref();
        target.map_or_else(|| "kindred.replay.json".into(), Target::state_file)
    }));
    let state = match args.resume {
        true => State::load(&state_file, &task)?,
        false => State::begin(task),
    };
    let plan = Plan::new(args.domain.clone(), args.undelete);
    let plan = plan.read(&log, args.from, &interrupt)?;
    let mut account = Account::new(state_file, state, plan.events, log.unit());
    if args.resume {
        account.say(&format!(
            "continuing after {} events that were applied",
            account.counts().replayed
        ));
    } else {
        account.begin();
    }

    let mut judge = Judge::new(&plan, args.domain.clone(), account.next());
    let pace = Pace::new(args.rate);
    let filled = match (plan.end, &args.into, &client) {
        (None, ..) => {
            account.say(&format!("{} is empty", log.name()));
            account.ended();
            Ok(Filled::default())
        }
        (Some(end), Some(target), _) => {
            judge.settings = match log {
                Log::Stream(_) => SettingsRule::InOrder,
                Log::Folder(..) => SettingsRule::First(plan.settings.clone()),
            };
            let fill = within::Fill {
                records: log.read(args.from, end),
                judge,
                pace,
                account: &mut account,
                interrupt: &interrupt,
                timeout: args.timeout,
            };
            within::run(target, config, &log, fill)
        }
        (Some(end), None, Some(client)) => {
            let feed = running::Feed {
                records: log.read(args.from, end),
                judge,
                pace,
                rate: args.rate,
                account: &mut account,
                interrupt: &interrupt,
            };
            running::run(client, args.timeout, feed)
        }
        (Some(_), None, None) => Ok(Filled::default()),
    };
    let is_interrupted = interrupt.is_asked();
    let is_complete = filled.is_ok() && account.is_complete();
    let resume = account.finish(is_complete);
    // The summary is told in any case: what was applied stays applied.
    let failure = filled.as_ref().err().cloned();
    let seconds = account.taking().as_secs_f64();
    let summary = Summary {
        counts: account.counts().clone(),
        domains: plan.domains.len(),
        seconds,
        events_per_second: account.applied_now() as f64 / seconds.max(0.001),
        lists_after_seconds: filled
            .ok()
            .and_then(|filled| filled.lists_after)
            .map(|after| after.as_secs_f64()),
        complete: is_complete,
        resume,
    };
    if json {
        json_line(out, &summary)?;
    } else {
        summary.tell(out)?;
    }
    match failure {
        Some(failure) => Err(failure),
        None if !is_complete && is_interrupted => Err(CommandError::failed(
            "interrupted: --resume continues after what is reported above",
        )),
        None if is_interrupted && summary.lists_after_seconds.is_none() && args.into.is_some() => {
            Err(CommandError::failed(
                "interrupted: all events are applied; whoever opens it next makes the rest of the lists",
            ))
        }
        None if summary.counts.refused + summary.counts.unreadable > 0 => Ok(Exit::SomeRejected),
        None => Ok(Exit::Done),
    }
}

impl Summary {
    fn tell(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let counts = &self.counts;
        writeln!(
            out,
            "{} events replayed, {} refused, {} unreadable in {:.1} s ({:.0} events/s)",
            counts.replayed,
            counts.refused,
            counts.unreadable,
            self.seconds,
            self.events_per_second
        )?;
        let left = [
            (counts.deleted, "of domains that were deleted later"),
            (
                counts.settings_left,
                "of settings, which the target has already",
            ),
            (counts.others, "of models and experiments"),
            (counts.groundless, "patches of items that do not exist"),
        ];
        let left = left.into_iter().filter(|(count, _)| *count > 0);
        let left: Vec<String> = left
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !left.is_empty() {
            writeln!(out, "left out: {}", left.join(", "))?;
        }
        if let Some(after) = self.lists_after_seconds {
            writeln!(out, "all lists are exact and stored, {after:.1} s later")?;
        }
        if let Some(file) = &self.resume {
            writeln!(out, "--resume continues from here ({})", file.display())?;
        }
        Ok(())
    }
}

/// The domains that a target has, by name.
type Present = HashSet<DomainName>;
