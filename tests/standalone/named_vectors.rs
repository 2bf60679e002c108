//! Models of vectors that items bring under a name: exact, kept so with every event, served, and kept over kills.

use std::collections::BTreeMap;
use std::time::Duration;

use compute_worker::models::Own;
use kindred_api::model::{ModelAnswer, ModelState, ModelsAnswer};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::{Value, json};

use crate::exactness::reference::canonical_score;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

pub(super) const DOMAIN: &str = "vectors.test";
pub(super) const SOON: Duration = Duration::from_secs(120);
pub(super) const ITEMS: usize = 80;
/// Neighbours of an item.
pub(super) const NEIGHBOURS: usize = 50;

/// The vectors of the items that are there, by item and name. `own` is the one that events have as `vector`.
pub(super) type Vectors = BTreeMap<String, BTreeMap<String, Vec<f32>>>;

pub(super) fn vector(random: &mut Random, length: usize) -> Vec<f32> {
    // From few values, so that there are ties.
    let value = |random: &mut Random| [-1.0, 0.0, 0.5, 1.0, 2.0][random.below(5)];
    let mut values: Vec<f32> = (0..length).map(|_| value(random)).collect();
    values[random.below(length)] = 1.0;
    values
}

/// What an item brings: `clip` of two lengths, `audio` and its own, each of them perhaps not.
pub(super) fn vectors(random: &mut Random) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    if random.chance(0.8) {
        let length = if random.chance(0.25) { 7 } else { 18 };
        all.insert("clip".to_owned(), vector(random, length));
    }
    if random.chance(0.5) {
        all.insert("audio".to_owned(), vector(random, 3));
    }
    if random.chance(0.3) {
        all.insert("own".to_owned(), vector(random, 5));
    }
    all
}

pub(super) fn item(id: &str, title: &str, vectors: &BTreeMap<String, Vec<f32>>) -> Value {
    let mut named = vectors.clone();
    let own = named.remove("own");
    json!({"type": "item.updated", "domain": DOMAIN, "id": id, "title": title, "language": "en",
        "vector": own, "vectors": named})
}

pub(super) fn send(client: &Client, items: &[Value]) {
    let lines: Vec<String> = items.iter().map(Value::to_string).collect();
    client.batch(DOMAIN, &lines);
    client.wait_quiet(SOON);
}

pub(super) fn put(client: &Client, name: &str, body: &Value) -> crate::support::client::Response {
    client.put(&path::model(DOMAIN, name), &body.to_string())
}

pub(super) fn of_vector(client: &Client, name: &str, vector: &str) {
    let answer = put(client, name, &json!({"kind": "vectors", "vector": vector}));
    let answer = answer.with_status(201).json();
    assert_eq!(answer["kind"], "vectors");
    assert_eq!(answer["vector"], vector);
    wait_ready(client, name);
}

pub(super) fn wait_ready(client: &Client, name: &str) {
    wait_for("a model to be ready", SOON, || {
        let model: ModelAnswer = client
            .get(&path::model(DOMAIN, name))
            .with_status(200)
            .read();
        match model.state {
            ModelState::Ready => Ok(()),
            _ => Err(format!("{model:?}")),
        }
    });
}

pub(super) fn similar(client: &Client, id: &str, model: &str) -> SimilarAnswer {
    let path = path::item(DOMAIN, id);
    let path = format!("{path}/similar?limit={NEIGHBOURS}&model={model}");
    client.get(&path).with_status(200).read()
}

pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What is wrong with the lists of a model, which must be those of brute force over the vectors of a name.
pub(super) fn wrong(
    client: &Client,
    model: &str,
    name: &str,
    items: &Vectors,
) -> Result<(), String> {
    for (id, its) in items {
        let found = similar(client, id, model);
        let found: Vec<(String, u32)> = found
            .similar
            .iter()
            .map(|one| (one.id.to_string(), one.score.to_bits()))
            .collect();
        let mut expected: Vec<(f32, &String)> = Vec::new();
        for (other, theirs) in items {
            let (Some(a), Some(b)) = (its.get(name), theirs.get(name)) else {
                continue;
            };
            if other == id || a.len() != b.len() {
                continue;
            }
            let score = canonical_score(&Own::feature(a), &Own::feature(b));
            assert!((f64::from(score) - cosine(a, b)).abs() < 1e-6);
            if score > 0.0 {
                expected.push((score, other));
            }
        }
        expected.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let expected = expected.into_iter().take(NEIGHBOURS);
        let expected: Vec<(String, u32)> = expected
            .map(|(score, id)| (id.clone(), score.to_bits()))
            .collect();
        if found != expected {
            return Err(format!("{id} by {model}: {found:?}, expected {expected:?}"));
        }
    }
    Ok(())
}

