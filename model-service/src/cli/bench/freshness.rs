//! `kindred bench freshness`: how soon an event shows in lists while others keep coming, on a
//! service of its own.
//!
//! Events are sent at a steady rate, each at its scheduled moment, however long earlier ones take.
//! An event and the lists it changes become visible together, so one time covers both. Some events
//! are followed until the list of their nearest neighbour is stored.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_domain::list::NEIGHBOURS;
use kindred_domain::store::Store;
use kindred_query::{Snapshot, Views};
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId};
use serde::Serialize;
use tokio::task::JoinSet;

use super::super::client::Client;
use super::super::demo::beside;
use super::super::exit::{CommandError, Outcome};
use super::super::local::FreshnessArgs;
use super::cpu::cpu_time;
use super::deployment::{Deployment, UnderTest};
use super::machine::{Machine, counter};
use super::{
    LOOK_EVERY, Percentiles, QUIET_WITHIN, batches, created, domain, item, read_texts, send,
    settled, signed_now, tell, texts,
};
use crate::config::{Config, Origins};
use crate::service::Service;

const LISTS: &str = "kindred_store_rows_written_total{table=\"similar_items\"}";
/// Events per second that are followed until one of their lists is stored.
const FOLLOWED_A_SECOND: u32 = 5;
/// How often the store is polled for such a list: the resolution of the measurement.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// After this long an event counts as lost.
const WITHIN: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// `standalone` or `clustered`.
    role: &'static str,
    version: &'static str,
    threads: usize,
    kernel: &'static str,
    domains: u16,
    seconds: u32,
    phases: Vec<Phase>,
}

/// A steady rate of new items into domains of a size.
#[derive(Debug, Serialize)]
struct Phase {
    /// Items in all domains before.
    items: u64,
    /// Events a second.
    rate: u32,
    /// From an event's due time until its list and those of its neighbours are served.
    event_to_served: Percentiles,
    /// From an event's due time until its nearest neighbour's list is stored.
    event_to_stored: Percentiles,
    /// Followed events that later, nearer ones pushed out of their neighbour's list before that
    /// list was stored. They are in no percentile.
    overtaken: usize,
    /// From the last event until every list is exact and stored.
    seconds_until_quiet: f64,
    /// Lists written per event.
    lists_per_event: Option<f64>,
    /// CPUs used by the service (including this measurement).
    service_cpus: Option<f64>,
    /// CPUs used by the compute workers.
    worker_cpus: Option<f64>,
}

/// Runs the command.
pub(in crate::cli) fn run(
    args: &FreshnessArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let report = Deployment::of(&args.cluster, config, origins)?
        .measure(config, async |under_test| measure(under_test, args).await)?;
    tell(&report, print, json, out)
}

/// The items still to be published, in order.
struct Supply {
    texts: VecDeque<(String, String)>,
    published: u64,
}

impl Supply {
    fn new(args: &FreshnessArgs) -> Result<Self, CommandError> {
        let most = args.items.iter().copied().max().unwrap_or_default();
        let steady: u32 = args.rate.iter().map(|rate| rate * args.seconds).sum();
        let wanted = u64::from(most) + u64::from(steady) * args.items.len() as u64;
        let texts = match &args.input {
            Some(path) => read_texts(path, wanted)?,
            None => {
                let texts = texts::Texts::new();
                (0..wanted).map(|n| texts.text(n)).collect()
            }
        };
        if (texts.len() as u64) < wanted {
            return Err(CommandError::usage(format!(
                "--input has {} texts; {wanted} are needed",
                texts.len()
            )));
        }
        Ok(Self {
            texts: texts.into(),
            published: 0,
        })
    }

    /// The next `count` texts.
    fn take(&mut self, count: u64) -> Vec<(String, String)> {
        self.published += count;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.texts.drain(..count.min(self.texts.len())).collect()
    }
}

async fn measure(under_test: UnderTest<'_>, args: &FreshnessArgs) -> Result<Report, CommandError> {
    let UnderTest {
        role,
        service,
        config,
        workers,
    } = under_test;
    let mut supply = Supply::new(args)?;
    let client = Client::new(&format!("http://{}", service.address))?;
    let mut sizes = args.items.clone();
    sizes.sort_unstable();
    let mut phases = Vec::new();
    for size in sizes {
        let first = supply.published;
        let missing = u64::from(size).saturating_sub(first);
        let batches = batches(first, supply.take(missing), args.domains)?;
        let sender = client.clone();
        beside(move || send(&sender, batches)).await?;
        settled(service, supply.published, QUIET_WITHIN).await?;
        for &rate in &args.rate {
            let items = supply.published;
            let texts = supply.take(u64::from(rate) * u64::from(args.seconds));
            let load = Load {
                service,
                domains: args.domains,
                first: items,
                rate,
            };
            phases.push(load.measure(&client, workers, texts).await?);
        }
    }
    Ok(Report {
        machine: Machine::here(),
        role,
        version: env!("CARGO_PKG_VERSION"),
        threads: config.compute.threads,
        kernel: config.compute.kernel.name(),
        domains: args.domains,
        seconds: args.seconds,
        phases,
    })
}

