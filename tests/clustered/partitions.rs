//! Several partitions: what they need of the broker, that each has an owner, and that services share
//! them evenly.

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

/// The address of each partition's owner.
#[track_caller]
fn owners(cluster: &Cluster) -> Vec<Option<String>> {
    let partitions = 0..PARTITIONS;
    partitions
        .map(|partition| cluster.database.owner_address(partition))
        .collect()
}

/// Waits until all partitions belong to these services, each of which has as many as another or
/// one more. Before that a partition may be handed over, and its domains are not answered of for a moment.
#[track_caller]
pub(crate) fn wait_shared(cluster: &Cluster, services: &[&Service]) {
    wait_for("partitions are shared evenly", OWNED, || {
        let owners = owners(cluster);
        let of = |one: &&Service| {
            let ours = owners.iter().flatten().filter(|at| one.is_at(at));
            ours.count()
        };
        let counts: Vec<usize> = services.iter().map(of).collect();
        let spread = counts.iter().max().zip(counts.iter().min());
        let is_even = spread.is_some_and(|(most, least)| most - least <= 1);
        if is_even && counts.iter().sum::<usize>() == owners.len() {
            Ok(())
        } else {
            Err(format!("{counts:?} of {owners:?}"))
        }
    });
}

#[test]
fn a_missing_plugin_is_named_with_its_remedy_and_waited_for() {
    let control = Control::of_broker();
    let cluster = Cluster::alone();
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
fn several_partitions_are_exact_shared_evenly_and_whoever_is_asked() {
    let cluster = Cluster::new();
    let _worker = cluster.worker();
    let first = cluster.service(&how());
    let second = cluster.service(&how());
    wait_shared(&cluster, &[&first, &second]);
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

    // And says the same of whose a domain is.
    let owners_now = owners(&cluster);
    for one in [&first, &second] {
        for told in one.client().try_domains().expect("every domain") {
            let owner = &owners_now[usize::from(told.partition)];
            assert_eq!(&told.owner, owner, "{told:?}");
        }
        let owned = one.client().metric("kindred_partition_owned");
        assert!((owned - 2.0).abs() < 0.5, "{owned} of {PARTITIONS}");
    }

    // One more gets its share while events come, one that stops leaves its own at once, and one
    // that dies is missed.
    let third = cluster.service(&how());
    let more = events(2);
    publish_events(&url, &more);
    all.extend(more);
    wait_shared(&cluster, &[&first, &second, &third]);
    let port = second.port();
    second.process.stop();
    let at_its_end = owners(&cluster);
    assert!(
        !at_its_end.iter().flatten().any(|at| at.ends_with(&port)),
        "{port} stopped and still owns some of {at_its_end:?}"
    );
    wait_shared(&cluster, &[&first, &third]);
    first.process.kill_9();
    let more = events(3);
    publish_events(&url, &more);
    all.extend(more);
    wait_shared(&cluster, &[&third]);
    cluster.settled(third.client(), &Expected::of(&all), QUIET);
}
