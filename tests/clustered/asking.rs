//! Whichever model service is asked, it answers: from the tables, or with what the owner says. And
//! before there is a broker or a database it says what it waits for.

use std::time::Duration;

use super::cluster::{Cluster, How};
use super::publisher::publish_events;
use kindred_api::path::item;

use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::{Place, free_port};
use crate::support::process::Process;
use crate::support::program::{START, kindred};
use crate::support::random::Random;

const DOMAIN: &str = "asking.test";
const ITEMS: usize = 60;
const WORDS: usize = 20;
const QUIET: Duration = Duration::from_secs(120);
/// Longest until an idle worker is heard of: its greetings come every 5 s.
const GREETED: Duration = Duration::from_secs(30);
/// Longest without an owner after a death, and longer.
const TAKEN_OVER: Duration = Duration::from_secs(30);

#[test]
fn every_service_answers_alike_and_lists_the_workers() {
    let cluster = Cluster::new();
    let first = cluster.service(&How::default());
    let second = cluster.service(&How::default());
    let workers = [cluster.worker(), cluster.worker()];
    let mut random = Random::of_test("asking");
    let events: Vec<Event> = (0..ITEMS)
        .map(|n| {
            let said = text_item(&mut random, WORDS);
            Event::created(DOMAIN, &format!("item-{n}"), 1, &said)
        })
        .collect();
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(first.client(), &Expected::of(&events), QUIET);

    let one = item(DOMAIN, "item-7");
    for path in [
        "/v1/domains".to_owned(),
        format!("/v1/domains/{DOMAIN}"),
        one.clone(),
        format!("{one}/similar?limit=50"),
    ] {
        let answers = [&first, &second].map(|service| {
            let answer = service.client().try_get(&path).expect("an answer");
            let mut json = answer.with_status(200).json();
            // Made or stored: the owner knows the one, the table the other.
            if let Some(answer) = json.as_object_mut() {
                answer.remove("as_of");
            }
            json
        });
        assert_eq!(answers[0], answers[1], "{path}");
    }
    let domain = second.client().try_get(&format!("/v1/domains/{DOMAIN}"));
    let state = domain.expect("an answer").json()["state"].clone();
    assert_eq!(state, "idle", "the table alone would say asleep");
    let unknown = item(DOMAIN, "none");
    for service in [&first, &second] {
        let answer = service.client().try_get(&unknown).expect("an answer");
        answer.with_status(404);
    }

    let owner = if first.is_at(&cluster.database.owner_address(0).expect("an owner")) {
        first.client()
    } else {
        second.client()
    };
    wait_for("both workers are heard of", GREETED, || {
        let answer = owner.try_get("/v1/workers")?.json();
        let listed = answer["workers"].as_array().map_or(0, Vec::len);
        let complete = answer["workers"].as_array().is_some_and(|workers| {
            workers.iter().all(|worker| {
                worker["threads"] == 1 && worker["kernel"].as_str().is_some_and(|k| !k.is_empty())
            })
        });
        if answer["taking_jobs"] == workers.len() && listed == workers.len() && complete {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    });
}

/// Deletions and hidings, each through the instance that is not the owner as well: once one is answered with
/// `gone`, no instance answers the item, nor names it as a neighbour of another.
#[test]
fn what_is_answered_as_gone_is_gone_from_every_instance() {
    let cluster = Cluster::new();
    let services = [
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    let events: Vec<Event> = (0..ITEMS)
        .map(|n| {
            let said = serde_json::json!({"title": format!("the same fox {}", n % 3)});
            Event::created(DOMAIN, &format!("item-{n}"), 1, &said)
        })
        .collect();
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(services[0].client(), &Expected::of(&events), QUIET);
    for n in 0..ITEMS {
        let path = item(DOMAIN, &format!("item-{n}"));
        let through = services[n % 2].client();
        let answer = if n % 4 < 2 {
            through.delete(&path)
        } else {
            let hidden = serde_json::json!({"title": "the same fox", "hidden": true});
            through.put(&path, &hidden.to_string())
        };
        assert_eq!(answer.with_status(202).json()["gone"], true, "item-{n}");
        let next = item(DOMAIN, &format!("item-{}", n + 1));
        for service in &services {
            let own = service.client().get(&format!("{path}/similar"));
            own.with_status(404);
            if n + 1 < ITEMS {
                let list = service.client().get(&format!("{next}/similar?limit=50"));
                let list = list.with_status(200);
                let gone = format!("\"item-{n}\"");
                assert!(!list.body.contains(&gone), "item-{n}: {}", list.body);
            }
        }
    }
}

#[test]
fn without_an_owner_it_says_when_to_ask_again() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let event = Event::created(DOMAIN, "item", 1, &serde_json::json!({"title": "a fox"}));
    publish_events(&cluster.broker.publisher_url(), [&event]);
    cluster.settled(service.client(), &Expected::of([&event]), QUIET);
    // The second one comes while the first beats, and the first dies.
    let second = cluster.service(&How::default());
    service.process.kill_9();
    let path = format!("/v1/domains/{DOMAIN}");
    wait_for("the second answers for itself", TAKEN_OVER, || {
        let answer = second.client().try_get(&path)?;
        match answer.status {
            200 => Ok(()),
            503 => {
                assert!(answer.content_type.contains("problem+json"), "{answer:?}");
                Err(answer.body)
            }
            _ => panic!("{answer:?}"),
        }
    });
    let similar = format!("{}/similar", item(DOMAIN, "item"));
    let answer = second.client().try_get(&similar).expect("an answer");
    answer.with_status(200);
}

#[test]
fn before_broker_and_database_it_says_what_it_waits_for() {
    let place = Place::beside_others();
    let port = free_port();
    let mut command = kindred(place.directory());
    command
        .arg("model-service")
        .env("KINDRED_LISTEN", format!("127.0.0.1:{port}"))
        // Nobody listens on the port "discard".
        .env("KINDRED_AMQP_URL", "amqp://127.0.0.1:9")
        .env("KINDRED_CQL_NODES", "127.0.0.1:9");
    let log = place.directory().join("service.log");
    let mut process = Process::spawn("kindred model-service", command, &log);
    let client = Client::new(port);
    wait_for("it lives", START, || {
        process.assert_running();
        let answer = client.try_get("/healthz")?;
        (answer.status == 200).then_some(()).ok_or(answer.body)
    });
    for path in ["/readyz", "/v1/domains"] {
        let answer = client.try_get(path).expect("an answer").with_status(503);
        assert!(answer.content_type.contains("problem+json"), "{answer:?}");
        assert!(
            answer.body.contains("database: not connected yet"),
            "{}",
            answer.body
        );
    }
    process.stop();
}
