//! Experiments: start and end, answers for their readers, and their feedback.

use super::queries::filled;
use super::*;
use crate::actors::experiments::Experiments;
use crate::actors::owner::Owner;
use crate::intake::embedded::NoWatchers;
use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::experiment::{Arm, Experiment};
use kindred_domain::store::{Epoch, Partition, Store};

const AT: &str = "/v1/domains/x/experiments/fresh";

/// Two arms: unchanged, and at most one item.
fn halves() -> String {
    json!({"salt": "s", "arms": [{"name": "ever", "share": 0.5},
        {"name": "one", "share": 0.5, "model": "words-1", "defaults": {"limit": 1}}]})
    .to_string()
}

async fn delete(bench: &Bench, uri: &str) -> Response {
    ask(bench, TestRequest::delete().uri(uri)).await
}

async fn post(bench: &Bench, uri: &str, body: impl Into<Bytes>) -> Response {
    ask(bench, TestRequest::post().uri(uri).set_payload(body)).await
}

fn event(kind: &str, event: &str, reader: &str, arm: &str) -> Value {
    json!({"type": format!("reader.{kind}"), "event": event, "reader": reader, "item": "a", "from": "b",
        "position": 2, "experiment": "fresh", "arm": arm})
}

/// Readers that are in one of these arms.
fn readers(arm: usize) -> impl Iterator<Item = String> {
    let arms = ["ever", "one"].map(|name| Arm {
        name: name.to_owned(),
        share: 0.5,
        model: None,
        defaults: None,
    });
    let experiment = Experiment {
        name: "fresh".to_owned(),
        salt: "s".to_owned(),
        arms: arms.to_vec(),
    };
    let names = (0..).map(|n| format!("r{n}"));
    names.filter(move |name| experiment.arm_of(name) == Some(arm))
}

#[actix_web::test]
async fn one_runs_at_most_and_is_kept_when_it_ends() {
    let bench = bench();
    bench.rows.register("x", None).await;
    get(&bench, AT).await.problem(404, "unknown-experiment");
    let begun = put(&bench, AT, &halves()).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let begun = begun.json();
    assert_eq!(
        (&begun["name"], &begun["salt"]),
        (&json!("fresh"), &json!("s"))
    );
    assert_eq!(
        (&begun["p"], &begun["sample_ratio_p"]),
        (&json!(1.0), &json!(1.0))
    );
    assert_eq!(begun["arms"][1]["defaults"], json!({"limit": 1}));
    assert_eq!(begun["arms"][0]["readers"], 0);
    // The same again.
    let again = put(&bench, AT, &halves()).await;
    assert_eq!((again.status, again.json()), (200, begun.clone()));
    // Another one, or a different one with the same name.
    let other = "/v1/domains/x/experiments/other";
    let problem = put(&bench, other, &halves()).await.problem(409, "conflict");
    assert!(
        problem["detail"]
            .as_str()
            .expect("words")
            .contains("\"fresh\"")
    );
    let otherwise = halves().replace("\"s\"", "\"t\"");
    put(&bench, AT, &otherwise).await.problem(409, "conflict");
    delete(&bench, other)
        .await
        .problem(404, "unknown-experiment");
    assert_eq!(get(&bench, AT).await.json(), begun);

    let ended = delete(&bench, AT).await;
    assert_eq!(ended.status, 200);
    let ended = ended.json();
    assert!(ended["ended"].is_string(), "{ended}");
    assert_eq!(delete(&bench, AT).await.json(), ended);
    assert_eq!(get(&bench, AT).await.json(), ended);
    assert_eq!(put(&bench, other, &halves()).await.status, 201);
    let all = get(&bench, "/v1/domains/x/experiments").await.json();
    assert_eq!(
        all,
        json!({"experiments": [{"name": "fresh", "since": begun["since"], "ended": ended["ended"]},
            {"name": "other", "since": get(&bench, other).await.json()["since"]}]})
    );
    for n in 0..25 {
        delete(&bench, other).await;
        let uri = format!("/v1/domains/x/experiments/n{n:02}");
        assert_eq!(put(&bench, &uri, &halves()).await.status, 201);
        delete(&bench, &uri).await;
    }
    let all = get(&bench, "/v1/domains/x/experiments").await.json();
    let all = all["experiments"].as_array().expect("a list").len();
    assert_eq!(all, 20, "so many are kept");
}

