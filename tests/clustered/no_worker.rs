//! A model service without any worker: lists stay fresh, and workers do their jobs again once they are back.

use std::time::Duration;

use super::cluster::{Cluster, How, Service};
use super::publisher::publish_events;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "alone.test";
/// Items of each part of the test.
const ITEMS: usize = 60;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(120);
/// How soon the service begins and stops to do jobs itself.
const TURN: Duration = Duration::from_secs(30);

#[test]
fn lists_stay_fresh_without_workers() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let mut random = Random::of_test("no worker");
    let mut sent = Vec::new();
    let mut publish = |part: &str| {
        let events: Vec<Event> = (0..ITEMS)
            .map(|n| {
                let said = text_item(&mut random, WORDS);
                Event::created(DOMAIN, &format!("{part}-{n}"), 1, &said)
            })
            .collect();
        publish_events(&cluster.broker.publisher_url(), &events);
        sent.extend(events);
        cluster.settled(service.client(), &Expected::of(&sent), QUIET);
    };
    publish("first");
    wait_until_done_here(&service, true);

    let worker = cluster.worker();
    wait_until_done_here(&service, false);
    publish("with a worker");

    worker.kill_9();
    publish("without one again");
    wait_until_done_here(&service, true);
}

#[track_caller]
fn wait_until_done_here(service: &Service, wanted: bool) {
    wait_for("it is known who does jobs", TURN, || {
        let done_here = service.client().metric("kindred_jobs_done_here") > 0.5;
        if done_here == wanted {
            Ok(())
        } else {
            Err(format!("done here: {done_here}"))
        }
    });
}
