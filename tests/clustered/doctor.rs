//! `kindred doctor` against a real broker and database: what is well, what is not, and that it
//! changes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cluster::{Cluster, EVENTS, How};
use super::services::Control;
use crate::support::program::kindred;

/// CONTRACT: exit codes.
const DONE: i32 = 0;
const FAILED: i32 = 1;

/// What it found: the level and the words of each check.
struct Found {
    code: Option<i32>,
    checks: BTreeMap<String, (String, String)>,
}

impl Found {
    #[track_caller]
    fn level(&self, check: &str) -> &str {
        let found = self.checks.get(check);
        let (level, _) = found.unwrap_or_else(|| panic!("no {check} in {:#?}", self.checks));
        level
    }

    /// Checks of this level.
    fn of_level(&self, level: &str) -> Vec<&str> {
        self.checks
            .iter()
            .filter(|(_, (its, _))| its == level)
            .map(|(check, _)| check.as_str())
            .collect()
    }
}

/// As whom it asks, and with which arguments.
struct DoctorRun<'a> {
    amqp_url: String,
    login: Option<(String, String)>,
    arguments: &'a [&'a str],
}

impl<'a> DoctorRun<'a> {
    fn as_service(cluster: &Cluster, arguments: &'a [&'a str]) -> Self {
        Self {
            amqp_url: cluster.broker.service_url(),
            login: cluster.database.service(),
            arguments,
        }
    }

    /// As one who may do everything, with the management's address.
    fn as_admin(cluster: &Cluster, arguments: &'a [&'a str]) -> Self {
        Self {
            amqp_url: cluster.broker.admin_url(),
            login: cluster.database.admin(),
            arguments,
        }
    }

    #[track_caller]
    fn ask(self, cluster: &Cluster) -> Found {
        let mut command = kindred(cluster.directory());
        cluster.database_environment(&mut command, self.login);
        let output = command
            .env("KINDRED_AMQP_URL", self.amqp_url)
            .args(["doctor", "--json", "--management"])
            .arg(cluster.broker.management())
            .args(self.arguments)
            .output()
            .expect("the program starts");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let findings = report["findings"].as_array().expect("findings");
        let checks = findings.iter().map(|one| {
            let words = format!("{}; {}", text(&one["found"]), text(&one["remedy"]));
            println!("{} {}: {words}", text(&one["level"]), text(&one["check"]));
            (text(&one["check"]), (text(&one["level"]), words))
        });
        Found {
            checks: checks.collect(),
            code: output.status.code(),
        }
    }
}

#[test]
fn what_works_is_ok_for_each_part() {
    let cluster = Cluster::new();
    let _service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let before = cluster.broker.queues();

    let service = DoctorRun::as_service(&cluster, &[]).ask(&cluster);
    assert_eq!(service.of_level("problem"), [""; 0]);
    assert_eq!(service.code, Some(DONE));
    for check in [
        "broker.reachable",
        "broker.login",
        "broker.permissions",
        "broker.topology",
        "broker.model_services",
        "database.reachable",
        "database.schema",
        "database.replication",
        "database.commitlog",
        "database.permissions",
        "database.partitions",
        "clocks.database",
        "programs.versions",
    ] {
        assert_eq!(service.level(check), "ok", "{check}");
    }
    // It has no tag for the management.
    assert_eq!(service.level("broker.management"), "unknown");

    let admin = DoctorRun::as_admin(&cluster, &[]).ask(&cluster);
    assert_eq!(admin.code, Some(DONE));
    for check in [
        "broker.management",
        "broker.alarms",
        "broker.bindings",
        "broker.policies",
        "clocks.broker",
    ] {
        assert_eq!(admin.level(check), "ok", "{check}");
    }

    let worker = DoctorRun {
        amqp_url: cluster.broker.worker_url(),
        login: cluster.database.worker(),
        arguments: &["--as", "compute-worker"],
    };
    let worker = worker.ask(&cluster);
    assert_eq!(worker.code, Some(DONE));
    assert_eq!(worker.level("broker.permissions"), "ok");
    assert_eq!(worker.level("database.blocks"), "ok");

    let publisher = DoctorRun {
        amqp_url: cluster.broker.publisher_url(),
        login: None,
        arguments: &["--as", "publisher"],
    };
    let publisher = publisher.ask(&cluster);
    assert_eq!(publisher.code, Some(DONE));
    assert_eq!(publisher.level("broker.permissions"), "ok");

    // Each with another's user.
    for (amqp_url, arguments) in [
        (cluster.broker.worker_url(), &[][..]),
        (
            cluster.broker.publisher_url(),
            &["--as", "compute-worker"][..],
        ),
        (cluster.broker.worker_url(), &["--as", "publisher"][..]),
    ] {
        let asked = DoctorRun {
            amqp_url,
            login: cluster.database.worker(),
            arguments,
        };
        let found = asked.ask(&cluster);
        assert_eq!(found.level("broker.permissions"), "problem");
        assert_eq!(found.code, Some(FAILED));
    }
    let more = DoctorRun::as_service(&cluster, &["--partitions", "2"]).ask(&cluster);
    assert_eq!(more.level("database.partitions"), "problem");

    // The queue of replies comes and goes with its service; nothing else may.
    let declared = |queues: &[String]| {
        let lasting = queues.iter().filter(|name| !name.contains(".replies."));
        lasting.cloned().collect::<Vec<_>>()
    };
    assert_eq!(declared(&cluster.broker.queues()), declared(&before));
}

