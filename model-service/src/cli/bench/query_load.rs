//! A steady load of events and of one kind of query, over HTTP.
//!
//! Requests are sent on schedule. A query's time runs from when it was due until its whole answer
//! has arrived, so waiting behind a slow query counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_shared::DomainName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::exit::CommandError;
use super::super::import::{BATCH_LINES, now_ms};
use super::super::local::QueriesArgs;
use super::texts::{Numbers, Texts};
use super::{Percentiles, Sent, domain, item, read_texts};
use crate::client::Response;

/// Connections for events, and as many for queries.
const CONNECTIONS: usize = 16;
/// The `limit` of the queries.
const LIMIT: usize = 10;
/// One in this many items belongs to the rare group.
const RARE_EVERY: u64 = 1_000;
/// Longest sleep before the stop flag is checked again.
const NAP: Duration = Duration::from_millis(100);
/// Too many queries at once.
const BUSY: u16 = 429;

/// The kinds of query, measured one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum QueryKind {
    /// The list of an item.
    Unfiltered,
    /// The list of an item, filtered to one item in a thousand.
    OneInAThousand,
    /// The list of an item, filtered to every other item.
    EveryOther,
    /// Neighbours of a text that belongs to no item.
    Text,
    /// The list of an item, with explanations.
    Explain,
}

impl QueryKind {
    pub(super) const ALL: [Self; 5] = [
        Self::Unfiltered,
        Self::OneInAThousand,
        Self::EveryOther,
        Self::Text,
        Self::Explain,
    ];

    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Unfiltered => "unfiltered",
            Self::OneInAThousand => "filter, 1 in 1000",
            Self::EveryOther => "filter, 1 in 2",
            Self::Text => "by text",
            Self::Explain => "explain",
        }
    }
}

/// Measurements of one kind.
#[derive(Debug, Serialize)]
pub(super) struct OfKind {
    pub(super) kind: QueryKind,
    /// From a query's due time until its whole answer has arrived.
    pub(super) answered: Percentiles,
    /// Queries answered from a stored list; the rest were scans.
    pub(super) from_list: u64,
    /// Queries refused because too many were already running. They are in no percentile.
    pub(super) busy: u64,
    /// Meanwhile: from an event's due time until it is durable.
    pub(super) event_to_durable: Percentiles,
}

/// Where texts come from.
enum Supply {
    Made(Texts),
    /// From a file, cycled through.
    Read(Vec<(String, String)>),
}

impl Supply {
    fn text(&self, n: u64) -> (String, String) {
        match self {
            Self::Made(texts) => texts.text(n),
            Self::Read(texts) => texts[(n % texts.len() as u64) as usize].clone(),
        }
    }
}

/// A domain, events for it and queries of it.
pub(super) struct Load {
    client: Client,
    domain: DomainName,
    supply: Supply,
    items: u64,
    events: u32,
    queries: u32,
    seconds: u32,
    /// Texts used so far.
    used: AtomicU64,
}

#[derive(Deserialize)]
struct Computed {
    computed: String,
}

/// Times in ms, and other counts, of one kind.
#[derive(Debug, Default)]
struct Measured {
    answered: Vec<f64>,
    from_list: u64,
    busy: u64,
}

impl Load {
    pub(super) fn new(args: &QueriesArgs, client: Client) -> Result<Self, CommandError> {
        let supply = match &args.input {
            None => Supply::Made(Texts::new()),
            Some(path) => {
                let asked = 2 * u64::from(args.seconds) * u64::from(args.events + args.queries);
                let texts = read_texts(path, u64::from(args.items) + asked)?;
                if (texts.len() as u64) < u64::from(args.items) {
                    return Err(CommandError::usage(format!(
                        "--input has {} texts; at least --items ({}) are needed",
                        texts.len(),
                        args.items
                    )));
                }
                Supply::Read(texts)
            }
        };
        Ok(Self {
            client,
            domain: domain(0)?,
            supply,
            items: args.items.into(),
            events: args.events,
            queries: args.queries,
            seconds: args.seconds,
            used: AtomicU64::new(args.items.into()),
        })
    }

    /// Item number `n` with text number `text`, as JSON without its id.
    fn said(&self, n: u64, text: u64) -> Value {
        let (title, text) = self.supply.text(text);
        let group = if n.is_multiple_of(RARE_EVERY) {
            "rare"
        } else {
            "common"
        };
        let parity = if n.is_multiple_of(2) { "even" } else { "odd" };
        json!({"title": title, "text": text, "language": "en", "group": group, "categories": [parity],
            "url": format!("https://bench-0.example/{n}")})
    }

    /// All items, as an import sends them.
    pub(super) fn batches(&self) -> Result<Vec<Sent>, CommandError> {
        let version = now_ms();
        let numbers: Vec<u64> = (0..self.items).collect();
        let mut batches = Vec::new();
        for numbers in numbers.chunks(BATCH_LINES) {
            let (mut ids, mut body) = (Vec::new(), Vec::new());
            for n in numbers {
                let (id, mut event) = (item(*n)?, self.said(*n, *n));
                event["type"] = "item.created".into();
                event["domain"] = self.domain.as_str().into();
                event["id"] = id.as_str().into();
                event["version"] = version.into();
                body.extend_from_slice(event.to_string().as_bytes());
                body.push(b'\n');
                ids.push(id);
            }
            batches.push(Sent {
                domain: self.domain.clone(),
                ids,
                body,
                at: 0,
            });
        }
        Ok(batches)
    }

