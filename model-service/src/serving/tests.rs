//! The API over HTTP, on fakes.

use std::io::Write;
use std::sync::atomic::Ordering;

use actix_web::body::to_bytes;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, web};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use kindred_shared::Space;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::address::ROUTES;
use super::api::{now_ms, routes};
use super::batch::{self, REJECTS_LISTED};
use super::body::Encoding;
use super::fakes::{Bench, bench, domain, id, item_row};
use super::view::{DomainStatus, Listed, ViewChange};
use crate::domain::list::Entry;
use crate::domain::slot::Slot;
use crate::store::{FeatureStamp, ItemRow, ListRow, Liveness, Neighbour};

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    fn problem(&self, status: u16, kind: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status, status, "{body}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(body["type"], format!("/problems/{kind}"));
        assert_eq!(body["status"], status);
        assert!(!body["title"].as_str().expect("a title").is_empty());
        assert!(!body["detail"].as_str().expect("a detail").is_empty());
        body
    }
}

async fn ask(bench: &Bench, request: TestRequest) -> Answer {
    let data = web::Data::from(std::sync::Arc::clone(&bench.api));
    let app = init_service(App::new().app_data(data).configure(routes)).await;
    let response: ServiceResponse = app.call(request.to_request()).await.expect("an answer");
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_str().expect("ASCII").to_owned()))
        .collect();
    let body = to_bytes(response.into_body()).await.expect("a body");
    let answer = Answer {
        status,
        headers,
        body,
    };
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer
}

async fn get(bench: &Bench, uri: &str) -> Answer {
    ask(bench, TestRequest::get().uri(uri)).await
}

async fn put(bench: &Bench, uri: &str, body: &str) -> Answer {
    ask(
        bench,
        TestRequest::put().uri(uri).set_payload(body.to_owned()),
    )
    .await
}

async fn batch(bench: &Bench, body: impl Into<Bytes>) -> Answer {
    let request = TestRequest::post().uri("/v1/domains/x/items:batch");
    ask(bench, request.set_payload(body)).await
}

fn line(id: &str) -> String {
    json!({"type": "item.created", "domain": "x", "id": id, "title": "t", "version": 1}).to_string()
}

