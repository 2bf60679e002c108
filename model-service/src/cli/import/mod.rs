//! `kindred import`: imports files of events, and sites, into a running Kindred.

mod batch;
mod dry_run;
mod ended;
mod gzip;
mod input;
mod known;
mod line;
mod progress;
mod reading;
mod rejects;
mod send;
mod site;
mod source;
mod split;
mod sync;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kindred_shared::DomainName;
use serde::Serialize;

pub(crate) use batch::{BATCH_LINES, Batches, ImportBatch, LineOrigin};
pub(crate) use ended::Ended;
pub(crate) use input::{Input, Wanted};
pub(crate) use known::Known;
pub(crate) use line::{Defaults, Unreadable};
pub(crate) use progress::Progress;
pub(crate) use reading::{Found, Position, read};
pub(crate) use rejects::{Reject, Rejects, beside};
pub(crate) use send::{SENDERS, Sender, Settled, Watch};
pub(crate) use source::Source;
pub(crate) use split::Records;

use self::input::Site;
use self::site::{Made, shown};
use super::client::{Client, Server};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use super::interrupt::Interrupt;
use super::output::json_line;
use super::status;
use crate::config::Config;
use crate::sites::{Base, Left};

/// How often a server is asked whether its domains are quiet.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Unreadable files named on standard error; the rejects file names all.
const NAMED: u64 = 20;
/// How names of rejects files end.
const REJECTS: &str = "rejects.ndjson";
/// The reason in rejects files for an unreadable file or table row.
const UNREADABLE: &str = "unreadable";

/// Sends a site, or files of events, to a running Kindred.
///
/// A folder is read as a site of Hugo, Jekyll, Astro, Docusaurus or Eleventy, or as plain Markdown
/// and HTML with front matter. A file may be one page, a feed (RSS, Atom, JSON Feed), a sitemap
/// with its pages next to it, a table (CSV) whose first row names the fields, or events: NDJSON
/// (one event per line), a stream of JSON objects over any number of lines, or one JSON array.
/// Files may be gzipped. What cannot be imported goes into the rejects file with a reason; the rest
/// is imported.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Folders and files to read; `-` reads events from standard input
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Domain of items that name none [default for sites: their host]
    #[arg(long, value_parser = domain)]
    domain: Option<DomainName>,
    /// Where the site is published, such as https://blog.example [default: from its settings]
    #[arg(long, value_name = "URL", value_parser = Base::parse)]
    url_base: Option<Base>,
    /// Delete items that the source no longer has; more than a tenth of a domain only with --yes
    #[arg(long)]
    sync: bool,
    /// With --sync: allow deleting more than a tenth of a domain
    #[arg(long, requires = "sync")]
    yes: bool,
    /// Keep running and send changes of the source; with --sync, also delete removed items
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Send nothing: print the first events, and report what would be left out
    #[arg(long, value_name = "EVENTS", num_args = 0..=1, require_equals = true, default_missing_value = "3")]
    dry_run: Option<usize>,
    /// Rejects file [default: <input>.rejects.ndjson, or import.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// How long to retry while the server is unreachable or cannot take events
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

/// Parses a domain name of the command line.
pub(crate) fn domain(name: &str) -> Result<DomainName, String> {
    DomainName::new(name).map_err(|error| error.to_string())
}

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Events that are durable.
    pub(crate) accepted: u64,
    /// Everything else to report.
    #[serde(flatten)]
    pub(crate) ended: Ended,
    /// What was left out of sites, with counts by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "by_name")]
    pub(crate) left_out: BTreeMap<Left, u64>,
    /// Items of sites with a date in the future.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) scheduled: u64,
    /// Texts of sites that were truncated.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cut: u64,
    /// Number of deleted items, if deleting was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<u64>,
    /// Files and lines that could not be read.
    #[serde(skip)]
    pub(crate) unreadable: u64,
    /// The kinds of the sites, in words.
    #[serde(skip)]
    pub(crate) kinds: Vec<&'static str>,
    /// Directories of the sites.
    #[serde(skip)]
    pub(crate) directories: Vec<PathBuf>,
    /// The items of the inputs, if they are kept.
    #[serde(skip)]
    pub(crate) known: Known,
    /// Domains that got events.
    #[serde(skip)]
    pub(crate) domains: BTreeSet<DomainName>,
}

