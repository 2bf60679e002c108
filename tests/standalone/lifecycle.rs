//! What readers see while an item comes, is hidden, expires, goes and comes back.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use kindred_api::path::item;
use serde_json::json;

use crate::corpus::event::Event;
use crate::corpus::generated::vector_item;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

const DOMAIN: &str = "life.test";
const ITEMS: usize = 12;
const DIMENSION: usize = 8;
const QUIET: Duration = Duration::from_secs(30);
/// How long an expiring item lives.
const LIFE_MS: i64 = 1_500;

fn put(client: &Client, event: &Event) {
    client
        .put(&item(&event.domain, &event.id), &event.line)
        .with_status(202);
}

/// Ids of items, other than `id`, whose answers name it.
fn named_by(client: &Client, id: &str) -> Vec<String> {
    (0..ITEMS)
        .map(|n| format!("i{n}"))
        .filter(|other| other != id)
        .filter(|other| {
            client
                .similar(DOMAIN, other, 50)
                .unwrap_or_default()
                .iter()
                .any(|one| one.id.as_str() == id)
        })
        .collect()
}

#[test]
fn hidden_expired_and_deleted_items_are_in_no_answer_and_may_come_back() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let mut random = Random::of_test("lifecycle");
    let vectors: Vec<_> = (0..ITEMS)
        .map(|_| vector_item(&mut random, DIMENSION))
        .collect();
    for (n, said) in vectors.iter().enumerate() {
        put(client, &Event::created(DOMAIN, &format!("i{n}"), 1, said));
    }
    client.wait_quiet(QUIET);
    assert_eq!(named_by(client, "i0").len(), ITEMS - 1);

    let mut hidden = vectors[0].clone();
    hidden["hidden"] = json!(true);
    put(client, &Event::updated(DOMAIN, "i0", 2, &hidden));
    assert_eq!(client.similar(DOMAIN, "i0", 10), None, "hidden, at once");
    assert_eq!(
        named_by(client, "i0"),
        Vec::<String>::new(),
        "hidden, at once"
    );

    put(client, &Event::updated(DOMAIN, "i0", 3, &vectors[0]));
    client.wait_quiet(QUIET);
    assert_eq!(named_by(client, "i0").len(), ITEMS - 1, "shown again");

    client.delete(&item(DOMAIN, "i1")).with_status(202);
    assert_eq!(client.similar(DOMAIN, "i1", 10), None, "deleted, at once");
    assert_eq!(
        named_by(client, "i1"),
        Vec::<String>::new(),
        "deleted, at once"
    );

    let mut expiring = vectors[2].clone();
    let at = Utc::now() + TimeDelta::milliseconds(LIFE_MS);
    expiring["expires_at"] = json!(at.to_rfc3339_opts(SecondsFormat::Millis, true));
    put(client, &Event::updated(DOMAIN, "i2", 2, &expiring));
    wait_for("the expiring item's time is over", QUIET, || {
        let seen =
            named_by(client, "i2").len() + usize::from(client.similar(DOMAIN, "i2", 10).is_some());
        if Utc::now() < at {
            return Err(format!("its time is not over; in {seen} answers"));
        }
        // Asked after its time: nothing may be left, without any wait.
        let left = named_by(client, "i2");
        assert!(
            left.is_empty() && client.similar(DOMAIN, "i2", 10).is_none(),
            "{left:?}"
        );
        Ok(())
    });

    put(
        client,
        &Event::created(DOMAIN, "i1", u64::pow(2, 50), &vectors[1]),
    );
    put(client, &Event::created(DOMAIN, "i2", 3, &vectors[2]));
    client.wait_quiet(QUIET);
    assert_eq!(named_by(client, "i1").len(), ITEMS - 1, "back");
    assert_eq!(named_by(client, "i2").len(), ITEMS - 1, "back");
    kindred.stop();
}

#[test]
fn answers_have_the_contracts_fields_and_order() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let id = "a/b %2F é";
    let vectors = [
        [1.0, 0.0, 0.0],
        [0.9, 0.1, 0.0],
        [0.5, 0.5, 0.0],
        [0.0, 0.0, 1.0],
    ];
    for (n, vector) in vectors.iter().enumerate() {
        let id = if n == 0 {
            id.to_owned()
        } else {
            format!("i{n}")
        };
        let said = json!({"title": format!("title {n}"), "url": format!("https://life.test/{n}"), "vector": vector});
        put(client, &Event::created(DOMAIN, &id, 1, &said));
    }
    client.wait_quiet(QUIET);
    let answer = client
        .get(&format!("{}/similar?limit=2", item(DOMAIN, id)))
        .with_status(200);
    assert!(
        answer.content_type.starts_with("application/json"),
        "{}",
        answer.content_type
    );
    let answer = answer.json();
    assert_eq!(answer["domain"], DOMAIN);
    assert_eq!(answer["id"], id);
    assert_eq!(answer["model"], "own");
    assert!(
        answer["as_of"]
            .as_str()
            .is_some_and(|at| at.parse::<chrono::DateTime<Utc>>().is_ok()),
        "{answer}"
    );
    let similar = answer["similar"].as_array().unwrap();
    assert_eq!(similar.len(), 2, "the limit");
    assert_eq!(similar[0]["id"], "i1");
    assert_eq!(similar[0]["title"], "title 1");
    assert_eq!(similar[0]["url"], "https://life.test/1");
    assert_eq!(similar[1]["id"], "i2");
    let all = client.similar(DOMAIN, id, 50).unwrap();
    assert_eq!(all.len(), 2, "a score of 0 is no neighbour: {all:?}");
    assert!(
        all[0].score > all[1].score && all[0].score <= 1.0 + 1e-6,
        "{all:?}"
    );
    for path in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/v1/domains",
        "/v1/domains/life.test",
    ] {
        client.get(path).with_status(200);
    }
    kindred.stop();
}
