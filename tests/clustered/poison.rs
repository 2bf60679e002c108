//! What kills or stalls the programs: an event the service, a job the workers. It is set aside, and
//! harms nothing else.

use std::time::{Duration, Instant};

use kindred_api::path::item;
use kindred_shared::ItemId;
use serde_json::{Value, json};

use super::broker::{Broker, Dead};
use super::cluster::{Cluster, DEAD_EVENTS, EVENTS, How, Service};
use super::publisher::{Publisher, publish_events};
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::process::Process;
use crate::support::random::Random;

const DOMAIN: &str = "poisoned.test";
/// A domain that has nothing to do with it.
const CALM: &str = "calm.test";
/// A word that is in no other text.
const POISON: &str = "zzpoison";
const POISONOUS: &str = "poisonous";
const INNOCENTS: usize = 200;
const WORDS: usize = 20;
const DEAD_JOBS: &str = "kindred.jobs.dead";
/// CONTRACT: redeliveries until an event is read alone, and until it is dead-lettered.
const ALONE_AFTER: u32 = 3;
const DEAD_AFTER: u32 = 10;
/// Longest until an event is dead-lettered: a dozen starts with a lease to be taken over each.
const GIVEN_UP: Duration = Duration::from_secs(420);
const QUIET: Duration = Duration::from_secs(180);
const SEEN: Duration = Duration::from_secs(60);
/// Between two looks at what others do.
const PAUSE: Duration = Duration::from_millis(100);
/// CONTRACT, default: how long a job may stay unanswered. Nobody may have to wait that long.
const JOB_DEADLINE: Duration = Duration::from_secs(30);

fn innocents(domain: &str, count: usize) -> Vec<Event> {
    let mut random = Random::of_test(domain);
    (0..count)
        .map(|n| {
            let said = text_item(&mut random, WORDS);
            Event::created(domain, &format!("item-{n}"), 1, &said)
        })
        .collect()
}

/// An item like the others, but for one word.
fn poisonous(version: u64) -> Event {
    let mut said = text_item(&mut Random::of_test(POISON), WORDS);
    let text = format!("{} {POISON}", said["text"].as_str().unwrap());
    said["text"] = json!(text);
    Event::created(DOMAIN, POISONOUS, version, &said)
}

/// Has the service started again whenever it ends, until `done`. How often it ended.
#[track_caller]
fn supervised(
    cluster: &Cluster,
    how: &How,
    mut done: impl FnMut() -> Result<(), String>,
) -> (Service, u32) {
    let (started, mut deaths) = (Instant::now(), 0);
    let mut service = cluster.spawn_service(how);
    loop {
        if service.process.exit().is_some() {
            deaths += 1;
            service = cluster.spawn_service(how);
        }
        match done() {
            Ok(()) => return (service, deaths),
            Err(state) => assert!(
                started.elapsed() < GIVEN_UP,
                "not within {GIVEN_UP:?}, after {deaths} deaths: {state}"
            ),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until no event is left; what was dead-lettered meanwhile.
fn all_taken<'a>(
    broker: &'a Broker,
    dead: &'a mut Vec<Dead>,
) -> impl FnMut() -> Result<(), String> {
    move || {
        if broker.ready(EVENTS).is_none() {
            return Err("no queue yet".to_owned());
        }
        dead.extend(broker.take_dead(DEAD_EVENTS));
        if dead.is_empty() {
            Err("nothing is dead-lettered".to_owned())
        } else {
            Ok(())
        }
    }
}

#[test]
fn an_event_that_kills_the_service_is_set_aside_and_no_other_is() {
    let cluster = Cluster::new();
    let _worker = cluster.worker();
    // So that all of them are there when the first service of those that die looks.
    cluster.service(&How::default()).process.stop();
    let innocents = innocents(DOMAIN, INNOCENTS);
    let poison = poisonous(1);
    let (before, after) = innocents.split_at(INNOCENTS / 2);
    let all = before.iter().chain([&poison]).chain(after);
    publish_events(&cluster.broker.publisher_url(), all);

    let deadly = How {
        more: vec![("KINDRED_TEST_CRASH_ON_TEXT", POISON.to_owned())],
        ..How::default()
    };
    let mut dead = Vec::new();
    let (service, deaths) = supervised(&cluster, &deadly, all_taken(&cluster.broker, &mut dead));
    println!("{deaths} deaths");
    assert!((ALONE_AFTER..=DEAD_AFTER).contains(&deaths), "{deaths}");
    cluster.settled(service.client(), &Expected::of(&innocents), QUIET);
    dead.extend(cluster.broker.take_dead(DEAD_EVENTS));
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].body, poison.line.as_bytes());
    let header = |name: &str| dead[0].headers.get(name).cloned().unwrap_or_default();
    assert_eq!(header("x-kindred-reason"), "poisonous");
    assert!(!header("x-kindred-detail").is_empty());
}

