//! What is set for a domain: by whom, when it may change, and that it lasts.

use std::time::Duration;

use kindred_api::domain::DomainAnswer;
use kindred_api::path;
use serde_json::json;

use crate::support::client::Client;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "settings.test";
const QUIET: Duration = Duration::from_secs(30);

/// What is set for the domain.
#[track_caller]
fn domain(client: &Client) -> DomainAnswer {
    client.get(&path::domain(DOMAIN)).with_status(200).read()
}

#[track_caller]
fn put_item(client: &Client, id: &str) {
    // Nobody would take it for German.
    let body =
        json!({"text": "The quick brown fox jumps over the lazy dog and runs into the woods."});
    let item = path::item(DOMAIN, id);
    client.put(&item, &body.to_string()).with_status(202);
    client.wait_quiet(QUIET);
}

#[track_caller]
fn language(client: &Client, id: &str) -> String {
    let item = client.get(&path::item(DOMAIN, id)).with_status(200).json();
    item["language"].as_str().expect("a language").to_owned()
}

#[test]
fn languages_are_those_of_the_domain_and_change_only_while_it_is_empty() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let at = path::domain(DOMAIN);
    let german = json!({"languages": ["de"], "default_language": "de", "window": "1s"});
    client.put(&at, &german.to_string()).with_status(201);
    put_item(client, "a");
    assert_eq!(
        language(client, "a"),
        "de",
        "English is not told apart here"
    );

    let refused = client
        .put(&at, r#"{"languages":["en"]}"#)
        .with_status(409)
        .json();
    assert_eq!(refused["type"], "/problems/conflict");
    assert_eq!(refused["field"], "languages");
    client.put(&at, r#"{"window":"20ms"}"#).with_status(200);
    let unknown = client
        .put(&at, r#"{"windw":"20ms"}"#)
        .with_status(400)
        .json();
    assert_eq!(unknown["type"], "/problems/unknown-parameter");
    assert_eq!(unknown["field"], "windw");
    let before = domain(client);
    let set = before.settings.clone().expect("settings");
    assert_eq!(set.languages.as_deref(), Some(&["de".to_owned()][..]));
    assert_eq!(set.window.as_deref(), Some("20ms"));

    kindred.kill_9();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    assert_eq!(domain(client).settings, before.settings, "they last");
    put_item(client, "b");
    assert_eq!(language(client, "b"), "de", "after a restart, too");

    for id in ["a", "b"] {
        client.delete(&path::item(DOMAIN, id)).with_status(202);
    }
    let english = r#"{"languages":["en","de"]}"#;
    client.put(&at, english).with_status(200);
    put_item(client, "c");
    assert_eq!(language(client, "c"), "en");
    kindred.stop();
}

#[test]
fn the_command_line_sets_what_is_named_and_leaves_the_rest() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let url = format!("http://127.0.0.1:{}", place.port());
    let domain = |arguments: &[&str]| {
        let mut all = vec!["domain", arguments[0], DOMAIN];
        all.extend(&arguments[1..]);
        all.extend(["--url", &url, "--json"]);
        run(place.directory(), &all)
    };
    let read = |arguments: &[&str]| -> DomainAnswer {
        let output = domain(arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        serde_json::from_slice(&output.stdout).expect("a domain")
    };
    assert_eq!(domain(&["show"]).status.code(), Some(4), "not there yet");
    read(&["set", "--languages", "en,fr"]);
    read(&["set", "--window", "300ms"]);
    let set = read(&["show"]).settings.expect("settings");
    let languages = ["en".to_owned(), "fr".to_owned()];
    assert_eq!(set.languages.as_deref(), Some(&languages[..]));
    assert_eq!(set.window.as_deref(), Some("300ms"));
    let refused = domain(&["set", "--model", "text-9"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words.contains("Known: text-2, words-1"), "{words}");
    kindred.stop();
}
