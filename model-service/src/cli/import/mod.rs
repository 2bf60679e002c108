//! `kindred import`: files of events into a running Kindred.

mod batch;
mod ended;
mod gzip;
mod line;
mod progress;
mod reading;
mod rejects;
mod send;
mod source;
mod split;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kindred_shared::DomainName;
use serde::Serialize;

pub(crate) use batch::BATCH_LINES;
pub(crate) use ended::Ended;
pub(crate) use line::{Defaults, Unreadable};
pub(crate) use progress::Progress;
pub(crate) use reading::{Found, Position, read};
pub(crate) use rejects::{Reject, Rejects, beside};
pub(crate) use send::SENDERS;
pub(crate) use source::Source;
pub(crate) use split::Records;

use self::batch::{Batch, Batches, Place};
use self::send::{Sender, Settled, Watch};
use super::client::{Client, Server};
use super::exit::{Failure, Outcome};
use super::flags::ClientFlags;
use super::output::json_line;
use super::status;
use crate::config::Config;

/// How often a server is asked whether its domains are quiet.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Sends events from files to a running Kindred.
///
/// A file is NDJSON (one event a line), a stream of JSON objects over any number of lines, or one JSON
/// array of events, packed with gzip or not; what it is is told from its content. Lines that cannot be taken go into the rejects file with
/// their reason, the others go in.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Files to read; `-` is standard input
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Domain of the events that name none
    #[arg(long, value_parser = domain)]
    domain: Option<DomainName>,
    /// Where rejected lines go [default: <input>.rejects.ndjson, or import.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// How long to go on trying while the server is away or cannot take events
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Wait until the lists of all domains that got events are exact and stored
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// A domain's name on the command line.
pub(crate) fn domain(name: &str) -> Result<DomainName, String> {
    DomainName::new(name).map_err(|error| error.to_string())
}

/// How an import went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Events that are durable.
    pub(crate) accepted: u64,
    /// What there is to say besides.
    #[serde(flatten)]
    pub(crate) ended: Ended,
    /// Domains that got events.
    #[serde(skip)]
    pub(crate) domains: BTreeSet<DomainName>,
}

/// What a load is told besides its inputs.
pub(crate) struct Options {
    /// Domain of the events that name none.
    pub(crate) domain: Option<DomainName>,
    /// Where rejected lines go; `None`: beside each input.
    pub(crate) rejects: Option<PathBuf>,
    /// How long a batch is tried.
    pub(crate) timeout: Duration,
    /// Whether people watch.
    pub(crate) shown: bool,
}

pub(crate) fn run(args: &ImportArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let sources = open(&args.files)?;
    let options = Options {
        domain: args.domain.clone(),
        rejects: args.rejects.clone(),
        timeout: args.timeout,
        shown: true,
    };
    let (summary, broken) = load(&client, sources, &options)?;
    if args.wait && broken.is_none() {
        wait_until_quiet(&client, &summary.domains, args.timeout)?;
    }
    if json {
        json_line(out, &summary)?;
    } else {
        let accepted = format!("{} accepted", summary.accepted);
        summary.ended.tell(&accepted, out)?;
    }
    broken.map_or(Ok(summary.ended.exit()), Err)
}

/// Opens all inputs.
///
/// # Errors
/// [`Exit::Usage`] for the first that cannot be opened.
pub(crate) fn open(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    files
        .iter()
        .map(|path| {
            Source::open(path)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
        })
        .collect()
}

/// Sends all events of the sources, in order, and waits until each is settled. With what went in comes
/// why an input broke off, if one did.
pub(crate) fn load(
    client: &Client,
    sources: Vec<Source>,
    options: &Options,
) -> Result<(Summary, Option<Failure>), Failure> {
    let began = Instant::now();
    let size = sources.iter().map(|source| source.size).sum();
    let tally = Tally {
        progress: Progress::new(size, options.shown),
        names: sources.iter().map(|source| source.name.clone()).collect(),
        counts: Mutex::new(Counts {
            accepted: 0,
            domains: BTreeSet::new(),
            rejects: Rejects::new(options.rejects.clone(), &sources, "import", false),
        }),
    };
    let defaults = Defaults {
        domain: options.domain.clone(),
    };
    let sender = Sender::new(client, options.timeout, &tally);
    let mut broken = None;
    let sent = sender.run(|| {
        broken = feed(&sender, sources, &defaults, &tally)?;
        Ok(())
    });
    tally.progress.finish();
    let finished = tally.lock().rejects.finish();
    sent?;
    let (rejected, rejects) = finished?;
    let counts = tally.lock();
    let seconds = began.elapsed().as_secs_f64();
    let summary = Summary {
        accepted: counts.accepted,
        ended: Ended::new(counts.accepted, rejected, rejects, seconds),
        domains: counts.domains.clone(),
    };
    Ok((summary, broken))
}

