//! Events that cannot be handled go whole to the dead letters, with a reason; those behind them
//! go on.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde_json::json;

use super::cluster::{Cluster, DEAD_EVENTS, How};
use super::publisher::{Message, publish};
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "bad.test";
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(120);
/// Good events around each bad one.
const GOOD: usize = 10;
/// CONTRACT: default limits of a message and of a text, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
const MAX_TEXT: usize = 256 << 10;

/// Bad bodies and their reasons, all with [`DOMAIN`] as routing key.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let event = |fields: serde_json::Value| fields.to_string().into_bytes();
    let created = |more: serde_json::Value| {
        let mut event =
            json!({"type": "item.created", "domain": DOMAIN, "id": "bad", "title": "t"});
        for (key, value) in more.as_object().expect("an object") {
            event[key] = value.clone();
        }
        event.to_string().into_bytes()
    };
    vec![
        ("invalid-json", b"{\"type\":".to_vec()),
        ("invalid-json", b"\xff\xfe".to_vec()),
        ("invalid-json", Vec::new()),
        ("unknown-type", created(json!({"type": "item.renamed"}))),
        (
            "missing-field",
            event(json!({"type": "item.created", "domain": DOMAIN})),
        ),
        ("domain-mismatch", created(json!({"domain": "other.test"}))),
        ("invalid-id", created(json!({"id": "a\u{7}b"}))),
        ("invalid-version", created(json!({"version": -1}))),
        ("invalid-vector", created(json!({"vector": []}))),
        (
            "too-large",
            created(json!({"text": "x".repeat(MAX_TEXT + 1)})),
        ),
        ("too-large", vec![b' '; MAX_MESSAGE + 1]),
    ]
}

#[test]
fn bad_events_are_dead_lettered_whole_and_the_others_go_on() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let mut random = Random::of_test("bad events");
    let bad = bad();
    let mut good: Vec<Event> = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for (_, body) in &bad {
        for _ in 0..GOOD {
            let id = format!("good-{}", good.len());
            let event = Event::created(DOMAIN, &id, 1, &text_item(&mut random, WORDS));
            messages.push(Message::from(&event));
            good.push(event);
        }
        messages.push(Message {
            key: DOMAIN.to_owned(),
            body: body.clone(),
        });
    }
    // The last event is a good one: nothing before it may stand in its way.
    let last = Event::created(DOMAIN, "last", 1, &text_item(&mut random, WORDS));
    messages.push(Message::from(&last));
    good.push(last);
    publish(
        &cluster.broker.publisher_url(),
        &messages,
        &AtomicUsize::new(0),
    );

    cluster.settled(service.client(), &Expected::of(&good), QUIET);
    let mut dead = Vec::new();
    wait_for("every bad event is dead-lettered", QUIET, || {
        dead.extend(cluster.broker.take_dead(DEAD_EVENTS));
        if dead.len() >= bad.len() {
            Ok(())
        } else {
            Err(format!("{} of {}", dead.len(), bad.len()))
        }
    });
    let mut found: Vec<(&str, &[u8])> = dead
        .iter()
        .map(|one| {
            let detail = one.headers.get("x-kindred-detail");
            assert!(
                detail.is_some_and(|text| !text.is_empty()),
                "no detail: {:?}",
                one.headers
            );
            let reason = one.headers.get("x-kindred-reason");
            (reason.expect("a reason").as_str(), one.body.as_slice())
        })
        .collect();
    let mut wanted: Vec<(&str, &[u8])> = bad
        .iter()
        .map(|(reason, body)| (*reason, body.as_slice()))
        .collect();
    found.sort_unstable();
    wanted.sort_unstable();
    let reasons = |of: &[(&str, &[u8])]| -> Vec<String> {
        of.iter().map(|(reason, _)| (*reason).to_owned()).collect()
    };
    assert_eq!(reasons(&found), reasons(&wanted));
    assert!(found == wanted, "a body is not whole");
    for metric in ["kindred_events_refused_total", "kindred_dead_letters_total"] {
        wait_for("every one is counted once", QUIET, || {
            let counted = service.client().metric(metric);
            let all = f64::from(u32::try_from(bad.len()).unwrap());
            if (counted - all).abs() < 0.5 {
                Ok(())
            } else {
                Err(format!("{metric} is {counted}, not {all}"))
            }
        });
    }
}
