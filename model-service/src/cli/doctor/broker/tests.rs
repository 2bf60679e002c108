//! From facts to findings.

use super::super::finding::{Level, worse_than_ok};
use super::*;

fn there(name: &str, is_queue: bool) -> Inspected {
    Inspected {
        name: name.to_owned(),
        is_queue,
        presence: Presence::There,
        arguments: Arguments::Right,
        messages: 0,
        consumers: 1,
    }
}

fn bound_to(queues: &[&str]) -> Vec<(String, String)> {
    let bound = |queue: &&str| ((*queue).to_owned(), "#".to_owned());
    queues.iter().map(bound).collect()
}

fn healthy() -> BrokerFacts {
    let topology = vec![
        there("kindred.dead", false),
        there("kindred.items", false),
        there("kindred.items.dead", true),
        there("kindred.jobs.extract", true),
        there("kindred.items.p00", true),
        there("kindred.jobs.dead", true),
    ];
    BrokerFacts {
        place: "broker:5672//".to_owned(),
        greeting: Some(Ok(Greeting {
            product: "RabbitMQ".to_owned(),
            version: "4.1.2".to_owned(),
        })),
        inside: Ok(Inside {
            topology: Ok(topology),
            log: Some(Ok(there("kindred.log", true))),
            permissions: Ok(vec![(Permission::ConfigureReplies, Some(true))]),
        }),
        management: Ok(Management {
            place: "http://broker:15672".to_owned(),
            ahead_ms: Some(0),
            exchange_types: Some(vec!["topic".to_owned()]),
            alarms: Some(Vec::new()),
            bindings: Some(bound_to(&["kindred.items.p00", "kindred.log"])),
            policies: Some(Vec::new()),
            programs: Some(Vec::new()),
        }),
    }
}

/// Findings of these facts that are worse than ok, as (check, level).
fn bad(facts: &BrokerFacts, partitions: u16) -> Vec<(String, Level)> {
    worse_than_ok(judge(facts, Part::ModelService, partitions))
}

/// What is found after one thing was changed.
#[track_caller]
fn assert_found(change: impl FnOnce(&mut BrokerFacts), check: &str, level: Level) {
    let mut facts = healthy();
    change(&mut facts);
    assert_eq!(bad(&facts, 1), [(check.to_owned(), level)]);
}

fn inside(facts: &mut BrokerFacts) -> &mut Inside {
    facts.inside.as_mut().expect("healthy facts")
}

fn topology(facts: &mut BrokerFacts) -> &mut Vec<Inspected> {
    inside(facts).topology.as_mut().expect("healthy facts")
}

fn log(facts: &mut BrokerFacts) -> &mut Inspected {
    let log = inside(facts).log.as_mut().expect("healthy facts");
    log.as_mut().expect("healthy facts")
}

fn management(facts: &mut BrokerFacts) -> &mut Management {
    facts.management.as_mut().expect("healthy facts")
}

#[test]
fn a_healthy_broker_is_ok() {
    assert_eq!(bad(&healthy(), 1), []);
}

