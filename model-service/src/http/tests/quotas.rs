//! Quotas of domains; removals are always admitted.

use kindred_domain::habits::Habits;
use kindred_domain::log::LogEnd;
use kindred_domain::models::Models;
use kindred_domain::settings::DomainSettings;
use kindred_domain::store::SettingsRow;

use super::*;

async fn limited(settings: DomainSettings) -> Bench {
    let bench = bench();
    bench.rows.register("x", None).await;
    let row = SettingsRow {
        settings,
        updated_at: DateTime::from_timestamp_millis(1).expect("a time"),
        answered: Vec::new(),
        habits: Habits::default(),
        models: Models::default(),
        log: LogEnd::default(),
    };
    bench.rows.write("x", vec![StoreWrite::Settings(row)]).await;
    bench.rows.put("x", item_row("there", 1)).await;
    bench
}

#[track_caller]
fn over_quota(answer: &Response) {
    answer.problem(429, "over-quota");
    assert!(answer.header("retry-after").is_some());
}

/// Everything that removes an item: a deletion, and puts and patches that hide.
async fn take_away(bench: &Bench) {
    let delete = TestRequest::delete().uri("/v1/domains/x/items/there");
    assert_eq!(ask(bench, delete).await.status, 202);
    let hidden = r#"{"title":"t","hidden":true}"#;
    assert_eq!(
        put(bench, "/v1/domains/x/items/new", hidden).await.status,
        202
    );
    let patch = TestRequest::patch().uri("/v1/domains/x/items/there");
    let patch = patch.set_payload(r#"{"hidden":true}"#);
    assert_eq!(ask(bench, patch).await.status, 202);
}

#[actix_web::test]
async fn a_domain_has_so_many_items() {
    // The registered row says that three are live.
    let bench = limited(DomainSettings {
        max_items: Some(3),
        ..DomainSettings::default()
    })
    .await;
    let new = |id: &str| format!("/v1/domains/x/items/{id}");
    let body = r#"{"title":"t"}"#;
    over_quota(&put(&bench, &new("fourth"), body).await);
    assert_eq!(
        put(&bench, &new("there"), body).await.status,
        202,
        "it is there"
    );
    let lines = [line("there"), line("fifth"), line("there")].join("\n");
    let answer = batch(&bench, lines).await.json();
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["type"], "/problems/over-quota");
    take_away(&bench).await;
}

#[actix_web::test]
async fn a_domain_has_so_many_events_a_second() {
    let bench = limited(DomainSettings {
        max_events_per_second: Some(1),
        ..DomainSettings::default()
    })
    .await;
    let uri = "/v1/domains/x/items/a";
    let body = r#"{"title":"t"}"#;
    let mut answer = put(&bench, uri, body).await;
    assert_eq!(answer.status, 202);
    // On a slow machine more than one may be in time.
    for _ in 0..100 {
        if answer.status != 202 {
            break;
        }
        answer = put(&bench, uri, body).await;
    }
    over_quota(&answer);
    take_away(&bench).await;
    let elsewhere = put(&bench, "/v1/domains/y/items/a", body).await;
    assert_eq!(elsewhere.status, 202, "another domain");
    // A batch waits for its turn instead.
    let begun = std::time::Instant::now();
    let answer = batch(&bench, [line("a"), line("b")].join("\n"))
        .await
        .json();
    assert_eq!(answer["accepted"], 2);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(900));
}

#[actix_web::test]
async fn texts_of_a_domain_are_so_long() {
    let bench = limited(DomainSettings {
        max_text: Some(10),
        ..DomainSettings::default()
    })
    .await;
    let uri = "/v1/domains/x/items/a";
    assert_eq!(
        put(&bench, uri, r#"{"text":"ten bytes."}"#).await.status,
        202
    );
    let long = put(&bench, uri, r#"{"text":"eleven byte"}"#).await;
    over_quota(&long);
    assert_eq!(long.json()["field"], "text");
    let hidden = r#"{"text":"eleven byte","hidden":true}"#;
    assert_eq!(put(&bench, uri, hidden).await.status, 202);
}
