//! The same import while model service, workers, broker and database are killed: the same state as of a standalone
//! that nothing disturbed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model_service::crash::POINTS;

use super::cluster::{Cluster, EVENTS, How, Service};
use super::publisher::publish;
use super::services::Control;
use super::whole_import::messages;
use crate::exactness::check::assert_same_bits;
use crate::exactness::import::{QUIET, expected, undisturbed};
use crate::support::deadline::wait_for;
use crate::support::process::Process;
use crate::support::random::Random;

/// Longest until the next share of the events is taken.
const TAKING: Duration = Duration::from_secs(300);
/// Longest until a service dies at the point it was told.
const DYING: Duration = Duration::from_secs(120);
/// Longest until a service is ready again once everything it needs is there.
const BACK: Duration = Duration::from_secs(90);
/// Longest random delay before a kill, in ms: about a window.
const DELAY_MS: usize = 300;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Service,
    /// The service, by itself, when it passes this point.
    ServiceAt(&'static str),
    Worker(usize),
    Broker,
    Database,
}

/// Ten kills of programs, and one each of what they stand on, in a fixed order.
const VICTIMS: [Victim; 12] = [
    Victim::Worker(0),
    Victim::Service,
    Victim::ServiceAt("after-store"),
    Victim::Worker(1),
    Victim::Broker,
    Victim::ServiceAt("after-features"),
    Victim::Service,
    Victim::Database,
    Victim::ServiceAt("before-flush"),
    Victim::Worker(0),
    Victim::ServiceAt("before-clean"),
    Victim::Service,
];

#[test]
fn kills_of_everything_during_the_import_change_nothing() {
    let undisturbed = undisturbed();
    let mut random = Random::of_test("moments of clustered kills");
    let messages = messages();
    let confirmed = AtomicUsize::new(0);
    let cluster = Cluster::alone();
    let started = cluster.service(&How::default());
    let mut workers = [cluster.worker(), cluster.worker()];
    let url = cluster.broker.publisher_url();
    let service = std::thread::scope(|scope| {
        scope.spawn(|| publish(&url, &messages, &confirmed));
        let mut service = started;
        for (n, victim) in VICTIMS.into_iter().enumerate() {
            let after = messages.len() * (n + 1) / (VICTIMS.len() + 1);
            wait_for("events are taken", TAKING, || {
                taken(&cluster, &confirmed, after)
            });
            std::thread::sleep(Duration::from_millis(random.below(DELAY_MS) as u64));
            println!("after {after} events: {victim:?}");
            service = kill(victim, &cluster, service, &mut workers);
        }
        service
    });
    wait_for("the service is ready", BACK, || service.readiness());
    let stored = cluster.settled(service.client(), &expected(), QUIET);
    assert_same_bits(&stored, &undisturbed);
}

/// Whether this many events have left the queue.
fn taken(cluster: &Cluster, confirmed: &AtomicUsize, wanted: usize) -> Result<(), String> {
    let confirmed = confirmed.load(Ordering::SeqCst);
    let ready = cluster
        .broker
        .ready(EVENTS)
        .ok_or("the broker does not answer")?;
    let taken = confirmed.saturating_sub(ready as usize);
    if taken >= wanted {
        Ok(())
    } else {
        Err(format!("{taken} of {wanted}; {confirmed} confirmed"))
    }
}

/// Kills, and starts again. The service that comes back may not be ready yet.
#[track_caller]
fn kill(
    victim: Victim,
    cluster: &Cluster,
    mut service: Service,
    workers: &mut [Process; 2],
) -> Service {
    match victim {
        Victim::Service => {
            service.process.kill_9();
            cluster.spawn_service(&How::default())
        }
        Victim::ServiceAt(point) => {
            assert!(POINTS.contains(&point), "{point}");
            // In peace, so that the one that dies need not wait for the lease to run out.
            service.process.stop();
            let mut doomed = cluster.spawn_service(&How {
                crash_at: Some(format!("{point}:2")),
                ..How::default()
            });
            wait_for(&format!("it dies at {point}"), DYING, || {
                doomed.process.died().ok_or_else(|| "it lives".to_owned())
            });
            cluster.spawn_service(&How::default())
        }
        Victim::Worker(n) => {
            let killed = std::mem::replace(&mut workers[n], cluster.worker());
            killed.kill_9();
            service
        }
        Victim::Broker => {
            let control = Control::of_broker();
            control.kill();
            service.process.assert_running();
            control.start();
            service.process.assert_running();
            service
        }
        Victim::Database => {
            let control = Control::of_database();
            control.kill();
            service.process.assert_running();
            control.start();
            service.process.assert_running();
            service
        }
    }
}
