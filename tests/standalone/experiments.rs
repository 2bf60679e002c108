//! Experiments at the front door: readers keep their arms, and what they did counts once, whatever crashes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kindred_api::experiment::ExperimentAnswer;
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const QUIET: Duration = Duration::from_secs(60);
const AT: &str = "/v1/domains/d.test/experiments/fewer";
const FEEDBACK: &str = "/v1/domains/d.test/feedback";
const READERS: usize = 40;
const BATCHES: usize = 120;
const EVENTS: usize = 20;
const KILLS: usize = 6;

fn begun(place: &Place) -> Kindred {
    let kindred = Kindred::start(place, &Start::default());
    let client = kindred.client();
    for name in ["a", "b", "c"] {
        let item = format!(r#"{{"title":"A fox in the garden of {name}"}}"#);
        client
            .put(&path::item("d.test", name), &item)
            .with_status(202);
    }
    client.wait_quiet(QUIET);
    let arms = json!({"arms": [{"name": "all", "share": 0.5}, {"name": "fewer", "share": 0.5, "defaults": {"limit": 1}}]});
    client.put(AT, &arms.to_string()).with_status(201);
    kindred
}

/// The arm of a reader, by how it is answered.
#[track_caller]
fn arm(client: &Client, reader: usize) -> String {
    let uri = format!("{}/similar?reader=r{reader}", path::item("d.test", "a"));
    let answer: SimilarAnswer = client.get(&uri).with_status(200).read();
    assert_eq!(answer.experiment.as_deref(), Some("fewer"));
    let arm = answer.arm.expect("an arm");
    let expected = if arm == "fewer" { 1 } else { 2 };
    assert_eq!(answer.similar.len(), expected, "{arm}");
    arm
}

/// The events of a batch; every other one comes in the batch before, too.
fn batch(number: usize, arms: &[String]) -> Vec<Value> {
    let events = (0..EVENTS).map(|k| number * EVENTS / 2 + k);
    let event = |n: usize| {
        let reader = n % READERS;
        let kind = if n.is_multiple_of(5) {
            "clicked"
        } else {
            "seen"
        };
        json!({"type": format!("reader.{kind}"), "event": format!("e{n}"), "reader": format!("r{reader}"),
            "item": "b", "from": "a", "experiment": "fewer", "arm": arms[reader]})
    };
    events.map(event).collect()
}

/// Sends batches until one is not answered; that one is the next.
fn send(client: &Client, arms: &[String], next: &AtomicUsize) {
    while next.load(Ordering::SeqCst) < BATCHES {
        let body = Value::from(batch(next.load(Ordering::SeqCst), arms));
        match client.try_post(FEEDBACK, &body) {
            Ok(answer) => {
                assert_eq!(answer.status, 202, "{}", answer.body);
                assert_eq!(answer.json(), json!({"accepted": EVENTS, "refused": []}));
                next.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => break,
        }
    }
}

#[test]
fn readers_keep_their_arms_and_events_count_once_whatever_is_killed() {
    let place = Place::beside_others();
    let mut kindred = begun(&place);
    let arms: Vec<String> = (0..READERS).map(|n| arm(kindred.client(), n)).collect();

    let next = AtomicUsize::new(0);
    for round in 1..=KILLS {
        let (client, arms, next) = (kindred.client().clone(), &arms, &next);
        thread::scope(|scope| {
            scope.spawn(move || send(&client, arms, next));
            // In the middle of whatever is done about the next ones.
            wait_for("batches are accepted", QUIET, || {
                match next.load(Ordering::SeqCst) {
                    sent if sent >= round * BATCHES / (KILLS + 1) => Ok(()),
                    sent => Err(sent.to_string()),
                }
            });
            kindred.kill_9();
        });
        kindred = Kindred::start(&place, &Start::default());
    }
    send(kindred.client(), &arms, &next);
    assert_eq!(next.into_inner(), BATCHES);

    let client = kindred.client();
    // Everything once, and once more nothing.
    for number in [0, BATCHES / 2, BATCHES - 1] {
        let body = Value::from(batch(number, &arms));
        client.post(FEEDBACK, &body).with_status(202);
    }
    let events = (BATCHES + 1) * EVENTS / 2;
    let figures: ExperimentAnswer = client.get(AT).with_status(200).read();
    let sum = |of: fn(&kindred_api::experiment::ArmAnswer) -> u64| -> u64 {
        figures.arms.iter().map(of).sum()
    };
    let clicked = events.div_ceil(5);
    assert_eq!(sum(|arm| arm.clicked), clicked as u64);
    assert_eq!(sum(|arm| arm.seen), (events - clicked) as u64);
    assert_eq!(sum(|arm| arm.readers), READERS as u64);
    for of in &figures.arms {
        let readers = arms.iter().filter(|arm| **arm == of.name).count();
        assert_eq!(of.readers, readers as u64);
    }
    let again: Vec<String> = (0..READERS).map(|n| arm(client, n)).collect();
    assert_eq!(arms, again);

    // It ends with its figures, and goes with its domain.
    let ended: ExperimentAnswer = client.delete(AT).with_status(200).read();
    assert_eq!(ended.arms, figures.arms);
    client.delete("/v1/domains/d.test").with_status(202);
    client.get(AT).with_status(404);
    kindred.stop();
}
