//! `kindred bench pipeline`: how fast events become lists, measured on a service of its own.

mod articles;
mod clustered;
mod cpu;
mod deployment;
pub(super) mod extract;
pub(super) mod freshness;
mod machine;
pub(super) mod models;
pub(super) mod queries;
mod query_load;
pub(super) mod similarity;
mod standalone;
mod texts;

use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kindred_api::batch::BatchAnswer;
use kindred_api::path;
use kindred_shared::event::{Event, Upsert, UpsertKind};
use kindred_shared::{DomainName, ItemId};
use serde::{Deserialize, Serialize};

use self::deployment::{Deployment, UnderTest};
use self::machine::{Machine, counter};
use self::texts::Texts;
use super::client::Client;
use super::demo::beside;
use super::exit::{CommandError, Exit, Outcome};
use super::import::{BATCH_LINES, Records, SENDERS, Source, now_ms};
use super::local::PipelineArgs;
use super::memory::peak_memory;
use super::output::json_lines;
use crate::config::{Config, Origins};
use crate::service::Service;

/// Items published one by one, each into a quiet domain.
const SINGLES: u64 = 50;
const QUIET_WITHIN: Duration = Duration::from_secs(3600);
const SERVED_WITHIN: Duration = Duration::from_secs(60);
/// How often a view is polled: the resolution of the measurement.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const PAIRS: &str = "kindred_pairs_compared_total";
const ROWS: &str = "kindred_store_rows_written_total";

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// `standalone` or `clustered`.
    role: &'static str,
    version: &'static str,
    threads: usize,
    kernel: &'static str,
    items: u64,
    domains: u16,
    /// From the first event to the last list stored.
    seconds_until_quiet: f64,
    items_per_second: f64,
    /// Pairs compared, and pairs per second.
    pairs: Option<f64>,
    pairs_per_second: Option<f64>,
    /// From publishing one item into a quiet domain until its neighbours are served.
    single_event_to_served: Percentiles,
    /// From publishing that item until every list it changes is stored.
    single_event_to_stored: Percentiles,
    /// From sending an item's batch until its neighbours are served, during the bulk load.
    bulk_event_to_served: Percentiles,
    store_rows_per_item: Option<f64>,
    /// Peak memory of the process, this program's own inputs included.
    peak_memory_bytes: Option<u64>,
    /// Memory that the load added, per item.
    memory_bytes_per_item: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50_ms: f64,
    p99_ms: f64,
    count: usize,
}

impl Percentiles {
    /// Percentiles by the nearest-rank method.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            count: values.len(),
        }
    }
}

/// A batch, and when it was sent.
#[derive(Debug)]
struct Sent {
    domain: DomainName,
    ids: Vec<ItemId>,
    body: Vec<u8>,
    /// In ms since 1970; 0: not sent yet.
    at: u64,
}

#[derive(Deserialize)]
struct Words {
    title: Option<String>,
    text: Option<String>,
}

pub(super) fn run(
    args: &PipelineArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let deployment = Deployment::of(&args.cluster, config, origins)?;
    let texts = match &args.input {
        Some(path) => pipeline_texts(path, args.items)?,
        None => {
            let texts = Texts::new();
            (0..u64::from(args.items) + SINGLES)
                .map(|n| texts.text(n))
                .collect()
        }
    };
    let report = deployment.measure(config, async |under_test| {
        measure(under_test, args.domains, texts).await
    })?;
    tell(&report, print, json, out)
}

/// Writes a report as JSON or for people.
fn tell<R: Serialize>(
    report: &R,
    print: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    if json {
        json_lines(out, report)?;
    } else {
        print(report, out)?;
    }
    Ok(Exit::Done)
}

/// The texts of a file: first those of the load, then those of single items.
fn pipeline_texts(path: &Path, items: u32) -> Result<Vec<(String, String)>, CommandError> {
    let texts = read_texts(path, u64::from(items) + SINGLES)?;
    if texts.len() as u64 <= SINGLES {
        return Err(CommandError::usage(format!(
            "{}: expected more than {SINGLES} events with a title or a text",
            path.display()
        )));
    }
    Ok(texts)
}

/// Titles and texts of a file of events, at most `most`; lines that are not such events are
/// skipped.
fn read_texts(path: &Path, most: u64) -> Result<Vec<(String, String)>, CommandError> {
    let failure =
        |error: std::io::Error| CommandError::usage(format!("{}: {error}", path.display()));
    let source = Source::open(path).map_err(failure)?;
    let reader = source
        .reader(std::sync::Arc::default(), &std::sync::Arc::default())
        .map_err(failure)?;
    let mut texts = Vec::new();
    for record in Records::new(BufReader::new(reader)) {
        let record = record.map_err(failure)?;
        if let Ok(words) = serde_json::from_slice::<Words>(&record.text)
            && (words.title.is_some() || words.text.is_some())
        {
            texts.push((
                words.title.unwrap_or_default(),
                words.text.unwrap_or_default(),
            ));
        }
        if texts.len() as u64 == most {
            break;
        }
    }
    Ok(texts)
}

