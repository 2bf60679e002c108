//! A model of kind `onnx`: built by a real encoder beside the served one, asked, served, and over restarts with and
//! without the encoder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use kindred_encoder::Encoder;
use kindred_similarity::Kernel;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "meaning.test";
const READY: Duration = Duration::from_secs(120);
const WITHIN: Duration = Duration::from_secs(60);

/// Texts of four matters that share few words, each with its matter's letter.
const TEXTS: [(&str, &str, &str); 12] = [
    (
        "r1",
        "Night trains return",
        "Sleepers run again from Paris to Vienna.",
    ),
    (
        "r2",
        "Railways",
        "The express leaves the station every morning at seven.",
    ),
    (
        "r3",
        "",
        "Locomotives are being replaced on the old mountain line.",
    ),
    (
        "b1",
        "Sourdough at home",
        "Flour, water and salt are all you need for a good loaf.",
    ),
    ("b2", "Ovens", "A baker explains why bread needs steam."),
    (
        "b3",
        "",
        "Kneading dough for ten minutes makes rolls light.",
    ),
    (
        "g1",
        "Glaciers retreat",
        "Ice in the Alps melts faster than ever before.",
    ),
    (
        "g2",
        "A warm winter",
        "Snow fell only on the highest peaks this year.",
    ),
    ("g3", "", "Frozen lakes thaw earlier each spring."),
    (
        "m1",
        "String quartets",
        "Two violins, a viola and a cello fill the hall.",
    ),
    ("m2", "Pianists", "She plays the sonata from memory."),
    ("m3", "", "The orchestra rehearses a new symphony."),
];

/// Where `tests/encoders/fetch` puts encoders.
fn encoders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/encoders")
}

fn with_encoders() -> Start {
    let folder = encoders().display().to_string();
    Start {
        flags: vec!["--encoders".to_owned(), folder],
        ..Start::default()
    }
}

/// What brute force finds: neighbours and scores, best first.
type Lists = BTreeMap<String, Vec<(String, f64)>>;

fn expected(encoder: &Encoder) -> Lists {
    let vector = |(id, title, text): &(&'static str, &str, &str)| {
        let read = match *title {
            "" => (*text).to_owned(),
            title => format!("{title}\n{text}"),
        };
        (*id, encoder.encode(&read, WITHIN).unwrap())
    };
    let vectors: Vec<(&str, Vec<f32>)> = TEXTS.iter().map(vector).collect();
    let list = |(id, vector): &(&str, Vec<f32>)| {
        let others = vectors.iter().filter(|(other, _)| other != id);
        let scored = others.map(|(other, values)| {
            let products = vector.iter().zip(values);
            let score: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            ((*other).to_owned(), score)
        });
        let mut list: Vec<(String, f64)> = scored.filter(|(_, score)| *score > 1e-6).collect();
        list.sort_by(|a, b| b.1.total_cmp(&a.1));
        ((*id).to_owned(), list)
    };
    vectors.iter().map(list).collect()
}

fn similar(client: &Client, id: &str, model: &str) -> SimilarAnswer {
    let item = path::item(DOMAIN, id);
    let path = format!("{item}/similar?limit=50{model}");
    client.get(&path).with_status(200).read()
}

/// Asserts that the lists of a model are those of brute force, with scores of `f32`.
#[track_caller]
fn assert_exact(client: &Client, model: &str, expected: &Lists) {
    for (id, expected) in expected {
        let answer = similar(client, id, model);
        assert_eq!(answer.model.as_str(), "meaning");
        let found = answer.similar.iter().filter(|one| one.score > 1e-6);
        let found: Vec<(&str, f32)> = found.map(|one| (one.id.as_str(), one.score)).collect();
        assert_eq!(
            found.len(),
            expected.len(),
            "{id}: {found:?}, expected {expected:?}"
        );
        for ((found, score), (expected, exact)) in found.iter().zip(expected) {
            assert!(
                (f64::from(*score) - exact).abs() < 1e-6,
                "{id}: {score} for {exact}"
            );
            assert_eq!(found, expected, "{id}");
        }
    }
}

fn model(client: &Client) -> ModelAnswer {
    client
        .get(&path::model(DOMAIN, "meaning"))
        .with_status(200)
        .read()
}

#[track_caller]
fn wait_for_state(client: &Client, state: ModelState) {
    wait_for("the model's state", READY, || {
        let model = model(client);
        match model.state == state {
            true => Ok(()),
            false => Err(format!("{model:?}")),
        }
    });
}

fn put(client: &Client, body: &Value) -> crate::support::client::Response {
    client.put(&path::model(DOMAIN, "meaning"), &body.to_string())
}

