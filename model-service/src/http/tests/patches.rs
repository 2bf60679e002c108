//! Some fields of an item, changed.

use super::*;
use kindred_shared::event::Patch;

async fn patch(bench: &Bench, uri: &str, body: &str) -> Response {
    let request = TestRequest::patch().uri(uri).set_payload(body.to_owned());
    ask(bench, request).await
}

fn last(bench: &Bench) -> Patch {
    let events = bench.publish.events.lock().expect("unpoisoned");
    match events.last() {
        Some(Event::Patch(patch)) => Patch::clone(patch),
        other => panic!("{other:?} is no patch"),
    }
}

fn published(bench: &Bench) -> usize {
    bench.publish.events.lock().expect("unpoisoned").len()
}

#[actix_web::test]
async fn every_field_that_may_change_is_published_as_it_was_sent() {
    let bench = bench();
    for (field, value) in [
        ("url", json!("https://x.example/A")),
        ("image", json!("https://x.example/a.webp")),
        ("group", json!("travel")),
        ("categories", json!(["night", "rail"])),
        ("published_at", json!("2026-11-23T09:00:00Z")),
        ("publish_at", json!("2026-11-23T09:00:00Z")),
        ("expires_at", json!("2126-11-23T09:00:00Z")),
        ("hidden", json!(false)),
        ("attributes", json!({"author": "A. Writer", "desk": null})),
    ] {
        // Set, and removed.
        for value in [value, Value::Null] {
            let mut said = json!({});
            said[field] = value;
            let answer = patch(&bench, "/v1/domains/x/items/a", &said.to_string()).await;
            assert_eq!(answer.status, 202, "{said}");
            assert_eq!(
                answer.json(),
                json!({"domain": "x", "id": "a", "version": GIVEN_VERSION, "status": "accepted"}),
                "{said}"
            );
            let mut event: Value =
                serde_json::to_value(last(&bench)).expect("a patch is written as JSON");
            let event = event.as_object_mut().expect("an object");
            for (name, of_address) in [("type", "item.patched"), ("domain", "x"), ("id", "a")] {
                assert_eq!(event.remove(name), Some(json!(of_address)));
            }
            // These are never absent: if removed, an item has the default value.
            let usual = json!({"hidden": false, "categories": []});
            if said[field].is_null() && !usual[field].is_null() {
                said[field] = usual[field].clone();
            }
            assert_eq!(
                Value::Object(event.clone()),
                said,
                "nothing else is changed"
            );
        }
    }
}

#[actix_web::test]
async fn a_patch_has_its_version_from_the_address() {
    let bench = bench();
    let uri = "/v1/domains/x/items/a%2Fb?version=9";
    let answer = patch(&bench, uri, r#"{"group":"g"}"#).await;
    assert_eq!(answer.json()["id"], "a/b");
    assert_eq!(answer.json()["version"], 9);
    assert_eq!(last(&bench).version, Some(9));
    let uri = "/v1/domains/x/items/a?version=-1";
    let problem = patch(&bench, uri, r#"{"group":"g"}"#).await;
    assert_eq!(problem.problem(400, "invalid-version")["field"], "version");
    assert_eq!(published(&bench), 1);
}

#[actix_web::test]
async fn what_cannot_be_patched_is_not_published() {
    let bench = bench();
    for (body, status, word, field) in [
        (r#"{"title":"t"}"#, 400, "unknown-parameter", "title"),
        (r#"{"text":"t"}"#, 400, "unknown-parameter", "text"),
        (r#"{"language":"de"}"#, 400, "unknown-parameter", "language"),
        (r#"{"vector":[1]}"#, 400, "unknown-parameter", "vector"),
        (r#"{"version":7}"#, 400, "unknown-parameter", "version"),
        (r#"{"id":"a"}"#, 400, "unknown-parameter", "id"),
        (r#"{"hiden":true}"#, 400, "unknown-parameter", "hiden"),
        (
            r#"{"url":"u","titel":"t"}"#,
            400,
            "unknown-parameter",
            "titel",
        ),
        (r#"{"hidden":"yes"}"#, 422, "invalid-field", "hidden"),
        (r#"{"url":7}"#, 422, "invalid-field", "url"),
        (r#"{"categories":"a"}"#, 422, "invalid-field", "categories"),
        (
            r#"{"published_at":"today"}"#,
            422,
            "invalid-field",
            "published_at",
        ),
        (
            r#"{"publish_at":"2026-11-24T09:00:00Z","expires_at":"2026-11-23T09:00:00Z"}"#,
            422,
            "invalid-field",
            "publish_at",
        ),
    ] {
        let answer = patch(&bench, "/v1/domains/x/items/a", body).await;
        assert_eq!(answer.problem(status, word)["field"], field, "{body}");
    }
    for body in ["", "[]", "{", "7"] {
        let answer = patch(&bench, "/v1/domains/x/items/a", body).await;
        answer.problem(400, "invalid-json");
    }
    let long = json!({"group": "g".repeat(257)}).to_string();
    let answer = patch(&bench, "/v1/domains/x/items/a", &long).await;
    assert_eq!(answer.problem(413, "too-large")["field"], "group");
    let longer = json!({"attributes": {"a": "x".repeat(2_000)}}).to_string();
    let answer = patch(&bench, "/v1/domains/x/items/a", &longer).await;
    answer.problem(413, "too-large");
    assert_eq!(published(&bench), 0);
}

#[actix_web::test]
async fn what_the_owner_refuses_or_fails_is_told() {
    let bench = bench();
    let hide = r#"{"hidden":true}"#;
    patch(&bench, "/v1/domains/x/items/unknown", hide)
        .await
        .problem(404, "unknown-item");
    let away = patch(&bench, "/v1/domains/x/items/away", hide).await;
    assert!(away.header("retry-after").is_some());
    away.problem(503, "not-stored");
}

#[actix_web::test]
async fn a_patch_that_hides_says_whether_readers_have_lost_the_item() {
    let bench = bench();
    bench.rows.register("x", None).await;
    let hidden = ItemRow {
        hidden: true,
        ..item_row("hidden", 1)
    };
    let over = ItemRow {
        expires_at: DateTime::from_timestamp_millis(2_000),
        ..item_row("over", 1)
    };
    for row in [item_row("there", 1), hidden, over] {
        bench.rows.put("x", row).await;
    }
    for (id, body, gone) in [
        ("hidden", r#"{"hidden":true}"#, json!(true)),
        (
            "over",
            r#"{"expires_at":"2026-01-01T00:00:00Z"}"#,
            json!(true),
        ),
        (
            "hidden",
            r#"{"publish_at":"2126-11-23T09:00:00Z"}"#,
            json!(true),
        ),
        // The event changed nothing: what is stored is newer.
        ("there", r#"{"hidden":true}"#, json!(false)),
        ("there", r#"{"hidden":false}"#, Value::Null),
        ("there", r#"{"hidden":null}"#, Value::Null),
        (
            "hidden",
            r#"{"publish_at":"2026-01-01T00:00:00Z"}"#,
            Value::Null,
        ),
        ("hidden", r#"{"group":"g"}"#, Value::Null),
    ] {
        let answer = patch(&bench, &format!("/v1/domains/x/items/{id}"), body).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json()["gone"], gone, "{id} {body}");
    }
}
