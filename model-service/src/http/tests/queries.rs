//! Queries with conditions for items, texts and vectors; many at once; and scores.

use kindred_domain::features::{Features, Live, Rows};
use kindred_shared::{BlockBuilder, ItemId};
use kindred_similarity::RowMask;

use super::*;

/// Items of domain `x`, by dense parts of two values: `a` and its neighbours, and `o` by itself.
const DENSE: [(&str, [f32; 2]); 5] = [
    ("a", [1.0, 0.0]),
    ("b", [0.96, 0.28]),
    ("c", [0.8, 0.6]),
    ("d", [0.6, 0.8]),
    ("e", [0.0, 1.0]),
];

fn shown_of(name: &str) -> Shown {
    let at = |day: u32| format!("2026-11-{day:02}T09:00:00Z").parse().ok();
    let (group, categories, published_at): (Option<&str>, &[&str], _) = match name {
        "b" => (Some("travel"), &["rail"], at(20)),
        "c" => (Some("travel"), &["rail", "slow"], at(22)),
        "d" => (None, &["slow"], at(1)),
        _ => (None, &[], None),
    };
    let mut words = Interner::default();
    Shown {
        title: Some(format!("title of {name}").into()),
        group: group.map(|group| words.word(group)),
        categories: categories.iter().map(|label| words.word(label)).collect(),
        published_at,
        attributes: [(words.word("author"), format!("writer of {name}").into())].into(),
        ..Shown::default()
    }
}

fn block(space: &Space, rows: &[(&str, Feature)], first: u32) -> Live {
    let dimension = rows.iter().map(|(_, feature)| feature.dense().len()).max();
    let mut builder = BlockBuilder::new(space.clone(), dimension.unwrap_or(0));
    for (name, feature) in rows {
        builder.push(id(name), 1, feature);
    }
    let slots = (0..rows.len() as u32).map(|n| Slot(first + n));
    let live = Arc::new(RowMask::all(rows.len()));
    let rows = Rows::new(Arc::new(builder.build()), slots.collect());
    Live {
        rows: Arc::new(rows),
        live,
    }
}

/// Domain `x`, active: vectors `a` to `e`, of which `a` has an incomplete list of two; and texts.
pub(super) async fn filled() -> Bench {
    let bench = bench();
    bench.rows.register("x", None).await;
    let listed = |slot: u32, name: &str, space: Space, entries: &[(u32, f32)], bound| Listed {
        slot: Slot(slot),
        id: id(name),
        expires_at: None,
        shown: Arc::new(shown_of(name)),
        space: Some(space),
        list: Some(ServedList {
            version: 1,
            entries: (entries.iter().map(|&(slot, score)| ListEntry {
                slot: Slot(slot),
                score,
            }))
            .collect(),
            bound,
            zero: false,
        }),
    };
    let own = Space::own(2);
    let vectors = DENSE.map(|(name, values)| {
        (
            name,
            Feature::new(values.to_vec(), vec![], vec![]).expect("a feature"),
        )
    });
    let english = Space::of_texts(&words_1(), "en");
    let mut texts = Vec::new();
    for (name, text) in [("t", "glacier glacier mountain"), ("u", "mountain hut")] {
        let row = ItemRow {
            title: None,
            language: Some("en".into()),
            ..item_row(name, 1)
        };
        bench.rows.put("x", row).await;
        let content = kindred_domain::store::Content {
            text: Some(text.into()),
            ..Default::default()
        };
        let write = StoreWrite::Content(id(name), content);
        bench.rows.write("x", vec![write]).await;
        texts.push((name, text_feature(text)));
    }
    let listed = vec![
        listed(0, "a", own.clone(), &[(1, 0.96), (2, 0.8)], Some(0.6)),
        listed(1, "b", own.clone(), &[], Some(1.0)),
        listed(2, "c", own.clone(), &[], Some(1.0)),
        listed(3, "d", own.clone(), &[], Some(1.0)),
        listed(4, "e", own.clone(), &[], Some(1.0)),
        listed(5, "t", english.clone(), &[], Some(1.0)),
        listed(6, "u", english.clone(), &[], Some(1.0)),
    ];
    let features = [
        (own.clone(), Box::from([block(&own, &vectors, 0)])),
        (english.clone(), Box::from([block(&english, &texts, 5)])),
    ];
    let change = ViewChange {
        replace: true,
        model: Some(words_1()),
        listed,
        features: Some(Features::new(features)),
        ..ViewChange::default()
    };
    let view = bench.views.open(&domain("x"), &bench.term);
    view.apply(change, 1_795_424_400_007);
    bench
}