#[test]
fn one_wrong_thing_is_one_finding() {
    assert_found(
        |facts| {
            facts.greeting = Some(Ok(Greeting {
                product: "RabbitMQ".to_owned(),
                version: "3.9.13".to_owned(),
            }));
        },
        "broker.version",
        Level::Problem,
    );
    assert_found(
        |facts| topology(facts)[4].presence = Presence::Missing,
        "broker.topology",
        Level::Problem,
    );
    assert_found(
        |facts| topology(facts)[4].arguments = Arguments::Wrong("x-overflow".to_owned()),
        "broker.queue kindred.items.p00",
        Level::Problem,
    );
    assert_found(
        |facts| topology(facts)[4].presence = Presence::Unknown("late".to_owned()),
        "broker.queue kindred.items.p00",
        Level::Problem,
    );
    assert_found(
        |facts| topology(facts)[4].arguments = Arguments::Unknown("refused".to_owned()),
        "broker.arguments",
        Level::Unknown,
    );
    assert_found(
        |facts| topology(facts)[3].consumers = 0,
        "broker.workers",
        Level::Warning,
    );
    assert_found(
        |facts| topology(facts)[2].messages = 3,
        "broker.dead_events",
        Level::Warning,
    );
    assert_found(
        |facts| topology(facts)[5].messages = 1,
        "broker.dead_jobs",
        Level::Warning,
    );
    assert_found(
        |facts| inside(facts).permissions = Ok(vec![(Permission::ConfigureReplies, Some(false))]),
        "broker.permissions",
        Level::Problem,
    );
    assert_found(
        |facts| inside(facts).permissions = Ok(vec![(Permission::ConfigureReplies, None)]),
        "broker.permissions",
        Level::Unknown,
    );
    assert_found(
        |facts| facts.management = Err("nobody".to_owned()),
        "broker.management",
        Level::Unknown,
    );
    assert_found(
        |facts| management(facts).alarms = Some(vec!["disk".to_owned()]),
        "broker.alarms",
        Level::Problem,
    );
    assert_found(
        |facts| management(facts).bindings = Some(bound_to(&["kindred.log"])),
        "broker.bindings",
        Level::Problem,
    );
    let limited = ("kindred.items.p00".to_owned(), "max-length".to_owned());
    assert_found(
        |facts| management(facts).policies = Some(vec![limited]),
        "broker.policies",
        Level::Warning,
    );
}

#[test]
fn a_stream_that_does_not_keep_what_is_configured_is_told() {
    let check = "broker.log";
    assert_found(
        |facts| log(facts).presence = Presence::Missing,
        check,
        Level::Problem,
    );
    assert_found(
        |facts| log(facts).presence = Presence::Unknown("late".to_owned()),
        check,
        Level::Problem,
    );
    assert_found(
        |facts| log(facts).arguments = Arguments::Wrong("x-max-age".to_owned()),
        check,
        Level::Warning,
    );
    assert_found(
        |facts| log(facts).arguments = Arguments::Unknown("refused".to_owned()),
        check,
        Level::Unknown,
    );
    assert_found(
        |facts| management(facts).bindings = Some(bound_to(&["kindred.items.p00"])),
        check,
        Level::Problem,
    );
    let mut off = healthy();
    inside(&mut off).log = None;
    management(&mut off).bindings = Some(bound_to(&["kindred.items.p00"]));
    assert_eq!(bad(&off, 1), []);
}

#[test]
fn who_is_not_let_in_is_told_that_alone() {
    for (reason, level) in [
        (NoEntry::Refused("no".to_owned()), Level::Problem),
        (NoEntry::NoVhost("no".to_owned()), Level::Problem),
        (NoEntry::Away("no".to_owned()), Level::Problem),
    ] {
        assert_found(|facts| facts.inside = Err(reason), "broker.login", level);
    }
    let mut gone = healthy();
    gone.greeting = Some(Err("nobody".to_owned()));
    gone.inside = Err(NoEntry::Away("nobody".to_owned()));
    assert_eq!(
        bad(&gone, 1),
        [("broker.reachable".to_owned(), Level::Problem)]
    );
}

#[test]
fn nothing_declared_is_what_a_first_start_finds() {
    let mut facts = healthy();
    for one in topology(&mut facts) {
        one.presence = Presence::Missing;
    }
    log(&mut facts).presence = Presence::Missing;
    let found = bad(&facts, 1);
    assert_eq!(found, [("broker.topology".to_owned(), Level::Warning)]);
}

#[test]
fn several_partitions_need_the_hash() {
    let mut facts = healthy();
    management(&mut facts).bindings = Some(bound_to(&["kindred.partitions", "kindred.log"]));
    let sharding = |facts: &BrokerFacts| {
        judge(facts, Part::ModelService, 2)
            .into_iter()
            .find(|one| one.check == "broker.sharding")
            .map(|one| one.level)
    };
    assert_eq!(sharding(&facts), Some(Level::Problem));
    management(&mut facts).exchange_types = None;
    assert_eq!(sharding(&facts), Some(Level::Unknown));
    facts.greeting = Some(Ok(Greeting {
        product: "RabbitMQ".to_owned(),
        version: "4.3.0".to_owned(),
    }));
    assert_eq!(sharding(&facts), Some(Level::Ok));
}
