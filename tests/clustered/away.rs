//! Broker or database stopped, frozen, or full: it is said, nothing ends, and nothing that was
//! taken is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kindred_api::path::item;
use serde_json::{Value, json};

use super::cluster::{Cluster, EVENTS, How, Service};
use super::publisher::publish_events;
use super::services::Control;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::client::{Client, Response};
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "away.test";
const WORDS: usize = 20;
/// How long what is stopped stays away.
const AWAY: Duration = Duration::from_secs(10);
/// Longest until it is noticed that something is away, or is back.
const NOTICED: Duration = Duration::from_secs(90);
const QUIET: Duration = Duration::from_secs(180);
/// Messages a full queue takes.
const FULL: u32 = 50;
/// More than a full queue can take, with all that is read ahead.
const TOO_MANY: usize = 6_000;
/// Before a refused write is sent again.
const PAUSE: Duration = Duration::from_millis(50);

fn event(random: &mut Random, n: usize) -> (Event, Value) {
    let mut said = text_item(random, WORDS);
    let event = Event::created(DOMAIN, &format!("item-{n}"), 1, &said);
    said["version"] = json!(1);
    (event, said)
}

/// Writes over HTTP; whether it was taken. If not, the answer must say all that helps.
#[track_caller]
fn write(client: &Client, id: &str, said: &Value) -> bool {
    let answer = client.put(&item(DOMAIN, id), &said.to_string());
    if answer.status == 202 {
        return true;
    }
    assert_helpful(&answer);
    false
}

/// A 503 as the contract has it.
#[track_caller]
fn assert_helpful(answer: &Response) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer.content_type.starts_with("application/problem+json"),
        "{}",
        answer.content_type
    );
    assert!(answer.retry_after_s.is_some(), "no Retry-After");
    let problem = answer.clone().json();
    let said = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    assert!(said("type").ends_with("not-stored"), "{problem}");
    assert!(!said("detail").is_empty(), "{problem}");
}

/// Waits until it is told that an edge is away: with 503 where readers cannot be answered without it,
/// else with 200.
#[track_caller]
fn wait_without(service: &mut Service, status: u16, edge: &str) {
    service.wait_without(&format!("{edge}: "), NOTICED);
    wait_for("it is told with the right status", NOTICED, || {
        let answer = service.client().try_get("/readyz")?;
        (answer.status == status)
            .then_some(())
            .ok_or_else(|| format!("{} {}", answer.status, answer.body))
    });
    service.client().get("/healthz").with_status(200);
}

#[track_caller]
fn wait_ready(service: &mut Service) {
    wait_for("it is ready again", NOTICED, || {
        service.process.assert_running();
        service.readiness()
    });
}

#[test]
fn writes_while_the_broker_is_away_are_refused_helpfully_and_none_taken_is_lost() {
    let cluster = Cluster::alone();
    let mut service = cluster.service(&How::default());
    let mut worker = cluster.worker();
    let client = service.client().clone();
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    let events = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random::of_test("written while the broker is away");
            let mut events = Vec::new();
            let begun = Instant::now();
            while !stop.load(Ordering::SeqCst) {
                let (event, said) = event(&mut random, events.len());
                while !write(&client, &event.id, &said) {
                    assert!(begun.elapsed() < 4 * NOTICED, "refused forever");
                    refused.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(PAUSE);
                }
                taken.fetch_add(1, Ordering::SeqCst);
                events.push(event);
                assert!(begun.elapsed() < 8 * NOTICED, "nobody ends it");
            }
            events
        });
        let more_taken = |than: usize| match taken.load(Ordering::SeqCst) {
            taken if taken >= than => Ok(()),
            taken => Err(format!("{taken} of {than}")),
        };
        wait_for("some are taken", NOTICED, || more_taken(50));
        let control = Control::of_broker();
        control.stop();
        let stopped = Instant::now();
        wait_without(&mut service, 200, "broker");
        wait_for("it is away for a while", 2 * AWAY, || {
            let refused = refused.load(Ordering::SeqCst);
            if stopped.elapsed() >= AWAY && refused > 0 {
                Ok(())
            } else {
                Err(format!("{refused} refused"))
            }
        });
        control.start();
        wait_ready(&mut service);
        let before = taken.load(Ordering::SeqCst);
        wait_for("more are taken", NOTICED, || more_taken(before + 50));
        stop.store(true, Ordering::SeqCst);
        writer.join().expect("the writer")
    });
    worker.assert_running();
    println!("{} taken, {} refused", events.len(), refused.into_inner());
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}

#[test]
fn events_wait_while_the_database_is_away_and_a_full_queue_is_told() {
    let cluster = Cluster::alone();
    let mut service = cluster.service(&How::default());
    let mut worker = cluster.worker();
    let mut random = Random::of_test("the database is away");
    let mut events: Vec<Event> = (0..200).map(|n| event(&mut random, n).0).collect();
    let url = cluster.broker.publisher_url();
    publish_events(&url, &events[..100]);
    let control = Control::of_database();
    control.stop();
    publish_events(&url, &events[100..]);
    wait_without(&mut service, 503, "database");
    // Nothing is acknowledged now, so the queue only grows.
    cluster.broker.limit(EVENTS, FULL);
    let client = service.client().clone();
    let full = wait_for("the queue is full", QUIET, || {
        let (event, said) = event(&mut random, events.len());
        assert!(events.len() < TOO_MANY, "it takes and takes");
        let answer = client.put(&item(DOMAIN, &event.id), &said.to_string());
        if answer.status == 202 {
            events.push(event);
            return Err(format!("{} are taken", events.len()));
        }
        assert_helpful(&answer);
        Ok(answer.body)
    });
    assert!(full.contains("full"), "{full}");
    control.start();
    wait_ready(&mut service);
    worker.assert_running();
    // It takes again as it empties, without any help.
    let (last, said) = event(&mut random, events.len());
    wait_for("the queue takes again", NOTICED, || {
        if write(&client, &last.id, &said) {
            Ok(())
        } else {
            Err("refused".to_owned())
        }
    });
    events.push(last);
    cluster.broker.lift_limit();
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}

#[test]
fn a_database_that_freezes_costs_time_and_nothing_else() {
    let cluster = Cluster::alone();
    let mut service = cluster.service(&How::default());
    let mut worker = cluster.worker();
    let mut random = Random::of_test("the database is frozen");
    let mut events = Vec::new();
    let client = service.client().clone();
    let mut write_some = |count: usize, events: &mut Vec<Event>| {
        for _ in 0..count {
            let (event, said) = event(&mut random, events.len());
            assert!(write(&client, &event.id, &said), "the broker is there");
            events.push(event);
        }
    };
    write_some(60, &mut events);
    let frozen = Control::of_database().freeze();
    let since = Instant::now();
    wait_without(&mut service, 503, "database");
    // Writes need the broker alone.
    wait_for("it stays frozen for a while", 3 * AWAY, || {
        write_some(1, &mut events);
        if since.elapsed() >= AWAY {
            Ok(())
        } else {
            Err(format!("{} written", events.len()))
        }
    });
    drop(frozen);
    wait_ready(&mut service);
    worker.assert_running();
    write_some(20, &mut events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}
