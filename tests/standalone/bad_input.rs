//! What bad input gets, over HTTP: a problem that names the field, and nothing stored.

use std::time::Duration;

use kindred_api::path::item;
use serde_json::{Value, json};

use crate::corpus::event::Event;
use crate::support::client::Response;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAIN: &str = "bad.test";
const QUIET: Duration = Duration::from_secs(30);
/// The contract's limits.
const TEXT_BYTES: usize = 256 << 10;
const MESSAGE_BYTES: usize = 1 << 20;
const ATTRIBUTES: usize = 64;
const VECTOR: usize = 4096;

/// RFC 9457, with a stable type that ends in `word`, naming the field.
#[track_caller]
fn assert_problem(answer: &Response, statuses: &[u16], word: &str, field: Option<&str>) {
    assert!(
        statuses.contains(&answer.status),
        "{word}: {} {}",
        answer.status,
        answer.body
    );
    assert!(
        answer.content_type.starts_with("application/problem+json"),
        "{word}: {}",
        answer.content_type
    );
    let problem = answer.json();
    let kind = problem["type"].as_str().unwrap_or_default();
    assert!(kind.ends_with(&format!("/{word}")), "{word}: {problem}");
    assert_eq!(problem["status"], answer.status, "{problem}");
    for key in ["title", "detail"] {
        assert!(
            problem[key].as_str().is_some_and(|words| !words.is_empty()),
            "{word} without {key}: {problem}"
        );
    }
    if let Some(field) = field {
        let named = problem["field"].as_str().unwrap_or_default();
        assert!(
            named.starts_with(field),
            "{word} names no {field}: {problem}"
        );
    }
}

/// What is wrong; the fields that make it so; the statuses allowed; the problem's word; the field
/// it names.
type Case<'a> = (&'a str, Value, &'a [u16], &'a str, Option<&'a str>);

/// A good event with some fields set otherwise.
fn event_with(id: &str, changes: &Value) -> Value {
    let mut event = json!({
        "type": "item.created", "domain": DOMAIN, "id": id, "version": 5, "title": "a good title",
    });
    for (key, value) in changes.as_object().expect("fields") {
        event[key] = value.clone();
    }
    event
}