#[actix_web::test]
async fn what_cannot_be_an_experiment_is_named() {
    let bench = bench();
    bench.rows.register("x", None).await;
    put(&bench, "/v1/domains/y/experiments/fresh", &halves())
        .await
        .problem(404, "unknown-domain");
    get(&bench, "/v1/domains/y/experiments")
        .await
        .problem(404, "unknown-domain");
    let arms = |arms: Value| json!({ "arms": arms }).to_string();
    let (a, b) = (
        json!({"name": "a", "share": 0.5}),
        json!({"name": "b", "share": 0.5}),
    );
    let second = |name: &str, value: Value| {
        let mut b = b.clone();
        b[name] = value;
        arms(json!([a, b]))
    };
    for (body, status, word, field) in [
        ("[]".to_owned(), 400, "invalid-json", None),
        (
            json!({"armes": []}).to_string(),
            400,
            "unknown-parameter",
            Some("armes"),
        ),
        ("{}".to_owned(), 422, "invalid-field", Some("arms")),
        (arms(json!([a])), 422, "invalid-field", Some("arms")),
        (arms(json!([a, 7])), 422, "invalid-field", Some("arms[1]")),
        (
            arms(json!([a, a])),
            422,
            "invalid-field",
            Some("arms[1].name"),
        ),
        (
            second("share", json!("half")),
            422,
            "invalid-field",
            Some("arms[1].share"),
        ),
        (
            second("share", json!(0.6)),
            422,
            "invalid-field",
            Some("arms"),
        ),
        (
            second("name", json!("no name")),
            422,
            "invalid-field",
            Some("arms[1].name"),
        ),
        (
            second("limit", json!(1)),
            400,
            "unknown-parameter",
            Some("limit"),
        ),
        (
            second("defaults", json!({"limt": 1})),
            422,
            "invalid-field",
            Some("arms[1].defaults"),
        ),
        (
            second("defaults", json!({"limit": 0})),
            422,
            "invalid-field",
            Some("arms[1].defaults"),
        ),
        (
            second("defaults", json!({"balance": true, "half_life": "1d"})),
            422,
            "invalid-field",
            Some("arms[1].defaults"),
        ),
        (
            second("model", json!("No")),
            422,
            "invalid-field",
            Some("arms[1].model"),
        ),
        (
            second("model", json!("text-2")),
            404,
            "unknown-model",
            Some("arms[1].model"),
        ),
        (
            json!({"salt": 7, "arms": [a, b]}).to_string(),
            422,
            "invalid-field",
            Some("salt"),
        ),
    ] {
        let problem = put(&bench, AT, &body).await.problem(status, word);
        assert_eq!(problem["field"].as_str(), field, "{body}");
    }
    let odd = put(&bench, "/v1/domains/x/experiments/a%20b", &halves()).await;
    odd.problem(422, "invalid-field");
}