/// The feature of a text of English words, without word vectors.
fn text_feature(text: &str) -> Feature {
    let mut terms: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for word in text.split(' ') {
        *terms.entry(word).or_default() += 1;
    }
    let task = kindred_shared::job::ExtractTask {
        space: Space::of_texts(&words_1(), "en"),
        rows: vec![kindred_shared::job::TermCounts {
            id: id("t"),
            terms: terms
                .into_iter()
                .map(|(word, count)| (word.into(), count))
                .collect(),
        }],
    };
    let models = compute_worker::models::Models::new(Arc::new(
        compute_worker::word_vectors::Vectors::none(),
    ));
    models.extract(&task).expect("a known model").remove(0)
}

async fn post(bench: &Bench, path: &str, body: &Value) -> Response {
    let request = TestRequest::post().uri(&format!("/v1/domains/x/{path}"));
    ask(bench, request.set_payload(body.to_string())).await
}

#[track_caller]
fn ids(answer: &Response) -> Vec<String> {
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    let typed: SimilarAnswer = serde_json::from_slice(&answer.body).expect("an answer");
    typed
        .similar
        .iter()
        .map(|item| item.id.to_string())
        .collect()
}

#[actix_web::test]
async fn conditions_are_parameters_or_json() {
    let bench = filled().await;
    let clause = |field: &str, values: &[&str]| json!({"field": field, "in": values});
    for (parameters, conditions, expected, computed) in [
        ("limit=2", json!({"limit": 2}), &["b", "c"][..], "list"),
        ("limit=3", json!({"limit": 3}), &["b", "c", "d"], "scan"),
        (
            "min_score=0.7",
            json!({"min_score": 0.7}),
            &["b", "c"],
            "list",
        ),
        (
            "exclude=b&exclude=d",
            json!({"exclude": ["b", "d"]}),
            &["c"],
            "scan",
        ),
        (
            "category=slow&limit=1",
            json!({"filter": {"all": [clause("categories", &["slow"])]}, "limit": 1}),
            &["c"],
            "list",
        ),
        (
            "category=slow&category=rail&not_group=travel",
            json!({"filter": {"all": [clause("categories", &["slow", "rail"])], "any": [],
                "none": [clause("group", &["travel"])]}}),
            &["d"],
            "scan",
        ),
        (
            "attribute.author=writer+of+d",
            json!({"filter": {"any": [clause("attributes.author", &["writer of d"])]}}),
            &["d"],
            "scan",
        ),
        (
            "not_attribute.author=writer%20of%20d",
            json!({"filter": {"none": [clause("attributes.author", &["writer of d"]), clause("id", &[])]}}),
            &["b", "c"],
            "scan",
        ),
        (
            "published_after=2026-11-20T09:00:00Z&published_before=2026-11-22T10%3A00%3A00%2B01:00",
            json!({"filter": {"all": [{"field": "published_at", "after": "2026-11-20T09:00:00Z",
                "before": "2026-11-22T09:00:00Z"}]}}),
            &["b"],
            "scan",
        ),
        (
            "half_life=4d",
            json!({"half_life": "4d"}),
            &["c", "b", "d"],
            "scan",
        ),
        (
            "balance=true&limit=1",
            json!({"balance": true, "limit": 1}),
            &["b"],
            "list",
        ),
        (
            "collapse=group",
            json!({"collapse": "group"}),
            &["b", "d"],
            "scan",
        ),
        (
            "collapse=near",
            json!({"collapse": "near"}),
            &["b", "d"],
            "scan",
        ),
        (
            "diversity=0.9",
            json!({"diversity": 0.9}),
            &["b", "d", "c"],
            "scan",
        ),
        (
            "min_score=0.9&fallback=newest&limit=4",
            json!({"min_score": 0.9, "fallback": "newest", "limit": 4}),
            &["b", "c", "d", "e"],
            "list",
        ),
    ] {
        let by_get = get(
            &bench,
            &format!("/v1/domains/x/items/a/similar?{parameters}"),
        )
        .await;
        assert_eq!(ids(&by_get), expected, "{parameters}");
        assert_eq!(by_get.json()["computed"], computed, "{parameters}");
        let mut query = conditions;
        query["items"] = json!([{"id": "a"}]);
        let by_post = post(&bench, "similar", &query).await;
        let (mut one, mut other) = (by_get.json(), by_post.json());
        if computed == "scan" {
            // Each as of the moment when it was asked.
            assert!(one["as_of"].is_string() && other["as_of"].is_string());
            (one["as_of"], other["as_of"]) = (Value::Null, Value::Null);
        }
        assert_eq!(strip_ranks(one), strip_ranks(other), "{parameters}");
    }
}