#[test]
fn an_invalid_event_names_its_field_and_is_not_stored() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let many: serde_json::Map<String, Value> = (0..=ATTRIBUTES)
        .map(|n| (format!("key-{n}"), json!("value")))
        .collect();
    let cases: [Case<'_>; 17] = [
        (
            "unknown type",
            json!({"type": "item.moved"}),
            &[400, 422],
            "unknown-type",
            Some("type"),
        ),
        (
            "type of a wrong type",
            json!({"type": 7}),
            &[400, 422],
            "unknown-type",
            Some("type"),
        ),
        (
            "another domain",
            json!({"domain": "other.test"}),
            &[422],
            "domain-mismatch",
            Some("domain"),
        ),
        (
            "another id",
            json!({"id": "other"}),
            &[422],
            "id-mismatch",
            Some("id"),
        ),
        (
            "version below 0",
            json!({"version": -1}),
            &[422],
            "invalid-version",
            Some("version"),
        ),
        (
            "version of 2^53",
            json!({"version": 1u64 << 53}),
            &[422],
            "invalid-version",
            Some("version"),
        ),
        (
            "version with a fraction",
            json!({"version": 1.5}),
            &[422],
            "invalid-version",
            Some("version"),
        ),
        (
            "version as text",
            json!({"version": "5"}),
            &[422],
            "invalid-version",
            Some("version"),
        ),
        (
            "a vector without values",
            json!({"vector": []}),
            &[422],
            "invalid-vector",
            Some("vector"),
        ),
        (
            "a vector too long",
            json!({"vector": vec![0.5; VECTOR + 1]}),
            &[422],
            "invalid-vector",
            Some("vector"),
        ),
        (
            "a vector of zeros",
            json!({"vector": [0.0, 0.0]}),
            &[422],
            "invalid-vector",
            Some("vector"),
        ),
        (
            "a vector beyond f32",
            json!({"vector": [1e39]}),
            &[422],
            "invalid-vector",
            Some("vector"),
        ),
        (
            "nothing to compare",
            json!({"title": null}),
            &[422],
            "missing-field",
            None,
        ),
        (
            "text too long",
            json!({"text": "x".repeat(TEXT_BYTES + 1)}),
            &[413],
            "too-large",
            Some("text"),
        ),
        (
            "message too long",
            json!({"unknown": "x".repeat(MESSAGE_BYTES)}),
            &[413],
            "too-large",
            None,
        ),
        (
            "too many attributes",
            json!({"attributes": many}),
            &[413, 422],
            "too-large",
            Some("attributes"),
        ),
        (
            "no time",
            json!({"published_at": "yesterday"}),
            &[422],
            "invalid-field",
            Some("published_at"),
        ),
    ];
    for (what, changes, statuses, word, field) in cases {
        println!("{what}");
        let answer = client.put(
            &item(DOMAIN, "bad"),
            &event_with("bad", &changes).to_string(),
        );
        assert_problem(&answer, statuses, word, field);
    }
    // What JSON cannot say, and what is no JSON.
    for body in [
        r#"{"type":"item.created","domain":"bad.test","id":"bad","vector":[NaN]}"#,
        r#"{"type":"item.created""#,
        "",
        "[]",
    ] {
        let answer = client.put(&item(DOMAIN, "bad"), body);
        assert_problem(&answer, &[400], "invalid-json", None);
    }
    let answer = client.put("/v1/domains/no%20domain/items/a", "{}");
    assert_problem(&answer, &[400, 422], "invalid-domain", Some("domain"));
    let answer = client.put(&format!("/v1/domains/{DOMAIN}/items/a%0Ab"), "{}");
    assert_problem(&answer, &[400, 422], "invalid-id", Some("id"));
    let answer = client.put(&item(DOMAIN, &"x".repeat(257)), "{}");
    assert_problem(&answer, &[400, 422], "invalid-id", Some("id"));

    assert_eq!(
        client.get(&item(DOMAIN, "bad")).status,
        404,
        "nothing was stored"
    );
    assert!(
        client.try_domains().unwrap().is_empty(),
        "no domain was registered"
    );
    kindred.stop();
}

#[test]
fn unknown_things_are_404_and_parameters_have_ranges() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let good = event_with("good", &json!({}));
    client
        .put(&item(DOMAIN, "good"), &good.to_string())
        .with_status(202);
    client.wait_quiet(QUIET);
    let unknown_domain = client.get("/v1/domains/nobody.test/items/good/similar");
    assert_problem(&unknown_domain, &[404], "unknown-domain", None);
    let answer = client.get("/v1/domains/nobody.test");
    assert_problem(&answer, &[404], "unknown-domain", None);
    let unknown_item = client.get(&format!("{}/similar", item(DOMAIN, "nothing")));
    assert_problem(&unknown_item, &[404], "unknown-item", None);
    let answer = client.get("/v2/anything");
    assert_problem(&answer, &[404], "unknown-path", None);
    for limit in ["0", "1001", "-1", "+1", "ten", ""] {
        let answer = client.get(&format!("{}/similar?limit={limit}", item(DOMAIN, "good")));
        assert_problem(&answer, &[400, 422], "invalid-parameter", Some("limit"));
    }
    kindred.stop();
}

