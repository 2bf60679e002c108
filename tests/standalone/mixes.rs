//! Mixes of models: exact, kept so with every event, served, and kept over kills.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kindred_api::model::{ModelState, ModelsAnswer};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use model_service::crash::POINTS;
use serde_json::{Value, json};

use super::named_vectors::{
    DOMAIN, ITEMS, NEIGHBOURS, SOON, Vectors, cosine, item, of_vector, put, send, similar, title,
    vector, vectors, wait_ready, wrong,
};
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};
use crate::support::random::Random;

/// The weighted sum, as the contract has it: what an item lacks divides its weight among its other parts.
fn mixed(a: &[Option<f64>], b: &[Option<f64>], scores: &[f64]) -> f64 {
    let sum = |weights: &[Option<f64>]| weights.iter().flatten().sum::<f64>();
    let (of_a, of_b) = (sum(a), sum(b));
    let parts = a.iter().zip(b).zip(scores);
    parts
        .filter_map(|((a, b), score)| Some(((*a)? / of_a * (*b)? / of_b).sqrt() * score))
        .sum()
}

#[test]
fn lists_by_a_mix_are_those_of_the_weighted_sum() {
    const WEIGHTS: [f64; 3] = [0.5, 0.3, 0.4];
    let mut random = Random::of_test("mixes");
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let mut items = Vectors::new();
    let mut titles: BTreeMap<String, String> = BTreeMap::new();
    for n in 0..ITEMS {
        let id = format!("i{n:02}");
        let mut its = vectors(&mut random);
        // One length per name.
        if let Some(clip) = its.get_mut("clip") {
            *clip = vector(&mut random, 18);
        }
        // Some have no text; all have something.
        let is_silent = n % 5 == 4 && !its.is_empty();
        titles.insert(id.clone(), if is_silent { String::new() } else { title(n) });
        items.insert(id, its);
    }
    let line = |items: &Vectors, id: &String| item(id, &titles[id], &items[id]);
    let ids: Vec<String> = items.keys().cloned().collect();
    let without: Vec<Value> = ids[..ITEMS / 4]
        .iter()
        .map(|id| item(id, "The train and the ship", &BTreeMap::new()))
        .collect();
    send(client, &without);
    of_vector(client, "clip", "clip");
    of_vector(client, "brought", "own");
    // The first vectors come after the mix: its features become longer.
    let of = json!({"text-2": WEIGHTS[0], "clip": WEIGHTS[1], "brought": WEIGHTS[2]});
    let put_mix = |name: &str, of: &Value| put(client, name, &json!({"kind": "mix", "of": of}));
    let answer = put_mix("best", &of).with_status(201).json();
    assert_eq!((&answer["kind"], &answer["of"]), (&json!("mix"), &of));
    put_mix("best", &of).with_status(200);
    wait_ready(client, "best");
    let all: Vec<Value> = ids.iter().map(|id| line(&items, id)).collect();
    send(client, &all);

    let look = |client: &Client, items: &Vectors| -> Result<Lists, String> {
        let pair = |a: &String, b: &String, model: &str| -> Option<f64> {
            let body = json!({"pairs": [[a, b]], "model": model});
            let path = format!("{}/scores", path::domain(DOMAIN));
            client.post(&path, &body).with_status(200).json()["scores"][0].as_f64()
        };
        let ids: Vec<&String> = items.keys().collect();
        for id in ids.iter().step_by(11) {
            let list = similar(client, id, "best").similar;
            let scores: Vec<(f32, &str)> = list
                .iter()
                .map(|one| (one.score, one.id.as_str()))
                .collect();
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
            if scores != sorted {
                return Err(format!("{id}: not the best first: {scores:?}"));
            }
            let mut above = 0;
            for other in ids.iter().filter(|other| *other != id) {
                let found = list.iter().find(|one| one.id.as_str() == other.as_str());
                let weights = |id: &str| {
                    let its = &items[id];
                    let text = (!titles[id].is_empty()).then_some(WEIGHTS[0]);
                    let clip = its.get("clip").map(|_| WEIGHTS[1]);
                    [text, clip, its.get("own").map(|_| WEIGHTS[2])]
                };
                let (of_a, of_b) = (weights(id), weights(other));
                let by_vector = |name: &str| {
                    let (a, b) = (items[*id].get(name), items[*other].get(name));
                    a.zip(b).map_or(0.0, |(a, b)| cosine(a, b))
                };
                let mix = pair(id, other, "best");
                // `text-2` compares own vectors where both have one; their texts it does not tell.
                let own = |id: &str| items[id].contains_key("own");
                let both_text = of_a[0].is_some() && of_b[0].is_some();
                if both_text && (own(id) || own(other)) {
                    above += usize::from(mix.is_some_and(|score| score > 0.0));
                    continue;
                }
                let by_text = match both_text {
                    true => pair(id, other, "text-2").unwrap_or_default(),
                    false => 0.0,
                };
                let expected = mixed(
                    &of_a,
                    &of_b,
                    &[by_text, by_vector("clip"), by_vector("own")],
                );
                let score = mix.unwrap_or_default();
                if (score - expected).abs() >= 1e-5 {
                    return Err(format!("{id} {other}: {score}, not {expected}"));
                }
                let listed = found.map(|found| found.score);
                if listed.is_some() && listed != mix.map(|score| score as f32) {
                    return Err(format!("{id} {other}: {listed:?} in the list, not {mix:?}"));
                }
                above += usize::from(score > 0.0);
            }
            if list.len() != above.min(NEIGHBOURS) {
                return Err(format!("{id}: {} neighbours of {above}", list.len()));
            }
        }
        let lists = ids
            .iter()
            .map(|id| {
                let list = similar(client, id, "best").similar.into_iter();
                let list = list.map(|one| (one.id.to_string(), one.score.to_bits()));
                ((*id).clone(), list.collect())
            })
            .collect();
        Ok(lists)
    };
    // A model beside the served one follows it: it may be a moment behind when the domain is quiet.
    let check = |client: &Client, items: &Vectors| {
        wait_for("exact lists by the mix", SOON, || look(client, items))
    };
    check(client, &items);
    let mut changed = Vec::new();
    for id in ids.iter().step_by(4) {
        let has_text = !titles[id].is_empty();
        let mut its = items[id].clone();
        its.insert("clip".to_owned(), vector(&mut random, 18));
        if has_text {
            its.remove("own");
        }
        items.insert(id.clone(), its);
        changed.push(line(&items, id));
    }
    items.remove(&ids[2]);
    changed.push(json!({"type": "item.deleted", "domain": DOMAIN, "id": ids[2]}));
    send(client, &changed);
    let after = check(client, &items);

    // A text is asked by its parts of texts; a vector would be of one model only.
    let query = json!({"text": "The glacier and the train", "model": "best", "limit": 1000});
    let answer: SimilarAnswer = client
        .post(&path::queries(DOMAIN), &query)
        .with_status(200)
        .read();
    assert_eq!(answer.model.as_str(), "best");
    assert!(answer.similar.len() > ITEMS / 4);
    let query = json!({"vector": [1, 2], "model": "best"});
    let refused = client.post(&path::queries(DOMAIN), &query).with_status(400);
    assert_eq!(refused.json()["field"], "vector");

    // What it mixes stays; what cannot be mixed is named.
    let conflict = client
        .delete(&path::model(DOMAIN, "clip"))
        .with_status(409)
        .json();
    assert!(
        conflict["detail"].as_str().unwrap().contains("best"),
        "{conflict}"
    );
    for (of, field) in [
        (json!({"text-2": 1, "clop": 1}), "of.clop"),
        (json!({"text-2": 0}), "of.text-2"),
        (json!({"text-2": -1}), "of.text-2"),
        (json!({"best": 1}), "of.best"),
        (json!({}), "of"),
    ] {
        let refused = put_mix("best", &of).with_status(400).json();
        assert_eq!(refused["type"], "/problems/invalid-parameter", "{refused}");
        assert_eq!(refused["field"], field, "{refused}");
    }
    put_mix("best", &json!({"text-2": 1})).with_status(409);

    // Served, over a kill, and as a store that was filled with the result at once has it.
    client
        .post(&path::activate(DOMAIN, "best"), &json!({}))
        .with_status(200);
    client.wait_quiet(SOON);
    kindred.kill_9();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    wait_for("the same lists", SOON, || {
        let now = check(client, &items);
        if now == after {
            Ok(())
        } else {
            Err("they differ".to_owned())
        }
    });
    let all: ModelsAnswer = client.get(&path::models(DOMAIN)).with_status(200).read();
    let active = all
        .models
        .iter()
        .find(|one| one.state == ModelState::Active)
        .unwrap();
    assert_eq!(
        (active.name.as_str(), active.kind.as_str(), active.of.len()),
        ("best", "mix", 3)
    );
    let anew = Place::beside_others();
    let other = Kindred::start(&anew, &Start::default());
    let client = other.client();
    let all: Vec<Value> = items.keys().map(|id| line(&items, id)).collect();
    send(client, &all);
    of_vector(client, "clip", "clip");
    of_vector(client, "brought", "own");
    put(client, "best", &json!({"kind": "mix", "of": of})).with_status(201);
    wait_ready(client, "best");
    assert_eq!(check(client, &items), after);
}