#[actix_web::test]
async fn a_put_is_published_and_answered_once_durable() {
    let bench = bench();
    for (path, id) in [
        ("a%2Fb", "a/b"),
        ("100%25", "100%"),
        ("%C3%BC", "ü"),
        ("a%252Fb", "a%2Fb"),
        ("similar", "similar"),
        ("a%2Fsimilar", "a/similar"),
        ("a:batch", "a:batch"),
    ] {
        let uri = format!("/v1/domains/x/items/{path}");
        let answer = put(&bench, &uri, r#"{"title":"t","version":7}"#).await;
        assert_eq!(answer.status, 202);
        assert_eq!(
            answer.json(),
            json!({"domain": "x", "id": id, "version": 7, "status": "accepted"})
        );
        let events = bench.publish.events.lock().unwrap();
        assert_eq!(events.last().expect("published").id().as_str(), id);
    }
}

#[actix_web::test]
async fn a_write_without_a_version_gets_now() {
    let bench = bench();
    let before = now_ms() as u64;
    let put = put(&bench, "/v1/domains/x/items/a", r#"{"title":"t"}"#)
        .await
        .json();
    let delete = TestRequest::delete().uri("/v1/domains/x/items/a");
    let delete = ask(&bench, delete).await.json();
    let versions: Vec<u64> = [put, delete]
        .iter()
        .map(|answer| answer["version"].as_u64().expect("a version"))
        .collect();
    assert!(before <= versions[0] && versions[0] <= versions[1]);
    let events = bench.publish.events.lock().unwrap();
    let published: Vec<_> = events.iter().filter_map(|event| event.version()).collect();
    assert_eq!(published, versions);
}

#[actix_web::test]
async fn a_delete_takes_its_version_from_the_query() {
    let bench = bench();
    let delete = |query: &str| TestRequest::delete().uri(&format!("/v1/domains/x/items/a{query}"));
    let answer = ask(&bench, delete("?version=9")).await;
    assert_eq!(
        (answer.status, answer.json()["version"].clone()),
        (202, json!(9))
    );
    for bad in [
        "?version=-1",
        "?version=",
        "?version=+1",
        "?version=9007199254740992",
        "?version=1&version=2",
    ] {
        let problem = ask(&bench, delete(bad))
            .await
            .problem(400, "invalid-version");
        assert_eq!(problem["field"], "version", "{bad}");
    }
}

#[actix_web::test]
async fn what_an_invalid_put_gets() {
    let bench = bench();
    for (body, status, kind, field) in [
        ("{", 400, "invalid-json", None),
        ("[]", 400, "invalid-json", None),
        ("{}", 422, "missing-field", None),
        (
            r#"{"title":"t","vector":[]}"#,
            422,
            "invalid-vector",
            Some("vector"),
        ),
        (
            r#"{"title":"t","version":-1}"#,
            422,
            "invalid-version",
            Some("version"),
        ),
        (
            r#"{"title":"t","domain":"y"}"#,
            422,
            "domain-mismatch",
            Some("domain"),
        ),
        (r#"{"title":"t","id":"b"}"#, 422, "id-mismatch", Some("id")),
        (
            r#"{"title":"t","type":"x"}"#,
            422,
            "unknown-type",
            Some("type"),
        ),
    ] {
        let answer = put(&bench, "/v1/domains/x/items/a", body).await;
        let problem = answer.problem(status, kind);
        if let Some(field) = field {
            assert_eq!(problem["field"], field, "{body}");
        }
    }
    let long = format!(r#"{{"title":"{}"}}"#, "t".repeat(2_000));
    put(&bench, "/v1/domains/x/items/a", &long)
        .await
        .problem(413, "too-large");
    put(&bench, "/v1/domains/x/items/100%", "{}")
        .await
        .problem(400, "invalid-id");
    put(&bench, "/v1/domains/a%20b/items/a", "{}")
        .await
        .problem(400, "invalid-domain");
    assert!(bench.publish.events.lock().unwrap().is_empty());
    let metrics = bench.api.metrics.render();
    assert!(metrics.contains("kindred_events_refused_total{reason=\"invalid-json\"} 2"));
}

#[actix_web::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let bench = bench();
    let never = stream::pending::<Result<Bytes, PayloadError>>();
    let put = super::items::put(
        &bench.api,
        domain("x"),
        id("a"),
        never,
        Encoding::Identity,
        Some(2_001),
    );
    assert_eq!(put.await.map(|_| ()).map_err(|p| p.status()), Err(413));
    let never = stream::pending::<Result<Bytes, PayloadError>>();
    let length = Some((1 << 30) + 1);
    let post = batch::post(&bench.api, domain("x"), never, Encoding::Identity, length);
    assert_eq!(post.await.map(|_| ()).map_err(|p| p.status()), Err(413));
}

#[actix_web::test]
async fn what_a_write_gets_that_is_not_taken() {
    let bench = bench();
    let body = r#"{"title":"t"}"#;
    put(&bench, "/v1/domains/x/items/quota", body)
        .await
        .problem(429, "over-quota");
    for name in ["full", "away"] {
        let answer = put(&bench, &format!("/v1/domains/x/items/{name}"), body).await;
        let problem = answer.problem(503, "not-stored");
        assert!(answer.header("retry-after").is_some());
        assert!(
            problem["detail"]
                .as_str()
                .expect("words")
                .contains("end it again")
        );
    }
}

#[actix_web::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let bench = bench();
    get(&bench, "/v2").await.problem(404, "unknown-path");
    get(&bench, "/v1/domains/x/items/a/b")
        .await
        .problem(404, "unknown-path");
    for (route, methods) in ROUTES {
        let uri = route.replace("{domain}", "x").replace("{id}", "y");
        let patch = TestRequest::with_uri(&uri).method(Method::PATCH);
        let answer = ask(&bench, patch).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some(*methods), "{route}");
    }
    let odd = TestRequest::with_uri("/").method(Method::from_bytes(b"ODD").expect("a method"));
    ask(&bench, odd).await.problem(405, "method-not-allowed");
    let metrics = bench.api.metrics.render();
    assert!(metrics.contains("method=\"other\"") && !metrics.contains("ODD"));
    assert!(metrics.contains("route=\"/v1/domains/{domain}/items/{id}/similar\""));
}

#[actix_web::test]
async fn a_batch_takes_what_is_valid_and_names_the_rest() {
    let bench = bench();
    let body = [
        line("a"),
        String::new(),
        "{".into(),
        format!("{}\r", line("b")),
        line("c").replace("\"x\"", "\"y\""),
        line("d").replace('t', &"t".repeat(2_000)),
        line("quota"),
        r#"{"type":"item.deleted","domain":"x","id":"e"}"#.into(),
    ]
    .join("\n");
    let answer = batch(&bench, body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["accepted"], 3);
    assert_eq!(answer.get("rejected_more"), None);
    let rejected: Vec<_> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| {
            (
                r["line"].as_u64().expect("a line"),
                r["type"].as_str().expect("a type"),
            )
        })
        .collect();
    assert_eq!(
        rejected,
        [
            (3, "/problems/invalid-json"),
            (5, "/problems/domain-mismatch"),
            (6, "/problems/too-large"),
            (7, "/problems/over-quota"),
        ]
    );
    let events = bench.publish.events.lock().unwrap();
    let ids: Vec<_> = events.iter().map(|event| event.id().as_str()).collect();
    assert_eq!(ids, ["a", "b", "quota", "e"]);
    assert!(events.iter().all(|event| event.version().is_some()));
}

