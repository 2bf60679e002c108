//! `kindred bench models`: what models beside the served one cost, on a service of its own.

use std::io::Write;
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_shared::{DomainName, ItemId};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::demo::beside;
use super::super::exit::{CommandError, Outcome};
use super::super::import::{BATCH_LINES, now_ms};
use super::super::local::ModelsArgs;
use super::deployment::{Deployment, UnderTest};
use super::machine::{Machine, counter};
use super::texts::{Numbers, Texts};
use super::{
    LOOK_EVERY, Percentiles, QUIET_WITHIN, SERVED_WITHIN, Sent, domain, item, send, settled,
    signed_now, tell,
};
use crate::config::{Config, Origins};
use crate::service::Service;

/// Values of the vectors that items bring.
const VALUES: usize = 128;
/// Events measured before there are models, and as many after.
const EVENTS: u64 = 50;
/// Activations measured, in one domain after the other.
const ACTIVATIONS: usize = 10;
const RESIDENT: &str = "process_resident_memory_bytes";

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    version: &'static str,
    threads: usize,
    kernel: &'static str,
    domains: u16,
    /// Of each domain.
    items: u32,
    /// Of each domain, the active one included.
    models: u16,
    /// With the active model alone, once everything is quiet.
    before: State,
    /// With all models, likewise.
    after: State,
    /// From the first request for a model until the last one is ready.
    seconds_until_ready: f64,
    /// From the request until it is answered.
    activated: Percentiles,
    /// From the answer until every list is stored again.
    stored_after_activation: Percentiles,
}

#[derive(Debug, Serialize)]
struct State {
    resident_memory_bytes: Option<f64>,
    /// An item gets another text and another vector, when nothing else is to be done: from the request until it is
    /// answered, which is when it is durable and, for models that are ready, passed on.
    event_to_durable: Percentiles,
    /// Until its list by every model is served.
    event_to_served: Percentiles,
    /// Until every list that it changes is stored.
    event_to_stored: Percentiles,
}

/// Runs the command.
pub(in crate::cli) fn run(
    args: &ModelsArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let report = Deployment::standalone(config, origins)?
        .measure(config, async |under_test| measure(under_test, args).await)?;
    tell(&report, print, json, out)
}

async fn measure(under_test: UnderTest<'_>, args: &ModelsArgs) -> Result<Report, CommandError> {
    let UnderTest {
        service, config, ..
    } = under_test;
    let client = Client::new(&format!("http://{}", service.address))?;
    let (domains, items) = (u64::from(args.domains), u64::from(args.items));
    let texts = Texts::new();
    let batches = batches(&texts, domains, items)?;
    let sender = client.clone();
    beside(move || send(&sender, batches)).await?;
    let all = domains * items;
    settled(service, all, QUIET_WITHIN).await?;
    let before = state(service, &client, &texts, (domains, items), 0).await?;

    let wanted = models(args.models);
    let began = Instant::now();
    for (name, body) in &wanted {
        for n in 0..domains {
            let path = path::model(domain(n)?.as_str(), name);
            put(&client, path, body.clone()).await?;
        }
    }
    are_ready(service, domains, wanted.len()).await?;
    let seconds_until_ready = began.elapsed().as_secs_f64();
    settled(service, all, QUIET_WITHIN).await?;
    let after = state(service, &client, &texts, (domains, items), EVENTS).await?;

    let (mut activated, mut stored) = (Vec::new(), Vec::new());
    for n in 0..ACTIVATIONS {
        let Some((name, _)) = wanted.get(n / args.domains as usize % wanted.len().max(1)) else {
            break;
        };
        let path = path::activate(domain(n as u64 % domains)?.as_str(), name);
        let began = Instant::now();
        let asked = client.clone();
        beside(move || asked.post_good(&path, b"{}")).await?;
        activated.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        settled(service, all, QUIET_WITHIN).await?;
        stored.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Report {
        machine: Machine::here(),
        version: env!("CARGO_PKG_VERSION"),
        threads: config.compute.threads,
        kernel: config.compute.kernel.name(),
        domains: args.domains,
        items: args.items,
        models: args.models,
        before,
        after,
        seconds_until_ready,
        activated: Percentiles::of(activated),
        stored_after_activation: Percentiles::of(stored),
    })
}

/// The models beside the active one, `text-2`: of texts, of vectors, and mixes of both, in turn.
fn models(count: u16) -> Vec<(String, Value)> {
    let name = |n: u16| format!("model-{n}");
    let of_vectors = name(2);
    let one = |n: u16| {
        let body = match n % 3 {
            1 => json!({"kind": "words-1"}),
            2 => json!({"kind": "vectors", "vector": "bench"}),
            _ => json!({"kind": "mix", "of": {"text-2": f64::from(n), of_vectors.as_str(): 1}}),
        };
        (name(n), body)
    };
    (1..count).map(one).collect()
}

/// A body of an item, with text number `n` and a vector of its own.
fn said(texts: &Texts, n: u64) -> Value {
    let (title, text) = texts.text(n);
    let mut numbers = Numbers(n);
    let value = |_| numbers.below(2_001) as f32 / 1_000.0 - 1.0;
    let vector: Vec<f32> = (0..VALUES).map(value).collect();
    json!({"title": title, "text": text, "language": "en", "vectors": {"bench": vector}})
}

