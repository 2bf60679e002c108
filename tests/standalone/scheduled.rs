//! What is published later: invisible until its time, and visible by itself from then on.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kindred_api::path::item;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAIN: &str = "later.test";
const QUIET: Duration = Duration::from_secs(30);
/// How long an item is kept back.
const KEPT_BACK: TimeDelta = TimeDelta::milliseconds(2_500);
/// How soon after its time it is to be visible.
const SOON: TimeDelta = TimeDelta::seconds(1);

fn put(client: &Client, id: &str, publish_at: Option<DateTime<Utc>>) -> Value {
    let at = publish_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let body = json!({"title": format!("Night &amp; <b>trains</b> {id}"), "vector": [1.0, 0.5],
        "publish_at": at, "image": "https://later.test/a.webp"});
    let answer = client.put(&item(DOMAIN, id), &body.to_string());
    answer.with_status(202).json()
}

fn status(client: &Client, id: &str) -> Value {
    let told = client.get(&item(DOMAIN, id)).with_status(200).json();
    told["status"].clone()
}

/// Waits until an item is answered, and its neighbour names it; when that was.
fn appears(client: &Client, id: &str, at: DateTime<Utc>) -> DateTime<Utc> {
    wait_for("the item appears", QUIET, || {
        let similar = client.similar(DOMAIN, id, 10);
        // The answer was made before now; how long it took to come says nothing.
        let answered = Utc::now();
        match similar {
            None => Err(format!(
                "not visible; {} ms late",
                (answered - at).num_milliseconds()
            )),
            Some(_) => {
                assert!(answered >= at, "it appears too soon");
                Ok(answered)
            }
        }
    })
}

#[test]
fn an_item_appears_at_its_time_and_not_before() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    put(client, "a", None);
    put(client, "b", None);
    client.wait_quiet(QUIET);

    let at = Utc::now() + KEPT_BACK;
    assert_eq!(put(client, "b", Some(at))["gone"], true, "it was visible");
    assert_eq!(client.similar(DOMAIN, "b", 10), None);
    assert_eq!(client.similar(DOMAIN, "a", 10).unwrap(), vec![]);
    assert_eq!(status(client, "b"), "scheduled");
    let appeared = appears(client, "b", at);
    assert!(appeared <= at + SOON, "{} late", appeared - at);
    client.wait_quiet(QUIET);
    let similar = client.similar(DOMAIN, "a", 10).unwrap();
    assert_eq!(similar.len(), 1);
    assert_eq!(similar[0].title.as_deref(), Some("Night & trains b"));
    assert_eq!(status(client, "b"), "live");
    kindred.stop();
}

#[test]
fn an_item_of_a_domain_that_sleeps_appears_too() {
    let place = Place::beside_others();
    let start = Start {
        idle_after: Some("1s"),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &start);
    let client = kindred.client();
    put(client, "a", None);
    let at = Utc::now() + TimeDelta::seconds(12);
    put(client, "b", Some(at));
    wait_for("the domain sleeps", QUIET, || {
        let domains = client.try_domains()?;
        let state = domains[0].state.word();
        if state == "asleep" {
            Ok(())
        } else {
            Err(state.to_owned())
        }
    });
    assert!(Utc::now() < at, "it slept too late for this test");
    assert_eq!(client.similar(DOMAIN, "b", 10), None);
    let appeared = appears(client, "b", at);
    assert!(appeared <= at + SOON, "{} late", appeared - at);
    wait_for("the lists name it", QUIET, || {
        match client.similar(DOMAIN, "a", 10).unwrap_or_default() {
            found if found.len() == 1 => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
    kindred.stop();
}
