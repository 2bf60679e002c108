//! The stream of all events, and `kindred replay` of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use kindred_api::path::{domain, item};
use kindred_domain::store::Liveness;
use serde_json::{Value, json};

use super::cluster::{Cluster, EVENTS, How};
use super::database::Database;
use super::publisher::{Message, publish, publish_typed};
use super::services::own_name;
use crate::corpus::event::Event;
use crate::corpus::generated;
use crate::corpus::history::history;
use crate::exactness::check::assert_same_bits;
use crate::exactness::stored::{Stored, StoredDomain};
use crate::support::deadline::wait_for;
use crate::support::program::{ended, kindred};
use crate::support::random::Random;

const TEXTS: &str = "texts.test";
const VECTORS: &str = "vectors.test";
const ANEW: &str = "anew.test";
const ACROSS: &str = "across.test";
const LOG: &str = "kindred.log";
const WORDS: usize = 20;
const DIMENSION: usize = 12;
const ITEMS: usize = 80;
const QUIET: Duration = Duration::from_secs(180);
/// CONTRACT: exit codes.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const SOME_REJECTED: i32 = 3;

fn logging() -> How {
    How {
        more: vec![("KINDRED_LOG_RETENTION", "30days".to_owned())],
        ..How::default()
    }
}

/// `kindred replay` as the model services' user of the broker, and as a role that may make keyspaces.
fn replay(cluster: &Cluster, more: &[&str]) -> Command {
    let mut command = kindred(cluster.directory());
    cluster.database_environment(&mut command, cluster.database.admin());
    command.env("KINDRED_AMQP_URL", cluster.broker.service_url());
    command.args(["replay", "--json", "--from", "start"]);
    command.args(more);
    command
}

/// A message that names no version.
fn unversioned(event: &Event) -> Message {
    let mut line: Value = serde_json::from_str(&event.line).unwrap();
    line.as_object_mut().unwrap().remove("version");
    Message {
        key: event.domain.clone(),
        body: line.to_string().into_bytes(),
    }
}

/// The histories of two domains, one of them without versions, with patches; and a dead message.
fn messages() -> Vec<Message> {
    let mut random = Random::of_test("clustered replay");
    let mut messages = Vec::new();
    for of in [TEXTS, VECTORS] {
        let events = history(of, ITEMS, || match of {
            TEXTS => generated::text_item(&mut random, WORDS),
            _ => generated::vector_item(&mut random, DIMENSION),
        });
        messages.extend(events.iter().map(|event| match of {
            TEXTS => unversioned(event),
            _ => Message::from(event),
        }));
        // Patches, also of an item that goes afterwards, and of one that never was.
        for (patched, url) in [
            ("i020", "u1"),
            ("i021", "u2"),
            ("i022", "u3"),
            ("none", "u4"),
        ] {
            let patch = json!({"type": "item.patched", "domain": of, "id": patched, "version": 40,
                "url": format!("https://{of}/{url}")});
            let patch = Event {
                line: patch.to_string(),
                ..Event::deleted(of, patched, 40)
            };
            messages.push(match of {
                TEXTS => unversioned(&patch),
                _ => Message::from(&patch),
            });
        }
        let gone = Event::deleted(of, "i022", 50);
        messages.push(match of {
            TEXTS => unversioned(&gone),
            _ => Message::from(&gone),
        });
    }
    messages.push(Message {
        key: TEXTS.to_owned(),
        body: b"no event".to_vec(),
    });
    messages
}

/// What readers see of a domain, apart from versions.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Ids of live items, and whether they are hidden.
    live: BTreeSet<(String, bool)>,
    /// Lists, with the bits of their scores.
    lists: BTreeMap<String, Vec<(String, u32)>>,
}