/// Ranks by age change with time.
fn strip_ranks(mut answer: Value) -> Value {
    for item in answer["similar"].as_array_mut().expect("a list") {
        item.as_object_mut().expect("an item").remove("rank");
    }
    answer
}

#[actix_web::test]
async fn an_answer_has_what_is_known_and_nothing_else() {
    let bench = filled().await;
    let answer = get(
        &bench,
        "/v1/domains/x/items/a/similar?limit=2&collapse=near",
    )
    .await;
    let body = answer.json();
    let first = &body["similar"][0];
    assert_eq!(first["group"], "travel");
    assert_eq!(first["categories"], json!(["rail"]));
    assert_eq!(first["published_at"], "2026-11-20T09:00:00.000Z");
    assert_eq!(first["also"], json!(["c"]), "its score with b is .936");
    let keys = |value: &Value| -> Vec<String> {
        let object = value.as_object().expect("an object");
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&body["similar"][1]),
        ["categories", "id", "published_at", "score", "title"]
    );
    assert_eq!(
        keys(&body),
        ["as_of", "computed", "domain", "id", "model", "similar"]
    );
    assert_eq!((&body["model"], &body["id"]), (&json!("own"), &json!("a")));
    let typed: SimilarAnswer = serde_json::from_slice(&answer.body).expect("an answer");
    assert_eq!(answer.body, serde_json::to_vec(&typed).expect("JSON"));
}

#[actix_web::test]
async fn several_items_a_vector_and_a_text_are_asked_of() {
    let bench = filled().await;
    let items = json!({"items": [{"id": "b"}, {"id": "zz"}, {"id": "e", "weight": -0.5}]});
    let answer = post(&bench, "similar", &items).await;
    assert_eq!(ids(&answer), ["a", "c", "d"]);
    let body = answer.json();
    assert_eq!(body["unknown"], json!(["zz"]));
    assert_eq!(body.get("id"), None);
    let score = body["similar"][0]["score"].as_f64().expect("a score");
    assert!((score - 0.96 / 1.5).abs() < 1e-6, "{score}");

    let vector = post(
        &bench,
        "similar",
        &json!({"vector": [0.0, 2.0], "limit": 2}),
    )
    .await;
    assert_eq!(ids(&vector), ["e", "d"]);
    assert_eq!(vector.json()["model"], "own");
    assert_eq!(vector.json()["similar"][0]["score"], 1.0);

    let text = json!({"text": "Glaciers? <b>The glacier!</b>", "language": "ger", "explain": true});
    assert_eq!(
        ids(&post(&bench, "similar", &text).await),
        [""; 0],
        "in German there is nothing"
    );
    let text =
        json!({"title": "The glacier", "text": "and a hut", "language": "en", "explain": true});
    let answer = post(&bench, "similar", &text).await;
    assert_eq!(ids(&answer), ["t", "u"]);
    assert_eq!(answer.json()["similar"][0]["language"], "en");
    assert_eq!(
        answer.json()["similar"][0]["why"]["terms"][0]["term"],
        "glacier"
    );

    let unknown = json!({"items": [{"id": "zz"}]});
    post(&bench, "similar", &unknown)
        .await
        .problem(404, "unknown-item");
}