#[test]
fn a_service_that_an_event_stalls_ends_and_the_event_comes_again() {
    let cluster = Cluster::new();
    let _worker = cluster.worker();
    let mut stalling = cluster.service(&How {
        more: vec![
            ("KINDRED_TEST_STALL_ON_TEXT", POISON.to_owned()),
            ("KINDRED_TEST_STALL_LIMIT_S", "3".to_owned()),
        ],
        ..How::default()
    });
    let mut events = innocents(DOMAIN, INNOCENTS);
    events.insert(INNOCENTS / 2, poisonous(1));
    publish_events(&cluster.broker.publisher_url(), &events);
    let status = stalling.process.ended(SEEN);
    assert!(!status.success(), "{status}");
    assert!(stalling.process.last_words().contains("stalled"));
    // Where it does not stall it is an event like others.
    let service = cluster.service(&How::default());
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    assert!(cluster.broker.take_dead(DEAD_EVENTS).is_empty());
}

/// Workers, each started again when it dies.
struct Workers<'a> {
    cluster: &'a Cluster,
    hook: Vec<(&'static str, &'a str)>,
    processes: Vec<Process>,
    deaths: u32,
}

impl<'a> Workers<'a> {
    fn start(cluster: &'a Cluster, count: usize, hook: Vec<(&'static str, &'a str)>) -> Self {
        let processes = (0..count).map(|_| cluster.worker_with(&hook)).collect();
        Self {
            cluster,
            hook,
            processes,
            deaths: 0,
        }
    }

    fn look_after(&mut self) {
        for process in &mut self.processes {
            if process.died().is_some() {
                self.deaths += 1;
                *process = self.cluster.worker_with(&self.hook);
            }
        }
    }

    /// Until then the service, alone, would do their jobs.
    #[track_caller]
    fn wait_until_they_take_jobs(&mut self, client: &Client) {
        let count = self.processes.len() as u64;
        self.wait_for("they take jobs", QUIET, || {
            let workers = client.try_get("/v1/workers")?.with_status(200).json();
            let seen = workers["workers"].as_array().map_or(0, Vec::len) as u64;
            let taking = workers["taking_jobs"].as_u64();
            if taking == Some(count) && seen >= count {
                Ok(())
            } else {
                Err(workers.to_string())
            }
        });
    }

    /// Waits for something while looking after them.
    #[track_caller]
    fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<T, String>,
    ) -> T {
        wait_for(what, limit, || {
            self.look_after();
            let seen = look();
            if seen.is_err() {
                std::thread::sleep(PAUSE);
            }
            seen
        })
    }
}

