//! A worker that freezes with jobs in hand costs their domains one deadline, and others nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, How};
use super::database::Lists;
use super::publisher::{Publisher, publish_events};
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::process::Process;
use crate::support::random::Random;

/// The domain whose delays are measured.
const MEASURED: &str = "measured.test";
/// Domains whose jobs the frozen worker is to get.
const HELD: usize = 12;
/// Items of each domain at first.
const ITEMS: usize = 80;
const WORDS: usize = 20;
/// Items of which each delay is taken.
const SAMPLES: usize = 30;
/// Long enough for [`SAMPLES`].
const DEADLINE: &str = "40s";
/// What the slowest of the samples may take longer than before: far less than a deadline.
const SLACK: Duration = Duration::from_millis(500);
const SEEN: Duration = Duration::from_secs(60);
const HOLDING: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(240);

fn held(n: usize) -> String {
    format!("held-{n}.test")
}

#[test]
fn a_frozen_worker_costs_other_domains_nothing() {
    let cluster = Cluster::alone();
    let service = cluster.service(&How {
        job_deadline: Some(DEADLINE),
        ..How::default()
    });
    let frozen = cluster.worker();
    let _other = cluster.worker();
    let mut random = Random::of_test("a frozen worker");
    let url = cluster.broker.publisher_url();
    let mut sent: Vec<Event> = Vec::new();
    for domain in (0..HELD).map(held).chain([MEASURED.to_owned()]) {
        for n in 0..ITEMS {
            let said = text_item(&mut random, WORDS);
            sent.push(Event::created(&domain, &format!("item-{n}"), 1, &said));
        }
    }
    publish_events(&url, &sent);
    cluster.settled(service.client(), &Expected::of(&sent), QUIET);

    let publisher = Publisher::open(&url);
    let lists = cluster.database.lists();
    let mut slowest = |name: &str, sent: &mut Vec<Event>| {
        let mut slowest = Duration::ZERO;
        for n in 0..SAMPLES {
            let said = text_item(&mut random, WORDS);
            let event = Event::created(MEASURED, &format!("{name}-{n}"), 1, &said);
            slowest = slowest.max(delay(&publisher, &lists, service.client(), &event));
            sent.push(event);
        }
        println!("{name}: slowest {slowest:?}");
        slowest
    };
    let before = slowest("before", &mut sent);

    frozen.signal("STOP");
    // Jobs of many domains, until the frozen worker's hands are full of them.
    let mut random_held = Random::of_test("a frozen worker's jobs");
    let updates: Vec<Event> = (0..HELD)
        .map(|n| {
            let said = text_item(&mut random_held, WORDS);
            Event::updated(&held(n), "item-0", 2, &said)
        })
        .collect();
    publish_events(&url, &updates);
    sent.extend(updates);
    wait_for("the frozen worker holds jobs", HOLDING, || {
        holds_all_it_can(&cluster, &frozen)
    });
    let during = slowest("during", &mut sent);

    cluster.settled(service.client(), &Expected::of(&sent), QUIET);
    assert!(
        during <= before + SLACK,
        "slowest of {SAMPLES}: {before:?} before, {during:?} beside a frozen worker"
    );
}

/// From publishing a new item to its row, with nothing else under way in its domain.
#[track_caller]
fn delay(publisher: &Publisher, lists: &Lists<'_>, client: &Client, event: &Event) -> Duration {
    let started = Instant::now();
    publisher.publish(event);
    wait_for("the new item has its row", SEEN, || {
        match lists.one(&event.domain, &event.id)? {
            Some(_) => Ok(()),
            None => Err("none".to_owned()),
        }
    });
    let delay = started.elapsed();
    wait_for("its domain is quiet", SEEN, || {
        let domains = client.try_domains()?;
        match domains
            .iter()
            .find(|one| one.domain.as_str() == event.domain)
        {
            Some(one) if one.quiet => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    delay
}

/// Whether each consumer of a worker has an unacknowledged job.
fn holds_all_it_can(cluster: &Cluster, worker: &Process) -> Result<(), String> {
    let ports = local_ports(worker.id());
    let consuming: Vec<_> = cluster
        .broker
        .channels()
        .into_iter()
        .filter(|channel| ports.contains(&channel.client_port) && channel.consumers > 0)
        .collect();
    if !consuming.is_empty()
        && consuming
            .iter()
            .all(|channel| channel.unacknowledged >= channel.consumers)
    {
        Ok(())
    } else {
        Err(format!("{consuming:?}"))
    }
}

/// Local ports of a process's TCP connections over IPv4.
fn local_ports(pid: u32) -> BTreeSet<u16> {
    let sockets: BTreeSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its own child")
        .flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    // proc(5): local address in the second column as hex `address:port`, inode in the tenth.
    std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))
        .expect("its own child")
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = columns.get(1)?.split_once(':')?;
            sockets
                .contains(*columns.get(9)?)
                .then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}
