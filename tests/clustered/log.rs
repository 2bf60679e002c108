//! The log of a domain, whichever model service is asked: the same everywhere, in order, and without a gap when owners
//! die and instances come later.

use std::time::Duration;

use kindred_api::log::{LogAnswer, LogLine};
use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use serde_json::{Value, json};

use super::cluster::{Cluster, How, Service};
use super::keys::{first_key, instance};
use crate::support::client::{Client, Response};
use crate::support::deadline::wait_for;

const DOMAIN: &str = "log.test";
/// Longest until a partition is owned again, and its domain loaded.
const OWNED: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(120);
/// CONTRACT: within which a key that is made counts on every instance.
const COUNTS: Duration = Duration::from_secs(5);

/// Asks until it is answered, which it is not while nobody owns the partition.
#[track_caller]
fn answered(mut ask: impl FnMut() -> Result<Response, String>) -> Response {
    wait_for("the partition has an owner", OWNED, || {
        let answer = ask()?;
        match answer.status {
            503 => Err(answer.body),
            _ => Ok(answer),
        }
    })
}

/// The log after a point, and where it goes on.
#[track_caller]
fn log_after(client: &Client, after: &str) -> (Vec<LogLine>, String) {
    let (mut all, mut next) = (Vec::new(), after.to_owned());
    loop {
        let path = format!("{}?after={next}", path::log(DOMAIN));
        let page: LogAnswer = answered(|| client.try_get(&path)).with_status(200).read();
        next = page.next;
        if page.entries.is_empty() {
            return (all, next);
        }
        all.extend(page.entries);
    }
}

fn set(client: &Client, max_age: u64) {
    let settings = json!({ "max_age": max_age }).to_string();
    let put = answered(|| client.try_put(&path::domain(DOMAIN), &settings));
    assert!([200, 201].contains(&put.status), "{}", put.body);
}

fn arms() -> String {
    let arms = [("a", 0.5), ("b", 0.5)].map(|(name, share)| json!({"name": name, "share": share}));
    json!({ "arms": arms }).to_string()
}

fn whats(told: &[LogLine]) -> Vec<&str> {
    told.iter().map(|line| line.what.as_str()).collect()
}

/// What the log says was set last; each change must begin where the one before ended.
#[track_caller]
fn max_age(told: &[LogLine]) -> Value {
    let changes = told.iter().filter(|line| line.what == "settings.changed");
    changes.fold(Value::Null, |set, line| {
        assert_eq!(line.before["max_age"], set, "{told:?}");
        line.after["max_age"].clone()
    })
}

/// The owner of the only partition, and the others.
fn by_ownership(cluster: &Cluster, mut services: Vec<Service>) -> (Service, Vec<Service>) {
    let owner = cluster.database.owner_address(0).expect("an owner");
    let at = services.iter().position(|one| one.is_at(&owner));
    (services.swap_remove(at.expect("one of them")), services)
}

#[test]
fn is_one_for_all_instances_and_outlives_its_writers() {
    let cluster = Cluster::new();
    let services = vec![
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    set(services[0].client(), 1);
    let item = path::item(DOMAIN, "i");
    let body = json!({"text": "Sleepers run again from spring on.", "language": "en"}).to_string();
    answered(|| services[1].client().try_put(&item, &body)).with_status(202);
    services[0].client().wait_quiet(QUIET);
    let (owner, mut others) = by_ownership(&cluster, services);
    let other = others.pop().expect("the other one");

    // By turns, each asked to change what the other one reads.
    for n in 2..6 {
        let client = if n % 2 == 0 { &owner } else { &other };
        set(client.client(), n);
    }
    let model = path::model(DOMAIN, "other");
    let kind = json!({"kind": "words-1"}).to_string();
    answered(|| other.client().try_put(&model, &kind)).with_status(201);
    wait_for("the model is ready", QUIET, || {
        let answer = owner.client().try_get(&model)?;
        let is_ready =
            answer.status == 200 && answer.read::<ModelAnswer>().state == ModelState::Ready;
        is_ready.then_some(()).ok_or(answer.body)
    });
    let experiment = path::experiment(DOMAIN, "fewer");
    answered(|| other.client().try_put(&experiment, &arms())).with_status(201);
    answered(|| other.client().try_delete(&experiment)).with_status(200);
    let (told, next) = log_after(owner.client(), "0");
    assert_eq!(log_after(other.client(), "0"), (told.clone(), next.clone()));
    let mut expected = vec!["settings.changed"; 5];
    expected.extend([
        "model.added",
        "model.ready",
        "experiment.begun",
        "experiment.ended",
    ]);
    assert_eq!(whats(&told), expected);
    assert_eq!(max_age(&told), 5);
    assert_eq!((told[6].by.as_str(), told[5].by.as_str()), ("kindred", "-"));

    // Its writer dies, and the log goes on. What was asked meanwhile is in it once.
    owner.process.kill_9();
    for n in 6..9 {
        set(other.client(), n);
    }
    answered(|| other.client().try_put(&experiment, &arms()));
    let late = cluster.service(&How::default());
    for client in [other.client(), late.client()] {
        let (more, _) = log_after(client, &next);
        assert_eq!(max_age(&[told.clone(), more.clone()].concat()), 8);
        let begun = whats(&more);
        let begun = begun.iter().filter(|what| **what == "experiment.begun");
        assert_eq!(begun.count(), 1, "{more:?}");
        let (whole, _) = log_after(client, "0");
        assert_eq!(whole, [told.clone(), more].concat());
    }
    // It goes with its domain; one of that name later has its own.
    answered(|| other.client().try_delete(&path::domain(DOMAIN))).with_status(202);
    wait_for("the log is gone", OWNED, || {
        match late.client().try_get(&path::log(DOMAIN))?.status {
            404 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    set(late.client(), 3);
    let (anew, _) = log_after(late.client(), &next);
    assert_eq!((anew.len(), max_age(&anew)), (1, json!(3)), "{anew:?}");
}

#[test]
fn names_the_key_whichever_instance_was_asked() {
    let cluster = Cluster::new();
    let how = instance("what all instances of this cluster have", &[]);
    let services = [cluster.service(&how), cluster.service(&how)];
    let _worker = cluster.worker();
    let secret = first_key(&cluster);
    let clients = services
        .each_ref()
        .map(|service| service.client().with_key(&secret));
    for client in &clients {
        wait_for("the key counts", COUNTS + OWNED, || {
            let answer = client.try_get(path::KEYS)?;
            (answer.status == 200).then_some(()).ok_or(answer.body)
        });
    }
    let keys = clients[0].get(path::KEYS).with_status(200).json();
    let name = keys["keys"][0]["id"].as_str().expect("a name").to_owned();
    for (n, client) in clients.iter().enumerate() {
        set(client, n as u64 + 1);
        let experiment = path::experiment(DOMAIN, "fewer");
        // One of the two is not the owner, and asks it.
        answered(|| client.try_put(&experiment, &arms())).with_status(201);
        answered(|| client.try_delete(&experiment)).with_status(200);
    }
    let (told, _) = log_after(&clients[1], "0");
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(told.iter().all(|line| line.by == name), "{name} {told:?}");
}
