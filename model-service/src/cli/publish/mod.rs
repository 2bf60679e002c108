//! `kindred publish`: publishes files of events to RabbitMQ's exchange `kindred.items`.

mod account;
mod asking;
mod pipeline;
mod resume;
mod served;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use kindred_runtime::amqp::{Connector, Names, Publisher, close, event_message, exists};
use kindred_shared::DomainName;
use kindred_shared::event::{Limits, parse};
use serde::Serialize;
use tokio::sync::mpsc;

use self::account::Account;
use self::asking::Asking;
use self::pipeline::{Flow, PipelineEntry, Watch, Work};
use self::resume::ResumePoint;
use self::served::{Marks, Seen};
use super::client::{Client, Server};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::OperatorFlags;
use super::import::{
    Defaults, Ended, Found, Position, Progress, Rejects, Source, Unreadable, beside, domain,
    now_ms, open_events, read,
};
use super::output::json_line;
use super::retry::Retry;
use super::state_file::StateFile;
use crate::config::Config;

/// Entries read ahead of those that are on their way.
const READ_AHEAD: usize = 256;
/// Most bytes of unconfirmed messages: 32 MiB.
const UNCONFIRMED_BYTES: usize = 32 << 20;
/// Longest wait for an answer of the running Kindred.
const ANSWER: Duration = Duration::from_secs(10);
/// The connection's name in the management UI.
const PROGRAM: &str = "kindred publish";

/// Publishes events from files to RabbitMQ's exchange kindred.items.
///
/// Takes the same files of events as `import`. An event counts as published once the broker has
/// confirmed it. Invalid events go into the rejects file with a reason; the others are published.
/// The position is saved next to the first file, and --resume continues from there.
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// Files to read; `-` is standard input
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Domain of the events that name none
    #[arg(long, value_parser = domain)]
    domain: Option<DomainName>,
    /// Rejects file [default: <input>.rejects.ndjson, or publish.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// How long to retry while the broker is unreachable or accepts nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Most events in flight, not yet confirmed by the broker
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
    /// Continue an earlier publish of the same files
    #[arg(long)]
    resume: bool,
    /// File that stores the position [default: <first input>.publish.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Wait until everything is served: every domain that got events has all of them, and its lists
    /// are exact and stored
    #[arg(long)]
    wait: bool,
    /// With --wait: longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "wait", value_parser = humantime::parse_duration)]
    wait_timeout: Duration,
    /// With --wait: address of the running Kindred [default: http:// and the configured `listen`]
    #[arg(long, value_name = "URL", requires = "wait")]
    url: Option<String>,
    #[command(flatten)]
    pub(crate) flags: OperatorFlags,
}

/// The result of publishing; with --resume, including earlier runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Summary {
    /// Events that the broker has confirmed.
    published: u64,
    /// Everything else to report.
    #[serde(flatten)]
    ended: Ended,
    /// Seconds from the last confirmation until all was served; absent without --wait, and if that
    /// was not known in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    served_after_seconds: Option<f64>,
}

pub(crate) fn run(args: &PublishArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let sources = open_events(&args.files)?;
    let service = match args.wait {
        true => Some(service(args, config)?),
        false => None,
    };
    let connector = (config.broker.connector(PROGRAM))
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let state_file = state_file(args);
    let mut state = match (&state_file, args.resume) {
        (None, true) => {
            return Err(CommandError::usage(
                "--resume does not work with standard input; publish a file",
            ));
        }
        (Some(file), true) => ResumePoint::load(file, &args.files)?,
        (_, false) => ResumePoint::begin(&args.files),
    };
    if args.wait {
        state.marks.get_or_insert_with(|| Marks::begin(now_ms()));
    } else {
        state.marks = None;
    }
    let seen = args.wait.then(|| Seen::new(!args.resume));
    let defaults = Defaults {
        domain: args.domain.clone(),
    };
    let before = state.published;
    let size = sources.iter().map(|source| source.size).sum();
    let progress = Progress::new(size, true);
    let taken = progress.taken();
    let rejects = Rejects::new(args.rejects.clone(), &sources, "publish", args.resume);
    let names = sources.iter().map(|source| source.name.clone()).collect();
    let from = state.position;
    let mut account = Account::new(progress, names, rejects, state_file, state);
    if args.resume {
        account.say(&format!(
            "continuing after {before} published and {} rejected",
            account.state().rejected
        ));
    } else {
        account.begin();
    }

    let (entries, work) = mpsc::channel(READ_AHEAD);
    let reader = InputReader {
        sources,
        from,
        defaults,
        limits: config.events.limits(),
        taken,
        seen,
    };
    let reader = std::thread::spawn(move || reader.run(&entries));
    let sent = actix::System::new().block_on(publish(&connector, args, work, &mut account));
    let taking = account.taking();
    let finished = account.finish(sent.is_ok());
    sent?;
    let rejects = finished?;
    // The pipeline only ends well after the reader has closed its end.
    let broken = reader
        .join()
        .map_err(|_| CommandError::failed("reading the files ended unexpectedly"))??;

    if let Some(failure) = broken {
        return Err(failure);
    }
    account.forget();
    let state = account.state();
    let waited = service.map(|client| wait(&client, &connector, state, args.wait_timeout));
    let summary = Summary {
        published: state.published,
        ended: Ended::new(
            state.published - before,
            state.rejected,
            rejects,
            taking.as_secs_f64(),
        ),
        served_after_seconds: match &waited {
            Some(Ok(after)) => Some(after.as_secs_f64()),
            Some(Err(_)) | None => None,
        },
    };
    if json {
        json_line(out, &summary)?;
    } else {
        let published = format!("{} published", summary.published);
        summary.ended.tell(&published, out)?;
        if let Some(seconds) = summary.served_after_seconds {
            writeln!(out, "all served {seconds:.1} s later")?;
        }
    }
    waited.transpose()?;
    Ok(summary.ended.exit())
}