#[actix_web::test]
async fn a_batch_keeps_order_and_a_bound_and_counts_rejects_past_the_list() {
    let bench = bench();
    let mut body = String::new();
    for number in 0..10_000 {
        body += &line(&format!("i{number}"));
        body.push('\n');
    }
    body += &"{\n".repeat(REJECTS_LISTED + 5);
    let answer = batch(&bench, body).await.json();
    assert_eq!(answer["accepted"], 10_000);
    assert_eq!(
        answer["rejected"].as_array().map(Vec::len),
        Some(REJECTS_LISTED)
    );
    assert_eq!(answer["rejected_more"], 5);
    let events = bench.publish.events.lock().unwrap();
    let ordered = events
        .iter()
        .enumerate()
        .all(|(at, event)| event.id().as_str() == format!("i{at}"));
    assert!(ordered);
    let most = bench.publish.most_in_flight.load(Ordering::SeqCst);
    assert!((2..=4_096).contains(&most), "{most} in flight");
}

#[actix_web::test]
async fn a_batch_that_cannot_go_on_says_from_where_to_send_again() {
    for name in ["full", "away"] {
        let bench = bench();
        let body = [line("a"), "{".into(), line(name), line("b")].join("\n");
        let answer = batch(&bench, body).await;
        let problem = answer.problem(503, "not-stored");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(problem["resend_from_line"], 3);
        assert_eq!(problem["accepted"], 1);
        assert_eq!(problem["rejected"][0]["line"], 2);
    }
}

