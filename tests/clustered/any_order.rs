//! Programs start in any order, wait for what is not there yet, and never exit by themselves.

use std::time::Duration;

use super::cluster::{Cluster, How, Service};
use super::publisher::publish_events;
use super::services::Control;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::process::Process;
use crate::support::random::Random;

const DOMAIN: &str = "order.test";
const ITEMS: usize = 120;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(120);
/// Longest until a program notices what came or went.
const NOTICED: Duration = Duration::from_secs(90);

fn events(what: &str, version: u64) -> Vec<Event> {
    let mut random = Random::of_test(what);
    (0..ITEMS)
        .map(|n| {
            let said = text_item(&mut random, WORDS);
            Event::created(DOMAIN, &format!("item-{n}"), version, &said)
        })
        .collect()
}

/// Publishes, and asserts that it comes to exact lists.
#[track_caller]
fn works(cluster: &Cluster, service: &Service, events: &[Event]) {
    publish_events(&cluster.broker.publisher_url(), events);
    cluster.settled(service.client(), &Expected::of(events), QUIET);
}

/// `SIGTERM`: each drains and exits 0 in time.
fn stop(service: Service, worker: Process) {
    service.process.stop();
    worker.stop();
}

#[test]
fn the_service_first_and_it_makes_what_it_misses() {
    let cluster = Cluster::bare();
    let service = cluster.service(&How::default());
    let worker = cluster.worker();
    works(&cluster, &service, &events("service first", 1));
    stop(service, worker);
}

#[test]
fn the_worker_first() {
    let cluster = Cluster::bare();
    let worker = cluster.worker();
    let service = cluster.service(&How::default());
    works(&cluster, &service, &events("worker first", 1));
    stop(service, worker);
}

#[test]
fn the_worker_long_after_the_events() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let events = events("worker last", 1);
    publish_events(&cluster.broker.publisher_url(), &events);
    wait_for("the service has taken the items", QUIET, || {
        let domains = service.client().try_domains()?;
        match domains
            .iter()
            .any(|one| one.domain.as_str() == DOMAIN && one.live > 0)
        {
            true => Ok(()),
            false => Err(format!("{domains:?}")),
        }
    });
    let worker = cluster.worker();
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    stop(service, worker);
}

#[test]
fn both_before_broker_and_database_and_again_after_both_went() {
    let cluster = Cluster::alone();
    let (broker, database) = (Control::of_broker(), Control::of_database());
    // Gracefully: a virtual host made just now may not survive a kill.
    broker.stop();
    database.stop();
    let mut worker = cluster.worker();
    let mut service = cluster.spawn_service(&How::default());
    broker.start();
    service.process.assert_running();
    worker.assert_running();
    database.start();
    service.wait_ready();
    works(&cluster, &service, &events("before all", 1));

    for (control, edge) in [(&broker, "broker"), (&database, "database")] {
        control.kill();
        service.wait_without(edge, NOTICED);
        service.process.assert_running();
        worker.assert_running();
        control.start();
        wait_for("the service is ready again", NOTICED, || {
            service.readiness()
        });
    }
    works(&cluster, &service, &events("after all", 2));
    stop(service, worker);
}