    /// Sends events and queries of one kind for the configured time.
    pub(super) fn measure(
        &self,
        kind: QueryKind,
        is_stopped: &AtomicBool,
    ) -> Result<OfKind, CommandError> {
        let (measured, durable) = (Mutex::new(Measured::default()), Mutex::new(Vec::new()));
        let failure = Mutex::new(None);
        let (asked, sent) = (AtomicU64::new(0), AtomicU64::new(0));
        let began = Instant::now();
        let fail = |error: CommandError| {
            is_stopped.store(true, Ordering::Relaxed);
            lock(&failure).get_or_insert(error);
        };
        let steady =
            |rate: u32,
             next: &AtomicU64,
             does: &dyn Fn(u64, Instant) -> Result<(), CommandError>| {
                let count = u64::from(rate) * u64::from(self.seconds);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let due =
                        began + Duration::from_secs(1).mul_f64(n as f64 / f64::from(rate.max(1)));
                    if n >= count || !wait_until(due, is_stopped) {
                        return;
                    }
                    if let Err(error) = does(n, due) {
                        return fail(error);
                    }
                }
            };
        thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    steady(self.queries, &asked, &|n, due| {
                        let answer = self.ask(kind, n)?;
                        let took = due.elapsed();
                        lock(&measured).count(&self.client, &answer, took)
                    });
                });
                scope.spawn(|| {
                    steady(self.events, &sent, &|n, due| {
                        self.send_event(kind, n)?;
                        lock(&durable).push(ms(due.elapsed()));
                        Ok(())
                    });
                });
            }
        });
        if let Some(failure) = lock(&failure).take() {
            return Err(failure);
        }
        let measured = measured
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let durable = durable.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(OfKind {
            kind,
            answered: Percentiles::of(measured.answered),
            from_list: measured.from_list,
            busy: measured.busy,
            event_to_durable: Percentiles::of(durable),
        })
    }

    /// A pseudo-random item for event or query number `n`; the same in every run.
    fn any(&self, seed: u64, n: u64) -> u64 {
        Numbers(seed ^ n.wrapping_mul(0x2545_f491_4f6c_dd1d)).below(self.items)
    }

    fn ask(&self, kind: QueryKind, n: u64) -> Result<Response, CommandError> {
        let id = item(self.any(1 + kind as u64, n))?;
        let list = path::similar(self.domain.as_str(), id.as_str(), LIMIT);
        match kind {
            QueryKind::Unfiltered => self.client.get(&list),
            QueryKind::OneInAThousand => self.client.get(&format!("{list}&group=rare")),
            QueryKind::EveryOther => self.client.get(&format!("{list}&category=even")),
            QueryKind::Explain => self.client.get(&format!("{list}&explain=true")),
            QueryKind::Text => {
                let (title, text) = self.supply.text(self.used.fetch_add(1, Ordering::Relaxed));
                let query = json!({"title": title, "text": text, "language": "en", "limit": LIMIT});
                let query = query.to_string();
                self.client
                    .post_json(&path::queries(self.domain.as_str()), query.as_bytes())
            }
        }
    }

    /// Gives an item another text.
    fn send_event(&self, kind: QueryKind, n: u64) -> Result<(), CommandError> {
        let of = self.any(101 + kind as u64, n);
        let said = self.said(of, self.used.fetch_add(1, Ordering::Relaxed));
        let path = path::item(self.domain.as_str(), item(of)?.as_str());
        let answer = self.client.put(&path, said.to_string().as_bytes())?;
        if answer.is_success() {
            return Ok(());
        }
        let words = answer.words();
        Err(CommandError::failed(format!(
            "an event was not accepted: {words}"
        )))
    }
}

impl Measured {
    fn count(
        &mut self,
        client: &Client,
        answer: &Response,
        took: Duration,
    ) -> Result<(), CommandError> {
        if answer.status == BUSY {
            self.busy += 1;
            return Ok(());
        }
        if !answer.is_success() {
            let words = answer.words();
            return Err(CommandError::failed(format!(
                "a query was not answered: {words}"
            )));
        }
        let Computed { computed } = client.read(answer)?;
        self.from_list += u64::from(computed == "list");
        self.answered.push(ms(took));
        Ok(())
    }
}

/// Waits until `due`; returns false if stopped before that.
fn wait_until(due: Instant, is_stopped: &AtomicBool) -> bool {
    loop {
        if is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        args: QueriesArgs,
    }

    #[test]
    fn what_is_due_is_waited_for_unless_all_stops() {
        let due = Instant::now() + Duration::from_millis(20);
        assert!(wait_until(due, &AtomicBool::new(false)));
        assert!(Instant::now() >= due);
        let far = Instant::now() + Duration::from_secs(3_600);
        assert!(!wait_until(far, &AtomicBool::new(true)));
    }

    #[test]
    fn of_a_thousand_items_one_is_rare_and_half_are_even() {
        let Only { args } = Only::parse_from(["bench", "--items", "2500"]);
        let load = Load::new(&args, Client::new("http://127.0.0.1:1").unwrap()).unwrap();
        let batches = load.batches().unwrap();
        let lines: Vec<Value> = batches
            .iter()
            .flat_map(|batch| batch.body.split(|byte| *byte == b'\n'))
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2_500);
        let count =
            |field: &str, value: Value| lines.iter().filter(|line| line[field] == value).count();
        assert_eq!(count("group", json!("rare")), 3);
        assert_eq!(count("categories", json!(["even"])), 1_250);
    }
}
