//! One item put or deleted.

use super::*;

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
        let events = bench.publish.events.lock().expect("unpoisoned");
        assert_eq!(events.last().expect("published").id().unwrap().as_str(), id);
    }
}

#[actix_web::test]
async fn a_write_without_a_version_is_answered_with_the_one_its_domain_gave() {
    let bench = bench();
    let put = put(&bench, "/v1/domains/x/items/a", r#"{"title":"t"}"#).await;
    let delete = TestRequest::delete().uri("/v1/domains/x/items/a");
    let delete = ask(&bench, delete).await;
    for answer in [put, delete] {
        assert_eq!(answer.json()["version"], GIVEN_VERSION);
    }
    let events = bench.publish.events.lock().expect("unpoisoned");
    assert!(events.iter().all(|event| event.version().is_none()));
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
    assert!(bench.publish.events.lock().expect("unpoisoned").is_empty());
    let metrics = bench.metrics.render();
    assert!(metrics.contains("kindred_events_refused_total{reason=\"invalid-json\"} 2"));
}

#[actix_web::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let bench = bench();
    let never = |length| Body {
        chunks: stream::pending::<Result<Bytes, PayloadError>>(),
        encoding: Encoding::Identity,
        length: Some(length),
        signed: None,
        held: None,
    };
    let of = OfItem {
        domain: domain("x"),
        id: id("a"),
    };
    let put = items::read_event(&bench.writes, &of, never(2_001)).await;
    assert_eq!(put.expect_err("too much").status_code(), 413);
    let post = batch::take(
        &bench.writes,
        bench.lobby.reads().expect("parts"),
        domain("x"),
        never((1 << 30) + 1),
    )
    .await;
    assert_eq!(post.expect_err("too much").status_code(), 413);
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
async fn a_deletion_says_whether_readers_have_lost_the_item() {
    let bench = bench();
    bench.rows.register("x", None).await;
    let delete = |name: &str| {
        let request = TestRequest::delete().uri(&format!("/v1/domains/x/items/{name}"));
        ask(&bench, request)
    };
    assert_eq!(delete("never-there").await.json()["gone"], true);
    // The event changed nothing: what is stored is newer.
    bench.rows.put("x", item_row("there", 1)).await;
    assert_eq!(delete("there").await.json()["gone"], false);
    let hidden = ItemRow {
        hidden: true,
        ..item_row("hidden", 1)
    };
    bench.rows.put("x", hidden).await;
    let body = r#"{"title":"t","hidden":true}"#;
    let put_hidden = put(&bench, "/v1/domains/x/items/hidden", body).await;
    assert_eq!(put_hidden.json()["gone"], true);
    let put_shown = put(&bench, "/v1/domains/x/items/there", r#"{"title":"t"}"#).await;
    assert_eq!(put_shown.json().get("gone"), None);
}
