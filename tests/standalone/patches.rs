//! Some fields of an item change, and the others stay.

use std::time::Duration;

use kindred_api::path::item;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAIN: &str = "patch.test";
const QUIET: Duration = Duration::from_secs(30);

fn put(client: &Client, id: &str, said: &Value) {
    client
        .put(&item(DOMAIN, id), &said.to_string())
        .with_status(202);
}

fn told(client: &Client, id: &str) -> Value {
    client.get(&item(DOMAIN, id)).with_status(200).json()
}

#[test]
fn a_patch_changes_what_it_says_and_leaves_the_rest() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let said = json!({"title": "Night trains return", "text": "From spring on, sleepers run again.",
        "url": "https://patch.test/a", "group": "travel", "categories": ["rail"], "language": "en",
        "attributes": {"author": "A", "desk": "city"}, "version": 5});
    put(client, "a", &said);
    put(
        client,
        "b",
        &json!({"title": "Night trains leave", "text": "Sleepers run again in spring.", "language": "en"}),
    );
    client.wait_quiet(QUIET);
    let before = client.similar(DOMAIN, "a", 10).unwrap();

    let patch = json!({"url": "https://patch.test/A", "group": null, "categories": ["rail", "night"],
        "attributes": {"desk": null, "photo": "P"}, "image": "https://patch.test/a.webp"});
    let answer = client
        .patch(&item(DOMAIN, "a"), &patch.to_string())
        .with_status(202)
        .json();
    assert!(answer["version"].as_u64() > Some(5), "{answer}");
    assert_eq!(answer.get("gone"), None);
    let after = told(client, "a");
    assert_eq!(after["url"], "https://patch.test/A");
    assert_eq!(after["image"], "https://patch.test/a.webp");
    assert_eq!(after["group"], Value::Null);
    assert_eq!(after["categories"], json!(["night", "rail"]));
    assert_eq!(after["attributes"], json!({"author": "A", "photo": "P"}));
    assert_eq!(after["title"], "Night trains return");
    client.wait_quiet(QUIET);
    assert_eq!(
        client.similar(DOMAIN, "a", 10).unwrap(),
        before,
        "the text is the same"
    );
    let of_b = client.similar(DOMAIN, "b", 10).unwrap();
    assert_eq!(of_b[0].url.as_deref(), Some("https://patch.test/A"));

    // Right behind a put, and one behind the other.
    put(
        client,
        "c",
        &json!({"title": "Night trains", "hidden": true}),
    );
    for n in 0..20 {
        let patch = json!({"attributes": {format!("n{n}"): "x"}, "hidden": n % 2 == 0});
        client
            .patch(&item(DOMAIN, "c"), &patch.to_string())
            .with_status(202);
    }
    let c = told(client, "c");
    assert_eq!(
        c["attributes"].as_object().map(serde_json::Map::len),
        Some(20)
    );
    assert_eq!(c["hidden"], false);

    let hides = client
        .patch(&item(DOMAIN, "b"), r#"{"hidden":true}"#)
        .with_status(202);
    assert_eq!(hides.json()["gone"], true);
    assert_eq!(client.similar(DOMAIN, "b", 10), None, "hidden, at once");
    client
        .patch(&item(DOMAIN, "b"), r#"{"hidden":false}"#)
        .with_status(202);
    client.wait_quiet(QUIET);
    assert!(client.similar(DOMAIN, "b", 10).is_some());

    // An older one has no effect.
    let old = format!("{}?version=3", item(DOMAIN, "a"));
    client
        .patch(&old, r#"{"url":"https://old.test"}"#)
        .with_status(202);
    assert_eq!(told(client, "a")["url"], "https://patch.test/A");
    kindred.stop();
}

#[test]
fn what_cannot_be_patched_is_refused() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let problem = |id: &str, body: &str, status: u16, word: &str| {
        let told = client
            .patch(&item(DOMAIN, id), body)
            .with_status(status)
            .json();
        assert_eq!(told["type"], format!("/problems/{word}"), "{told}");
        told
    };
    problem("a", r#"{"url":"x"}"#, 404, "unknown-domain");
    put(client, "b", &json!({"title": "x"}));
    problem("a", r#"{"url":"x"}"#, 404, "unknown-item");
    client.delete(&item(DOMAIN, "b")).with_status(202);
    problem("b", r#"{"url":"x"}"#, 404, "unknown-item");
    let told = problem("b", r#"{"titel":"x"}"#, 400, "unknown-parameter");
    assert_eq!(told["field"], "titel");
    problem("b", r#"{"title":"x"}"#, 400, "unknown-parameter");
    problem("b", "[]", 400, "invalid-json");
    let told = problem("b", r#"{"hidden":"yes"}"#, 422, "invalid-field");
    assert_eq!(told["field"], "hidden");
    kindred.stop();
}
