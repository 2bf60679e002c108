//! Models beside the served one: built, asked, served and served back while events come, and after kills.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kindred_api::model::{ModelAnswer, ModelState, ModelsAnswer};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::json;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAIN: &str = "models.test";
const READY: Duration = Duration::from_secs(120);
const QUIET: Duration = Duration::from_secs(120);
/// Items of the domain.
const ITEMS: usize = 90;

/// Words of texts, some for each of several matters.
const WORDS: [&str; 24] = [
    "train",
    "station",
    "sleeper",
    "railway",
    "carriage",
    "platform",
    "glacier",
    "mountain",
    "summit",
    "snow",
    "climber",
    "avalanche",
    "harbour",
    "ship",
    "sailor",
    "anchor",
    "storm",
    "lighthouse",
    "bread",
    "baker",
    "oven",
    "flour",
    "butter",
    "market",
];

fn text(n: usize) -> String {
    let word = |k: usize| WORDS[(n * 7 + k * (n % 5 + 1)) % WORDS.len()];
    let words: Vec<&str> = (0..14).map(word).collect();
    format!("The {} of item {n}.", words.join(" and the "))
}

fn line(n: usize) -> String {
    let id = format!("i{n}");
    json!({"type": "item.created", "domain": DOMAIN, "id": id, "text": text(n), "language": "en"})
        .to_string()
}

fn import(client: &Client, items: std::ops::Range<usize>) {
    let lines: Vec<String> = items.map(line).collect();
    client.batch(DOMAIN, &lines);
    client.wait_quiet(QUIET);
}

fn similar(client: &Client, id: &str, model: Option<&str>) -> SimilarAnswer {
    let model = model.map(|model| format!("&model={model}"));
    let path = path::item(DOMAIN, id);
    let path = format!("{path}/similar?limit=50{}", model.unwrap_or_default());
    client.get(&path).with_status(200).read()
}

/// Neighbours and scores, by item.
type Lists = BTreeMap<String, Vec<(String, f32)>>;

/// Where lists are others than expected.
fn differs(found: &Lists, expected: &Lists) -> Result<(), String> {
    match expected
        .iter()
        .find(|(id, list)| found.get(*id) != Some(*list))
    {
        None => Ok(()),
        Some((id, list)) => Err(format!("{id}: {:?}, expected {list:?}", found.get(id))),
    }
}

/// The lists of all items by a model.
fn lists(client: &Client, model: &str) -> Lists {
    let list = |n: usize| {
        let answer = similar(client, &format!("i{n}"), Some(model));
        assert_eq!(answer.model.as_str(), model);
        let similar = answer.similar.into_iter();
        let similar = similar.map(|one| (one.id.to_string(), one.score));
        (format!("i{n}"), similar.collect())
    };
    (0..ITEMS).map(list).collect()
}

fn model(client: &Client, name: &str) -> ModelAnswer {
    let path = path::model(DOMAIN, name);
    client.get(&path).with_status(200).read()
}

#[track_caller]
fn wait_ready(client: &Client, name: &str) {
    wait_for("a model to be ready", READY, || {
        let model = model(client, name);
        match model.state {
            ModelState::Ready => Ok(()),
            _ => Err(format!("{model:?}")),
        }
    });
}

fn activate(client: &Client, name: &str, was: &str) {
    let path = path::activate(DOMAIN, name);
    let answer = client.post(&path, &json!({})).with_status(200).json();
    assert_eq!(answer, json!({"active": name, "was": was}));
}