#[test]
fn wrong_passwords_are_told() {
    let cluster = Cluster::bare();
    let wrong = DoctorRun {
        amqp_url: cluster
            .broker
            .service_url()
            .replacen(":service-", ":wrong-", 1),
        login: Some(("nobody".to_owned(), "wrong".to_owned())),
        arguments: &[],
    };
    let found = wrong.ask(&cluster);
    assert_eq!(found.code, Some(FAILED));
    assert_eq!(found.level("broker.reachable"), "ok");
    assert_eq!(found.level("broker.login"), "problem");
    if cluster.database.admin().is_some() {
        assert_eq!(found.level("database.login"), "problem");
    }
}

#[test]
fn what_is_not_made_yet_is_told_and_not_made() {
    let cluster = Cluster::bare();
    for _ in 0..2 {
        let found = DoctorRun::as_admin(&cluster, &[]).ask(&cluster);
        assert_eq!(found.code, Some(FAILED));
        assert_eq!(found.level("database.schema"), "problem");
        assert_eq!(found.level("broker.topology"), "warning");
    }
    assert_eq!(cluster.broker.queues(), [""; 0]);
}

#[test]
fn a_queue_that_was_declared_otherwise_is_told() {
    let cluster = Cluster::bare();
    let arguments = json!({"x-queue-type": "quorum", "x-overflow": "drop-head"});
    cluster.broker.declare_queue(EVENTS, &arguments);
    for asked in [
        DoctorRun::as_admin(&cluster, &[]),
        DoctorRun::as_service(&cluster, &[]),
    ] {
        let found = asked.ask(&cluster);
        let check = format!("broker.queue {EVENTS}");
        assert_eq!(found.level(&check), "problem");
        let (_, words) = &found.checks[&check];
        assert!(words.contains("inequivalent arg"), "{words}");
        assert_eq!(found.level("broker.topology"), "problem");
        assert_eq!(found.code, Some(FAILED));
    }
    assert_eq!(cluster.broker.queues(), [EVENTS]);
}

#[test]
fn whether_events_are_kept_as_configured_is_told() {
    let cluster = Cluster::new();
    let check = "broker.log";
    let _service = cluster.service(&How::default());
    let keeping = ["--log-retention", "30days"];
    let missing = DoctorRun::as_service(&cluster, &keeping).ask(&cluster);
    assert_eq!(missing.level(check), "problem");
    assert_eq!(missing.code, Some(FAILED));

    let _keeping_service = cluster.service(&How {
        more: vec![("KINDRED_LOG_RETENTION", "30days".to_owned())],
        ..How::default()
    });
    for asked in [
        DoctorRun::as_admin(&cluster, &keeping),
        DoctorRun::as_service(&cluster, &keeping),
    ] {
        assert_eq!(asked.ask(&cluster).level(check), "ok");
    }
    let shorter = ["--log-retention", "7days"];
    let otherwise = DoctorRun::as_admin(&cluster, &shorter).ask(&cluster);
    assert_eq!(otherwise.level(check), "warning");
    let (_, words) = &otherwise.checks[check];
    assert!(words.contains("x-max-age"), "{words}");
    assert_eq!(otherwise.of_level("problem"), [""; 0]);
    let off = DoctorRun::as_admin(&cluster, &[]).ask(&cluster);
    assert!(!off.checks.contains_key(check), "{:#?}", off.checks);
}

#[test]
fn a_database_that_is_away_is_told() {
    let cluster = Cluster::alone();
    let control = Control::of_database();
    control.stop();
    let found = DoctorRun::as_admin(&cluster, &[]).ask(&cluster);
    control.start();
    assert_eq!(found.code, Some(FAILED));
    assert_eq!(found.level("broker.login"), "ok");
    assert_eq!(found.level("database.reachable"), "problem");
}