/// The service to ask whether everything is served.
fn service(args: &PublishArgs, config: &Config) -> Result<Client, CommandError> {
    let server = Server {
        url: args.url.clone(),
    };
    server.patient_client(config, ANSWER)
}

/// Waits until what was published is served; returns how long that took. Ctrl-C ends the wait;
/// published events stay published.
fn wait(
    client: &Client,
    connector: &Connector,
    state: &ResumePoint,
    timeout: Duration,
) -> Result<Duration, CommandError> {
    let began = Instant::now();
    let mut asking = Asking::new(client, connector);
    let waited = match &state.marks {
        Some(marks) => served::wait(&mut asking, marks, timeout),
        None => Ok(()),
    };
    asking.finish();
    waited.map(|()| began.elapsed())
}

/// The file that stores the position; `None` if an input cannot be read twice.
fn state_file(args: &PublishArgs) -> Option<StateFile> {
    if args.files.iter().any(|file| file.as_os_str() == "-") {
        return None;
    }
    let beside_first = || {
        args.files
            .first()
            .map(|first| beside(first, ".publish.json"))
    };
    args.state.clone().or_else(beside_first).map(StateFile::new)
}

/// Reads and checks the inputs on its own thread.
struct InputReader {
    sources: Vec<Source>,
    from: Position,
    defaults: Defaults,
    limits: Limits,
    taken: Arc<AtomicU64>,
    /// With --wait: what has been read so far.
    seen: Option<Seen>,
}

impl InputReader {
    /// `Ok(Some(…))`: an input broke off; what was read of it is published.
    fn run(
        self,
        entries: &mpsc::Sender<PipelineEntry>,
    ) -> Result<Option<CommandError>, CommandError> {
        let names: Vec<String> = self.sources.iter().map(|one| one.name.clone()).collect();
        let kindred = Names::default();
        let (limits, defaults) = (self.limits, self.defaults);
        let mut seen = self.seen;
        // Standard error may be closed; publishing continues.
        let warn = |words: &str| drop(writeln!(std::io::stderr(), "{words}"));
        read(
            self.sources,
            self.from,
            &defaults,
            &self.taken,
            warn,
            |found| {
                let mut mark = None;
                let work = match checked(&found, &limits) {
                    Ok(event) => {
                        if let (Some(seen), Some(id)) = (&mut seen, event.id()) {
                            let domain = event.domain();
                            mark = Some((domain.clone(), seen.mark(domain, id, event.version())));
                        }
                        Work::Event(Box::new(event_message(&kindred, &event)))
                    }
                    Err(unreadable) => Work::Rejected(Box::new(
                        found.reject(&names[found.after.file], &unreadable),
                    )),
                };
                let after = found.after;
                entries
                    .blocking_send(PipelineEntry { after, work, mark })
                    .map_err(|_| CommandError::failed("publishing has ended"))
            },
        )
    }
}

/// Everything a model service would check, so that no event ends up as a dead letter.
fn checked(found: &Found, limits: &Limits) -> Result<kindred_shared::event::Event, Unreadable> {
    let line = found.made.as_ref().map_err(Clone::clone)?;
    parse(&line.text, limits).map_err(|refusal| Unreadable {
        reason: refusal.reason,
        detail: refusal.detail,
    })
}

/// Waits for the exchange, then publishes everything handed over.
async fn publish(
    connector: &Connector,
    args: &PublishArgs,
    work: mpsc::Receiver<PipelineEntry>,
    account: &mut Account,
) -> Result<(), CommandError> {
    wait_for_exchange(connector, Retry::new(args.timeout), account).await?;
    let publisher = Publisher::start(connector.clone(), "events", UNCONFIRMED_BYTES);
    publisher.connected().await;
    let flow = Flow {
        place: connector.place(),
        in_flight: args.in_flight.into(),
        timeout: args.timeout,
    };
    let sent = pipeline::run(&publisher, work, &flow, account).await;
    publisher.finish().await;
    sent
}

/// Waits for the exchange. Publishing is safe once it exists: a model service declares it last.
async fn wait_for_exchange(
    connector: &Connector,
    mut retry: Retry,
    account: &Account,
) -> Result<(), CommandError> {
    let names = Names::default();
    let mut told = String::new();
    loop {
        let looked = async {
            let connection = connector.connect("look").await?;
            let found = exists(&connection, &names.items()).await;
            close(&connection).await;
            found
        };
        let (exit, trouble) = match looked.await {
            Ok(true) => return Ok(()),
            Ok(false) => (
                Exit::Failed,
                format!(
                    "exchange {} at {} does not exist yet; a model service creates it when it \
                    starts",
                    names.items(),
                    connector.place()
                ),
            ),
            Err(error) if error.is_refused() => {
                return Err(CommandError::failed(format!(
                    "RabbitMQ at {} refuses this user: {}; check user and password in amqp_url",
                    connector.place(),
                    error.broker_words()
                )));
            }
            Err(error) => (
                Exit::Unreachable,
                format!("RabbitMQ at {} cannot be used: {error}", connector.place()),
            ),
        };
        let Some(pause) = retry.next_pause() else {
            return Err(retry.given_up(exit, &trouble));
        };
        if told != trouble {
            account.say(&retry.words(&trouble));
            told = trouble;
        }
        tokio::time::sleep(pause).await;
    }
}
