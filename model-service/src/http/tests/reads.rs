//! Items, neighbours and domains as readers get them.

use super::*;

fn listed(slot: u32, name: &str, version: u64, entries: &[(u32, f32)]) -> Listed {
    let entries = entries.iter().map(|&(slot, score)| ListEntry {
        slot: Slot(slot),
        score,
    });
    Listed {
        slot: Slot(slot),
        id: id(name),
        expires_at: None,
        shown: shown(name),
        space: Some(Space::stored("words-1/en")),
        list: Some(ServedList {
            version,
            bound: None,
            entries: entries.collect(),
            zero: false,
        }),
    }
}

fn shown(name: &str) -> Arc<Shown> {
    Arc::new(Shown::of(&item_row(name, 1), &mut Interner::default()))
}

/// Changes what readers of domain `x` see.
fn serve(bench: &Bench, change: ViewChange) {
    let view = bench.views.open(&domain("x"), &bench.term);
    view.apply(change, 1_795_424_400_007);
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
async fn four_items() -> Bench {
    let bench = bench();
    bench.rows.register("x", None).await;
    for name in ["a", "b", "c", "d"] {
        bench.rows.put("x", item_row(name, 1)).await;
    }
    bench
}

/// [`four_items`], active: `a`'s list is b, c, d.
async fn active() -> Bench {
    let bench = four_items().await;
    let change = ViewChange {
        replace: true,
        model: Some(words_1()),
        listed: vec![
            listed(0, "a", 1, &[(1, 0.1 + 0.2), (2, 0.3), (3, 1e-7)]),
            listed(1, "b", 1, &[(0, 0.1 + 0.2)]),
            listed(2, "c", 1, &[]),
            listed(3, "d", 1, &[]),
        ],
        ..ViewChange::default()
    };
    serve(&bench, change);
    bench
}

/// [`four_items`], asleep: `a`'s stored list is b, c, d.
async fn asleep() -> Bench {
    let bench = four_items().await;
    let row = ListRow {
        id: id("a"),
        neighbours: neighbours(&[("b", 0.1 + 0.2), ("c", 0.3), ("d", 1e-7)]),
        model: words_1(),
        updated_at: DateTime::from_timestamp_millis(1_795_424_400_007).expect("a time"),
    };
    bench.rows.write("x", vec![StoreWrite::List(row)]).await;
    bench
}

#[actix_web::test]
async fn similar_answers_alike_from_the_view_and_from_the_store() {
    for bench in [active().await, asleep().await] {
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
    let hidden = ViewChange {
        gone: vec![id("b")],
        ..ViewChange::default()
    };
    let expired = ViewChange {
        listed: vec![Listed {
            expires_at: Some(5),
            ..listed(1, "b", 1, &[(0, 0.1 + 0.2)])
        }],
        ..ViewChange::default()
    };
    for change in [hidden, expired] {
        let bench = active().await;
        serve(&bench, change);
        check_b_is_gone(&bench).await;
    }
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
        let bench = asleep().await;
        bench.rows.put("x", gone).await;
        check_b_is_gone(&bench).await;
    }
}

async fn check_b_is_gone(bench: &Bench) {
    let body = get(bench, "/v1/domains/x/items/a/similar?limit=2")
        .await
        .json();
    assert_eq!(ids(&body), ["c", "d"], "the next ones take the place");
    get(bench, "/v1/domains/x/items/b/similar")
        .await
        .problem(404, "unknown-item");
}

#[actix_web::test]
async fn an_active_domain_is_answered_without_its_store() {
    let bench = active().await;
    let with_store = get(&bench, "/v1/domains/x/items/a/similar").await;
    bench.rows.store.unplug();
    let without = get(&bench, "/v1/domains/x/items/a/similar").await;
    assert_eq!((without.status, &without.body), (200, &with_store.body));
    get(&bench, "/v1/domains/x/items/z/similar")
        .await
        .problem(404, "unknown-item");
    let renamed = ViewChange {
        listed: vec![Listed {
            shown: shown("another"),
            ..listed(1, "b", 2, &[])
        }],
        ..ViewChange::default()
    };
    serve(&bench, renamed);
    let body = get(&bench, "/v1/domains/x/items/a/similar").await.json();
    assert_eq!(body["similar"][0]["title"], "title of another");
}

/// Another instance may have taken over, and may have acknowledged deletions.
#[actix_web::test]
async fn past_its_term_a_view_is_not_answered_from() {
    let bench = active().await;
    let deleted = ItemRow {
        liveness: Liveness::Deleted,
        ..item_row("b", 2)
    };
    bench.rows.put("x", deleted).await;
    let of_b = "/v1/domains/x/items/b/similar";
    assert_eq!(get(&bench, of_b).await.status, 200);
    bench.term.end();
    get(&bench, of_b).await.problem(404, "unknown-item");
    let body = get(&bench, "/v1/domains/x/items/a/similar").await.json();
    assert_eq!((ids(&body), &body["as_of"]), (vec![], &Value::Null));
}

/// Whatever it contains, an answer equals its type in the API, byte by byte.
#[actix_web::test]
async fn an_answer_from_a_snapshot_is_written_as_its_type_is() {
    let bench = active().await;
    let odd = Shown {
        title: Some("\"quoted\" \\ \u{1}\u{2028} é 日本 </script>".into()),
        ..Shown::default()
    };
    let change = ViewChange {
        listed: vec![
            Listed {
                shown: Arc::new(odd),
                ..listed(4, "ü/\"", 1, &[(1, 1.0), (4, f32::MIN_POSITIVE)])
            },
            Listed {
                space: Some(Space::own(3)),
                ..listed(0, "a", 2, &[(4, 0.123_456_79), (1, 16_777_216.0)])
            },
            Listed {
                space: None,
                list: None,
                ..listed(5, "new", 1, &[])
            },
        ],
        ..ViewChange::default()
    };
    serve(&bench, change);
    for path in ["a", "new", "%C3%BC%2F%22"] {
        let answer = get(&bench, &format!("/v1/domains/x/items/{path}/similar")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let typed: SimilarAnswer = serde_json::from_slice(&answer.body).expect("an answer");
        let written = serde_json::to_vec(&typed).expect("JSON");
        assert_eq!(answer.body, written, "{path}");
    }
}

#[actix_web::test]
async fn while_a_domain_is_loaded_anew_new_items_are_shown_and_no_query_waits() {
    let bench = active().await;
    let of_new = "/v1/domains/x/items/new/similar";
    get(&bench, of_new).await.problem(404, "unknown-item");
    let renewed = |name: &str| Renewed {
        id: id(name),
        expires_at: None,
        shown: shown("b, again"),
    };
    let change = ViewChange {
        renewed: vec![renewed("new"), renewed("b")],
        ..ViewChange::default()
    };
    serve(&bench, change);
    assert_eq!(get(&bench, of_new).await.header("retry-after"), Some("1"));
    let body = get(&bench, "/v1/domains/x/items/a/similar").await.json();
    assert_eq!(body["similar"][0]["title"], "title of b, again");
    get(&bench, "/v1/domains/x/items/z/similar")
        .await
        .problem(404, "unknown-item");
}

#[actix_web::test]
async fn a_long_title_is_cut_alike_from_the_view_and_from_the_store() {
    let long = ItemRow {
        title: Some("é".repeat(3_000)),
        ..item_row("b", 1)
    };
    let (active, asleep) = (active().await, asleep().await);
    let change = ViewChange {
        listed: vec![Listed {
            shown: Arc::new(Shown::of(&long, &mut Interner::default())),
            ..listed(1, "b", 1, &[])
        }],
        ..ViewChange::default()
    };
    serve(&active, change);
    asleep.rows.put("x", long).await;
    for bench in [active, asleep] {
        let body = get(&bench, "/v1/domains/x/items/a/similar").await.json();
        assert_eq!(body["similar"][0]["title"], "é".repeat(1_024));
    }
}

#[actix_web::test]
async fn a_limit_out_of_range_is_named() {
    let bench = active().await;
    for bad in [
        "0",
        "1001",
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
        get(&bench, "/v1/domains/x/items/a/similar?limit=1000")
            .await
            .status,
        200
    );
}

#[actix_web::test]
async fn an_accepted_item_has_an_empty_answer_and_a_time_to_ask_again() {
    let bench = active().await;
    bench
        .rows
        .write("x", vec![StoreWrite::Item(item_row("new", 1))])
        .await;
    let accepted = ViewChange {
        listed: vec![Listed {
            space: None,
            list: None,
            ..listed(4, "new", 1, &[])
        }],
        ..ViewChange::default()
    };
    serve(&bench, accepted);
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
    let bench = active().await;
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        item,
        json!({
            "domain": "x", "id": "a", "version": 1, "status": "live",
            "status_since": "1970-01-01T00:00:00.001Z", "status_reason": null,
            "served_since": null, "title": "title of a", "url": "https://x.example/a",
            "language": "en", "language_given": null, "group": null, "categories": [], "published_at": null,
            "image": null, "publish_at": null, "accepted_at": "1970-01-01T00:00:00.001Z", "expires_at": null, "hidden": false, "attributes": {}
        })
    );
    bench
        .rows
        .put(
            "x",
            ItemRow {
                language: Some("ger".into()),
                ..item_row("a", 2)
            },
        )
        .await;
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["language"], &item["language_given"]),
        (&json!("accepted"), &json!("de"), &json!("ger"))
    );
    let change = ViewChange {
        listed: vec![listed(0, "a", 2, &[])],
        ..ViewChange::default()
    };
    let view = bench.views.open(&domain("x"), &bench.term);
    view.apply(change, 1_795_424_400_500);
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(item["status"], "live");
    assert_eq!(item["served_since"], "2026-11-23T09:00:00.500Z");

    let nothing = feature_row(id("a"), 2, Feature::zero());
    bench
        .rows
        .write("x", vec![StoreWrite::Feature(nothing)])
        .await;
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["status_reason"]),
        (&json!("live"), &json!("no term to compare"))
    );

    bench
        .rows
        .put(
            "x",
            ItemRow {
                rejected: Some("too odd".into()),
                ..item_row("b", 2)
            },
        )
        .await;
    let item = get(&bench, "/v1/domains/x/items/b").await.json();
    assert_eq!(
        (&item["status"], &item["status_reason"]),
        (&json!("rejected"), &json!("too odd"))
    );

    bench
        .rows
        .put(
            "x",
            ItemRow {
                liveness: Liveness::Deleted,
                ..item_row("c", 3)
            },
        )
        .await;
    let item = get(&bench, "/v1/domains/x/items/c").await.json();
    assert_eq!(
        item,
        json!({"domain": "x", "id": "c", "version": 3, "status": "deleted", "status_since": "1970-01-01T00:00:00.001Z"})
    );
    bench
        .rows
        .put(
            "x",
            ItemRow {
                expires_at: Some(Utc::now()),
                ..item_row("d", 3)
            },
        )
        .await;
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
    let bench = asleep().await;
    let item = get(&bench, "/v1/domains/x/items/a").await.json();
    assert_eq!(
        (&item["status"], &item["served_since"]),
        (&json!("live"), &json!("2026-11-23T09:00:00.007Z"))
    );
}

