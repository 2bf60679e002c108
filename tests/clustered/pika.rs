//! A publisher in another language: tests/clients/pika_publish.py.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::broker::Broker;
use super::cluster::{Cluster, How};
use super::services::variable;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::random::Random;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/clients/pika_publish.py"
);
const DOMAINS: usize = 4;
const ITEMS: usize = 500;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(180);

/// Starts it, and hands it these events.
#[track_caller]
fn publish_with_pika(broker: &Broker, events: &[Event]) {
    let mut python = Command::new(variable("KINDRED_TEST_PYTHON"))
        .args([SCRIPT, &broker.publisher_url()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut lines = python.stdin.take().expect("its standard input");
    for event in events {
        writeln!(lines, "{}", event.line).expect("it reads");
    }
    drop(lines);
    let ended = python.wait().expect("its own child");
    assert!(ended.success(), "{ended}");
}

#[test]
#[ignore = "needs services, and needs pika"]
fn what_pika_publishes_from_the_start_is_in_exact_lists() {
    let cluster = Cluster::new();
    let service = cluster.spawn_service(&How::default());
    let _worker = cluster.worker();
    let mut random = Random::of_test("pika");
    let events: Vec<Event> = (0..ITEMS)
        .map(|n| {
            let domain = format!("pika-{}.test", n % DOMAINS);
            let said = text_item(&mut random, WORDS);
            Event::created(&domain, &format!("item-{n}"), 1, &said)
        })
        .collect();
    // It waits for the exchange by itself.
    publish_with_pika(&cluster.broker, &events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}