#[actix_web::test]
async fn why_adds_up_to_the_score() {
    let bench = filled().await;
    for (name, has_terms) in [("a", false), ("t", true)] {
        let uri = format!("/v1/domains/x/items/{name}/similar?explain=true&limit=3");
        let answer = get(&bench, &uri).await;
        let typed: SimilarAnswer = serde_json::from_slice(&answer.body).expect("an answer");
        assert!(!typed.similar.is_empty());
        for item in typed.similar {
            let why = item.why.expect("why");
            let terms: f64 = why.terms.iter().flatten().map(|term| term.share).sum();
            let sum = why.dense + terms + why.rest.unwrap_or(0.0);
            assert!((sum - f64::from(item.score)).abs() < 1e-6, "{name}: {sum}");
            assert_eq!(
                (why.terms.is_some(), why.rest.is_some()),
                (has_terms, has_terms)
            );
            if let Some(terms) = why.terms {
                let words: Vec<&str> = terms.iter().map(|term| term.term.as_str()).collect();
                assert_eq!(words, ["mountain"], "that is all they share");
            }
        }
    }
}

#[actix_web::test]
async fn many_are_asked_at_once_and_each_is_answered() {
    let bench = filled().await;
    let queries = json!({"queries": [
        {"items": [{"id": "a"}], "limit": 1},
        {"items": [{"id": "zz"}]},
        {"vector": []},
        7,
        {"vector": [0.0, 1.0], "limit": 1},
    ]});
    let answer = post(&bench, "similar:batch", &queries).await;
    assert_eq!(answer.status, 200);
    let answers = answer.json()["answers"].clone();
    assert_eq!(answers[0]["similar"][0]["id"], "b");
    assert_eq!(answers[1]["type"], "/problems/unknown-item");
    assert_eq!(answers[1]["status"], 404);
    assert_eq!(answers[2]["field"], "vector");
    assert_eq!(answers[3]["field"], "queries[3]");
    assert_eq!(answers[4]["similar"][0]["id"], "e");
    for bad in [
        json!({}),
        json!({"queries": []}),
        json!({"queries": vec![json!({}); 101]}),
    ] {
        let problem = post(&bench, "similar:batch", &bad).await;
        assert_eq!(
            problem.problem(400, "invalid-parameter")["field"],
            "queries"
        );
    }
}

#[actix_web::test]
async fn pairs_are_scored() {
    let bench = filled().await;
    let pairs = json!({"pairs": [["a", "b"], ["a", "t"], ["a", "zz"], ["e", "e"]]});
    let answer = post(&bench, "scores", &pairs).await;
    assert_eq!(answer.json(), json!({"scores": [0.96, null, null, 1.0]}));
    for bad in [json!({"pairs": [["a"]]}), json!({"pairs": [["a", 1]]})] {
        let problem = post(&bench, "scores", &bad).await;
        assert_eq!(
            problem.problem(400, "invalid-parameter")["field"],
            "pairs[0]"
        );
    }
}

#[actix_web::test]
async fn no_query_waits_while_a_domain_is_loaded_anew() {
    let bench = filled().await;
    let change = ViewChange {
        renewed: vec![Renewed {
            id: id("new"),
            expires_at: None,
            shown: Arc::default(),
        }],
        ..ViewChange::default()
    };
    bench
        .views
        .open(&domain("x"), &bench.term)
        .apply(change, 1_795_424_400_008);
    let pairs = json!({"pairs": [["a", "b"], ["a", "new"]]});
    let scores = post(&bench, "scores", &pairs).await;
    assert_eq!(scores.status, 200, "{}", scores.json());
    let scores = scores.json()["scores"].clone();
    assert!(scores[0].is_number() && scores[1].is_null(), "{scores}");
    let answer = get(&bench, "/v1/domains/x/items/a/similar?exclude=b&exclude=d").await;
    assert_eq!(ids(&answer), ["c"]);
}

