//! A second model service takes over when the owner dies or freezes; what a frozen owner still
//! writes when it comes back changes nothing.

use std::time::Duration;

use super::cluster::{Cluster, How, Service};
use super::publisher::publish_events;
use kindred_api::path::item;

use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "take-over.test";
const ITEMS: usize = 400;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(180);
/// CONTRACT: an owner is replaced 6 s after its last beat; loading and slow machines on top.
const TAKEN_OVER: Duration = Duration::from_secs(30);

fn events(random: &mut Random, version: u64) -> Vec<Event> {
    (0..ITEMS)
        .map(|n| {
            let id = format!("item-{n}");
            Event::updated(DOMAIN, &id, version, &text_item(random, WORDS))
        })
        .collect()
}

/// The two services as (owner, other).
#[track_caller]
fn by_ownership(cluster: &Cluster, services: [Service; 2]) -> (Service, Service) {
    let address = wait_for("the partition has an owner", TAKEN_OVER, || {
        cluster
            .database
            .owner_address(0)
            .ok_or_else(|| "none".to_owned())
    });
    let [first, second] = services;
    if first.is_at(&address) {
        (first, second)
    } else {
        assert!(second.is_at(&address), "the owner is at {address}");
        (second, first)
    }
}

#[track_caller]
fn wait_owner(cluster: &Cluster, service: &Service) {
    wait_for(
        "the other service owns the partition",
        TAKEN_OVER,
        || match cluster.database.owner_address(0) {
            Some(address) if service.is_at(&address) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

#[test]
fn a_second_service_goes_on_where_a_killed_owner_ended() {
    let cluster = Cluster::new();
    let services = [
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    let mut random = Random::of_test("take-over by death");
    let url = cluster.broker.publisher_url();
    let (owner, other) = by_ownership(&cluster, services);
    let first = events(&mut random, 1);
    publish_events(&url, &first);
    owner.process.kill_9();
    let second = events(&mut random, 2);
    publish_events(&url, &second);
    wait_owner(&cluster, &other);
    let all = first.iter().chain(&second);
    cluster.settled(other.client(), &Expected::of(all), QUIET);
}

#[test]
fn an_owner_that_froze_changes_nothing_when_it_thaws() {
    let cluster = Cluster::new();
    let services = [
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    let mut random = Random::of_test("take-over by frost");
    let url = cluster.broker.publisher_url();
    let (mut owner, other) = by_ownership(&cluster, services);
    let first = events(&mut random, 1);
    publish_events(&url, &first);
    // In the middle of the work: windows are open, jobs are out.
    owner.process.signal("STOP");
    wait_owner(&cluster, &other);
    let second = events(&mut random, 2);
    publish_events(&url, &second);
    owner.process.signal("CONT");
    let all: Vec<Event> = first.into_iter().chain(second).collect();
    cluster.settled(other.client(), &Expected::of(&all), QUIET);
    owner.process.assert_running();

    // The thawed one answers, too, and nothing that is gone.
    let gone = Event::deleted(DOMAIN, "item-0", 3);
    publish_events(&url, [&gone]);
    for service in [&other, &owner] {
        wait_for("the deletion is answered", QUIET, || {
            let answer = service
                .client()
                .try_get(&format!("{}/similar", item(DOMAIN, "item-0")))?;
            match answer.status {
                404 => Ok(()),
                status => Err(format!("{status} {}", answer.body)),
            }
        });
    }
}