#[test]
fn a_job_that_kills_workers_is_set_aside_and_only_its_killer_is_rejected() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let hook = vec![("KINDRED_TEST_WORKER_DIES_ON_TERM", POISON)];
    let mut workers = Workers::start(&cluster, 2, hook);
    workers.wait_until_they_take_jobs(service.client());
    let url = cluster.broker.publisher_url();
    let mut calm = innocents(CALM, 40);
    publish_events(&url, &calm);
    cluster.settled(service.client(), &Expected::of(&calm), QUIET);

    let mut events = innocents(DOMAIN, INNOCENTS);
    events.insert(INNOCENTS / 2, poisonous(1));
    publish_events(&url, &events);
    // The other domain's items meanwhile.
    let publisher = Publisher::open(&url);
    let lists = cluster.database.lists();
    let mut random = Random::of_test("meanwhile");
    let mut slowest = Duration::ZERO;
    let status = loop {
        let id = format!("meanwhile-{}", calm.len());
        let event = Event::created(CALM, &id, 1, &text_item(&mut random, WORDS));
        let begun = Instant::now();
        publisher.publish(&event);
        workers.wait_for("the other domain's item has its row", SEEN, || {
            lists.one(CALM, &id)?.ok_or_else(|| "none".to_owned())
        });
        slowest = slowest.max(begun.elapsed());
        calm.push(event);
        let status = workers.wait_for("the item is answered", QUIET, || {
            status(service.client(), DOMAIN, POISONOUS)
        });
        if status["status"] == "rejected" {
            break status;
        }
        assert!(calm.len() < 2_000, "{status}");
    };
    println!(
        "{} deaths of workers; slowest beside them {slowest:?}",
        workers.deaths
    );
    assert!(status.to_string().contains("kills workers"), "{status}");
    // The other domain's workers died, too; it waited for none of its own jobs.
    assert!(slowest < JOB_DEADLINE, "{slowest:?}");

    workers.wait_for("every domain is quiet", QUIET, || quiet(service.client()));
    let all: Vec<Event> = events.iter().chain(&calm).cloned().collect();
    let stored = cluster.settled(service.client(), &Expected::of(&all), QUIET);
    let domain = &stored[DOMAIN];
    let id = |text: &str| ItemId::new(text).unwrap();
    assert!(domain.features[&id(POISONOUS)].feature.is_zero());
    assert!(domain.lists[&id(POISONOUS)].neighbours.is_empty());
    for n in 0..INNOCENTS {
        let innocent = id(&format!("item-{n}"));
        assert!(!domain.features[&innocent].feature.is_zero(), "{innocent}");
    }
    let dead = cluster.broker.take_dead(DEAD_JOBS);
    let reasons: Vec<_> = dead
        .iter()
        .map(|job| job.headers.get("x-first-death-reason").cloned())
        .collect();
    // The job of many items, and that of the one alone.
    assert_eq!(reasons, vec![Some("delivery_limit".to_owned()); 2]);
    assert!(cluster.broker.take_dead(DEAD_EVENTS).is_empty());
    assert!(workers.deaths <= 12, "{}", workers.deaths);
}

#[test]
fn a_domain_whose_comparison_kills_workers_serves_its_last_lists_and_heals() {
    let cluster = Cluster::new();
    let mut service = cluster.service(&How::default());
    let mut workers = Workers::start(&cluster, 1, vec![]);
    let url = cluster.broker.publisher_url();
    let mut events = innocents(DOMAIN, 60);
    events.push(poisonous(1));
    publish_events(&url, &events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    let client = service.client().clone();
    let before = client.similar(DOMAIN, POISONOUS, 10).expect("visible");
    assert!(!before.is_empty());

    let hook = vec![("KINDRED_TEST_WORKER_DIES_ON_ITEM", POISONOUS)];
    drop(workers);
    workers = Workers::start(&cluster, 2, hook);
    workers.wait_until_they_take_jobs(&client);
    let mut said = text_item(&mut Random::of_test("anew"), WORDS);
    said["title"] = json!("Anew");
    let updated = Event::updated(DOMAIN, POISONOUS, 2, &said);
    publish_events(&url, [&updated]);
    events.push(updated);
    workers.wait_for("its trouble is reported", QUIET, || {
        let domains = client.try_get("/v1/domains")?.with_status(200).json();
        let domains = domains["domains"].as_array().expect("domains").clone();
        let one = domains.iter().find(|one| one["domain"] == DOMAIN);
        let trouble = one.map_or(Value::Null, |one| one["trouble"].clone());
        match trouble.as_str() {
            Some(words) if words.contains("kills workers") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let kept = client.similar(DOMAIN, POISONOUS, 10).expect("visible");
    assert_eq!(kept, before, "its last list");
    service.process.assert_running();

    drop(workers);
    let mut workers = Workers::start(&cluster, 1, vec![]);
    workers.wait_for("every domain is quiet", QUIET, || quiet(&client));
    cluster.settled(&client, &Expected::of(&events), QUIET);
}

/// What HTTP says of an item.
fn status(client: &Client, domain: &str, id: &str) -> Result<Value, String> {
    let answer = client.try_get(&item(domain, id))?;
    match answer.status {
        200 => Ok(answer.json()),
        other => Err(format!("{other} {}", answer.body)),
    }
}

fn quiet(client: &Client) -> Result<(), String> {
    let busy: Vec<_> = client
        .try_domains()?
        .into_iter()
        .filter(|one| !one.quiet)
        .collect();
    if busy.is_empty() {
        Ok(())
    } else {
        Err(format!("{busy:?}"))
    }
}