#[track_caller]
fn exact(client: &Client, items: &Vectors) {
    for (model, name) in [
        ("pictures", "clip"),
        ("sounds", "audio"),
        ("brought", "own"),
    ] {
        wait_for("exact lists", SOON, || wrong(client, model, name, items));
    }
}

pub(super) fn title(n: usize) -> String {
    let words = [
        "train", "glacier", "bread", "ship", "storm", "market", "harbour",
    ];
    format!("The {} and the {} of {n}", words[n % 7], words[n * 3 % 5])
}

#[test]
fn lists_by_named_vectors_are_exact_whatever_happens_and_may_be_served() {
    let mut random = Random::of_test("named vectors");
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let mut items = Vectors::new();
    let mut titles = BTreeMap::new();
    for n in 0..ITEMS {
        let id = format!("i{n:02}");
        titles.insert(id.clone(), title(n));
        items.insert(id, vectors(&mut random));
    }
    let line = |items: &Vectors, id: &String| item(id, &titles[id], &items[id]);
    let ids: Vec<String> = items.keys().cloned().collect();
    let first: Vec<Value> = ids[..ITEMS / 2].iter().map(|id| line(&items, id)).collect();
    send(client, &first);
    of_vector(client, "pictures", "clip");
    of_vector(client, "sounds", "audio");
    of_vector(client, "brought", "own");
    let second: Vec<Value> = ids[ITEMS / 2..].iter().map(|id| line(&items, id)).collect();
    send(client, &second);
    exact(client, &items);

    // Vectors change, come and go, and so do items.
    let mut changed = Vec::new();
    for id in ids.iter().step_by(3) {
        items.insert(id.clone(), vectors(&mut random));
        changed.push(line(&items, id));
    }
    for id in ids.iter().skip(1).step_by(9) {
        items.remove(id);
        changed.push(json!({"type": "item.deleted", "domain": DOMAIN, "id": id}));
    }
    send(client, &changed);
    exact(client, &items);

    // A patch leaves vectors alone, and an export has them.
    let patched = items.keys().next().unwrap().clone();
    let patch = json!({"group": "patched"}).to_string();
    client
        .patch(&path::item(DOMAIN, &patched), &patch)
        .with_status(202);
    client.wait_quiet(SOON);
    exact(client, &items);
    let export = client.get(&path::export(DOMAIN)).with_status(200).body;
    let exported: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported.len(), items.len());
    for event in &exported {
        let mut expected = items[event["id"].as_str().unwrap()].clone();
        let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
        assert_eq!(
            event.get("vector").map(floats),
            expected.remove("own"),
            "{event}"
        );
        let named = event.get("vectors").and_then(Value::as_object);
        let named = named.into_iter().flatten();
        let named: BTreeMap<String, Vec<f32>> = named
            .map(|(name, value)| (name.clone(), floats(value)))
            .collect();
        assert_eq!(named, expected, "{event}");
    }

    // A vector may be asked by, a text may not.
    let asked = vector(&mut random, 18);
    let query = json!({"vector": asked, "model": "pictures", "limit": 1000});
    let answer: SimilarAnswer = client
        .post(&path::queries(DOMAIN), &query)
        .with_status(200)
        .read();
    assert_eq!(answer.model.as_str(), "pictures");
    let comparable = items.values().filter_map(|its| its.get("clip"));
    let comparable = comparable.filter(|clip| clip.len() == 18);
    let feature = Own::feature(&asked);
    let above = comparable.filter(|clip| canonical_score(&feature, &Own::feature(clip)) > 0.0);
    assert_eq!(answer.similar.len(), above.count());
    let query = json!({"text": "glacier", "model": "pictures"});
    let refused = client
        .post(&path::queries(DOMAIN), &query)
        .with_status(400)
        .json();
    assert_eq!(
        (&refused["type"], &refused["field"]),
        (&json!("/problems/invalid-parameter"), &json!("text"))
    );

    // Served, it is what everybody gets; models of texts go on beside it, with own vectors that are new to them.
    let answer = client
        .post(&path::activate(DOMAIN, "pictures"), &json!({}))
        .with_status(200);
    assert_eq!(
        answer.json(),
        json!({"active": "pictures", "was": "text-2"})
    );
    let new = "new".to_owned();
    titles_and(&mut items, &new, &mut random);
    send(client, &[item(&new, "The glacier", &items[&new])]);
    exact(client, &items);
    let served: SimilarAnswer = client
        .get(&format!("{}/similar", path::item(DOMAIN, &patched)))
        .with_status(200)
        .read();
    assert_eq!(served.model.as_str(), "pictures");
    let by_texts = || {
        let answer = similar(client, &new, "text-2");
        let ids = answer
            .similar
            .into_iter()
            .map(|one| (one.id.to_string(), one.score.to_bits()));
        ids.collect::<Vec<_>>()
    };
    let own_before = by_texts();
    assert!(!own_before.is_empty(), "it is compared by its own vector");
    let removed = ids
        .iter()
        .find(|id| items.contains_key(*id) && **id != patched)
        .unwrap();
    client.delete(&path::item(DOMAIN, removed)).with_status(202);
    items.remove(removed);
    client.wait_quiet(SOON);

    let own_before = by_texts();
    kindred.kill_9();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    exact(client, &items);
    let answer = similar(client, &new, "text-2").similar.into_iter();
    let own_after: Vec<_> = answer
        .map(|one| (one.id.to_string(), one.score.to_bits()))
        .collect();
    assert_eq!(own_after, own_before);
    let all: ModelsAnswer = client.get(&path::models(DOMAIN)).with_status(200).read();
    let active = all
        .models
        .iter()
        .find(|one| one.state == ModelState::Active)
        .unwrap();
    assert_eq!(
        (active.name.as_str(), active.kind.as_str()),
        ("pictures", "vectors")
    );
    assert_eq!(
        active
            .vector
            .as_ref()
            .map(kindred_shared::VectorName::as_str),
        Some("clip")
    );
}

