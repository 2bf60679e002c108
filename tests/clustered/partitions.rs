//! Several partitions: what they need of the broker, and how services share them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::{Cluster, How, Service};
use super::publisher::publish_events;
use super::services::Control;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const PARTITIONS: i16 = 4;
const DOMAINS: usize = 16;
const ITEMS: usize = 20;
const WORDS: usize = 20;
const PLUGIN: &str = "rabbitmq_sharding";
const NOTICED: Duration = Duration::from_secs(60);
/// Longest until partitions are owned: CONTRACT, 6 s after the last beat of who owned them.
const OWNED: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(180);

fn how() -> How {
    How {
        more: vec![("KINDRED_PARTITIONS", PARTITIONS.to_string())],
        ..How::default()
    }
}

fn events(version: u64) -> Vec<Event> {
    let mut random = Random::of_test(&format!("partitions, version {version}"));
    (0..DOMAINS * ITEMS)
        .map(|n| {
            let domain = format!("part-{}.test", n % DOMAINS);
            let id = format!("item-{}", n / DOMAINS);
            Event::updated(&domain, &id, version, &text_item(&mut random, WORDS))
        })
        .collect()
}

/// Partitions each of the services owns, once all are owned as wanted.
#[track_caller]
fn wait_shares(cluster: &Cluster, services: &[&Service], wanted: &[usize]) {
    wait_for("the partitions are shared evenly", OWNED, || {
        let mut shares: BTreeMap<usize, usize> = (0..services.len()).map(|n| (n, 0)).collect();
        for partition in 0..PARTITIONS {
            let address = cluster.database.owner_address(partition);
            let owner = address.and_then(|at| services.iter().position(|one| one.is_at(&at)));
            if let Some(owner) = owner {
                *shares.entry(owner).or_default() += 1;
            }
        }
        if shares.values().copied().eq(wanted.iter().copied()) {
            Ok(())
        } else {
            Err(format!("{shares:?}"))
        }
    });
}

#[test]
#[ignore = "needs services, kills services"]
fn a_missing_plugin_is_named_with_its_remedy_and_waited_for() {
    let control = Control::of_broker();
    let cluster = Cluster::new();
    let without = control.without(PLUGIN);
    let mut service = cluster.spawn_service(&how());
    wait_for("it says what is missing", NOTICED, || {
        service.process.assert_running();
        let words = service.process.last_words();
        if words.contains(&format!("rabbitmq-plugins enable {PLUGIN}")) {
            Ok(())
        } else {
            Err(words)
        }
    });
    drop(without);
    service.wait_ready();
}

#[test]
#[ignore = "needs services"]
fn two_services_share_the_partitions_and_one_takes_all_when_the_other_dies() {
    let cluster = Cluster::new();
    let _worker = cluster.worker();
    let first = cluster.service(&how());
    let second = cluster.service(&how());
    wait_shares(&cluster, &[&first, &second], &[2, 2]);
    let url = cluster.broker.publisher_url();
    let mut all = events(1);
    publish_events(&url, &all);
    cluster.settled(first.client(), &Expected::of(&all), QUIET);
    second.client().wait_quiet(QUIET);
    // Whoever is asked has the same answer, its own partition or not.
    for n in 0..DOMAINS {
        let domain = format!("part-{n}.test");
        let answers = [&first, &second].map(|one| one.client().similar(&domain, "item-0", 10));
        assert!(answers[0].as_ref().is_some_and(|list| !list.is_empty()));
        assert_eq!(answers[0], answers[1], "{domain}");
    }

    first.process.kill_9();
    let more = events(2);
    publish_events(&url, &more);
    all.extend(more);
    wait_shares(
        &cluster,
        &[&second],
        &[usize::try_from(PARTITIONS).unwrap()],
    );
    cluster.settled(second.client(), &Expected::of(&all), QUIET);
}