fn by_name<S: serde::Serializer>(left: &BTreeMap<Left, u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(left.iter().map(|(left, count)| (left.name(), count)))
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// What was left out, delayed or cut of sites, in words; `None`: nothing.
    pub(crate) fn besides(&self) -> Option<String> {
        let left = self.left_out.iter();
        let left: Vec<String> = left
            .map(|(left, count)| format!("{count} {}", left.words()))
            .collect();
        let mut parts = Vec::new();
        if !left.is_empty() {
            parts.push(format!("left out: {}", left.join(", ")));
        }
        if self.scheduled > 0 {
            parts.push(format!("{} scheduled for later", self.scheduled));
        }
        if self.cut > 0 {
            parts.push(format!(
                "{} texts were too long and were truncated",
                self.cut
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Options of a load, besides its inputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Domain of events that name none.
    pub(crate) domain: Option<DomainName>,
    /// Rejects file; `None`: one next to each input.
    pub(crate) rejects: Option<PathBuf>,
    /// How long to retry a batch.
    pub(crate) timeout: Duration,
    /// Whether to show progress.
    pub(crate) shown: bool,
    /// Whether to keep the items of the inputs.
    pub(crate) keeps: bool,
    /// What sites had before: unchanged items are not sent again.
    pub(crate) before: Known,
    /// Tells the load to end early.
    pub(crate) interrupt: Interrupt,
}

pub(crate) fn run(args: &ImportArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let wanted = Wanted {
        domain: args.domain.clone(),
        base: args.url_base.clone(),
        max_text: config.events.max_text,
    };
    let client = args.server.client(config)?;
    let inputs = open(&args.files, &wanted)?;
    if args.watch && inputs.iter().any(|input| matches!(input, Input::Events(_))) {
        return Err(CommandError::usage(
            "--watch follows folders, pages, feeds, sitemaps and tables, but not events",
        ));
    }
    if let Some(events) = args.dry_run {
        let asked = args.sync.then_some(&client);
        return dry_run::run(inputs, events, args.domain.as_ref(), asked, json, out);
    }
    let mut options = Options {
        domain: args.domain.clone(),
        rejects: args.rejects.clone(),
        timeout: args.timeout,
        shown: true,
        keeps: args.sync || args.watch,
        before: Known::default(),
        // Ctrl-C ends watching in any case.
        interrupt: match args.watch {
            true => Interrupt::default(),
            false => Interrupt::listen()?,
        },
    };
    let (mut summary, mut broken) = load_inputs(&client, inputs, &options)?;
    let mut refused = None;
    if args.sync && broken.is_none() {
        let before = args
            .domain
            .clone()
            .map(Known::nothing_of)
            .unwrap_or_default();
        let known = std::mem::take(&mut summary.known).with_domains_of(&before);
        match synced(&client, &known, &summary, args.yes, &options) {
            Ok(deleted) => summary.deleted = Some(deleted),
            Err(failure) => refused = Some(failure),
        }
        summary.known = known;
    }
    if args.wait && broken.is_none() {
        broken = wait_until_quiet(&client, &summary.domains, &options).err();
    }
    if json {
        json_line(out, &summary)?;
    } else {
        for kind in &summary.kinds {
            writeln!(out, "read as {kind}")?;
        }
        let accepted = format!("{} accepted", summary.accepted);
        summary.ended.tell(&accepted, out)?;
        if let Some(besides) = summary.besides() {
            writeln!(out, "{besides}")?;
        }
        if let Some(deleted) = summary.deleted {
            writeln!(out, "{deleted} deleted")?;
        }
    }
    if args.watch && broken.is_none() {
        if let Some(refused) = refused {
            say(&refused.message);
        }
        out.flush()?;
        options.before = summary.known;
        let first = summary.directories;
        return watch::follow(first, args.rejects.clone(), out, || {
            round(args, &client, &wanted, &mut options)
        });
    }
    match broken.or(refused) {
        Some(failure) => Err(failure),
        None => Ok(summary.ended.exit()),
    }
}

/// Deletes the items that the inputs do not have, if all inputs could be read.
fn synced(
    client: &Client,
    known: &Known,
    summary: &Summary,
    yes: bool,
    options: &Options,
) -> Result<u64, CommandError> {
    if summary.unreadable > 0 {
        say(&format!(
            "nothing was deleted: {} unreadable files or lines of the source may be items of the \
            domain",
            summary.unreadable
        ));
        return Ok(0);
    }
    sync::delete(client, known, yes, options, say)
}

/// Reads the watched source once more and sends what changed.
fn round(
    args: &ImportArgs,
    client: &Client,
    wanted: &Wanted,
    options: &mut Options,
) -> Result<watch::Round, CommandError> {
    let inputs = match open(&args.files, wanted) {
        Ok(inputs) => inputs,
        // A file may be missing for the moment in which another replaces it.
        Err(failure) => {
            return Ok(watch::Round {
                directories: args.files.iter().filter_map(|file| folder(file)).collect(),
                words: Some(failure.message),
            });
        }
    };
    let (mut summary, _) = load_inputs(client, inputs, options)?;
    let known = std::mem::take(&mut summary.known);
    let mut words = Vec::new();
    if summary.accepted > 0 {
        words.push(format!("{} changed", summary.accepted));
    }
    if summary.ended.rejected > 0 {
        words.push(format!("{} rejected", summary.ended.rejected));
    }
    // What cannot be read is taken to be unchanged.
    if summary.unreadable == 0 {
        let is_less = known.lacks_some_of(&options.before);
        if args.sync && is_less {
            let all = known.clone().with_domains_of(&options.before);
            match sync::delete(client, &all, args.yes, options, |_| ()) {
                Ok(deleted) => words.push(format!("{deleted} deleted")),
                Err(failure) if failure.exit == Exit::Failed => words.push(failure.message),
                Err(failure) => return Err(failure),
            }
        }
        options.before = known.with_domains_of(&options.before);
    } else {
        options.before.extend(known);
    }
    Ok(watch::Round {
        directories: summary.directories,
        words: (!words.is_empty()).then(|| words.join(", ")),
    })
}

/// The folder that a path is, or is in.
fn folder(path: &std::path::Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors()
        .find(|one| one.is_dir())
        .map(std::path::Path::to_owned)
}

/// Prints a message. The import continues even if standard output is closed.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Opens all inputs.
///
/// # Errors
/// [`Exit::Usage`] for the first that cannot be opened.
pub(crate) fn open(files: &[PathBuf], wanted: &Wanted) -> Result<Vec<Input>, CommandError> {
    files.iter().map(|path| Input::open(path, wanted)).collect()
}

/// Opens files of events only.
///
/// # Errors
/// [`Exit::Usage`] for the first that cannot be opened.
pub(crate) fn open_events(files: &[PathBuf]) -> Result<Vec<Source>, CommandError> {
    files
        .iter()
        .map(|path| {
            Source::open(path)
                .map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))
        })
        .collect()
}

/// Sends all events of the sources, in order, and waits until each is settled. If an input broke
/// off, the failure is returned along with the summary.
#[cfg(test)]
fn load(
    client: &Client,
    sources: Vec<Source>,
    options: &Options,
) -> Result<(Summary, Option<CommandError>), CommandError> {
    load_inputs(
        client,
        sources.into_iter().map(Input::Events).collect(),
        options,
    )
}

/// Sends all items of the inputs, in order, and waits until each is settled. If an input of events
/// broke off, the failure is returned along with the summary.
pub(crate) fn load_inputs(
    client: &Client,
    inputs: Vec<Input>,
    options: &Options,
) -> Result<(Summary, Option<CommandError>), CommandError> {
    let named = inputs.iter().map(|input| {
        let rejects = input
            .file()
            .map(|file| beside(file, &format!(".{REJECTS}")));
        (input.name(), rejects, input.size())
    });
    let named: Vec<_> = named.collect();
    load_with(client, named, options, |pushed| {
        for (at, input) in inputs.into_iter().enumerate() {
            let broken = match input {
                Input::Events(source) => pushed.events(at, source)?,
                Input::Site(site) => {
                    pushed.site(at, &site)?;
                    None
                }
            };
            if broken.is_some() {
                return Ok(broken);
            }
        }
        Ok(None)
    })
}

/// Sends what `feed` hands over; `inputs` are the inputs' names, rejects files and sizes.
fn load_with(
    client: &Client,
    inputs: Vec<(String, Option<PathBuf>, Option<u64>)>,
    options: &Options,
    feed: impl FnOnce(&mut Pushed<'_, '_>) -> Result<Option<CommandError>, CommandError>,
) -> Result<(Summary, Option<CommandError>), CommandError> {
    let began = Instant::now();
    let size = inputs.iter().map(|(_, _, size)| *size).sum();
    let own = |path: &Option<PathBuf>| {
        path.clone()
            .unwrap_or_else(|| PathBuf::from(format!("import.{REJECTS}")))
    };
    let rejects = match &options.rejects {
        Some(shared) => vec![shared.clone()],
        None if inputs.is_empty() => vec![own(&None)],
        None => inputs.iter().map(|(_, path, _)| own(path)).collect(),
    };
    let files = inputs.into_iter().enumerate();
    let tally = Tally {
        progress: Progress::new(size, options.shown),
        counts: Mutex::new(Counts {
            accepted: 0,
            unreadable: 0,
            domains: BTreeSet::new(),
            rejects: Rejects::into_files(rejects, false),
            files: files
                .map(|(input, (name, ..))| Named { name, input })
                .collect(),
        }),
    };
    let sender = Sender::new(client, options.timeout, &tally);
    let mut read = Read::default();
    let mut broken = None;
    let sent = sender.run(|| {
        let mut pushed = Pushed {
            sender: &sender,
            tally: &tally,
            options,
            batches: Batches::default(),
            read: &mut read,
        };
        broken = match feed(&mut pushed) {
            Err(failure) if !options.interrupt.is_asked() => return Err(failure),
            Err(_) => Some(Interrupt::failure()),
            Ok(broken) => broken,
        };
        // Even if an input broke off, what was read of it is sent.
        for batch in std::mem::take(&mut pushed.batches).finish() {
            sender.push(batch)?;
        }
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
        left_out: read.left_out,
        scheduled: read.scheduled,
        cut: read.cut,
        deleted: None,
        unreadable: counts.unreadable,
        kinds: read.kinds,
        directories: read.directories,
        known: read.known,
        domains: counts.domains.clone(),
    };
    Ok((summary, broken))
}

/// What was read of the inputs, besides what is sent.
#[derive(Default)]
struct Read {
    left_out: BTreeMap<Left, u64>,
    scheduled: u64,
    cut: u64,
    kinds: Vec<&'static str>,
    directories: Vec<PathBuf>,
    known: Known,
}

impl Read {
    fn add(&mut self, of_site: crate::sites::Summary) {
        for (left, count) in of_site.left {
            *self.left_out.entry(left).or_default() += count;
        }
        self.scheduled += of_site.scheduled;
        self.cut += of_site.cut;
        self.kinds.push(of_site.kind);
        self.directories.extend(of_site.directories);
    }
}

/// Gathers lines into batches, and hands full ones over.
struct Pushed<'a, 'b> {
    sender: &'a Sender<'b>,
    tally: &'a Tally,
    options: &'a Options,
    batches: Batches,
    read: &'a mut Read,
}

impl Pushed<'_, '_> {
    fn line(
        &mut self,
        domain: &DomainName,
        line: &[u8],
        place: LineOrigin,
    ) -> Result<(), CommandError> {
        if self.options.interrupt.is_asked() {
            return Err(Interrupt::failure());
        }
        match self.batches.add(domain, line, place) {
            Some(full) => self.sender.push(full),
            None => Ok(()),
        }
    }

    /// Hands the events of a source over; returns why it broke off, if it did.
    fn events(
        &mut self,
        file: usize,
        source: Source,
    ) -> Result<Option<CommandError>, CommandError> {
        let tally = self.tally;
        let defaults = Defaults {
            domain: self.options.domain.clone(),
        };
        let taken = tally.progress.taken();
        let warn = |words: &str| tally.say(words);
        let name = source.name.clone();
        let begin = Position::default();
        read(vec![source], begin, &defaults, &taken, warn, |found| {
            let line = match &found.made {
                Ok(line) => line,
                Err(unreadable) => {
                    tally.lock().unreadable += 1;
                    return tally.reject(file, &found.reject(&name, unreadable));
                }
            };
            if self.options.keeps {
                self.read.known.keep_event(&line.domain, &line.text);
            }
            let place = LineOrigin {
                file,
                line: found.line,
                original: (found.raw != line.text).then_some(found.raw),
            };
            self.line(&line.domain, &line.text, place)
        })
    }

    /// Hands the items of a site over.
    fn site(&mut self, input: usize, site: &Site) -> Result<(), CommandError> {
        let (tally, options) = (self.tally, self.options);
        let mut last: Option<(PathBuf, usize)> = None;
        let summary = site::events(site, |place, made| {
            let file = match &last {
                Some((file, at)) if *file == place.file => *at,
                _ => {
                    let at = tally.name(shown(&place.file), input);
                    last = Some((place.file.clone(), at));
                    at
                }
            };
            match made {
                Made::Trouble(why) => tally.unreadable(file, place.line, why),
                Made::Event { domain, id, line } => {
                    let known = &mut self.read.known;
                    if options.keeps && !known.keep(&options.before, &domain, &id, line.as_bytes())
                    {
                        return Ok(());
                    }
                    let place = LineOrigin {
                        file,
                        line: place.line,
                        original: None,
                    };
                    self.line(&domain, line.as_bytes(), place)
                }
            }
        })?;
        if !summary.kind.is_empty() {
            self.read.add(summary);
        }
        Ok(())
    }
}

/// The current time in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}

struct Counts {
    accepted: u64,
    unreadable: u64,
    domains: BTreeSet<DomainName>,
    rejects: Rejects,
    files: Vec<Named>,
}

/// A file that lines come from.
struct Named {
    name: String,
    /// The input it belongs to.
    input: usize,
}

/// Counts results of lines.
struct Tally {
    progress: Progress,
    counts: Mutex<Counts>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a file of an input; returns the number for its lines.
    fn name(&self, name: String, input: usize) -> usize {
        let mut counts = self.lock();
        counts.files.push(Named { name, input });
        counts.files.len() - 1
    }

    fn reject(&self, file: usize, reject: &Reject) -> Result<(), CommandError> {
        let mut counts = self.lock();
        let input = counts.files.get(file).map_or(0, |file| file.input);
        counts.rejects.add(input, reject)
    }

    /// Records an unreadable file or row of a file.
    fn unreadable(&self, file: usize, line: u64, why: String) -> Result<(), CommandError> {
        let (name, count) = {
            let mut counts = self.lock();
            counts.unreadable += 1;
            (counts.files[file].name.clone(), counts.unreadable)
        };
        if count <= NAMED {
            self.say(&format!("{name}:{line}: {why}"));
        }
        if count == NAMED + 1 {
            self.say("and more; see the rejects file");
        }
        self.reject(
            file,
            &Reject {
                file: name,
                line,
                reason: UNREADABLE.to_owned(),
                detail: why,
                event: String::new(),
            },
        )
    }
}

impl Watch for Tally {
    fn settled(&self, batch: &ImportBatch, settled: Settled) -> Result<(), CommandError> {
        for refused in settled.refused {
            let place = &batch.places[refused.at];
            let name = self
                .lock()
                .files
                .get(place.file)
                .map(|file| file.name.clone());
            self.reject(
                place.file,
                &Reject {
                    file: name.unwrap_or_default(),
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

/// Waits until these domains are quiet, with no time limit as long as the server answers.
fn wait_until_quiet(
    client: &Client,
    domains: &BTreeSet<DomainName>,
    options: &Options,
) -> Result<(), CommandError> {
    let progress = Progress::new(None, true);
    let mut answered = Instant::now();
    let mut troubles = BTreeSet::new();
    let waited = loop {
        if options.interrupt.is_asked() {
            break Err(CommandError::failed(
                "interrupted: lists are still being made",
            ));
        }
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
            Err(failure) if answered.elapsed() >= options.timeout => break Err(failure),
            Err(_) => {}
        }
        std::thread::sleep(ASK_EVERY);
    };
    progress.finish();
    waited
}
