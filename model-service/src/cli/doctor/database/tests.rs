//! From facts to findings.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::Path;

use super::super::finding::{Level, worse_than_ok};
use super::*;
use crate::config::Flags;

fn config(values: &[(&'static str, &str)]) -> Config {
    let values = values
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    let flags = Flags { file: None, values };
    Config::resolve(&flags, [], Path::new("/nonexistent"))
        .unwrap()
        .0
}

fn healthy() -> Inside {
    let grant = |permission: &str| ("<keyspace kindred>".to_owned(), permission.to_owned());
    Inside {
        version: Ok("5.0.8".to_owned()),
        is_scylla: false,
        nodes: 3,
        up: 3,
        copies: Ok(Some(3)),
        standing: Ok(Standing::Current),
        commit_log: Ok(Some("batch".to_owned())),
        paxos_variant: Some("v2".to_owned()),
        partitions: Ok(Some(Partitions::Of(1))),
        unknown_models: Vec::new(),
        largest: Some(("news.example".to_owned(), LARGEST_DOMAIN)),
        blocks: Ok(()),
        rights: Ok(Some(Rights {
            is_superuser: false,
            granted: vec![grant("SELECT"), grant("MODIFY")],
        })),
        owners: Vec::new(),
        ahead_ms: Ok(0),
    }
}

fn bad(inside: Inside, config: &Config, part: Part) -> Vec<(String, Level)> {
    let facts = DatabaseFacts {
        place: "db:9042".to_owned(),
        inside: Ok(Box::new(inside)),
    };
    worse_than_ok(judge(&facts, config, part))
}

#[track_caller]
fn assert_found(change: impl FnOnce(&mut Inside), check: &str, level: Level) {
    let mut inside = healthy();
    change(&mut inside);
    let found = bad(inside, &config(&[]), Part::ModelService);
    assert_eq!(found, [(check.to_owned(), level)]);
}

#[test]
fn a_healthy_database_is_ok() {
    assert_eq!(bad(healthy(), &config(&[]), Part::ModelService), []);
    assert_eq!(bad(healthy(), &config(&[]), Part::ComputeWorker), []);
}

#[test]
fn one_wrong_thing_is_one_finding() {
    use Level::{Problem, Unknown, Warning};
    let no = || "no".to_owned();
    assert_found(
        |inside| inside.version = Ok("3.11.4".to_owned()),
        "database.reachable",
        Problem,
    );
    assert_found(
        |inside| inside.paxos_variant = Some("v1".to_owned()),
        "database.leases",
        Warning,
    );
    assert_found(
        |inside| inside.standing = Ok(Standing::Behind(vec![1])),
        "database.schema",
        Problem,
    );
    assert_found(
        |inside| inside.standing = Ok(Standing::Newer(99)),
        "database.schema",
        Problem,
    );
    assert_found(
        |inside| inside.standing = Err(no()),
        "database.schema",
        Problem,
    );
    assert_found(|inside| inside.up = 1, "database.replication", Problem);
    assert_found(|inside| inside.up = 2, "database.replication", Warning);
    assert_found(
        |inside| inside.copies = Ok(Some(2)),
        "database.replication",
        Warning,
    );
    assert_found(
        |inside| inside.copies = Err(no()),
        "database.replication",
        Unknown,
    );
    assert_found(
        |inside| {
            inside.copies = Ok(Some(1));
            inside.commit_log = Ok(Some("periodic".to_owned()));
        },
        "database.commitlog",
        Problem,
    );
    assert_found(
        |inside| {
            inside.copies = Ok(Some(1));
            inside.commit_log = Ok(None);
        },
        "database.commitlog",
        Problem,
    );
    assert_found(
        |inside| {
            inside.rights = Ok(Some(Rights {
                is_superuser: false,
                granted: vec![("<keyspace other>".to_owned(), "SELECT".to_owned())],
            }));
        },
        "database.permissions",
        Problem,
    );
    assert_found(
        |inside| {
            inside.rights = Ok(Some(Rights {
                is_superuser: true,
                granted: Vec::new(),
            }));
        },
        "database.permissions",
        Warning,
    );
    assert_found(
        |inside| inside.rights = Err(no()),
        "database.permissions",
        Unknown,
    );
    assert_found(
        |inside| inside.partitions = Ok(Some(Partitions::Of(8))),
        "database.partitions",
        Problem,
    );
    assert_found(
        |inside| inside.largest = Some(("big".to_owned(), LARGEST_DOMAIN + 1)),
        "database.largest_domain",
        Warning,
    );
    assert_found(
        |inside| inside.unknown_models = vec![ModelName::own()],
        "database.models",
        Warning,
    );
    let mut no_blocks = healthy();
    no_blocks.blocks = Err(no());
    assert_eq!(
        bad(no_blocks, &config(&[]), Part::ComputeWorker),
        [("database.blocks".to_owned(), Problem)]
    );
}

#[test]
fn periodic_is_a_warning_where_it_is_allowed() {
    let mut inside = healthy();
    inside.copies = Ok(Some(1));
    inside.commit_log = Ok(Some("periodic".to_owned()));
    let config = config(&[("cql_allow_periodic", "true")]);
    assert_eq!(
        bad(inside, &config, Part::ModelService),
        [("database.commitlog".to_owned(), Level::Warning)]
    );
}

#[test]
fn who_is_not_let_in_is_told_that_alone() {
    for (reason, check) in [
        (NoEntry::Refused("no".to_owned()), "database.login"),
        (NoEntry::Away("no".to_owned()), "database.reachable"),
    ] {
        let facts = DatabaseFacts {
            place: "db:9042".to_owned(),
            inside: Err(reason),
        };
        let found = judge(&facts, &config(&[]), Part::ModelService);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].check.as_str(), found[0].level),
            (check, Level::Problem)
        );
    }
}