/// When events are sent again to a program that was not killed.
const AGAIN: Duration = Duration::from_secs(3);

/// Lists by item: neighbours and the bits of their scores.
type Lists = BTreeMap<String, Vec<(String, u32)>>;

fn lists(client: &Client, items: &Vectors, model: &str) -> Lists {
    let list = |id: &String| {
        let list = similar(client, id, model).similar.into_iter();
        let list = list.map(|one| (one.id.to_string(), one.score.to_bits()));
        (id.clone(), list.collect())
    };
    items.keys().map(list).collect()
}

/// What is there at first, and the events after that; and what there is in the end.
fn history() -> (Vec<Value>, Vec<Value>, Vectors) {
    let mut random = Random::of_test("killed");
    let titled = |id: &str, its: &BTreeMap<String, Vec<f32>>| {
        let n = id[1..].parse().expect("a number");
        item(id, &title(n), its)
    };
    let mut items = Vectors::new();
    for n in 0..40 {
        items.insert(format!("i{n:02}"), vectors(&mut random));
    }
    let first = items.iter().map(|(id, its)| titled(id, its)).collect();
    let mut later = Vec::new();
    for n in (0..46).step_by(3) {
        let id = format!("i{n:02}");
        let its = vectors(&mut random);
        later.push(titled(&id, &its));
        items.insert(id, its);
    }
    for n in [4, 7] {
        let id = format!("i{n:02}");
        later.push(json!({"type": "item.deleted", "domain": DOMAIN, "id": id}));
        items.remove(&id);
    }
    (first, later, items)
}

