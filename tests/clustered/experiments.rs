//! Experiments of several instances: known to each, counted once whichever way feedback comes and whoever dies.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::StreamExt;
use kindred_api::experiment::ExperimentAnswer;
use kindred_api::path;
use serde_json::{Value, json};

use super::cluster::{Cluster, How, Service};
use super::notifications::listen;
use super::publisher::{Message, publish_to};
use super::services::wait;
use crate::support::deadline::wait_for;

const DOMAIN: &str = "news.tried";
/// CONTRACT: within which every instance goes by an experiment.
const KNOWN: Duration = Duration::from_secs(2);
/// Longest for anything else.
const SOON: Duration = Duration::from_secs(60);
const READERS: usize = 30;

fn event(n: usize, arms: &[String]) -> Value {
    let reader = n % READERS;
    let kind = if n.is_multiple_of(4) {
        "clicked"
    } else {
        "seen"
    };
    json!({"type": format!("reader.{kind}"), "event": format!("e{n}"), "reader": format!("r{reader}"),
        "item": "a", "from": "b", "experiment": "fewer", "arm": arms[reader]})
}

/// The arm in which an instance sees a reader, once it names one.
#[track_caller]
fn arm(service: &Service, reader: usize, limit: Duration) -> String {
    let uri = format!("{}/similar?reader=r{reader}", path::item(DOMAIN, "a"));
    wait_for("an arm is named", limit, || {
        let answer = service.client().try_get(&uri)?;
        match answer.json()["arm"].as_str() {
            Some(arm) => Ok(arm.to_owned()),
            None => Err(answer.body),
        }
    })
}

/// Sends events until they are accepted.
#[track_caller]
fn send(service: &Service, events: &[Value]) {
    wait_for("feedback is accepted", SOON, || {
        let body = Value::from(events.to_vec());
        let answer = service.client().try_post(&path::feedback(DOMAIN), &body)?;
        match answer.status {
            202 => {
                assert_eq!(
                    answer.json(),
                    json!({"accepted": events.len(), "refused": []})
                );
                Ok(())
            }
            _ => Err(answer.body),
        }
    });
}

/// Views and clicks, once there are as many events as expected.
#[track_caller]
fn counted(service: &Service, expected: usize) -> [u64; 2] {
    wait_for("all are counted", SOON, || {
        let answer = service
            .client()
            .try_get(&path::experiment(DOMAIN, "fewer"))?;
        if answer.status != 200 {
            return Err(answer.body);
        }
        let figures: ExperimentAnswer = answer.read();
        let arms = figures.arms.iter();
        let sums = arms.fold([0, 0], |[seen, clicked], arm| {
            [seen + arm.seen, clicked + arm.clicked]
        });
        match sums[0] + sums[1] == expected as u64 {
            true => Ok(sums),
            false => Err(format!("{sums:?}")),
        }
    })
}

