//! The log of a domain, page by page, and who is named in it.

use kindred_domain::log::LogEntry;
use kindred_domain::store::SettingsRow;
use kindred_shared::event::{NOBODY, Recorded};

use super::access::Guarded;
use super::*;
use crate::keys::{Peers, SIGNATURE, Signed};

const LOG: &str = "/v1/domains/x/log";

fn entry(number: i64) -> LogEntry {
    LogEntry {
        number,
        at: DateTime::from_timestamp_millis(1_795_424_400_000 + number).expect("a time"),
        by: "k1".to_owned(),
        what: "settings.changed".to_owned(),
        before: Value::Null,
        after: json!({"max_items": number}),
    }
}

/// What is in an answer: `max_items` of each entry, and where it goes on.
fn page(answer: &Response) -> (Vec<i64>, i64) {
    let answer = answer.json();
    let entries = answer["entries"].as_array().expect("entries").iter();
    let numbers = entries.map(|entry| entry["after"]["max_items"].as_i64().expect("a number"));
    let next = answer["next"].as_str().expect("next");
    (numbers.collect(), next.parse().expect("a number"))
}

#[actix_web::test]
async fn it_is_read_in_pages_from_the_row_and_the_table() {
    let bench = bench();
    get(&bench, LOG).await.problem(404, "unknown-domain");
    bench.rows.register("x", None).await;
    let empty = get(&bench, LOG).await;
    assert_eq!(empty.json(), json!({"entries": [], "next": "0"}));
    // 248 and 249 are in both; 251 was written to the table after the row was read.
    let end = json!({"newest": [entry(248), entry(249), entry(250)], "last": 250, "floor": 3});
    let row = SettingsRow {
        log: serde_json::from_value(end).expect("an end"),
        ..SettingsRow::default()
    };
    let mut rows: Vec<StoreWrite> = (1..250).map(entry).map(StoreWrite::Log).collect();
    rows.push(StoreWrite::Log(entry(251)));
    rows.push(StoreWrite::Settings(row));
    bench.rows.write("x", rows).await;

    let first = get(&bench, LOG).await;
    assert_eq!(
        first.json()["entries"][0],
        json!({"at": "2026-11-23T09:00:00.003Z", "by": "k1", "what": "settings.changed",
            "before": null, "after": {"max_items": 3}})
    );
    assert_eq!(page(&first), ((3..=102).collect(), 102));
    let (mut all, mut next) = page(&first);
    loop {
        let answer = get(&bench, &format!("{LOG}?after={next}")).await;
        let (more, after) = page(&answer);
        next = after;
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    assert_eq!((all, next), ((3..=250).collect(), 250));
    for (query, word) in [
        ("after=", "invalid-parameter"),
        ("after=x", "invalid-parameter"),
        ("after=-1", "invalid-parameter"),
        ("after=+1", "invalid-parameter"),
        ("after=9223372036854775808", "invalid-parameter"),
        ("after=1&after=2", "invalid-parameter"),
        ("since=1", "unknown-parameter"),
    ] {
        let problem = get(&bench, &format!("{LOG}?{query}"))
            .await
            .problem(400, word);
        let field = query.split('=').next();
        assert_eq!(problem["field"].as_str(), field, "{query}");
    }
    let far = get(&bench, &format!("{LOG}?after={}", i64::MAX)).await;
    assert_eq!(page(&far), (Vec::new(), i64::MAX));
}

fn recorded(bench: &Bench) -> Vec<Recorded> {
    let events = bench.publish.events.lock().expect("unpoisoned");
    let recorded = events.iter().filter_map(|event| match event {
        Event::Record(recorded) => Some((**recorded).clone()),
        _ => None,
    });
    recorded.collect()
}

#[actix_web::test]
async fn the_log_is_told_of_experiments_until_it_has_them() {
    let bench = bench();
    bench.rows.register("x", None).await;
    let at = "/v1/domains/x/experiments/fresh";
    let arms = json!({"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]});
    assert_eq!(put(&bench, at, &arms.to_string()).await.status, 201);
    let begun = recorded(&bench);
    assert_eq!(begun.len(), 1);
    assert_eq!(
        (&*begun[0].what, &*begun[0].by, begun[0].registered_at),
        ("experiment.begun", NOBODY, 1_500)
    );
    assert_eq!(begun[0].before, Value::Null);
    assert_eq!(
        (&begun[0].after["name"], &begun[0].after["arms"]),
        (&json!("fresh"), &arms["arms"])
    );
    // Nobody has recorded it here, as after a crash: whoever reads the log has that made up for.
    get(&bench, LOG).await;
    assert_eq!(recorded(&bench), [begun[0].clone(), begun[0].clone()]);
    let has = |number: i64| SettingsRow {
        log: serde_json::from_value(json!({"last": 1, "recorded": number})).expect("an end"),
        ..SettingsRow::default()
    };
    let row = StoreWrite::Settings(has(begun[0].number));
    bench.rows.write("x", vec![row]).await;
    bench.publish.events.lock().expect("unpoisoned").clear();
    get(&bench, LOG).await;
    assert_eq!(recorded(&bench), []);
    assert_eq!(ask(&bench, TestRequest::delete().uri(at)).await.status, 200);
    let ended = recorded(&bench);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].what, "experiment.ended");
    assert_eq!(
        (&ended[0].before, &ended[0].after),
        (&begun[0].after, &Value::Null)
    );
    assert!(ended[0].number > begun[0].number);
    // Both were missed, and the next one.
    let row = StoreWrite::Settings(has(0));
    bench.rows.write("x", vec![row]).await;
    bench.publish.events.lock().expect("unpoisoned").clear();
    let other = "/v1/domains/x/experiments/other";
    assert_eq!(put(&bench, other, &arms.to_string()).await.status, 201);
    let all = recorded(&bench);
    // Before it began, and once more because nothing is recorded here.
    let whats: Vec<&str> = all.iter().map(|one| &*one.what).collect();
    let [begun, ended] = ["experiment.begun", "experiment.ended"];
    assert_eq!(whats, [begun, ended, begun, ended, begun]);
}

#[actix_web::test]
async fn it_names_the_key_of_whoever_asked_and_nothing_else() {
    let guarded = Guarded::new(true).await;
    let (name, manage) = guarded.key(&["manage:a.example"]).await;
    let arms = json!({"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]});
    let arms = arms.to_string();
    let at = "/v1/domains/a.example/experiments/fresh";
    let ask = async |request: TestRequest| {
        let answer = answer_of(&guarded.lobby, &guarded.bench.metrics, request).await;
        answer.status
    };
    let with_key = TestRequest::put()
        .uri(at)
        .insert_header(("authorization", format!("Bearer {manage}")))
        // What a client says of itself counts for nothing.
        .insert_header(("x-kindred-by", "somebody"))
        .set_payload(arms.clone());
    assert_eq!(ask(with_key).await, 201);
    assert_eq!(recorded(&guarded.bench)[0].by, name);

    // Another instance says for whom it asks, and signs that.
    let peers = Peers::new("a secret that instances share");
    let sign = |path: &str| {
        let signed = Signed {
            to: "here:8080",
            method: "DELETE",
            path,
        };
        peers.sign(signed, b"").expect("randomness")
    };
    let delete = |signature: String, by: &str| {
        TestRequest::delete()
            .uri(at)
            .insert_header((SIGNATURE, signature))
            .insert_header(("x-kindred-proxied", "1"))
            .insert_header(("x-kindred-by", by))
    };
    let of_other = format!("{at}\nx-kindred-by: other");
    assert_eq!(ask(delete(sign(&of_other), "somebody")).await, 401);
    assert_eq!(ask(delete(sign(at), "somebody")).await, 401);
    assert_eq!(ask(delete(sign(&of_other), "other")).await, 200);
    let last = recorded(&guarded.bench).pop().expect("it ended");
    assert_eq!((&*last.what, &*last.by), ("experiment.ended", "other"));
}