#[actix_web::test]
async fn a_batch_that_breaks_off_keeps_what_was_published() {
    let bench = bench();
    let head = format!("{}\n{}\n{{\"ty", line("a"), line("b"));
    let body = stream::iter([Ok(Bytes::from(head)), Err(PayloadError::Incomplete(None))]);
    let ended = batch::post(&bench.api, domain("x"), body, Encoding::Identity, None).await;
    let response = ended.expect_err("it broke off").response();
    let body = to_bytes(response.into_body()).await.expect("a body");
    let problem: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(problem["type"], "/problems/incomplete-body");
    assert_eq!(
        (&problem["accepted"], &problem["resend_from_line"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(bench.publish.events.lock().unwrap().len(), 2);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).expect("memory takes all");
    packer.finish().expect("memory takes all")
}

#[actix_web::test]
async fn bodies_may_be_gzip_and_nothing_else() {
    let bench = bench();
    let packed = |encoding: &'static str, body: Vec<u8>| {
        let request = TestRequest::post().uri("/v1/domains/x/items:batch");
        request
            .insert_header(("content-encoding", encoding))
            .set_payload(body)
    };
    let text = [line("a"), line("b")].join("\n");
    let answer = ask(&bench, packed("gzip", gzip(&text))).await;
    assert_eq!(answer.json()["accepted"], 2);
    // A line that unpacks to 50 MB is neither held nor taken.
    let bomb = gzip(&format!("{}\n{}", "x".repeat(50_000_000), line("c")));
    let answer = ask(&bench, packed("gzip", bomb)).await.json();
    assert_eq!(
        (&answer["accepted"], &answer["rejected"][0]["line"]),
        (&json!(1), &json!(1))
    );
    let mut cut = gzip(&text);
    cut.truncate(cut.len() - 9);
    ask(&bench, packed("gzip", cut))
        .await
        .problem(400, "incomplete-body");
    ask(&bench, packed("gzip", b"no".to_vec()))
        .await
        .problem(400, "incomplete-body");
    ask(&bench, packed("br", vec![]))
        .await
        .problem(415, "unsupported-encoding");

    let put = TestRequest::put()
        .uri("/v1/domains/x/items/p")
        .insert_header(("content-encoding", "gzip"));
    let answer = ask(&bench, put.set_payload(gzip(r#"{"title":"t"}"#))).await;
    assert_eq!(answer.status, 202);
    let put = TestRequest::put()
        .uri("/v1/domains/x/items/p")
        .insert_header(("content-encoding", "gzip"));
    let long = gzip(&"x".repeat(1_000_000));
    ask(&bench, put.set_payload(long))
        .await
        .problem(413, "too-large");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn where_chunks_end_makes_no_difference_to_a_batch(
        kinds in prop::collection::vec(0..5u8, 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        packed in any::<bool>(),
        last_newline in any::<bool>(),
    ) {
        let mut text = String::new();
        let (mut accepted, mut rejected) = (0, Vec::new());
        for (number, kind) in (1..).zip(&kinds) {
            match kind {
                0 => {}
                1 => { text += "{"; rejected.push(number) }
                2 => { text += &"y".repeat(2_001); rejected.push(number) }
                3 => { text += &line("ü"); text.push('\r'); accepted += 1 }
                _ => { text += &line("a"); accepted += 1 }
            }
            text.push('\n');
        }
        if !last_newline {
            text.pop();
        }
        let body = if packed { gzip(&text) } else { text.into_bytes() };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts
            .windows(2)
            .map(|pair| Ok(Bytes::copy_from_slice(&body[pair[0]..pair[1]])))
            .collect();
        let answer: Value = actix_web::rt::System::new().block_on(async move {
            let bench = bench();
            let encoding = if packed { Encoding::Gzip } else { Encoding::Identity };
            let answer = batch::post(&bench.api, domain("x"), stream::iter(chunks), encoding, None);
            let response = answer.await.expect("the fakes take all");
            let body = to_bytes(response.into_body()).await.expect("a body");
            serde_json::from_slice(&body).expect("JSON")
        });
        let lines: Vec<u64> = answer["rejected"].as_array().expect("a list").iter()
            .map(|reject| reject["line"].as_u64().expect("a number")).collect();
        prop_assert_eq!(&answer["accepted"], &json!(accepted));
        prop_assert_eq!(lines, rejected);
    }
}

fn listed(slot: u32, name: &str, version: u64, entries: &[(u32, f32)]) -> Listed {
    Listed {
        slot: Slot(slot),
        id: id(name),
        expires_at: None,
        version,
        entries: entries
            .iter()
            .map(|&(slot, score)| Entry {
                slot: Slot(slot),
                score,
            })
            .collect(),
        zero: false,
    }
}

fn neighbours(pairs: &[(&str, f32)]) -> Vec<Neighbour> {
    pairs
        .iter()
        .map(|&(name, score)| Neighbour {
            id: id(name),
            score,
        })
        .collect()
}

fn ids(answer: &Value) -> Vec<&str> {
    let similar = answer["similar"].as_array().expect("a list");
    similar
        .iter()
        .map(|item| item["id"].as_str().expect("an id"))
        .collect()
}

/// Domain `x` with items a to d, all visible.
fn four_items() -> Bench {
    let bench = bench();
    bench.store.register("x");
    for name in ["a", "b", "c", "d"] {
        bench.store.put("x", item_row(name, 1));
    }
    bench
}

/// [`four_items`], active: `a`'s list is b, c, d.
fn active() -> Bench {
    let bench = four_items();
    let change = ViewChange {
        replace: true,
        listed: vec![
            listed(0, "a", 1, &[(1, 0.1 + 0.2), (2, 0.3), (3, 1e-7)]),
            listed(1, "b", 1, &[(0, 0.1 + 0.2)]),
            listed(2, "c", 1, &[]),
            listed(3, "d", 1, &[]),
        ],
        gone: vec![],
    };
    bench
        .views
        .open(&domain("x"))
        .apply(change, 1_795_424_400_007);
    bench
}

/// [`four_items`], asleep: `a`'s stored list is b, c, d.
fn asleep() -> Bench {
    let bench = four_items();
    let row = ListRow {
        id: id("a"),
        neighbours: neighbours(&[("b", 0.1 + 0.2), ("c", 0.3), ("d", 1e-7)]),
        model: "words-1".into(),
        updated_at: DateTime::from_timestamp_millis(1_795_424_400_007).expect("a time"),
    };
    bench
        .store
        .lists
        .lock()
        .unwrap()
        .insert((domain("x"), id("a")), row);
    bench
}

#[actix_web::test]
async fn similar_answers_alike_from_the_view_and_from_the_store() {
    for bench in [active(), asleep()] {
        let answer = get(&bench, "/v1/domains/x/items/a/similar").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("retry-after"), None);
        let body = answer.json();
        assert_eq!(ids(&body), ["b", "c", "d"]);
        assert_eq!(body["model"], "words-1");
        assert_eq!(body["as_of"], "2026-11-23T09:00:00.007Z");
        assert_eq!(body["similar"][0]["title"], "title of b");
        assert_eq!(body["similar"][0]["url"], "https://x.example/b");
        #[derive(serde::Deserialize)]
        struct Scores {
            similar: Vec<Score>,
        }
        #[derive(serde::Deserialize)]
        struct Score {
            score: f32,
        }
        let scores: Scores = serde_json::from_slice(&answer.body).expect("scores");
        let bits: Vec<_> = scores.similar.iter().map(|s| s.score.to_bits()).collect();
        assert_eq!(bits, [0.1f32 + 0.2, 0.3, 1e-7].map(f32::to_bits));

        let two = get(&bench, "/v1/domains/x/items/a/similar?limit=2")
            .await
            .json();
        assert_eq!(ids(&two), ["b", "c"]);
        get(&bench, "/v1/domains/x/items/z/similar")
            .await
            .problem(404, "unknown-item");
        get(&bench, "/v1/domains/y/items/a/similar")
            .await
            .problem(404, "unknown-domain");
    }
}

#[actix_web::test]
async fn what_is_not_visible_is_in_no_answer() {
    let over = DateTime::from_timestamp_millis(5);
    for make in [active, asleep] {
        for gone in [
            ItemRow {
                hidden: true,
                ..item_row("b", 2)
            },
            ItemRow {
                liveness: Liveness::Deleted,
                ..item_row("b", 2)
            },
            ItemRow {
                expires_at: over,
                ..item_row("b", 2)
            },
        ] {
            let bench = make();
            bench.store.put("x", gone);
            let body = get(&bench, "/v1/domains/x/items/a/similar?limit=2")
                .await
                .json();
            assert_eq!(ids(&body), ["c", "d"], "the next ones take the place");
            get(&bench, "/v1/domains/x/items/b/similar")
                .await
                .problem(404, "unknown-item");
        }
    }
}

#[actix_web::test]
async fn a_limit_out_of_range_is_named() {
    let bench = active();
    for bad in [
        "0",
        "51",
        "-1",
        "x",
        "",
        "1.5",
        "+1",
        "99999999999999999999",
        "1&limit=2",
    ] {
        let uri = format!("/v1/domains/x/items/a/similar?limit={bad}");
        let problem = get(&bench, &uri).await.problem(400, "invalid-parameter");
        assert_eq!(problem["field"], "limit", "{bad}");
    }
    assert_eq!(
        get(&bench, "/v1/domains/x/items/a/similar?limit=50")
            .await
            .status,
        200
    );
}

#[actix_web::test]
async fn an_accepted_item_has_an_empty_answer_and_a_time_to_ask_again() {
    let bench = active();
    bench.store.put("x", item_row("new", 1));
    bench
        .store
        .stamps
        .lock()
        .unwrap()
        .remove(&(domain("x"), id("new")));
    let answer = get(&bench, "/v1/domains/x/items/new/similar").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let body = answer.json();
    assert_eq!(
        (&body["similar"], &body["as_of"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(body["model"], "words-1");
    let item = get(&bench, "/v1/domains/x/items/new").await.json();
    assert_eq!(
        (&item["status"], &item["served_since"]),
        (&json!("accepted"), &Value::Null)
    );
}

#[actix_web::test]
async fn an_item_tells_its_status() {
    let bench = active();
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        item,
        json!({
            "domain": "x", "id": "a", "version": 1, "status": "live",
            "status_since": "1970-01-01T00:00:00.001Z", "status_reason": null,
            "served_since": null, "title": "title of a", "url": "https://x.example/a",
            "language": "en", "group": null, "categories": [], "published_at": null,
            "expires_at": null, "hidden": false, "attributes": {}
        })
    );
    bench.store.put(
        "x",
        ItemRow {
            language: Some("de".into()),
            ..item_row("a", 2)
        },
    );
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["language"]),
        (&json!("accepted"), &json!("de"))
    );
    let change = ViewChange {
        listed: vec![listed(0, "a", 2, &[])],
        ..ViewChange::default()
    };
    bench
        .views
        .open(&domain("x"))
        .apply(change, 1_795_424_400_500);
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(item["status"], "live");
    assert_eq!(item["served_since"], "2026-11-23T09:00:00.500Z");

    let stamp = FeatureStamp {
        version: 2,
        space: Space::words("en"),
        zero: true,
    };
    bench
        .store
        .stamps
        .lock()
        .unwrap()
        .insert((domain("x"), id("a")), stamp);
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["status_reason"]),
        (&json!("live"), &json!("no term to compare"))
    );

    bench.store.put(
        "x",
        ItemRow {
            rejected: Some("too odd".into()),
            ..item_row("b", 2)
        },
    );
    let item = get(&bench, "/v1/domains/x/items/b").await.json();
    assert_eq!(
        (&item["status"], &item["status_reason"]),
        (&json!("rejected"), &json!("too odd"))
    );

    bench.store.put(
        "x",
        ItemRow {
            liveness: Liveness::Deleted,
            ..item_row("c", 3)
        },
    );
    let item = get(&bench, "/v1/domains/x/items/c").await.json();
    assert_eq!(
        item,
        json!({"domain": "x", "id": "c", "version": 3, "status": "deleted", "status_since": "1970-01-01T00:00:00.001Z"})
    );
    bench.store.put(
        "x",
        ItemRow {
            expires_at: Some(Utc::now()),
            ..item_row("d", 3)
        },
    );
    let item = get(&bench, "/v1/domains/x/items/d").await.json();
    assert_eq!(
        (&item["status"], item.get("title")),
        (&json!("expired"), None)
    );
    get(&bench, "/v1/domains/x/items/z")
        .await
        .problem(404, "unknown-item");
    get(&bench, "/v1/domains/y/items/a")
        .await
        .problem(404, "unknown-domain");
}

#[actix_web::test]
async fn an_item_of_a_sleeping_domain_is_served_since_its_stored_list() {
    let bench = asleep();
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["served_since"]),
        (&json!("live"), &json!("2026-11-23T09:00:00.007Z"))
    );
}