/// Adds an item with every vector.
fn titles_and(items: &mut Vectors, id: &str, random: &mut Random) {
    let all = [("clip", 18), ("audio", 3), ("own", 5)];
    let all = all.map(|(name, length)| (name.to_owned(), vector(random, length)));
    items.insert(id.to_owned(), all.into());
}

#[test]
fn what_is_no_model_of_vectors_is_refused() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    send(
        client,
        &[json!({"type": "item.created", "domain": DOMAIN, "id": "a", "title": "t"})],
    );
    for (body, kind, field) in [
        (
            json!({"kind": "vector", "vector": "clip"}),
            "invalid-parameter",
            "kind",
        ),
        (json!({"kind": "vectors"}), "invalid-parameter", "vector"),
        (
            json!({"kind": "vectors", "vector": "a b"}),
            "invalid-parameter",
            "vector",
        ),
        (
            json!({"kind": "vectors", "vector": ["clip"]}),
            "invalid-parameter",
            "vector",
        ),
        (
            json!({"kind": "vectors", "vectors": "clip"}),
            "unknown-parameter",
            "vectors",
        ),
        (
            json!({"kind": "text-2", "vector": "clip"}),
            "invalid-parameter",
            "vector",
        ),
    ] {
        let refused = put(client, "m", &body).with_status(400).json();
        assert_eq!(refused["type"], format!("/problems/{kind}"), "{refused}");
        assert_eq!(refused["field"], field, "{refused}");
    }
    let nearest = put(client, "m", &json!({"kind": "vektors"}))
        .with_status(400)
        .json();
    assert!(
        nearest["detail"]
            .as_str()
            .unwrap()
            .contains("nearest is vectors"),
        "{nearest}"
    );

    // A model of vectors that nobody brings is ready at once, and has empty lists.
    of_vector(client, "m", "clip");
    assert_eq!(similar(client, "a", "m").similar.len(), 0);
    let other = put(client, "m", &json!({"kind": "vectors", "vector": "other"}));
    assert_eq!(other.with_status(409).json()["type"], "/problems/conflict");
    client.delete(&path::model(DOMAIN, "m")).with_status(204);

    // What is sent badly names its place.
    let nine: BTreeMap<String, Value> = (0..9).map(|n| (format!("v{n}"), json!([1]))).collect();
    for (vectors, kind, field) in [
        (json!(nine), "too-large", "vectors"),
        (
            json!({"clip": [1, "x"]}),
            "invalid-vector",
            "vectors.clip[1]",
        ),
        (
            json!({"clip": vec![1; 4_097]}),
            "invalid-vector",
            "vectors.clip",
        ),
        (json!({"clip": [0, 0]}), "invalid-vector", "vectors.clip"),
        (json!({"c.l": [1]}), "invalid-vector", "vectors.c.l"),
    ] {
        let body = json!({"title": "t", "vectors": vectors}).to_string();
        let refused = client
            .put(&path::item(DOMAIN, "b"), &body)
            .with_status(422)
            .json();
        assert_eq!(refused["type"], format!("/problems/{kind}"), "{refused}");
        assert_eq!(refused["field"], field, "{refused}");
    }
    let only = json!({"vectors": {"clip": [1, 2]}}).to_string();
    client.put(&path::item(DOMAIN, "b"), &only).with_status(202);
    let patch = json!({"vectors": {"clip": [2, 1]}}).to_string();
    let refused = client
        .patch(&path::item(DOMAIN, "b"), &patch)
        .with_status(400);
    assert_eq!(refused.json()["field"], "vectors");
}
