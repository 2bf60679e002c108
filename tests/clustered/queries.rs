//! Queries that need a snapshot: whichever model service is asked, the domain's owner answers.

use std::time::Duration;

use kindred_api::path::{domain, item, queries};
use serde_json::{Value, json};

use super::cluster::{Cluster, How};
use super::publisher::publish_events;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::partitions::wait_shared;
use crate::support::random::Random;

const DOMAINS: usize = 4;
const ITEMS: usize = 80;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(180);

fn of_test(n: usize) -> String {
    format!("queries-{n}.test")
}

#[test]
fn whoever_is_asked_answers_what_the_owner_does() {
    let cluster = Cluster::new();
    let _worker = cluster.worker();
    let how = How {
        more: vec![("KINDRED_PARTITIONS", "4".to_owned())],
        ..How::default()
    };
    let services = [cluster.service(&how), cluster.service(&how)];
    wait_shared(&cluster, &[&services[0], &services[1]]);
    let mut random = Random::of_test("queries");
    let mut events: Vec<Event> = Vec::new();
    for n in 0..DOMAINS * ITEMS {
        let said = text_item(&mut random, WORDS);
        let id = format!("item-{}", n / DOMAINS);
        events.push(Event::created(&of_test(n % DOMAINS), &id, 1, &said));
    }
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(services[0].client(), &Expected::of(&events), QUIET);

    for name in (0..DOMAINS).map(of_test) {
        let one = item(&name, "item-7");
        let gets = [
            format!("{one}/similar?limit=1000"),
            format!("{one}/similar?limit=100&balance=true&exclude=item-3"),
            format!("{one}/similar?limit=20&collapse=near&explain=true"),
            format!("{one}/similar?min_score=0.999&fallback=newest"),
        ];
        for path in gets {
            let answers = services.each_ref().map(|service| {
                let answer = service.client().get(&path).with_status(200);
                without_time(answer.json())
            });
            assert_eq!(answers[0], answers[1], "{path}");
            assert!(!answers[0]["similar"].as_array().expect("a list").is_empty());
        }
        let items = json!([{"id": "item-1"}, {"id": "item-2", "weight": 0.5}, {"id": "nobody"}]);
        let posts = [
            (queries(&name), json!({"items": items, "limit": 1000})),
            (
                queries(&name),
                json!({"text": "The river and the glacier", "language": "en"}),
            ),
            (
                format!("{}:batch", queries(&name)),
                json!({"queries": [{"items": items}, {"items": [{"id": "nobody"}]}]}),
            ),
            (
                format!("{}/scores", domain(&name)),
                json!({"pairs": [["item-1", "item-2"], ["item-1", "nobody"]]}),
            ),
        ];
        for (path, body) in posts {
            let answers = services.each_ref().map(|service| {
                let answer = service.client().post(&path, &body).with_status(200);
                without_time(answer.json())
            });
            assert_eq!(answers[0], answers[1], "{path} {body}");
        }
        for service in &services {
            let unknown = json!({"items": [{"id": "nobody"}]});
            service
                .client()
                .post(&queries(&name), &unknown)
                .with_status(404);
            let wrong = service.client().get(&format!("{one}/similar?limt=1"));
            wrong.with_status(400);
        }
    }
}

/// A scan is of the moment when it was asked for.
fn without_time(mut answer: Value) -> Value {
    let batch = answer.get_mut("answers").and_then(Value::as_array_mut);
    for one in batch.into_iter().flatten() {
        *one = without_time(one.take());
    }
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("as_of");
    }
    answer
}