fn put_models(client: &Client) {
    of_vector(client, "pictures", "clip");
    let of = json!({"text-2": 0.7, "pictures": 0.3});
    put(client, "best", &json!({"kind": "mix", "of": of})).with_status(201);
    wait_ready(client, "best");
}

#[test]
fn a_kill_at_any_point_leaves_vectors_and_mixes_exact() {
    let (first, later, items) = history();
    let expected = {
        let place = Place::beside_others();
        let kindred = Kindred::start(&place, &Start::default());
        let client = kindred.client();
        send(client, &first);
        send(client, &later);
        put_models(client);
        client.wait_quiet(SOON);
        lists(client, &items, "best")
    };
    for (n, point) in POINTS.iter().enumerate() {
        let place = Place::beside_others();
        let quick = || Start {
            window: Some("20ms"),
            ..Start::default()
        };
        let kindred = Kindred::start(&place, &quick());
        send(kindred.client(), &first);
        put_models(kindred.client());
        kindred.client().wait_quiet(SOON);
        kindred.stop();
        // It is passed for each of three models.
        let crash_at = Some(format!("{point}:{}", 1 + n % 3));
        let mut kindred = Kindred::spawn(
            &place,
            &Start {
                crash_at,
                ..quick()
            },
        );
        let lines: Vec<String> = later.iter().map(Value::to_string).collect();
        let mut sent_at: Option<Instant> = None;
        wait_for("it is killed", SOON, || {
            if kindred.died().is_some() {
                return Ok(());
            }
            // Some points are only passed after a second of quiet.
            if sent_at.is_none_or(|at| at.elapsed() > AGAIN) {
                sent_at = Some(Instant::now());
                // It may be killed while it takes them in.
                let _ = kindred.client().try_batch(DOMAIN, &lines.join("\n"));
            }
            Err(format!("{point} is not passed"))
        });
        drop(kindred);
        let kindred = Kindred::start(&place, &quick());
        let client = kindred.client();
        send(client, &later);
        wait_for("exact lists by vectors", SOON, || {
            wrong(client, "pictures", "clip", &items)
        });
        wait_for("exact lists by a mix", SOON, || {
            match lists(client, &items, "best") == expected {
                true => Ok(()),
                false => Err(format!("others after {point}")),
            }
        });
    }
}

#[test]
fn the_command_line_builds_models_of_vectors_and_mixes() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let title = json!({"type": "item.created", "domain": DOMAIN, "id": "a", "title": "t"});
    send(client, &[title]);
    let url = client.url("");
    let models = |arguments: &[&str]| {
        let all = [&["models"][..], arguments, &["--url", &url]].concat();
        let output = run(place.directory(), &all);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = models(&["put", DOMAIN, "pictures", "--vector", "clip"]);
    assert_eq!(code, Some(0), "{said}");
    let of = ["--of", "text-2=0.7", "--of", "pictures=0.3"];
    let (code, said) = models(&[&["put", DOMAIN, "best"][..], &of].concat());
    assert_eq!(code, Some(0), "{said}");
    wait_ready(client, "best");
    let (code, said) = models(&["list", DOMAIN]);
    assert_eq!(code, Some(0), "{said}");
    for words in ["vectors clip ", "mix pictures=0.3 text-2=0.7 "] {
        assert!(said.contains(words), "{said}");
    }
    for (arguments, code, words) in [
        (&["--of", "text-2"][..], 2, "MODEL=WEIGHT"),
        (&["--of", "text-2=much"], 2, "a number as its weight"),
        (&["--of", "text-2=1", "--of", "text-2=2"], 2, "twice"),
        (&["--of", "text-2=0"], 1, "above 0"),
        (&["--of", "text-3=1"], 1, "nearest is text-2"),
        (&["--kind", "vektors"], 1, "nearest is vectors"),
        (&["--kind", "vectors"], 1, "name of a vector"),
    ] {
        let put = [&["put", DOMAIN, "odd"][..], arguments].concat();
        let (found, said) = models(&put);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