#[actix_web::test]
async fn a_reader_is_answered_with_the_conditions_of_its_arm() {
    let bench = filled().await;
    let similar = |query: &str| {
        let uri = format!("/v1/domains/x/items/a/similar{query}");
        let bench = &bench;
        async move { get(bench, &uri).await }
    };
    let count = |answer: &Response| answer.json()["similar"].as_array().expect("a list").len();
    let (ever, one) = (
        readers(0).next().expect("one"),
        readers(1).next().expect("one"),
    );
    // Nothing runs.
    let plain = similar("").await;
    let alone = similar(&format!("?reader={one}")).await;
    assert_eq!(alone.json()["similar"], plain.json()["similar"]);
    assert!(alone.json().get("arm").is_none());
    assert_eq!(alone.header("cache-control"), Some("private, no-cache"));
    assert_eq!(plain.header("cache-control"), Some("no-cache"));
    let encoded = similar(&format!("?%72eader={one}")).await;
    assert_eq!(encoded.header("cache-control"), Some("private, no-cache"));

    assert_eq!(put(&bench, AT, &halves()).await.status, 201);
    let of_one = similar(&format!("?reader={one}")).await;
    let body = of_one.json();
    assert_eq!(
        (&body["experiment"], &body["arm"]),
        (&json!("fresh"), &json!("one"))
    );
    assert_eq!(count(&of_one), 1);
    assert_eq!(of_one.header("cache-control"), Some("private, no-cache"));
    // A query's own condition takes precedence over the arm's.
    assert_eq!(count(&similar(&format!("?reader={one}&limit=2")).await), 2);
    let of_ever = similar(&format!("?reader={ever}")).await;
    assert_eq!(of_ever.json()["arm"], "ever");
    assert_eq!(of_ever.json()["similar"], plain.json()["similar"]);
    assert_ne!(of_ever.header("etag"), plain.header("etag"));
    let nobody = similar("").await;
    assert!(nobody.json().get("experiment").is_none());

    let query = json!({"vector": [1.0, 0.0], "reader": one});
    let asked = post(&bench, "/v1/domains/x/similar", query.to_string()).await;
    assert_eq!((count(&asked), &asked.json()["arm"]), (1, &json!("one")));
    let queries =
        json!({"queries": [query, {"vector": [1.0, 0.0], "reader": ever}, {"vector": [1.0, 0.0]}]});
    let batch = post(&bench, "/v1/domains/x/similar:batch", queries.to_string()).await;
    let arms = &batch.json()["answers"];
    assert_eq!(
        (&arms[0]["arm"], &arms[1]["arm"]),
        (&json!("one"), &json!("ever"))
    );
    assert!(arms[2].get("arm").is_none());

    for bad in [
        "?reader=",
        "?reader=a&reader=b",
        &format!("?reader={}", "r".repeat(257)),
    ] {
        let problem = similar(bad).await.problem(400, "invalid-parameter");
        assert_eq!(problem["field"], "reader");
    }
    let bad = json!({"vector": [1.0, 0.0], "reader": 7});
    let bad = post(&bench, "/v1/domains/x/similar", bad.to_string()).await;
    bad.problem(400, "invalid-parameter");

    delete(&bench, AT).await;
    let alone = similar(&format!("?reader={one}")).await.json();
    assert_eq!(alone["similar"], plain.json()["similar"]);
    assert!(alone.get("experiment").is_none());
}