#[test]
fn every_instance_goes_by_an_experiment_and_an_event_counts_once_whoever_dies() {
    let cluster = Cluster::new();
    let first = cluster.service(&How::default());
    let second = cluster.service(&How::default());
    let _worker = cluster.worker();
    for name in ["a", "b", "c"] {
        let body = json!({"title": format!("A fox in the garden of {name}")}).to_string();
        wait_for("an item is taken", SOON, || {
            let answer = first.client().put(&path::item(DOMAIN, name), &body);
            (answer.status == 202).then_some(()).ok_or(answer.body)
        });
    }
    first.client().wait_quiet(SOON);
    let owner = cluster.database.owner_address(0).expect("an owner");
    let (owner, other) = if first.is_at(&owner) {
        (first, second)
    } else {
        (second, first)
    };

    // Begun where the domain is not owned; both go by it soon.
    let url = cluster.broker.listener_url();
    let (_connection, mut listener) = wait(listen(&url, DOMAIN)).expect("a listener");
    let at = path::experiment(DOMAIN, "fewer");
    let body = json!({"arms": [{"name": "all", "share": 0.5}, {"name": "fewer", "share": 0.5, "defaults": {"limit": 1}}]});
    // What the broker has taken may not be registered yet.
    wait_for("the experiment is begun", SOON, || {
        let answer = other.client().put(&at, &body.to_string());
        (answer.status == 201).then_some(()).ok_or(answer.body)
    });
    for service in [&owner, &other] {
        arm(service, 0, KNOWN);
    }
    let arms: Vec<String> = (0..READERS).map(|n| arm(&owner, n, SOON)).collect();
    let alike: Vec<String> = (0..READERS).map(|n| arm(&other, n, SOON)).collect();
    assert_eq!(arms, alike);
    let plain = path::experiment(DOMAIN, "other");
    other
        .client()
        .put(&plain, &body.to_string())
        .with_status(409);

    // By every door, some of it by all of them.
    let events: Vec<Value> = (0..400).map(|n| event(n, &arms)).collect();
    send(&other, &events[..200]);
    send(&owner, &events[100..300]);
    let message = |events: &[Value]| Message {
        key: DOMAIN.to_owned(),
        body: Value::from(events.to_vec()).to_string().into_bytes(),
    };
    let mut messages: Vec<Message> = events[250..].chunks(7).map(message).collect();
    messages.push(Message {
        key: DOMAIN.to_owned(),
        body: b"{\n".to_vec(),
    });
    messages.push(Message {
        key: "news.nowhere".to_owned(),
        body: event(1, &arms).to_string().into_bytes(),
    });
    let url = cluster.broker.publisher_url();
    let confirmed = AtomicUsize::new(0);
    publish_to("kindred.feedback", &url, &messages, &confirmed);
    assert_eq!(counted(&other, 400), [300, 100]);
    wait_for("every message is settled", SOON, || {
        match cluster.broker.ready("kindred.feedback.in") {
            Some(0) => Ok(()),
            ready => Err(format!("{ready:?}")),
        }
    });

    // Whoever listens is told.
    wait(async {
        let deadline = tokio::time::timeout(SOON, async {
            loop {
                let message = listener.next().await.expect("a consumer");
                let message = message.expect("a message");
                let told: Value = serde_json::from_slice(&message.data).expect("JSON");
                let arms = told["arms"].as_array().into_iter().flatten();
                let events = arms.map(|arm| arm["seen"].as_u64().zip(arm["clicked"].as_u64()));
                let sum: u64 = events.flatten().map(|(seen, clicked)| seen + clicked).sum();
                if told["type"] == "experiment.updated" && sum == 400 {
                    assert!(told["at"].is_string() && told["p"].is_number(), "{told}");
                    break;
                }
            }
        });
        deadline.await.expect("it is told in time");
    });

    // The owner dies in the middle; what was not answered is sent again.
    let more: Vec<Value> = (400..1_600).map(|n| event(n, &arms)).collect();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (other, more, sent) = (&other, &more, &sent);
        scope.spawn(move || {
            for events in more.chunks(10) {
                send(other, events);
                sent.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        wait_for("some are accepted", SOON, || {
            match sent.load(std::sync::atomic::Ordering::SeqCst) {
                chunks if chunks >= 20 => Ok(()),
                chunks => Err(chunks.to_string()),
            }
        });
        owner.process.kill_9();
    });
    assert_eq!(counted(&other, 1_600), [1_200, 400]);
    send(&other, &events[..200]);
    send(&other, &more[..200]);
    assert_eq!(counted(&other, 1_600), [1_200, 400]);
    let again: Vec<String> = (0..READERS).map(|n| arm(&other, n, SOON)).collect();
    assert_eq!(arms, again);

    // It goes with its domain.
    other.client().delete(&at).with_status(200);
    other
        .client()
        .delete(&path::domain(DOMAIN))
        .with_status(202);
    wait_for("the experiment is gone", SOON, || {
        let status = other.client().try_get(&at)?.status;
        (status == 404).then_some(()).ok_or(status.to_string())
    });
}