#[actix_web::test]
async fn domains_asleep_and_active() {
    let bench = bench();
    assert_eq!(get(&bench, "/v1/domains").await.json(), json!([]));
    bench.store.register("b");
    bench.store.register("a");
    let asleep = json!({
        "domain": "a", "model": "words-1", "state": "asleep", "quiet": true, "live": 3, "visible": 2,
        "pending": 0, "registered_at": "1970-01-01T00:00:01.500Z", "trouble": null
    });
    let view = bench.views.open(&domain("b"));
    let list = get(&bench, "/v1/domains").await.json();
    assert_eq!((&list[0], &list[1]["state"]), (&asleep, &json!("loading")));
    view.set_status(DomainStatus {
        state: "comparing",
        quiet: false,
        live: 9,
        visible: 8,
        pending: 7,
        trouble: Some("a job is late".into()),
    });
    let b = get(&bench, "/v1/domains/b").await.json();
    assert_eq!(b["state"], "comparing");
    assert_eq!(
        (&b["live"], &b["visible"], &b["pending"]),
        (&json!(9), &json!(8), &json!(7))
    );
    assert_eq!(b["trouble"], "a job is late");
    assert_eq!(get(&bench, "/v1/domains/a").await.json(), asleep);
    get(&bench, "/v1/domains/c")
        .await
        .problem(404, "unknown-domain");
    bench
        .store
        .domains
        .lock()
        .unwrap()
        .get_mut("a")
        .expect("registered")
        .dirty = Some(1);
    assert_eq!(get(&bench, "/v1/domains/a").await.json()["quiet"], false);
}