#[actix_web::test]
async fn domains_asleep_and_active() {
    let bench = bench();
    assert_eq!(
        get(&bench, "/v1/domains").await.json(),
        json!({"domains": []})
    );
    bench.rows.register("b", None).await;
    bench.rows.register("a", None).await;
    let asleep = json!({
        "domain": "a", "model": "words-1", "state": "asleep", "quiet": true, "live": 3, "visible": 2,
        "pending": 0, "partition": 0, "owner": "here:8080",
        "registered_at": "1970-01-01T00:00:01.500Z", "trouble": null
    });
    let view = bench.views.open(&domain("b"), &bench.term);
    let list = get(&bench, "/v1/domains").await.json()["domains"].take();
    assert_eq!((&list[0], &list[1]["state"]), (&asleep, &json!("loading")));
    view.set_status(DomainStatus {
        state: kindred_domain::status::LoadedState::Comparing,
        quiet: false,
        clean: false,
        live: 9,
        visible: 8,
        pending: 7,
        oldest_pending: Some(std::time::Duration::ZERO),
        unstored: 5,
        memory: kindred_domain::memory::Memory::default(),
        trouble: Some("a job is late".into()),
    });
    let b = get(&bench, "/v1/domains/b").await.json();
    assert_eq!(b["state"], "comparing");
    assert_eq!(
        (&b["live"], &b["visible"], &b["pending"]),
        (&json!(9), &json!(8), &json!(7))
    );
    assert_eq!(b["trouble"], "a job is late");
    assert_eq!(
        (&b["partition"], &b["owner"]),
        (&json!(0), &json!("here:8080"))
    );
    assert!(
        b["oldest_pending_seconds"]
            .as_f64()
            .is_some_and(|age| age >= 0.0),
        "{b}"
    );
    assert_eq!(get(&bench, "/v1/domains/a").await.json(), asleep);
    get(&bench, "/v1/domains/c")
        .await
        .problem(404, "unknown-domain");
    bench.rows.register("a", Some(1)).await;
    assert_eq!(get(&bench, "/v1/domains/a").await.json()["quiet"], false);
}

#[actix_web::test]
async fn a_store_that_is_away_is_503() {
    let bench = asleep().await;
    bench.rows.store.unplug();
    for uri in ["", "/x", "/x/items/a", "/x/items/a/similar"] {
        let answer = get(&bench, &format!("/v1/domains{uri}")).await;
        answer.problem(503, "not-readable");
        assert!(answer.header("retry-after").is_some());
    }
}