#[actix_web::test]
async fn what_is_not_known_is_named_with_the_nearest() {
    let bench = filled().await;
    for (query, field, nearest) in [
        ("limt=3", "limt", "limit"),
        ("categories=a", "categories", "category"),
        ("not_limit=3", "not_limit", "limit"),
        ("atribute.author=a", "atribute.author", "attribute.NAME"),
        ("attribute.=a", "attribute.", "attribute.NAME"),
    ] {
        let answer = get(&bench, &format!("/v1/domains/x/items/a/similar?{query}")).await;
        let problem = answer.problem(400, "unknown-parameter");
        assert_eq!(problem["field"], field);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(
            detail.contains(&format!("nearest is {nearest}.")),
            "{detail}"
        );
    }
    for (query, field) in [
        (json!({"item": [{"id": "a"}]}), "item"),
        (json!({"items": [{"id": "a", "wait": 1}]}), "wait"),
        (json!({"vector": [1, 0], "filter": {"al": []}}), "al"),
        (
            json!({"vector": [1, 0], "filter": {"all": [{"field": "id", "inn": []}]}}),
            "inn",
        ),
        (
            json!({"vector": [1, 0], "filter": {"all": [{"field": "category", "in": []}]}}),
            "category",
        ),
    ] {
        let answer = post(&bench, "similar", &query).await;
        assert_eq!(
            answer.problem(400, "unknown-parameter")["field"],
            field,
            "{query}"
        );
    }
}

#[actix_web::test]
async fn a_value_that_is_not_fit_is_named() {
    let bench = filled().await;
    for (query, field) in [
        ("limit=1001", "limit"),
        ("min_score=2", "min_score"),
        ("min_score=nan", "min_score"),
        ("min_score=.5&min_score=.6", "min_score"),
        ("half_life=7", "half_life"),
        ("half_life=0s", "half_life"),
        ("half_life=1d&balance=true", "balance"),
        ("balance=yes", "balance"),
        ("collapse=all", "collapse"),
        ("diversity=1.5", "diversity"),
        ("diversity=0.5&limit=101", "limit"),
        ("explain=true&limit=101", "limit"),
        ("explain=1", "explain"),
        ("fallback=oldest", "fallback"),
        ("published_after=2026-11-20", "published_after"),
        (
            "published_before=2026-11-22T09:00:00+01:00",
            "published_before",
        ),
        ("filter=x", "filter"),
    ] {
        let answer = get(&bench, &format!("/v1/domains/x/items/a/similar?{query}")).await;
        assert_eq!(
            answer.problem(400, "invalid-parameter")["field"],
            field,
            "{query}"
        );
    }
    let many = vec!["v"; 1_001];
    let clauses = vec![json!({"field": "id", "exists": true}); 65];
    let of = |filter: Value| json!({"vector": [1, 0], "filter": filter});
    for (query, field) in [
        (json!({}), "items"),
        (json!({"items": []}), "items"),
        (json!({"items": vec![json!({"id": "a"}); 101]}), "items"),
        (json!({"items": [{"id": "a"}], "text": "b"}), "items"),
        (json!({"items": [{"id": "a", "weight": 0}]}), "items"),
        (
            json!({"items": [{"id": "a"}, {"weight": 1}]}),
            "items[1].id",
        ),
        (
            json!({"items": [{"id": "a", "weight": "1"}]}),
            "items[0].weight",
        ),
        (json!({"text": 7}), "text"),
        (json!({"vector": [1, 0], "language": "en"}), "language"),
        (json!({"vector": [0, 0.0]}), "vector"),
        (json!({"vector": [1e39]}), "vector"),
        (json!({"vector": vec![1; 4_097]}), "vector"),
        (json!({"vector": [1, 0], "exclude": "a"}), "exclude"),
        (
            json!({"vector": [1, 0], "exclude": (0..1_001).map(|n| n.to_string()).collect::<Vec<_>>()}),
            "exclude",
        ),
        (of(json!([])), "filter"),
        (of(json!({"all": {}})), "filter.all"),
        (of(json!({"all": [7]})), "filter.all[0]"),
        (of(json!({"any": [{"in": ["a"]}]})), "filter.any[0]"),
        (of(json!({"none": [{"field": "group"}]})), "filter.none[0]"),
        (
            of(json!({"none": [{"field": "group", "in": ["a"], "exists": true}]})),
            "filter.none[0]",
        ),
        (
            of(json!({"all": [{"field": "group", "in": "a"}]})),
            "filter.all[0]",
        ),
        (
            of(json!({"all": [{"field": "group", "after": "2026-11-20T09:00:00Z"}]})),
            "filter.all[0]",
        ),
        (
            of(json!({"all": [{"field": "published_at", "in": ["2026"]}]})),
            "filter.all[0]",
        ),
        (
            of(json!({"all": [{"field": "published_at", "after": "2026"}]})),
            "filter.all[0].after",
        ),
        (of(json!({"all": clauses})), "filter"),
        (of(json!({"all": [{"field": "id", "in": many}]})), "filter"),
    ] {
        let answer = post(&bench, "similar", &query).await;
        assert_eq!(
            answer.problem(400, "invalid-parameter")["field"],
            field,
            "{query}"
        );
    }
    let long = json!({"text": "x".repeat(1_001)});
    let problem = post(&bench, "similar", &long).await;
    assert_eq!(problem.problem(413, "too-large")["field"], "text");
    let longer = json!({"text": "x".repeat(20_000)});
    post(&bench, "similar", &longer)
        .await
        .problem(413, "too-large");
    let broken = TestRequest::post()
        .uri("/v1/domains/x/similar")
        .set_payload("[1]");
    ask(&bench, broken).await.problem(400, "invalid-json");
}

