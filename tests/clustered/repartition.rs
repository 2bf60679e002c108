//! Another number of partitions: `kindred partitions set`, while no model service runs.

use std::time::Duration;

use super::cluster::{Cluster, How};
use super::publisher::publish_events;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::program::{START, kindred};
use crate::support::random::Random;

const DOMAINS: usize = 16;
const ITEMS: usize = 10;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(180);

fn with(partitions: u16) -> How {
    How {
        more: vec![("KINDRED_PARTITIONS", partitions.to_string())],
        ..How::default()
    }
}

fn events(version: u64) -> Vec<Event> {
    let mut random = Random::of_test(&format!("repartition, version {version}"));
    (0..DOMAINS * ITEMS)
        .map(|n| {
            let domain = format!("moved-{}.test", n % DOMAINS);
            let id = format!("item-{}", n / DOMAINS);
            Event::updated(&domain, &id, version, &text_item(&mut random, WORDS))
        })
        .collect()
}

/// `kindred partitions …`: whether it worked, and what it says.
#[track_caller]
fn partitions(cluster: &Cluster, arguments: &[&str]) -> (bool, String) {
    let mut command = kindred(cluster.directory());
    cluster.database_environment(&mut command, cluster.database.admin());
    command.env("KINDRED_AMQP_URL", cluster.broker.admin_url());
    let output = command.arg("partitions").args(arguments).output();
    let output = output.expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[track_caller]
fn changed(cluster: &Cluster, to: &str) {
    let (is_done, said) = partitions(cluster, &["set", to]);
    let wanted = format!("{to} partitions for {DOMAINS} domains");
    assert!(is_done && said.contains(&wanted), "{said}");
    let (_, said) = partitions(cluster, &["show"]);
    assert!(said.contains(&format!("{to} partitions")), "{said}");
}

#[test]
fn another_number_of_partitions_keeps_every_event_and_every_list() {
    let cluster = Cluster::new();
    let url = cluster.broker.publisher_url();
    let _worker = cluster.worker();
    let mut all = events(1);

    let service = cluster.service(&with(1));
    publish_events(&url, &all);
    cluster.settled(service.client(), &Expected::of(&all), QUIET);
    let (is_done, said) = partitions(&cluster, &["set", "4"]);
    assert!(
        !is_done && said.contains("stop every model service"),
        "{said}"
    );
    service.process.stop();

    // Events that wait are of the old number.
    let more = events(2);
    publish_events(&url, &more);
    all.extend(more);
    let (is_done, said) = partitions(&cluster, &["set", "4"]);
    assert!(!is_done && said.contains("events wait"), "{said}");
    let service = cluster.service(&with(1));
    cluster.settled(service.client(), &Expected::of(&all), QUIET);
    service.process.stop();

    changed(&cluster, "4");
    let mut refused = cluster.spawn_service(&with(1)).process;
    assert!(!refused.ended(START).success());
    assert!(refused.last_words().contains("has 4 partitions"));
    // What comes before services start waits where it belongs.
    let more = events(3);
    publish_events(&url, &more);
    all.extend(more);
    let service = cluster.service(&with(4));
    cluster.settled(service.client(), &Expected::of(&all), QUIET);
    let domains = service.client().try_domains().expect("every domain");
    let used: std::collections::BTreeSet<_> = domains.iter().map(|one| one.partition).collect();
    assert!(used.len() > 1, "{used:?}");
    service.process.stop();

    // As after a crash in the middle: nothing starts until it is finished.
    cluster.database.execute(&format!(
        "UPDATE {}.meta SET value = '4 to 2' WHERE key = 'partitions' IF value = '4'",
        cluster.database.keyspace()
    ));
    let mut refused = cluster.spawn_service(&with(4)).process;
    assert!(!refused.ended(START).success());
    let said = refused.last_words();
    assert!(said.contains("kindred partitions set 2"), "{said}");
    changed(&cluster, "2");
    let queues = cluster.broker.queues();
    assert!(
        !queues.iter().any(|queue| queue.ends_with("p02")),
        "{queues:?}"
    );

    let more = events(4);
    publish_events(&url, &more);
    all.extend(more);
    let (first, second) = (cluster.service(&with(2)), cluster.service(&with(2)));
    cluster.settled(first.client(), &Expected::of(&all), QUIET);
    first.process.stop();
    second.process.stop();

    changed(&cluster, "1");
    let more = events(5);
    publish_events(&url, &more);
    all.extend(more);
    let service = cluster.service(&with(1));
    cluster.settled(service.client(), &Expected::of(&all), QUIET);
}
