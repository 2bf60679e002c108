//! Workers that die with jobs in hand and come back: nobody waits for a deadline, and no innocent job counts as
//! one that kills workers.

use std::time::{Duration, Instant};

use super::cluster::{Cluster, How, Service};
use super::publisher::{Publisher, publish_events};
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::process::Process;
use crate::support::random::Random;

const DOMAIN: &str = "away.test";
const DEAD_JOBS: &str = "kindred.jobs.dead";
const ITEMS: usize = 400;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(180);
const SEEN: Duration = Duration::from_secs(120);
/// How long a flapping worker is there, and how long it is away.
const FLAP: Duration = Duration::from_secs(4);
/// How long it flaps, and how long it is away for once.
const FLAPPING: Duration = Duration::from_secs(60);
const OUTAGE: Duration = Duration::from_secs(25);
/// What an item may take longer than workers are away.
const SLACK: Duration = Duration::from_secs(8);
/// What a worker may have had in hand when the last one died waits so long for another one.
const CAUTION: Duration = Duration::from_secs(15);

/// A worker that is killed and started again by a plan.
struct Flapping<'a> {
    cluster: &'a Cluster,
    worker: Option<Process>,
    changes_at: Instant,
    deaths: u32,
}

impl<'a> Flapping<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            worker: Some(cluster.worker()),
            changes_at: Instant::now() + FLAP,
            deaths: 0,
        }
    }

    /// Does what is due.
    fn look(&mut self) {
        if Instant::now() < self.changes_at {
            return;
        }
        self.changes_at = Instant::now() + FLAP;
        if let Some(worker) = self.worker.take() {
            worker.kill_9();
            self.deaths += 1;
        } else {
            self.worker = Some(self.cluster.worker());
        }
    }
}

/// From publishing an item to HTTP's answer with its list.
fn served(
    service: &Service,
    publisher: &Publisher,
    event: &Event,
    mut meanwhile: impl FnMut(),
) -> Duration {
    let begun = Instant::now();
    publisher.publish(event);
    wait_for("the item is served", SEEN, || {
        meanwhile();
        match service.client().similar(DOMAIN, &event.id, 10) {
            Some(similar) if !similar.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    begun.elapsed()
}

#[test]
fn a_worker_that_dies_again_and_again_delays_nothing_until_a_deadline() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let mut flapping = Flapping::new(&cluster);
    let mut random = Random::of_test("workers away");
    let mut item = |id: String| Event::created(DOMAIN, &id, 1, &text_item(&mut random, WORDS));
    let mut sent: Vec<Event> = (0..ITEMS).map(|n| item(format!("item-{n}"))).collect();
    publish_events(&cluster.broker.publisher_url(), &sent);
    cluster.settled(service.client(), &Expected::of(&sent), QUIET);

    let publisher = Publisher::open(&cluster.broker.publisher_url());
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < FLAPPING {
        let event = item(format!("flapping-{}", sent.len()));
        let after = served(&service, &publisher, &event, || flapping.look());
        slowest = slowest.max(after);
        sent.push(event);
    }
    println!(
        "{} deaths, {} items, slowest {slowest:?}",
        flapping.deaths,
        sent.len() - ITEMS
    );
    assert!(
        slowest <= FLAP + SLACK,
        "beside a flapping worker: {slowest:?}"
    );

    if let Some(worker) = flapping.worker.take() {
        worker.kill_9();
    }
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < OUTAGE {
        let event = item(format!("nobody-{}", sent.len()));
        slowest = slowest.max(served(&service, &publisher, &event, || {}));
        sent.push(event);
    }
    println!("without any: slowest {slowest:?}");
    assert!(slowest <= CAUTION + SLACK, "without any: {slowest:?}");

    let _worker = cluster.worker();
    cluster.settled(service.client(), &Expected::of(&sent), QUIET);
    let dead = cluster.broker.take_dead(DEAD_JOBS);
    assert!(dead.is_empty(), "{dead:?}");
}