async fn measure(
    under_test: UnderTest<'_>,
    domains: u16,
    mut texts: Vec<(String, String)>,
) -> Result<Report, CommandError> {
    let UnderTest {
        role,
        service,
        config,
        ..
    } = under_test;
    let singles = texts.split_off(texts.len() - SINGLES as usize);
    let items = texts.len() as u64;
    let batches = batches(0, texts, domains)?;
    let client = Client::new(&format!("http://{}", service.address))?;
    let before = peak_memory();

    let began = Instant::now();
    let sender = client.clone();
    let sent = beside(move || send(&sender, batches)).await?;
    settled(service, items, QUIET_WITHIN).await?;
    let seconds = began.elapsed().as_secs_f64();
    let peak = peak_memory();
    let metrics = beside(move || client.get(path::METRICS)).await?;
    let metrics = metrics.text();
    let bulk = served_after(service, &sent);
    let (single_served, single_stored) = publish_singles(service, items, singles).await?;

    let pairs = counter(&metrics, PAIRS);
    Ok(Report {
        machine: Machine::here(),
        role,
        version: env!("CARGO_PKG_VERSION"),
        threads: config.compute.threads,
        kernel: config.compute.kernel.name(),
        items,
        domains,
        seconds_until_quiet: seconds,
        items_per_second: items as f64 / seconds,
        pairs,
        pairs_per_second: pairs.map(|pairs| pairs / seconds),
        single_event_to_served: Percentiles::of(single_served),
        single_event_to_stored: Percentiles::of(single_stored),
        bulk_event_to_served: Percentiles::of(bulk),
        store_rows_per_item: counter(&metrics, ROWS).map(|rows| rows / items as f64),
        peak_memory_bytes: peak,
        memory_bytes_per_item: before
            .zip(peak)
            .map(|(before, after)| after.saturating_sub(before) as f64 / items as f64),
    })
}

/// Waits until `visible` items are visible and every list is exact and stored.
async fn settled(service: &Service, visible: u64, within: Duration) -> Result<(), CommandError> {
    let all_there = async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let views = service.views.all();
            let statuses = || views.iter().map(|(_, view)| view.status());
            if statuses().all(|status| status.quiet)
                && statuses().map(|status| status.visible).sum::<u64>() == visible
            {
                break;
            }
        }
    };
    tokio::time::timeout(within, all_there)
        .await
        .map_err(|_| CommandError::failed("the domains did not become quiet"))
}

fn domain(n: u64) -> Result<DomainName, CommandError> {
    DomainName::new(&format!("bench-{n}.example"))
        .map_err(|error| CommandError::failed(error.to_string()))
}

fn item(n: u64) -> Result<ItemId, CommandError> {
    ItemId::new(&format!("item-{n}")).map_err(|error| CommandError::failed(error.to_string()))
}