#[actix_web::test]
async fn what_readers_did_is_counted_once() {
    let bench = bench();
    bench.rows.put("x", item_row("a", 1)).await;
    bench.rows.register("x", None).await;
    let uri = "/v1/domains/x/feedback";
    put(&bench, AT, &halves()).await;
    let lines = |events: &[Value]| {
        let lines = events.iter().map(Value::to_string);
        lines.collect::<Vec<_>>().join("\n")
    };
    let [ever, one] = [0, 1].map(|arm| readers(arm).next().expect("a reader"));
    let first = [
        event("seen", "e1", &ever, "ever"),
        event("clicked", "e2", &ever, "ever"),
        event("seen", "e3", &one, "one"),
        event("seen", "e1", &ever, "ever"),
    ];
    for _ in 0..2 {
        let answer = post(&bench, uri, lines(&first)).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json(), json!({"accepted": 4, "refused": []}));
    }
    let mut wrong = [
        event("seen", "e4", &one, "one"),
        event("seen", "e5", &one, "two"),
        event("left", "e6", &one, "one"),
        event("seen", "e7", &one, "one"),
        event("seen", "e8", &one, "one"),
        event("seen", "e9", &one, "ever"),
    ];
    wrong[3]["item"] = json!("nowhere");
    wrong[4]["experiment"] = json!("other");
    let answer = post(&bench, uri, Value::from(wrong.to_vec()).to_string()).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["accepted"]), (202, &json!(1)));
    let refused = told["refused"].as_array().expect("a list").iter();
    let refused: Vec<_> = refused
        .map(|one| {
            (
                one["line"].as_u64(),
                one["type"].as_str(),
                one["field"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        refused,
        [
            (Some(2), Some("/problems/unknown-arm"), Some("arm")),
            (Some(3), Some("/problems/unknown-type"), Some("type")),
            (Some(4), Some("/problems/unknown-item"), Some("item")),
            (
                Some(5),
                Some("/problems/unknown-experiment"),
                Some("experiment")
            ),
            (Some(6), Some("/problems/unknown-arm"), Some("arm")),
        ]
    );
    let broken = post(&bench, uri, "{\n").await.json();
    assert_eq!(broken["refused"][0]["type"], "/problems/invalid-json");
    post(&bench, uri, "[{").await.problem(400, "invalid-json");
    post(&bench, "/v1/domains/y/feedback", lines(&first))
        .await
        .problem(404, "unknown-domain");

    let counts = |answer: &Value| {
        let arms = answer["arms"].as_array().expect("arms").iter();
        arms.map(|arm| {
            ["readers", "seen", "clicked"].map(|name| arm[name].as_u64().expect("a count"))
        })
        .collect::<Vec<_>>()
    };
    let figures = get(&bench, AT).await.json();
    assert_eq!(counts(&figures), [[1, 1, 1], [1, 2, 0]]);
    assert_eq!(figures["arms"][0]["rate"], 1.0);

    // The next owner computes the same sums.
    let store = &bench.rows.store;
    let next = Experiments::new(
        Arc::clone(store) as Arc<dyn ExperimentStore>,
        Arc::clone(store) as Arc<dyn Store>,
        Arc::clone(&bench.views),
        Arc::new(NoWatchers),
        Arc::clone(&bench.metrics),
    );
    let owner = Owner::new(
        Partition(0),
        Epoch(2),
        Arc::clone(&bench.term),
        Arc::default(),
    );
    next.host(Partition(0), Arc::new(owner));
    let row = store
        .domain(&domain("x"))
        .await
        .expect("a store")
        .expect("a row");
    let read = next
        .figures(row, "fresh".to_owned())
        .await
        .expect("figures");
    let seen: Vec<_> = read
        .sums
        .iter()
        .map(|sums| (sums.readers, sums.seen))
        .collect();
    assert_eq!(seen, [(1, 1), (1, 2)]);

    // On the page, too.
    let html = ("accept", "text/html");
    let view = TestRequest::get()
        .uri("/domains/x/experiments")
        .insert_header(html);
    let view = ask(&bench, view).await;
    let view = std::str::from_utf8(&view.body).expect("text");
    assert!(
        view.contains("No difference is proven yet") && view.contains("<svg class=\"intervals\"")
    );

    // An ended experiment counts nothing more, and a new run starts empty.
    let ended = delete(&bench, AT).await.json();
    assert_eq!(counts(&ended), counts(&figures));
    let late = post(&bench, uri, event("seen", "e10", &one, "one").to_string()).await;
    assert_eq!(
        late.json()["refused"][0]["type"],
        "/problems/unknown-experiment"
    );
    put(&bench, AT, &halves()).await;
    assert_eq!(
        counts(&get(&bench, AT).await.json()),
        [[0, 0, 0], [0, 0, 0]]
    );
    post(&bench, uri, lines(&first)).await;
    assert_eq!(
        counts(&get(&bench, AT).await.json()),
        [[1, 1, 1], [1, 1, 0]]
    );

    // Divided anew, under the same name: what readers did in their arms before comes too late.
    delete(&bench, AT).await;
    put(&bench, AT, &halves().replace("\"s\"", "\"anew\"")).await;
    let before: Vec<Value> = (0..20)
        .zip(readers(1))
        .map(|(n, reader)| event("clicked", &format!("l{n}"), &reader, "one"))
        .collect();
    let told = post(&bench, uri, lines(&before)).await.json();
    let refused = told["refused"].as_array().expect("a list");
    assert!((1..20).contains(&refused.len()), "{told}");
    let of_an_arm = |one: &Value| one["type"] == "/problems/unknown-arm";
    assert!(refused.iter().all(of_an_arm), "{told}");
    let clicked = counts(&get(&bench, AT).await.json());
    assert_eq!(clicked[0], [0, 0, 0]);
    assert_eq!(Some(clicked[1][2]), told["accepted"].as_u64());
    let metrics = bench.metrics.render();
    for outcome in ["counted", "again", "unknown-arm"] {
        let told = format!("kindred_feedback_events_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&told), "{outcome}");
    }
}

#[actix_web::test]
async fn many_who_send_at_once_are_all_counted() {
    let bench = bench();
    bench.rows.put("x", item_row("a", 1)).await;
    bench.rows.register("x", None).await;
    put(&bench, AT, &halves()).await;
    let sent = (0..40_u32).map(|n| {
        let events: Vec<Value> = (0..50)
            .zip(readers(1))
            .map(|(k, reader)| event("seen", &format!("e{}", (n / 2) * 50 + k), &reader, "one"))
            .collect();
        post(
            &bench,
            "/v1/domains/x/feedback",
            Value::from(events).to_string(),
        )
    });
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.json(), json!({"accepted": 50, "refused": []}));
    }
    let arm = &get(&bench, AT).await.json()["arms"][1];
    // Each of 1,000 was sent twice.
    assert_eq!((&arm["readers"], &arm["seen"]), (&json!(50), &json!(1_000)));
}
