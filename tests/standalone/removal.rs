//! A domain is deleted: at once for readers, for good whatever happens, and it may come anew.

use std::time::Duration;

use kindred_api::path;
use model_service::crash::REMOVAL_POINTS;
use serde_json::json;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "gone.test";
const OTHER: &str = "stays.test";
const QUIET: Duration = Duration::from_secs(60);
/// More than are deleted at a time.
const ITEMS: usize = 1_300;

fn line(domain: &str, n: usize, version: u64) -> String {
    let angle = n as f32 / 100.0;
    let vector = [angle.cos().abs() + 0.01, angle.sin().abs() + 0.01, 0.1];
    json!({"type": "item.created", "domain": domain, "id": format!("i{n}"), "version": version,
        "title": format!("title {version}"), "vector": vector})
    .to_string()
}

fn fill(client: &Client, domain: &str, items: usize, version: u64) {
    let lines: Vec<String> = (0..items).map(|n| line(domain, n, version)).collect();
    client.batch(domain, &lines);
}

/// Nothing of the domain is answered, or stored where readers look.
#[track_caller]
fn assert_gone(client: &Client) {
    for path in [
        path::domain(DOMAIN),
        path::item(DOMAIN, "i0"),
        path::similar(DOMAIN, "i0", 10),
    ] {
        let problem = client.get(&path).with_status(404).json();
        assert_eq!(problem["type"], "/problems/unknown-domain", "{path}");
    }
    let domains = client.try_domains().expect("an answer");
    assert!(domains.iter().all(|one| one.domain.as_str() != DOMAIN));
}

#[test]
fn a_deleted_domain_is_gone_at_once_and_may_come_anew() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    fill(client, DOMAIN, ITEMS, 1 << 50);
    fill(client, OTHER, 3, 1);
    let set = json!({"window": "20ms"}).to_string();
    client.put(&path::domain(DOMAIN), &set).with_status(200);
    client.wait_quiet(QUIET);

    let told = client.delete(&path::domain(DOMAIN)).with_status(202).json();
    assert_eq!(told, json!({"domain": DOMAIN, "gone": true}));
    assert_gone(client);
    let again = client.delete(&path::domain(DOMAIN)).with_status(404).json();
    assert_eq!(again["type"], "/problems/unknown-domain");
    assert_eq!(client.similar(OTHER, "i0", 10).unwrap().len(), 2);

    // Anew, whatever the version.
    fill(client, DOMAIN, 2, 1);
    client.wait_quiet(QUIET);
    let domains = client.try_domains().expect("an answer");
    let there = domains.iter().find(|one| one.domain.as_str() == DOMAIN);
    assert_eq!(there.map(|one| one.live), Some(2));
    assert_eq!(client.similar(DOMAIN, "i0", 10).unwrap().len(), 1);
    let item = client
        .get(&path::item(DOMAIN, "i1"))
        .with_status(200)
        .json();
    assert_eq!(
        (&item["version"], &item["title"]),
        (&json!(1), &json!("title 1"))
    );
    client.get(&path::item(DOMAIN, "i2")).with_status(404);
    let settings = client.get(&path::domain(DOMAIN)).with_status(200).json();
    assert_eq!(settings.get("window"), None, "settings go with the domain");

    let server = format!("http://127.0.0.1:{}", place.port());
    let arguments = ["domain", "delete", DOMAIN, "--url", &server];
    let done = run(place.directory(), &arguments);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("is deleted"),
        "{done:?}"
    );
    assert_gone(client);
    kindred.stop();
}

#[test]
fn whatever_step_it_dies_at_the_domain_is_deleted_all_the_same() {
    for point in REMOVAL_POINTS {
        println!("{point}");
        let place = Place::beside_others();
        let start = Start {
            crash_at: Some(format!("{point}:1")),
            ..Start::default()
        };
        let mut kindred = Kindred::start(&place, &start);
        let client = kindred.client().clone();
        fill(&client, DOMAIN, ITEMS, 5);
        client.wait_quiet(QUIET);
        let deleted = client.try_delete(&path::domain(DOMAIN));
        wait_for("it dies", QUIET, || {
            kindred.died().ok_or("it runs".to_owned())
        });
        drop(kindred);

        let kindred = Kindred::start(&place, &Start::default());
        let client = kindred.client();
        if *point == "before-removal" {
            // Nothing was durable, and nobody was told that it was.
            assert!(deleted.is_err(), "{deleted:?}");
            client.delete(&path::domain(DOMAIN)).with_status(202);
        }
        assert_gone(client);
        fill(client, DOMAIN, 2, 1);
        client.wait_quiet(QUIET);
        assert_eq!(
            client.similar(DOMAIN, "i0", 10).unwrap().len(),
            1,
            "{point}"
        );
        client.get(&path::item(DOMAIN, "i2")).with_status(404);
        kindred.stop();
    }
}