/// New items at a steady rate.
struct Load<'a> {
    service: &'a Service,
    domains: u16,
    /// Number of the first item.
    first: u64,
    /// Events a second.
    rate: u32,
}

/// An event in flight.
struct OnItsWay {
    due: Instant,
    domain: DomainName,
    id: ItemId,
    is_followed: bool,
}

impl Load<'_> {
    async fn measure(
        &self,
        client: &Client,
        workers: &[u32],
        texts: Vec<(String, String)>,
    ) -> Result<Phase, CommandError> {
        let count = texts.len() as u64;
        let (lists, cpus) = (lists_written(client).await?, Cpus::now(workers));
        let began = Instant::now();
        let (mut served, mut stored, mut overtaken) = (Vec::new(), Vec::new(), 0);
        let (mut on_their_way, mut confirming, mut following) =
            (Vec::new(), JoinSet::new(), JoinSet::new());
        let mut texts = (0_u32..).zip(texts).peekable();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut last = began;
        while texts.peek().is_some() || !on_their_way.is_empty() {
            look.tick().await;
            while let Some((n, text)) =
                texts.next_if(|(n, _)| self.due(began, *n).elapsed() > Duration::ZERO)
            {
                let due = self.due(began, n);
                let (event, sent) = self.event(n, due, text)?;
                let confirm = self.service.publish.publish(event).await;
                let confirm = confirm.map_err(|error| not_taken(&error))?;
                confirming.spawn_local(confirm);
                on_their_way.push(sent);
                last = due;
            }
            while let Some(confirmed) = confirming.try_join_next() {
                let confirmed = confirmed.map_err(|_| CommandError::failed("publishing ended"))?;
                confirmed.map_err(|error| not_taken(&error))?;
            }
            if on_their_way
                .iter()
                .any(|sent: &OnItsWay| sent.due.elapsed() > WITHIN)
            {
                return Err(CommandError::failed(format!(
                    "an event was not served within {WITHIN:?} at {} a second",
                    self.rate
                )));
            }
            for sent in on_their_way.extract_if(.., |sent| self.is_served(sent)) {
                served.push(sent.due.elapsed().as_secs_f64() * 1e3);
                if sent.is_followed
                    && let Some(neighbour) = self.neighbour_with(&sent)
                {
                    let store = Arc::clone(&self.service.store);
                    let views = Arc::clone(&self.service.views);
                    following.spawn_local(stored_after(store, views, sent, neighbour));
                }
            }
        }
        while let Some(followed) = following.join_next().await {
            let followed = followed.map_err(|_| CommandError::failed("following ended"))?;
            match followed? {
                Some(after) => stored.push(after.as_secs_f64() * 1e3),
                None => overtaken += 1,
            }
        }
        let lasted = began.elapsed();
        let used = Cpus::now(workers);
        settled(self.service, self.first + count, QUIET_WITHIN).await?;
        let seconds_until_quiet = last.elapsed().as_secs_f64();
        let written = lists.zip(lists_written(client).await?);
        Ok(Phase {
            items: self.first,
            rate: self.rate,
            event_to_served: Percentiles::of(served),
            event_to_stored: Percentiles::of(stored),
            overtaken,
            seconds_until_quiet,
            lists_per_event: written.map(|(before, after)| (after - before) / count as f64),
            service_cpus: used.service_since(&cpus, lasted),
            worker_cpus: used.workers_since(&cpus, lasted),
        })
    }

    fn due(&self, began: Instant, n: u32) -> Instant {
        began + Duration::from_secs(1) * n / self.rate
    }

    fn event(
        &self,
        n: u32,
        due: Instant,
        text: (String, String),
    ) -> Result<(Event, OnItsWay), CommandError> {
        let number = self.first + u64::from(n);
        let (domain, id) = (domain(number % u64::from(self.domains))?, item(number)?);
        let sent = OnItsWay {
            due,
            domain: domain.clone(),
            id: id.clone(),
            is_followed: n.is_multiple_of(self.rate.div_ceil(FOLLOWED_A_SECOND)),
        };
        Ok((created(domain, id, text, None), sent))
    }

    fn is_served(&self, sent: &OnItsWay) -> bool {
        let view = self.service.views.get(&sent.domain);
        view.is_some_and(|view| view.served(&sent.id, signed_now()).is_some())
    }

    /// The best neighbour whose list names the item.
    fn neighbour_with(&self, sent: &OnItsWay) -> Option<ItemId> {
        let view = self.service.views.get(&sent.domain)?;
        let snapshot = view.snapshot();
        let snapshot = snapshot.as_ref()?;
        let item = snapshot.item(sent.id.as_str(), signed_now())?;
        let mut neighbours = item.neighbours().take(NEIGHBOURS);
        let (neighbour, _) =
            neighbours.find(|(other, _)| list_names(snapshot, other.id(), &sent.id))?;
        Some(neighbour.id().clone())
    }
}