/// All items of all domains, as an import sends them.
fn batches(texts: &Texts, domains: u64, items: u64) -> Result<Vec<Sent>, CommandError> {
    let mut batches = Vec::new();
    for of in 0..domains {
        let domain = domain(of)?;
        let numbers: Vec<u64> = (0..items).collect();
        for numbers in numbers.chunks(BATCH_LINES) {
            let (mut ids, mut body) = (Vec::new(), Vec::new());
            for n in numbers {
                let id = item(*n)?;
                let mut event = said(texts, of * items + n);
                event["type"] = "item.created".into();
                event["domain"] = domain.as_str().into();
                event["id"] = id.as_str().into();
                event["version"] = now_ms().into();
                body.extend_from_slice(event.to_string().as_bytes());
                body.push(b'\n');
                ids.push(id);
            }
            batches.push(Sent {
                domain: domain.clone(),
                ids,
                body,
                at: 0,
            });
        }
    }
    Ok(batches)
}

async fn put(client: &Client, path: String, body: Value) -> Result<(), CommandError> {
    let client = client.clone();
    beside(move || Client::good(client.put(&path, body.to_string().as_bytes())?).map(drop)).await
}

/// Measures memory and events, which begin with text number `first` after those of the items.
async fn state(
    service: &Service,
    client: &Client,
    texts: &Texts,
    (domains, items): (u64, u64),
    first: u64,
) -> Result<State, CommandError> {
    let asked = client.clone();
    let metrics = beside(move || asked.get(path::METRICS)).await?;
    let resident_memory_bytes = counter(&metrics.text(), RESIDENT);
    let (mut durable, mut served, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..EVENTS {
        let (domain, id) = (domain(n % domains)?, item(n % items)?);
        let (version, mut body) = (now_ms(), said(texts, domains * items + first + n));
        body["version"] = version.into();
        let path = path::item(domain.as_str(), id.as_str());
        let began = Instant::now();
        put(client, path, body).await?;
        durable.push(began.elapsed().as_secs_f64() * 1e3);
        while !is_served_by_all(service, &domain, &id, version) {
            if began.elapsed() > SERVED_WITHIN {
                return Err(CommandError::failed("an event was not served in time"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        served.push(began.elapsed().as_secs_f64() * 1e3);
        settled(service, domains * items, QUIET_WITHIN).await?;
        stored.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(State {
        resident_memory_bytes,
        event_to_durable: Percentiles::of(durable),
        event_to_served: Percentiles::of(served),
        event_to_stored: Percentiles::of(stored),
    })
}

fn is_served_by_all(service: &Service, domain: &DomainName, id: &ItemId, version: u64) -> bool {
    let served = service.views.get(domain).into_iter();
    let beside = service.views.all_beside(domain).into_iter();
    let mut views = served.chain(beside.map(|(_, beside)| beside.view));
    views.all(|view| {
        let served = view.served(id, signed_now());
        served.is_some_and(|served| served.version == version)
    })
}

/// Waits until so many models beside the active one are ready in each domain.
async fn are_ready(service: &Service, domains: u64, models: usize) -> Result<(), CommandError> {
    let names: Vec<DomainName> = (0..domains).map(domain).collect::<Result<_, _>>()?;
    let all_are = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let are_ready = |name: &DomainName| {
                let beside = service.views.all_beside(name);
                beside.iter().filter(|(_, beside)| beside.is_ready).count() == models
            };
            if names.iter().all(are_ready) {
                break;
            }
        }
    };
    tokio::time::timeout(QUIET_WITHIN, all_are)
        .await
        .map_err(|_| CommandError::failed("the models did not become ready"))
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    writeln!(
        out,
        "standalone, threads {} (0: all), kernel {}; {} domains of {} items with {} models",
        report.threads, report.kernel, report.domains, report.items, report.models
    )?;
    let mib = |bytes: Option<f64>| match bytes {
        Some(bytes) => format!("{:.0} MiB", bytes / f64::from(1 << 20)),
        None => "not known".to_owned(),
    };
    let times = |of: &Percentiles| {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms ({})",
            of.p50_ms, of.p99_ms, of.count
        )
    };
    for (which, state) in [
        ("active model", &report.before),
        ("all models", &report.after),
    ] {
        for (what, value) in [
            ("resident memory", mib(state.resident_memory_bytes)),
            ("event to durable", times(&state.event_to_durable)),
            ("event to served by all", times(&state.event_to_served)),
            ("event to stored", times(&state.event_to_stored)),
        ] {
            writeln!(out, "{:<36} {value}", format!("{what}, {which}"))?;
        }
    }
    writeln!(
        out,
        "{:<36} {:.1} s",
        "until all models are ready", report.seconds_until_ready
    )?;
    writeln!(out, "{:<36} {}", "activation", times(&report.activated))?;
    writeln!(
        out,
        "{:<36} {}",
        "all lists stored after it",
        times(&report.stored_after_activation)
    )
}