#[test]
fn an_encoders_lists_are_those_of_brute_force_whether_it_is_asked_for_or_served() {
    let encoder = Encoder::open(&encoders().join("minilm"), Kernel::Auto);
    let encoder = encoder.expect("run tests/encoders/fetch first");
    let expected = expected(&encoder);
    for (id, list) in &expected {
        assert_eq!(
            id[..1],
            list[0].0[..1],
            "texts of one matter are near: {id} and {list:?}"
        );
    }

    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &with_encoders());
    let client = kindred.client();
    let lines: Vec<String> = TEXTS
        .iter()
        .map(|(id, title, text)| {
            let title = (!title.is_empty()).then_some(title);
            // Markup is no part of a text.
            let text = format!("<p>{text}</p>");
            json!({"type": "item.created", "domain": DOMAIN, "id": id, "title": title, "text": text, "language": "en"})
                .to_string()
        })
        .collect();
    client.batch(DOMAIN, &lines);
    client.wait_quiet(READY);

    for (body, words) in [
        (json!({"kind": "onnx"}), "minilm"),
        (json!({"kind": "onnx", "encoder": "bert"}), "minilm"),
        (json!({"kind": "text-2", "encoder": "minilm"}), "onnx"),
    ] {
        let refused = put(client, &body).with_status(400).json();
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    }
    let wanted = json!({"kind": "onnx", "encoder": "minilm"});
    let made: ModelAnswer = put(client, &wanted).with_status(201).read();
    assert_eq!(
        (made.kind.as_str(), made.encoder.as_deref()),
        ("onnx", Some("minilm"))
    );
    assert_eq!(
        made.fingerprint,
        Some(format!("{:016x}", encoder.fingerprint()))
    );
    put(client, &wanted).with_status(200);
    wait_for_state(client, ModelState::Ready);
    assert_exact(client, "&model=meaning", &expected);
    assert_eq!(similar(client, "r1", "").model.as_str(), "text-2");

    // A text in a query is read by it, too. An item without words has nothing in common with others.
    let question = json!({"text": "carriages on rails", "model": "meaning", "limit": 3});
    let answer: SimilarAnswer = client
        .post(&path::queries(DOMAIN), &question)
        .with_status(200)
        .read();
    assert!(
        answer
            .similar
            .iter()
            .all(|one| one.id.as_str().starts_with('r')),
        "{answer:?}"
    );
    let empty = path::item(DOMAIN, "empty");
    client
        .put(
            &empty,
            &json!({"text": "- … -", "language": "en"}).to_string(),
        )
        .with_status(202);
    client.wait_quiet(READY);
    wait_for("the item without words is known", READY, || {
        match similar(client, "empty", "&model=meaning") {
            answer if answer.similar.is_empty() => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    });
    client.delete(&empty).with_status(202);

    let activated = client
        .post(&path::activate(DOMAIN, "meaning"), &json!({}))
        .with_status(200);
    assert_eq!(
        activated.json(),
        json!({"active": "meaning", "was": "text-2"})
    );
    client.wait_quiet(READY);
    assert_exact(client, "", &expected);
    // A changed text is encoded anew, and back again.
    let (id, title, text) = TEXTS[0];
    let item = path::item(DOMAIN, id);
    let as_written = json!({"title": title, "text": text, "language": "en"}).to_string();
    client
        .put(
            &item,
            &json!({"text": "Bread and butter", "language": "en"}).to_string(),
        )
        .with_status(202);
    client.wait_quiet(READY);
    wait_for("other neighbours", READY, || {
        match &*similar(client, id, "").similar {
            [first, ..] if first.id.as_str().starts_with('b') => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    client.put(&item, &as_written).with_status(202);
    client.wait_quiet(READY);
    wait_for("the former neighbours", READY, || {
        match &*similar(client, id, "").similar {
            [first, ..] if first.id.as_str().starts_with('r') => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_exact(client, "", &expected);

    kindred.kill_9();
    let kindred = Kindred::start(&place, &with_encoders());
    let client = kindred.client();
    wait_for("it is loaded", READY, || {
        match client
            .get(&format!("{}/similar", path::item(DOMAIN, "r1")))
            .status
        {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    client.wait_quiet(READY);
    assert_exact(client, "", &expected);
    kindred.stop();
}

#[test]
fn without_its_encoder_a_model_cannot_be_built_and_says_so() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &with_encoders());
    let client = kindred.client();
    let item = path::item(DOMAIN, "a");
    client
        .put(
            &item,
            &json!({"text": "Night trains", "language": "en"}).to_string(),
        )
        .with_status(202);
    client.wait_quiet(READY);
    let wanted = json!({"kind": "onnx", "encoder": "minilm"});
    put(client, &wanted).with_status(201);
    kindred.kill_9();

    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let refused = put(client, &wanted).with_status(400).json();
    assert!(
        refused["detail"].as_str().unwrap().contains("has none"),
        "{refused}"
    );
    // An event wakes the domain, if it was clean.
    client
        .put(
            &item,
            &json!({"text": "Night trains again", "language": "en"}).to_string(),
        )
        .with_status(202);
    wait_for_state(client, ModelState::Failed);
    let reason = model(client).reason.unwrap_or_default();
    assert!(reason.contains("onnx-minilm-"), "{reason}");
    kindred.stop();

    let kindred = Kindred::start(&place, &with_encoders());
    put(kindred.client(), &wanted).with_status(200);
    wait_for_state(kindred.client(), ModelState::Ready);
    kindred.stop();
}

#[test]
fn a_program_does_not_start_with_an_encoder_that_it_cannot_run() {
    let place = Place::beside_others();
    let folder = place.directory().join("encoders");
    std::fs::create_dir_all(folder.join("minilm")).unwrap();
    let flag = folder.display().to_string();
    let start = |words: &str| {
        let done = run(
            place.directory(),
            &[
                "standalone",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                "other",
                "--encoders",
                &flag,
            ],
        );
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(words), "{said}");
    };
    start("model.onnx");
    std::fs::write(folder.join("minilm/model.onnx"), b"no model").unwrap();
    std::fs::copy(
        encoders().join("minilm/tokenizer.json"),
        folder.join("minilm/tokenizer.json"),
    )
    .unwrap();
    start("not a sentence encoder");
}