#[actix_web::test]
async fn what_is_set_for_a_domain_counts_until_a_query_says_otherwise() {
    let bench = filled().await;
    let defaults = json!({"defaults": {"filter": {"none": [{"field": "id", "in": ["b"]}]},
        "limit": 1, "half_life": "4d", "diversity": 0.0}});
    let settings = serde_json::from_value(defaults).expect("settings");
    let change = ViewChange {
        settings: Some(Arc::new(settings)),
        ..ViewChange::default()
    };
    bench
        .views
        .open(&domain("x"), &bench.term)
        .apply(change, 1_795_424_400_007);
    for (query, expected) in [
        ("", &["c"][..]),
        ("limit=2", &["c", "d"]),
        ("half_life=none&limit=2", &["c", "d"]),
        ("filter=none&limit=3", &["c", "b", "d"]),
        ("filter=none&balance=true&limit=3", &["b", "c", "d"]),
        ("category=slow&limit=9", &["c", "d"]),
        // With diversity set, too: a larger limit goes before it.
        ("limit=200", &["c", "d"]),
    ] {
        let answer = get(&bench, &format!("/v1/domains/x/items/a/similar?{query}")).await;
        assert_eq!(ids(&answer), expected, "{query}");
    }
}

/// Nobody wakes domains here yet.
#[actix_web::test]
async fn a_query_of_a_domain_that_does_not_wake_says_when_to_ask_again() {
    let bench = bench();
    bench.rows.register("x", None).await;
    bench.rows.put("x", item_row("a", 1)).await;
    assert_eq!(
        get(&bench, "/v1/domains/x/items/a/similar?limit=50")
            .await
            .status,
        200
    );
    post(&bench, "similar", &json!({"items": [{"id": "a"}], "q": 1}))
        .await
        .problem(400, "unknown-parameter");
    let request = TestRequest::post().uri("/v1/domains/y/similar");
    let unknown = ask(&bench, request.set_payload(r#"{"vector":[1]}"#)).await;
    unknown.problem(404, "unknown-domain");
    let answer = get(&bench, "/v1/domains/x/items/a/similar?category=rail").await;
    answer.problem(503, "not-ready");
    assert_eq!(answer.header("retry-after"), Some("2"));
}

#[actix_web::test]
async fn an_id_that_nobody_has_is_excluded_as_well() {
    let bench = filled().await;
    let long = "x".repeat(400);
    let uri = format!("/v1/domains/x/items/a/similar?exclude={long}&limit=1");
    assert_eq!(ids(&get(&bench, &uri).await), ["b"]);
    assert!(ItemId::new(&long).is_err());
}
