//! Quotas of domains, for events that come from the broker: those that come too fast wait for their turn and hold up
//! nobody else's, and what a domain may not have goes whole to the dead letters.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use kindred_api::path;
use serde_json::{Value, json};

use super::cluster::{Cluster, DEAD_EVENTS, How, Service};
use super::publisher::{Message, publish};
use crate::support::deadline::wait_for;

/// Longest for anything that does not have to wait for a turn.
const SOON: Duration = Duration::from_secs(60);
/// CONTRACT: events of a domain that wait.
const BACKLOG: usize = 500;

fn put(domain: &str, id: &str, text: &str) -> Message {
    let event = json!({"type": "item.created", "domain": domain, "id": id, "text": text});
    message(domain, &event)
}

fn delete(domain: &str, id: &str) -> Message {
    message(
        domain,
        &json!({"type": "item.deleted", "domain": domain, "id": id}),
    )
}

fn message(domain: &str, event: &Value) -> Message {
    Message {
        key: domain.to_owned(),
        body: event.to_string().into_bytes(),
    }
}

fn publish_all(cluster: &Cluster, messages: &[Message]) {
    publish(
        &cluster.broker.publisher_url(),
        messages,
        &AtomicUsize::new(0),
    );
}

#[track_caller]
fn set(service: &Service, domain: &str, settings: &Value) {
    // Until the partition has its owner, nobody sets anything.
    wait_for("the settings are taken", SOON, || {
        let answer = service
            .client()
            .put(&path::domain(domain), &settings.to_string());
        match answer.status {
            200 | 201 => Ok(()),
            status => Err(format!("{status} {}", answer.body)),
        }
    });
}

/// The ids of the dead letters that are there, all of them refused for quotas.
#[track_caller]
fn taken_dead(cluster: &Cluster) -> Vec<String> {
    let letters = cluster.broker.take_dead(DEAD_EVENTS).into_iter();
    let ids = letters.map(|letter| {
        let event: Value = serde_json::from_slice(&letter.body).expect("an event");
        assert_eq!(letter.headers["x-kindred-reason"], "over-quota", "{event}");
        event["id"].as_str().expect("an id").to_owned()
    });
    ids.collect()
}

/// The same, once so many are there.
#[track_caller]
fn dead(cluster: &Cluster, count: usize) -> Vec<String> {
    let mut dead = Vec::new();
    wait_for("what is refused is dead-lettered", SOON, || {
        dead.extend(taken_dead(cluster));
        if dead.len() >= count {
            Ok(())
        } else {
            Err(format!("{} of {count}", dead.len()))
        }
    });
    dead.sort();
    dead
}

/// Live items of a domain; 0: it may not be registered yet.
#[track_caller]
fn live(service: &Service, domain: &str) -> u64 {
    let answer = service.client().get(&path::domain(domain));
    if answer.status == 404 {
        return 0;
    }
    answer.with_status(200).json()["live"]
        .as_u64()
        .expect("a number")
}

#[test]
fn events_that_come_too_fast_wait_and_hold_up_nobody_else() {
    const SLOW: &str = "slow.test";
    const OTHER: &str = "other.test";
    /// Events a second.
    const RATE: usize = 20;
    const TOO_MANY: usize = 400;
    const ALL: usize = RATE + BACKLOG + TOO_MANY;
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    set(&service, SLOW, &json!({"max_events_per_second": RATE}));
    publish_all(&cluster, &[put(OTHER, "first", "night trains")]);
    service.client().wait_live(OTHER, 1, SOON);

    let begun = Instant::now();
    let flood: Vec<Message> = (0..ALL)
        .map(|n| put(SLOW, &format!("i{n:04}"), "sleepers run again"))
        .collect();
    publish_all(&cluster, &flood);
    // Behind the flood, in the same queue.
    publish_all(&cluster, &[put(OTHER, "behind", "night trains return")]);
    service.client().wait_live(OTHER, 2, SOON);
    let waited = begun.elapsed();
    let in_time = live(&service, SLOW);
    assert!(
        in_time < (RATE + BACKLOG / 2) as u64,
        "{in_time} of them were taken at once"
    );
    // What takes away does not wait, nor is it refused; what it takes away neither.
    let waiting = format!("i{:04}", RATE + BACKLOG - 50);
    publish_all(&cluster, &[delete(SLOW, &waiting)]);
    let status = |id: &str| {
        let item = service.client().get(&path::item(SLOW, id));
        (item.status == 200).then(|| item.json()["status"].clone())
    };
    wait_for("the deletion counts", SOON, || match status(&waiting) {
        Some(status) if status == "deleted" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(
        live(&service, SLOW) < (RATE + BACKLOG - 50) as u64,
        "those before it still wait"
    );

    let mut refused = Vec::new();
    wait_for("each is taken or refused", SOON, || {
        refused.extend(taken_dead(&cluster));
        let there = usize::try_from(live(&service, SLOW)).expect("a number");
        // One was deleted.
        match there + 1 + refused.len() {
            ALL => Ok(()),
            _ => Err(format!("{there} are there, {} refused", refused.len())),
        }
    });
    assert!(refused.len() >= TOO_MANY / 4, "{} refused", refused.len());
    let took = begun.elapsed();
    // A second's events at once, then the others in their turn.
    let turns = ALL - refused.len() - 1 - RATE;
    let least =
        Duration::from_secs_f64(turns as f64 / RATE as f64).saturating_sub(Duration::from_secs(1));
    assert!(took >= least, "{took:?}, at least {least:?}");
    assert!(
        waited < took / 2,
        "another domain's event waited for {waited:?} of {took:?}"
    );
    // The last ones of the flood, which came when the backlog was full.
    assert!(
        refused.iter().all(|id| *id >= format!("i{BACKLOG:04}")),
        "{refused:?}"
    );
    service.client().wait_quiet(SOON);
    assert_eq!(cluster.broker.ready(super::cluster::EVENTS), Some(0));
}

#[test]
fn a_domain_has_so_many_items_and_so_long_texts() {
    const DOMAIN: &str = "small.test";
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    set(&service, DOMAIN, &json!({"max_items": 3, "max_text": 20}));
    let events: Vec<Message> = (0..5)
        .map(|n| put(DOMAIN, &format!("i{n}"), "night trains"))
        .collect();
    publish_all(&cluster, &events);
    publish_all(
        &cluster,
        &[
            put(DOMAIN, "i0", "night trains that run from spring on"),
            put(DOMAIN, "i1", "night trains again"),
        ],
    );
    assert_eq!(dead(&cluster, 3), ["i0", "i3", "i4"]);
    assert_eq!(live(&service, DOMAIN), 3);
    // There is room again.
    publish_all(
        &cluster,
        &[delete(DOMAIN, "i2"), put(DOMAIN, "i4", "night trains")],
    );
    let item = path::item(DOMAIN, "i4");
    wait_for("the item has room", SOON, || {
        match service.client().get(&item).status {
            200 => Ok(()),
            status => Err(format!("{status}")),
        }
    });
    assert_eq!(live(&service, DOMAIN), 3);
    let metric = service.client().metric("kindred_events_refused_total");
    assert!((metric - 3.0).abs() < 0.5, "{metric}");
    service.client().wait_quiet(SOON);
}