#[test]
fn a_batch_rejects_lines_and_takes_the_others() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let lines = [
        event_with("one", &json!({})).to_string(),
        "{".to_owned(),
        event_with("two", &json!({})).to_string(),
        event_with("three", &json!({"vector": [0.0]})).to_string(),
        event_with("four", &json!({"domain": "other.test"})).to_string(),
        json!({"type": "item.deleted", "domain": DOMAIN, "id": "five", "version": 1}).to_string(),
        event_with("six", &json!({"text": "x".repeat(TEXT_BYTES + 1)})).to_string(),
        // A line over the limit of a message does not end the batch.
        event_with("seven", &json!({"unknown": "x".repeat(2 * MESSAGE_BYTES)})).to_string(),
        event_with("eight", &json!({})).to_string(),
    ];
    let answer = client
        .try_batch(DOMAIN, &lines.join("\n"))
        .unwrap()
        .with_status(200)
        .json();
    assert_eq!(answer["accepted"], 4, "{answer}");
    let rejected: Vec<(u64, String)> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(
                one["detail"]
                    .as_str()
                    .is_some_and(|words| !words.is_empty()),
                "{one}"
            );
            let kind = one["type"].as_str().unwrap();
            (
                one["line"].as_u64().unwrap(),
                kind.rsplit('/').next().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = [
        (2, "invalid-json"),
        (4, "invalid-vector"),
        (5, "domain-mismatch"),
        (7, "too-large"),
        (8, "too-large"),
    ];
    assert_eq!(
        rejected,
        expected.map(|(line, word)| (line, word.to_owned()))
    );
    client.wait_quiet(QUIET);
    for (id, visible) in [
        ("one", true),
        ("two", true),
        ("eight", true),
        ("three", false),
        ("seven", false),
    ] {
        assert_eq!(client.similar(DOMAIN, id, 10).is_some(), visible, "{id}");
    }
    kindred.stop();
}

#[test]
fn a_text_without_terms_is_live_with_an_empty_list_and_says_why() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let said = json!({"title": "— … !?", "text": "<p>&nbsp;</p> ***"});
    let event = Event::created(DOMAIN, "mute", 1, &said);
    client
        .put(&item(DOMAIN, "mute"), &event.line)
        .with_status(202);
    let other = Event::created(DOMAIN, "other", 1, &json!({"title": "Night trains return"}));
    client
        .put(&item(DOMAIN, "other"), &other.line)
        .with_status(202);
    client.wait_quiet(QUIET);
    assert_eq!(client.similar(DOMAIN, "mute", 10), Some(vec![]));
    let status = client.get(&item(DOMAIN, "mute")).with_status(200);
    let status = status.json();
    assert_eq!(status["status"], "live", "{status}");
    assert!(
        status["status_reason"]
            .as_str()
            .is_some_and(|why| !why.is_empty()),
        "its status says why its list is empty: {status}"
    );
    kindred.stop();
}

#[test]
fn an_equal_or_older_version_is_accepted_without_effect() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let created = |version: u64, vector: [f32; 2]| {
        Event::created(DOMAIN, "a", version, &json!({"vector": vector})).line
    };
    let other = Event::created(DOMAIN, "b", 1, &json!({"vector": [1.0, 0.0]})).line;
    let path = item(DOMAIN, "a");
    client.put(&item(DOMAIN, "b"), &other).with_status(202);
    client.put(&path, &created(10, [1.0, 1.0])).with_status(202);
    client.wait_quiet(QUIET);
    let before = client.similar(DOMAIN, "a", 10);
    assert_eq!(before.as_ref().map(Vec::len), Some(1));
    client.put(&path, &created(9, [1.0, 0.0])).with_status(202);
    client.put(&path, &created(10, [1.0, 1.0])).with_status(202);
    let late = Event::deleted(DOMAIN, "a", 8).line;
    client.batch(DOMAIN, &[late]);
    client.wait_quiet(QUIET);
    assert_eq!(client.similar(DOMAIN, "a", 10), before);
    kindred.stop();
}

#[test]
fn what_comes_without_a_version_is_newer_than_all_before() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let far_ahead: u64 = 1_900_000_000_000;
    let path = item(DOMAIN, "a");
    let said = |line: &str| client.put(&path, line).with_status(202).json()["version"].as_u64();
    let titled = r#"{"title":"a title of its own"}"#;
    let status = || client.get(&path).json()["status"].clone();
    assert_eq!(
        said(&format!(r#"{{"title":"t","version":{far_ahead}}}"#)),
        Some(far_ahead)
    );
    let deleted = client.delete(&path).with_status(202).json();
    assert_eq!(deleted["version"], far_ahead + 1);
    assert_eq!(status(), "deleted");
    assert_eq!(said(titled), Some(far_ahead + 2));
    client.wait_quiet(QUIET);
    assert_eq!(status(), "live");
    assert_eq!(
        said(r#"{"title":"a title of its own","hidden":true}"#),
        Some(far_ahead + 3)
    );
    client.wait_quiet(QUIET);
    assert_eq!(client.get(&path).json()["hidden"], true);
    kindred.stop();
}