#[actix_web::test]
async fn a_store_that_is_away_is_503() {
    let bench = active();
    bench.store.away.store(true, Ordering::SeqCst);
    for uri in ["", "/x", "/x/items/a", "/x/items/a/similar"] {
        let answer = get(&bench, &format!("/v1/domains{uri}")).await;
        answer.problem(503, "not-readable");
        assert!(answer.header("retry-after").is_some());
    }
}

#[actix_web::test]
async fn the_service_tells_of_itself() {
    let bench = bench();
    assert_eq!(get(&bench, "/healthz").await.body, "ok");
    assert_eq!(get(&bench, "/readyz").await.json(), json!({"ready": true}));
    bench.api.readiness.not_ready("store", "opening");
    let problem = get(&bench, "/readyz").await.problem(503, "not-ready");
    assert_eq!(problem["reasons"], json!(["store: opening"]));
    let metrics = get(&bench, "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).expect("text");
    assert!(text.contains(
        "kindred_http_request_seconds_count{method=\"GET\",route=\"/readyz\",status=\"503\"} 1"
    ));
    let index = get(&bench, "/").await;
    let text = String::from_utf8(index.body.to_vec()).expect("text");
    assert!(ROUTES.iter().all(|(route, _)| text.contains(route)));
}

#[actix_web::test]
async fn the_description_lists_every_route_and_leads_nowhere_else() {
    let bench = bench();
    let document = get(&bench, "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), ROUTES.len());
    for (route, methods) in ROUTES {
        let operations = paths[*route].as_object().expect(route);
        let mut described: Vec<_> = operations.keys().map(|m| m.to_uppercase()).collect();
        let mut known: Vec<_> = methods.split(", ").filter(|m| *m != "HEAD").collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(described, known, "{route}");
        for operation in operations.values() {
            assert!(operation["summary"].is_string() && operation["responses"].is_object());
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = &reference[..reference.find('"').expect("an end")];
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    for kind in super::problem::Kind::ALL {
        assert!(
            text.contains(&kind.uri()),
            "{} is not described",
            kind.uri()
        );
    }
}

#[actix_web::test]
async fn the_example_of_a_put_can_be_put() {
    let bench = bench();
    let document = get(&bench, "/openapi.json").await.json();
    let properties = &document["components"]["schemas"]["ItemBody"]["properties"];
    let example: serde_json::Map<_, _> = properties
        .as_object()
        .expect("properties")
        .iter()
        .filter_map(|(name, schema)| Some((name.clone(), schema.get("example")?.clone())))
        .collect();
    assert!(example.len() > 8);
    let uri = "/v1/domains/news.example/items/a-17";
    let answer = put(&bench, uri, &Value::Object(example).to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[actix_web::test]
async fn a_real_server_answers_and_stops() {
    let bench = bench();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = super::serve(listener, bench.api).expect("a server");
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let raw = web::block(move || {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(
            b"PUT /v1/domains/x/items/a%2Fb HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{\"title\":\"t\"}",
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let raw = raw.await.expect("a thread").expect("an answer");
    assert!(raw.starts_with("HTTP/1.1 202 "), "{raw}");
    assert!(raw.contains("\"id\":\"a/b\""), "{raw}");
    handle.stop(true).await;
    running.await.expect("a task").expect("a clean end");
}