/// The event that creates an item with an English text.
fn created(
    domain: DomainName,
    id: ItemId,
    (title, text): (String, String),
    version: Option<u64>,
) -> Event {
    Event::Upsert(Box::new(Upsert {
        kind: UpsertKind::Created,
        domain,
        id,
        title: Some(title),
        text: Some(text),
        url: None,
        image: None,
        language: Some("en".to_owned()),
        group: None,
        categories: Default::default(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        hidden: false,
        version,
        vector: None,
        vectors: Default::default(),
        attributes: Default::default(),
    }))
}

/// Deals the texts to the domains and batches them as an import does. The first item has the number
/// `first`.
fn batches(
    first: u64,
    texts: Vec<(String, String)>,
    domains: u16,
) -> Result<Vec<Sent>, CommandError> {
    let version = now_ms();
    let names: Vec<DomainName> = (0..u64::from(domains))
        .map(domain)
        .collect::<Result<_, _>>()?;
    let mut open: Vec<Option<Sent>> = names.iter().map(|_| None).collect();
    let mut full = Vec::new();
    for (n, (title, text)) in (first..).zip(texts) {
        let which = (n % u64::from(domains)) as usize;
        let slot = &mut open[which];
        let batch = slot.get_or_insert_with(|| Sent {
            domain: names[which].clone(),
            ids: Vec::new(),
            body: Vec::new(),
            at: 0,
        });
        let id = item(n)?;
        let event = serde_json::json!({
            "type": "item.created", "domain": batch.domain, "id": id, "title": title,
            "text": text, "language": "en", "version": version,
        });
        batch.body.extend_from_slice(event.to_string().as_bytes());
        batch.body.push(b'\n');
        batch.ids.push(id);
        if batch.ids.len() == BATCH_LINES {
            full.extend(slot.take());
        }
    }
    full.extend(open.into_iter().flatten());
    Ok(full)
}

/// Sends the batches the way an import does, a few at once. No item is in two of them, so their
/// order does not matter.
fn send(client: &Client, batches: Vec<Sent>) -> Result<Vec<Sent>, CommandError> {
    let next = AtomicUsize::new(0);
    let batches: Vec<Mutex<Sent>> = batches.into_iter().map(Mutex::new).collect();
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = send_one(client, &mut batch) {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        break;
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure),
        None => Ok(batches
            .into_iter()
            .map(|batch| batch.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()),
    }
}

fn send_one(client: &Client, batch: &mut Sent) -> Result<(), CommandError> {
    batch.at = now_ms();
    let answer = client.post(&path::batch(batch.domain.as_str()), &batch.body)?;
    batch.body = Vec::new();
    match answer.json::<BatchAnswer>() {
        Ok(told) if answer.is_success() && told.accepted == batch.ids.len() as u64 => Ok(()),
        _ => Err(CommandError::failed(format!(
            "a batch was not accepted: {}",
            answer.words()
        ))),
    }
}

/// Milliseconds from sending until serving, for every item.
fn served_after(service: &Service, sent: &[Sent]) -> Vec<f64> {
    let now = signed_now();
    let mut times = Vec::new();
    for batch in sent {
        let Some(view) = service.views.get(&batch.domain) else {
            continue;
        };
        for id in &batch.ids {
            if let Some(served) = view.served(id, now).filter(|served| served.since > 0) {
                times.push(
                    (served.since - i64::try_from(batch.at).unwrap_or(i64::MAX)).max(0) as f64,
                );
            }
        }
    }
    times
}

fn signed_now() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// Publishes items one after the other into a quiet domain; returns the milliseconds until each is
/// served and until everything it changes is stored.
async fn publish_singles(
    service: &Service,
    items: u64,
    texts: Vec<(String, String)>,
) -> Result<(Vec<f64>, Vec<f64>), CommandError> {
    let domain = domain(0)?;
    let (mut served_ms, mut stored_ms) = (Vec::new(), Vec::new());
    for (n, (title, text)) in (0_u64..).zip(texts) {
        let id = ItemId::new(&format!("single-{n}"))
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let version = now_ms();
        let event = created(domain.clone(), id.clone(), (title, text), Some(version));
        let refused = |error: kindred_domain::intake::PublishError| {
            CommandError::failed(format!("a single item was not accepted: {error}"))
        };
        let began = Instant::now();
        let confirm = service.publish.publish(event).await.map_err(refused)?;
        confirm.await.map_err(refused)?;
        loop {
            let served = service
                .views
                .get(&domain)
                .and_then(|view| view.served(&id, signed_now()));
            if served.is_some_and(|served| served.version == version) {
                break;
            }
            if began.elapsed() > SERVED_WITHIN {
                return Err(CommandError::failed("a single item was not served in time"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        served_ms.push(began.elapsed().as_secs_f64() * 1e3);
        settled(service, items + n + 1, SERVED_WITHIN).await?;
        stored_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok((served_ms, stored_ms))
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    let known = |value: Option<f64>, words: &dyn Fn(f64) -> String| {
        value.map_or_else(|| "not known".to_owned(), words)
    };
    let whole = |value: f64| format!("{value:.0}");
    writeln!(
        out,
        "{}, threads {} (0: all), kernel {}; {} items in {} domains",
        report.role, report.threads, report.kernel, report.items, report.domains
    )?;
    let lines = [
        (
            "until quiet",
            format!(
                "{:.2} s, {:.0} items/s",
                report.seconds_until_quiet, report.items_per_second
            ),
        ),
        (
            "pairs compared",
            format!(
                "{}, {} a second",
                known(report.pairs, &whole),
                known(report.pairs_per_second, &whole)
            ),
        ),
        (
            "event to served, single",
            percentiles(&report.single_event_to_served),
        ),
        (
            "event to stored, single",
            percentiles(&report.single_event_to_stored),
        ),
        (
            "event to served, bulk",
            percentiles(&report.bulk_event_to_served),
        ),
        (
            "store rows per item",
            known(report.store_rows_per_item, &|rows| format!("{rows:.2}")),
        ),
        (
            "peak memory",
            format!(
                "{}, {} per item added by the load",
                known(
                    report.peak_memory_bytes.map(|bytes| bytes as f64),
                    &|bytes| { format!("{:.1} MiB", bytes / f64::from(1 << 20)) }
                ),
                known(report.memory_bytes_per_item, &|bytes| format!(
                    "{bytes:.0} B"
                ))
            ),
        ),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:<24}  {value}")?;
    }
    Ok(())
}

fn percentiles(of: &Percentiles) -> String {
    format!(
        "p50 {:.1} ms, p99 {:.1} ms ({} items)",
        of.p50_ms, of.p99_ms, of.count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let of = Percentiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((of.p50_ms, of.p99_ms, of.count), (50.0, 99.0, 100));
        assert_eq!(Percentiles::of(vec![]).count, 0);
        assert_eq!(Percentiles::of(vec![7.0]).p99_ms, 7.0);
    }

    #[test]
    fn items_are_dealt_evenly() {
        let texts = (0..2_500)
            .map(|n| (format!("t{n}"), String::new()))
            .collect();
        let batches = batches(0, texts, 2).unwrap_or_default();
        let counts: Vec<usize> = batches.iter().map(|batch| batch.ids.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 2_500);
        assert_eq!(counts, [1_000, 1_000, 250, 250]);
    }
}