#[test]
fn a_model_is_as_exact_as_one_that_was_served_from_the_start_and_is_switched_under_load() {
    // What a domain of that model alone has.
    let expected = {
        let place = Place::beside_others();
        let kindred = Kindred::start(&place, &Start::default());
        let client = kindred.client();
        let set = json!({"model": "words-1"}).to_string();
        client.put(&path::domain(DOMAIN), &set).with_status(201);
        import(client, 0..ITEMS);
        lists(client, "words-1")
    };
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    import(client, 0..ITEMS / 2);
    let put = |name: &str, kind: &str| {
        let body = json!({"kind": kind}).to_string();
        client.put(&path::model(DOMAIN, name), &body)
    };
    put("other", "words-1").with_status(201);
    put("other", "words-1").with_status(200);
    let conflict = put("other", "text-2").with_status(409).json();
    assert_eq!(conflict["type"], "/problems/conflict");
    let unknown = put("odd", "words-7").with_status(400).json();
    assert!(
        unknown["detail"].as_str().unwrap().contains("words-1"),
        "{unknown}"
    );
    wait_ready(client, "other");
    // It is kept up with events.
    import(client, ITEMS / 2..ITEMS);
    let same = |client: &Client, name: &'static str| {
        wait_for("the same lists", QUIET, || {
            differs(&lists(client, name), &expected)
        });
    };
    same(client, "other");
    let before = lists(client, "text-2");
    let path = format!("{}/similar?model=none", path::item(DOMAIN, "i1"));
    let missing = client.get(&path).with_status(404).json();
    assert_eq!(missing["type"], "/problems/unknown-model");

    // Readers and publishers notice nothing but the model.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut seen = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                for n in (0..ITEMS).step_by(7) {
                    let answer = similar(client, &format!("i{n}"), None);
                    *seen.entry(answer.model.to_string()).or_insert(0) += 1;
                    let explained = json!({"items": [{"id": format!("i{n}")}], "limit": 70});
                    let queries = path::queries(DOMAIN);
                    client.post(&queries, &explained).with_status(200);
                }
            }
            seen
        });
        let writing = scope.spawn(|| {
            let put = |n: usize, text: String| {
                let body = json!({"text": text, "language": "en"});
                let item = path::item(DOMAIN, &format!("i{n}"));
                client.put(&item, &body.to_string()).with_status(202);
            };
            // Other texts each time, so that there is always a list to be stored.
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                put(n % ITEMS, text(n));
                n += 1;
            }
            (0..ITEMS).for_each(|n| put(n, text(n)));
        });
        for _ in 0..5 {
            activate(client, "other", "text-2");
            assert_eq!(similar(client, "i3", None).model.as_str(), "other");
            wait_ready(client, "text-2");
            activate(client, "text-2", "other");
            assert_eq!(similar(client, "i3", None).model.as_str(), "text-2");
        }
        activate(client, "other", "text-2");
        over.store(true, Ordering::Relaxed);
        let seen = reading.join().unwrap();
        assert_eq!(seen.len(), 2, "{seen:?}");
        writing.join().unwrap();
    });
    client.wait_quiet(QUIET);
    same(client, "other");
    let served = similar(client, "i3", None);
    assert_eq!(served.model.as_str(), "other");

    // What is served stays so over a kill, and the other one is ready to be served again.
    kindred.kill_9();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    assert_eq!(similar(client, "i3", None).model.as_str(), "other");
    same(client, "other");
    wait_for("the former lists", QUIET, || {
        differs(&lists(client, "text-2"), &before)
    });
    let all: ModelsAnswer = client.get(&path::models(DOMAIN)).with_status(200).read();
    let states = all.models.iter().map(|one| (one.name.as_str(), one.state));
    let expected_states = [("other", ModelState::Active), ("text-2", ModelState::Ready)];
    assert_eq!(states.collect::<Vec<_>>(), expected_states);
    client
        .delete(&path::model(DOMAIN, "other"))
        .with_status(409);
    client
        .delete(&path::model(DOMAIN, "text-2"))
        .with_status(204);
    client.get(&path::model(DOMAIN, "text-2")).with_status(404);
    client
        .delete(&path::model(DOMAIN, "text-2"))
        .with_status(404);
}

#[test]
fn a_model_that_is_being_built_goes_on_after_a_kill() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    import(kindred.client(), 0..ITEMS);
    let body = json!({"kind": "words-1"}).to_string();
    let path = path::model(DOMAIN, "words-1");
    kindred.client().put(&path, &body).with_status(201);
    let kindred = {
        kindred.kill_9();
        Kindred::start(&place, &Start::default())
    };
    wait_ready(kindred.client(), "words-1");
    // What readers are not to see they do not see by any model.
    let item = path::item(DOMAIN, "i5");
    kindred.client().delete(&item).with_status(202);
    for n in (0..ITEMS).filter(|n| *n != 5) {
        let answer = similar(kindred.client(), &format!("i{n}"), Some("words-1"));
        let ids = answer.similar.iter().map(|one| one.id.as_str());
        assert!(ids.into_iter().all(|id| id != "i5"));
    }
    let gone = format!("{item}/similar?model=words-1");
    kindred.client().get(&gone).with_status(404);
}

#[test]
fn an_arm_is_answered_by_its_model_which_stays_while_the_experiment_runs() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    import(client, 0..ITEMS);
    let experiment = format!("/v1/domains/{DOMAIN}/experiments/models");
    let arms = json!({"arms": [{"name": "served", "share": 0.5}, {"name": "other", "share": 0.5, "model": "other"}]});
    let unknown = client.put(&experiment, &arms.to_string()).with_status(404);
    assert_eq!(unknown.json()["type"], "/problems/unknown-model");
    let kind = json!({"kind": "words-1"}).to_string();
    let other = path::model(DOMAIN, "other");
    client.put(&other, &kind).with_status(201);
    wait_ready(client, "other");
    client.put(&experiment, &arms.to_string()).with_status(201);

    let (of_served, of_other) = (lists(client, "text-2"), lists(client, "other"));
    let mut answered = BTreeMap::new();
    for reader in 0..40 {
        let item = path::item(DOMAIN, "i3");
        let path = format!("{item}/similar?limit=50&reader=r{reader}");
        let answer: SimilarAnswer = client.get(&path).with_status(200).read();
        let arm = answer.arm.expect("an arm");
        let (model, lists) = match arm.as_str() {
            "served" => ("text-2", &of_served),
            _ => ("other", &of_other),
        };
        assert_eq!(answer.model.as_str(), model, "{arm}");
        let similar = answer.similar.into_iter();
        let similar: Vec<_> = similar.map(|one| (one.id.to_string(), one.score)).collect();
        assert_eq!(similar, lists["i3"], "{arm}");
        *answered.entry(arm).or_insert(0) += 1;
    }
    assert_eq!(answered.len(), 2, "{answered:?}");

    let conflict = client.delete(&other).with_status(409).json();
    assert_eq!(conflict["type"], "/problems/conflict");
    client.delete(&experiment).with_status(200);
    client.delete(&other).with_status(204);
}
