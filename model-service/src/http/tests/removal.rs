//! Deleting a domain: requested, in progress, done, and registered again.

use super::*;
use kindred_domain::store::{DomainRow, RemovalStage, Removed};

async fn delete(bench: &Bench, uri: &str) -> Response {
    ask(bench, TestRequest::delete().uri(uri)).await
}

/// The row of domain `x` at this stage of its removal.
fn row(stage: RemovalStage) -> DomainRow {
    let at = DateTime::from_timestamp_millis(1_500).expect("a time");
    DomainRow {
        domain: domain("x"),
        partition: 0,
        model: words_1(),
        registered_at: at,
        dirty: None,
        live: 1,
        visible: 1,
        next_expiry: None,
        removal: Some(Removed {
            request: "r".to_owned(),
            at,
            stage,
        }),
    }
}

#[actix_web::test]
async fn a_deletion_is_published_under_a_name_of_its_own() {
    let bench = bench();
    bench.rows.register("x", None).await;
    for _ in 0..2 {
        let answer = delete(&bench, "/v1/domains/x").await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json(), json!({"domain": "x", "gone": true}));
    }
    let events = bench.publish.events.lock().expect("unpoisoned");
    let requests: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::Remove(removal) => {
                assert_eq!(removal.domain, domain("x"));
                removal.request.as_str()
            }
            other => panic!("{other:?} is no removal"),
        })
        .collect();
    assert_eq!(requests.len(), 2);
    assert_ne!(
        requests[0], requests[1],
        "one that comes twice has one effect"
    );
}

#[actix_web::test]
async fn what_a_deletion_gets_that_is_not_taken() {
    let bench = bench();
    delete(&bench, "/v1/domains/unknown")
        .await
        .problem(404, "unknown-domain");
    for name in ["full", "away"] {
        let answer = delete(&bench, &format!("/v1/domains/{name}")).await;
        answer.problem(503, "not-stored");
        assert!(answer.header("retry-after").is_some());
    }
    delete(&bench, "/v1/domains/a%20b")
        .await
        .problem(400, "invalid-domain");
}

#[actix_web::test]
async fn while_its_rows_are_deleted_nothing_of_a_domain_is_answered() {
    let paths = [
        "/v1/domains/x",
        "/v1/domains/x/items",
        "/v1/domains/x/items?group=g",
        "/v1/domains/x/export",
        "/v1/domains/x/items/a",
        "/v1/domains/x/items/a/similar",
    ];
    for stage in [RemovalStage::Sweeping, RemovalStage::Done] {
        let bench = bench();
        // Some rows are left, and a list.
        bench.rows.put("x", item_row("a", 1)).await;
        bench.rows.put("x", item_row("b", 1)).await;
        let list = ListRow {
            id: id("a"),
            neighbours: vec![Neighbour {
                id: id("b"),
                score: 0.5,
            }],
            model: words_1(),
            updated_at: DateTime::from_timestamp_millis(1_500).expect("a time"),
        };
        let writes = vec![StoreWrite::List(list), StoreWrite::Domain(row(stage))];
        bench.rows.write("x", writes).await;
        for path in paths {
            let answer = get(&bench, path).await;
            answer.problem(404, "unknown-domain");
        }
        let domains = get(&bench, "/v1/domains").await.json();
        assert_eq!(domains["domains"], json!([]), "{stage:?}");
        let patch = TestRequest::patch().uri("/v1/domains/x/items/unknown");
        let patched = ask(&bench, patch.set_payload(r#"{"group":"g"}"#)).await;
        assert_eq!(patched.status, 404);
    }
}

#[actix_web::test]
async fn a_domain_that_came_again_is_answered() {
    let bench = bench();
    bench.rows.put("x", item_row("a", 1)).await;
    let again = StoreWrite::Domain(row(RemovalStage::Past));
    bench.rows.write("x", vec![again]).await;
    for (path, status) in [
        ("/v1/domains/x", 200),
        ("/v1/domains/x/items", 200),
        ("/v1/domains/x/export", 200),
        ("/v1/domains/x/items/a", 200),
        ("/v1/domains/x/items/a/similar", 200),
        ("/v1/domains/x/items/b", 404),
    ] {
        assert_eq!(get(&bench, path).await.status, status, "{path}");
    }
    let domains = get(&bench, "/v1/domains").await.json();
    assert_eq!(domains["domains"][0]["domain"], "x");
}