/// Whether the served list of `of` names the item.
fn list_names(snapshot: &Snapshot, of: &ItemId, id: &ItemId) -> bool {
    let of = snapshot.item(of.as_str(), signed_now());
    of.is_some_and(|of| {
        let mut neighbours = of.neighbours().take(NEIGHBOURS);
        neighbours.any(|(other, _)| other.id() == id)
    })
}

/// Waits until the neighbour's stored list names the item; returns the time since the event was
/// due. `None`: the served list no longer names the item, so it need not reach the store.
async fn stored_after(
    store: Arc<dyn Store>,
    views: Arc<Views>,
    sent: OnItsWay,
    neighbour: ItemId,
) -> Result<Option<Duration>, CommandError> {
    let failed = |words: String| CommandError::failed(format!("the list of {neighbour}: {words}"));
    let mut ask = tokio::time::interval(ASK_EVERY);
    ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while sent.due.elapsed() < WITHIN {
        ask.tick().await;
        let list = store.list(&sent.domain, &neighbour).await;
        let list = list.map_err(|error| failed(error.to_string()))?;
        if list.is_some_and(|list| list.neighbours.iter().any(|other| other.id == sent.id)) {
            return Ok(Some(sent.due.elapsed()));
        }
        if let Some(view) = views.get(&sent.domain)
            && let Some(snapshot) = view.snapshot().as_ref()
            && !list_names(snapshot, &neighbour, &sent.id)
        {
            return Ok(None);
        }
    }
    Err(failed(format!(
        "{} did not reach the stored list within {WITHIN:?}",
        sent.id
    )))
}

fn not_taken(error: &kindred_domain::intake::PublishError) -> CommandError {
    CommandError::failed(format!("an event was not accepted: {error}"))
}

async fn lists_written(client: &Client) -> Result<Option<f64>, CommandError> {
    let client = client.clone();
    let metrics = beside(move || client.get(path::METRICS)).await?;
    Ok(counter(&metrics.text(), LISTS))
}

/// CPU time used by processes; `None` where the system does not report it.
struct Cpus {
    service: Option<Duration>,
    workers: Option<Duration>,
}

impl Cpus {
    fn now(workers: &[u32]) -> Self {
        let workers = workers.iter().map(|pid| cpu_time(*pid));
        Self {
            service: cpu_time(std::process::id()),
            workers: workers.sum(),
        }
    }

    fn service_since(&self, before: &Self, lasted: Duration) -> Option<f64> {
        let used = self.service?.checked_sub(before.service?)?;
        Some(used.as_secs_f64() / lasted.as_secs_f64())
    }

    fn workers_since(&self, before: &Self, lasted: Duration) -> Option<f64> {
        let used = self.workers?.checked_sub(before.workers?)?;
        Some(used.as_secs_f64() / lasted.as_secs_f64())
    }
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    writeln!(
        out,
        "{}, threads {} (0: all), kernel {}; {} domains, {} s at each rate",
        report.role, report.threads, report.kernel, report.domains, report.seconds
    )?;
    writeln!(
        out,
        "{:>8} {:>6}  {:>18} {:>18} {:>9} {:>9} {:>11} {:>13}",
        "items",
        "rate/s",
        "served p50/p99 ms",
        "stored p50/p99 ms",
        "overtaken",
        "quiet s",
        "lists/event",
        "CPUs svc+work"
    )?;
    for phase in &report.phases {
        let of = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |v| format!("{v:.2}"));
        let times = |p: &Percentiles| format!("{:.0} / {:.0}", p.p50_ms, p.p99_ms);
        writeln!(
            out,
            "{:>8} {:>6}  {:>18} {:>18} {:>9} {:>9.1} {:>11} {:>13}",
            phase.items,
            phase.rate,
            times(&phase.event_to_served),
            times(&phase.event_to_stored),
            phase.overtaken,
            phase.seconds_until_quiet,
            of(phase.lists_per_event),
            format!("{} + {}", of(phase.service_cpus), of(phase.worker_cpus)),
        )?;
    }
    Ok(())
}