fn seen(of: &StoredDomain) -> Seen {
    let live = of.items.values();
    let live = live.filter(|item| item.liveness == Liveness::Live);
    let live = live
        .map(|item| (item.id.to_string(), item.hidden))
        .collect();
    let lists = of.lists.iter().map(|(id, list)| {
        let bits = list.neighbours.iter();
        let bits = bits.map(|one| (one.id.to_string(), one.score.to_bits()));
        (id.to_string(), bits.collect())
    });
    Seen {
        live,
        lists: lists.collect(),
    }
}

#[track_caller]
fn assert_seen_alike(left: &Stored, right: &Stored) {
    assert!(left.keys().eq(right.keys()), "other domains");
    for (name, of) in left {
        let (ours, others) = (seen(of), seen(&right[name]));
        assert_eq!(ours.live, others.live, "items of {name}");
        assert!(!ours.live.is_empty(), "{name} has items");
        for (id, list) in &ours.lists {
            assert_eq!(
                Some(list),
                others.lists.get(id),
                "the list of {id} in {name}"
            );
        }
        assert_eq!(ours.lists.len(), others.lists.len(), "lists of {name}");
    }
}

#[test]
fn a_new_keyspace_has_the_same_items_and_lists_and_what_is_there_stays() {
    let cluster = Cluster::new();
    // Nothing is kept yet.
    let (_, said) = ended(replay(&cluster, &["--into", "never_made"]), FAILED);
    assert!(
        said.contains("log_retention") && said.contains(LOG),
        "{said}"
    );
    let service = cluster.service(&logging());
    let _worker = cluster.worker();
    let client = service.client();
    let messages = messages();
    publish(
        &cluster.broker.publisher_url(),
        &messages,
        &AtomicUsize::new(0),
    );
    // Over HTTP: events, settings, and a domain that is deleted and made anew.
    let put = |of: &str, id: &str, said: Value| {
        client
            .put(&item(of, id), &said.to_string())
            .with_status(202);
    };
    let across = json!({"across_languages": true}).to_string();
    client.put(&domain(ACROSS), &across).with_status(201);
    put(
        ACROSS,
        "de",
        json!({"title": "Der Nachtzug nach Hamburg fährt wieder.", "language": "de"}),
    );
    put(
        ACROSS,
        "en",
        json!({"title": "The night train to Hamburg runs again.", "language": "en"}),
    );
    put(
        ACROSS,
        "no",
        json!({"title": "Flour, water and salt make a loaf.", "language": "en"}),
    );
    for id in ["old", "older"] {
        put(ANEW, id, json!({"title": "Sleepers run again", "text": id}));
    }
    client.delete(&domain(ANEW)).with_status(202);
    for id in ["new", "newer"] {
        put(ANEW, id, json!({"title": "Sleepers run again", "text": id}));
    }
    client
        .patch(&item(ANEW, "new"), r#"{"group":"rail"}"#)
        .with_status(202);
    wait_for("all events are stored", QUIET, || {
        if cluster.broker.ready(EVENTS) != Some(0) {
            return Err("some wait".to_owned());
        }
        let gone =
            [TEXTS, VECTORS].map(|of| client.get(&item(of, "i022")).json()["status"].clone());
        let patched = client.get(&item(ANEW, "new")).json();
        match gone.iter().all(|status| status == "deleted") && patched["group"] == "rail" {
            true => Ok(()),
            false => Err(format!("{gone:?} {patched}")),
        }
    });
    client.wait_quiet(QUIET);
    let original = cluster.database.read();
    let dead = cluster.broker.ready("kindred.items.dead");

    // Into a keyspace that it makes.
    let rebuilt = Database::new(&own_name());
    let name = rebuilt.keyspace().to_owned();
    let (first, said) = ended(replay(&cluster, &["--into", &name]), SOME_REJECTED);
    assert_eq!(
        (&first["unreadable"], &first["refused"]),
        (&json!(1), &json!(0)),
        "{said}"
    );
    assert_eq!(first["complete"], true, "{first}");
    // One of each domain: the item never existed.
    assert_eq!(first["groundless"], 2, "{first}");
    // Two items, and the deletion itself.
    assert_eq!(first["deleted"], 3, "{first}");
    assert!(said.contains("invalid-json"), "{said}");
    assert_seen_alike(&original, &rebuilt.read());
    // Again, over what is there.
    let before = rebuilt.read();
    ended(replay(&cluster, &["--into", &name]), SOME_REJECTED);
    assert_same_bits(&before, &rebuilt.read());

    // Into the running cluster: nothing changes, and nothing is refused that was not refused before.
    let url = format!("http://127.0.0.1{}", service.port());
    let (told, _) = ended(
        replay(&cluster, &["--domain", VECTORS, "--url", &url]),
        DONE,
    );
    assert!(told["replayed"].as_u64() >= Some(ITEMS as u64), "{told}");
    wait_for("all are taken", QUIET, || {
        match cluster.broker.ready(EVENTS) {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    client.wait_quiet(QUIET);
    assert_same_bits(&original, &cluster.database.read());
    // The patch of an item that never existed.
    wait_for("refused as before", QUIET, || {
        let now = cluster.broker.ready("kindred.items.dead");
        (now == dead.map(|dead| dead + 1))
            .then_some(())
            .ok_or_else(|| format!("{now:?} {dead:?}"))
    });

    // Into a keyspace that somebody uses.
    let own = cluster.database.keyspace().to_owned();
    let (_, said) = ended(replay(&cluster, &["--into", &own]), FAILED);
    assert!(said.contains("in use"), "{said}");
    // Into a data directory, in the same way.
    ended(replay(&cluster, &["--into", "./rebuilt"]), SOME_REJECTED);
    let directory = crate::exactness::stored::read(&cluster.directory().join("rebuilt"));
    assert_seen_alike(&original, &directory);
    service.process.stop();
}

#[test]
fn who_publishes_items_cannot_have_a_domain_forgotten() {
    let cluster = Cluster::new();
    let service = cluster.service(&logging());
    let _worker = cluster.worker();
    let event = Event::created(TEXTS, "a", 1, &json!({"title": "Night trains return"}));
    publish(
        &cluster.broker.publisher_url(),
        &[Message::from(&event)],
        &AtomicUsize::new(0),
    );
    let forged = Message {
        key: TEXTS.to_owned(),
        body: json!({"domain": TEXTS, "request": "forged"})
            .to_string()
            .into_bytes(),
    };
    publish_typed(&cluster.broker.publisher_url(), "domain.deleted", &forged);
    let (told, said) = ended(replay(&cluster, &["--into", "./rebuilt"]), SOME_REJECTED);
    assert_eq!(
        (&told["replayed"], &told["unreadable"]),
        (&json!(1), &json!(1)),
        "{said}"
    );
    assert!(said.contains("unknown-type"), "{said}");
    service.process.stop();
}

#[test]
fn the_stream_is_bound_again_when_the_number_of_partitions_changes() {
    let cluster = Cluster::new();
    let service = cluster.service(&logging());
    let event = |n: u64| Event::created(TEXTS, &format!("i{n}"), 1, &json!({"title": "t"}));
    let send = |n| {
        let message = Message::from(&event(n));
        publish(
            &cluster.broker.publisher_url(),
            &[message],
            &AtomicUsize::new(0),
        );
    };
    send(1);
    // What is stored is acknowledged only afterwards; without that it would wait in its queue again.
    wait_for("it is settled", QUIET, || {
        match service
            .client()
            .metric("kindred_event_to_durable_seconds_count")
        {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    service.process.stop();
    // The broker's counts follow with a delay.
    wait_for("no event waits", QUIET, || {
        match cluster.broker.ready(EVENTS) {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let mut set = kindred(cluster.directory());
    cluster.database_environment(&mut set, cluster.database.admin());
    set.env("KINDRED_AMQP_URL", cluster.broker.service_url());
    set.args(["partitions", "set", "2"]);
    ended(set, DONE);
    send(2);
    let (told, _) = ended(replay(&cluster, &["--into", "./rebuilt"]), DONE);
    assert_eq!(told["replayed"], 2, "{told}");
}