/// Reads the sources and hands their lines over; why one broke off, if one did.
fn feed(
    sender: &Sender<'_>,
    sources: Vec<Source>,
    defaults: &Defaults,
    tally: &Tally,
) -> Result<Option<Failure>, Failure> {
    let mut batches = Batches::default();
    let taken = tally.progress.taken();
    let warn = |words: &str| tally.say(words);
    let broken = read(
        sources,
        Position::default(),
        defaults,
        &taken,
        warn,
        |found| {
            let file = found.after.file;
            let line = match &found.made {
                Ok(line) => line,
                Err(unreadable) => {
                    return tally.reject(file, &found.reject(&tally.names[file], unreadable));
                }
            };
            let place = Place {
                file,
                line: found.line,
                original: (found.raw != line.text).then_some(found.raw),
            };
            match batches.add(&line.domain, &line.text, place) {
                Some(full) => sender.push(full),
                None => Ok(()),
            }
        },
    )?;
    // Also when an input broke off: what was read of it goes in.
    for batch in batches.finish() {
        sender.push(batch)?;
    }
    Ok(broken)
}

/// Now, in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}

struct Counts {
    accepted: u64,
    domains: BTreeSet<DomainName>,
    rejects: Rejects,
}

/// Counts what became of the lines.
struct Tally {
    progress: Progress,
    names: Vec<String>,
    counts: Mutex<Counts>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reject(&self, file: usize, reject: &Reject) -> Result<(), Failure> {
        self.lock().rejects.add(file, reject)
    }
}

impl Watch for Tally {
    fn settled(&self, batch: &Batch, settled: Settled) -> Result<(), Failure> {
        for refused in settled.refused {
            let place = &batch.places[refused.at];
            self.reject(
                place.file,
                &Reject {
                    file: self.names[place.file].clone(),
                    line: place.line,
                    reason: refused.reason,
                    detail: refused.detail,
                    event: batch.original(refused.at).unwrap_or_default(),
                },
            )?;
        }
        {
            let mut counts = self.lock();
            counts.accepted += settled.accepted;
            if settled.accepted > 0 {
                counts.domains.insert(batch.domain.clone());
            }
        }
        self.progress.items(batch.places.len() as u64);
        Ok(())
    }

    fn say(&self, words: &str) {
        self.progress.say(words);
    }
}

/// Waits until these domains are quiet, as long as it takes while the server answers.
fn wait_until_quiet(
    client: &Client,
    domains: &BTreeSet<DomainName>,
    timeout: Duration,
) -> Result<(), Failure> {
    let progress = Progress::new(None, true);
    let mut answered = Instant::now();
    let mut troubles = BTreeSet::new();
    let waited = loop {
        match status::domains(client) {
            Ok(all) => {
                answered = Instant::now();
                let noisy: Vec<_> = all
                    .into_iter()
                    .filter(|one| !one.quiet && domains.contains(one.domain.as_str()))
                    .collect();
                if noisy.is_empty() {
                    break Ok(());
                }
                let pending: u64 = noisy.iter().map(|one| one.pending).sum();
                progress.waiting(format!("waiting for lists, {pending} items pending"));
                for one in noisy {
                    if let Some(trouble) = one.trouble {
                        let words = format!("{}: {trouble}", one.domain);
                        if troubles.insert(words.clone()) {
                            progress.say(&words);
                        }
                    }
                }
            }
            Err(failure) if answered.elapsed() >= timeout => break Err(failure),
            Err(_) => {}
        }
        std::thread::sleep(ASK_EVERY);
    };
    progress.finish();
    waited
}
