//! Models beside the served one, whichever model service is asked, and when their owner dies.

use std::time::Duration;

use compute_worker::models::Own;
use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::json;

use super::cluster::{Cluster, How};
use crate::exactness::reference::canonical_score;
use crate::support::client::{Client, Response};
use crate::support::deadline::wait_for;

const DOMAIN: &str = "models.test";
const ITEMS: usize = 40;
/// Longest until a partition is owned again, and its domain loaded.
const OWNED: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(120);

/// Asks until it is answered, which it is not while nobody owns the partition.
#[track_caller]
fn answered(mut ask: impl FnMut() -> Response) -> Response {
    wait_for("the partition has an owner", OWNED, || {
        let answer = ask();
        match answer.status {
            503 => Err(answer.body),
            _ => Ok(answer),
        }
    })
}

#[track_caller]
fn wait_ready(client: &Client, name: &str) {
    wait_for("a model to be ready", QUIET, || {
        let answer = client.get(&path::model(DOMAIN, name));
        let model: ModelAnswer = match answer.status {
            200 => answer.read(),
            _ => return Err(answer.body),
        };
        match model.state {
            ModelState::Ready => Ok(()),
            _ => Err(format!("{model:?}")),
        }
    });
}

fn similar(client: &Client, n: usize, model: &str) -> SimilarAnswer {
    let path = path::item(DOMAIN, &format!("i{n}"));
    answered(|| client.get(&format!("{path}/similar?limit=50{model}")))
        .with_status(200)
        .read()
}

#[test]
fn are_built_and_served_on_every_instance_and_outlive_their_owner() {
    let cluster = Cluster::new();
    let mut services = vec![
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    let words = ["glacier", "harbour", "baker", "railway", "lantern"];
    for n in 0..ITEMS {
        let text = format!(
            "The {} and the {} of the {}.",
            words[n % 5],
            words[n / 5 % 5],
            words[n / 3 % 5]
        );
        let item = path::item(DOMAIN, &format!("i{n}"));
        let body = json!({"text": text, "language": "en"}).to_string();
        answered(|| services[n % 2].client().put(&item, &body)).with_status(202);
    }
    services[0].client().wait_live(DOMAIN, ITEMS, QUIET);
    services[0].client().wait_quiet(QUIET);
    let kind = json!({"kind": "words-1"}).to_string();
    let at = path::model(DOMAIN, "other");
    let put = answered(|| services[0].client().put(&at, &kind));
    assert!([200, 201].contains(&put.status), "{}", put.body);
    wait_ready(services[1].client(), "other");
    let lists = |client: &Client, model: &str| -> Vec<_> {
        (0..ITEMS)
            .map(|n| similar(client, n, model).similar)
            .collect()
    };
    let before = lists(services[0].client(), "&model=other");
    assert_eq!(lists(services[1].client(), "&model=other"), before);

    let activate = path::activate(DOMAIN, "other");
    let active = answered(|| services[1].client().post(&activate, &json!({})));
    let answer = active.with_status(200).json();
    assert_eq!(answer["active"], "other");
    for service in &services {
        wait_for(
            "every instance answers by it",
            Duration::from_secs(1),
            || match similar(service.client(), 3, "").model.as_str() {
                "other" => Ok(()),
                model => Err(model.to_owned()),
            },
        );
        assert_eq!(lists(service.client(), ""), before);
    }

    // Whoever owns it dies; the other one goes on with it.
    let owner = cluster.database.owner_address(0).expect("an owner");
    let at = services.iter().position(|one| one.is_at(&owner));
    services
        .swap_remove(at.expect("one of them"))
        .process
        .kill_9();
    let left = services[0].client();
    wait_for("the lists of the active model", QUIET, || {
        match lists(left, "") == before && similar(left, 3, "").model.as_str() == "other" {
            true => Ok(()),
            false => Err("others".to_owned()),
        }
    });
    wait_ready(left, "text-2");
    assert_eq!(similar(left, 3, "&model=text-2").model.as_str(), "text-2");
    answered(|| left.delete(&path::model(DOMAIN, "text-2"))).with_status(204);
}

/// The vector that an item brings as `clip`; some bring none.
fn clip(n: usize) -> Option<Vec<f32>> {
    let angle = (n * 7 % 30) as f32 / 10.0;
    (n % 4 != 3).then(|| vec![angle.cos(), angle.sin(), (n % 3) as f32])
}

fn put_with_clip(client: &Client, n: usize, clip: Option<&Vec<f32>>) {
    let words = ["glacier", "harbour", "baker", "railway", "lantern"];
    let text = format!("The {} and the {}.", words[n % 5], words[n / 5 % 5]);
    let mut body = json!({"text": text, "language": "en"});
    if let Some(clip) = clip {
        body["vectors"] = json!({"clip": clip});
    }
    let item = path::item(DOMAIN, &format!("i{n}"));
    answered(|| client.put(&item, &body.to_string())).with_status(202);
}

/// The neighbours of an item by its vector, by brute force.
fn by_clip(n: usize, clips: &[Option<Vec<f32>>]) -> Vec<(String, u32)> {
    let Some(own) = &clips[n] else {
        return Vec::new();
    };
    let others = clips.iter().enumerate().filter(|(other, _)| *other != n);
    let scores = others.filter_map(|(other, clip)| {
        let score = canonical_score(&Own::feature(own), &Own::feature(clip.as_ref()?));
        (score > 0.0).then(|| (format!("i{other}"), score))
    });
    let mut scores: Vec<(String, f32)> = scores.collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let bits = |(id, score): (String, f32)| (id, score.to_bits());
    scores.into_iter().take(50).map(bits).collect()
}

#[test]
fn of_vectors_and_mixes_are_the_same_on_every_instance_and_outlive_their_owner() {
    let cluster = Cluster::new();
    let mut services = vec![
        cluster.service(&How::default()),
        cluster.service(&How::default()),
    ];
    let _worker = cluster.worker();
    let mut clips: Vec<Option<Vec<f32>>> = (0..ITEMS).map(clip).collect();
    for (n, clip) in clips.iter().enumerate() {
        put_with_clip(services[n % 2].client(), n, clip.as_ref());
    }
    services[0].client().wait_live(DOMAIN, ITEMS, QUIET);
    services[0].client().wait_quiet(QUIET);
    for (name, body) in [
        ("pictures", json!({"kind": "vectors", "vector": "clip"})),
        (
            "best",
            json!({"kind": "mix", "of": {"text-2": 0.7, "pictures": 0.3}}),
        ),
    ] {
        let at = path::model(DOMAIN, name);
        let put = answered(|| services[0].client().put(&at, &body.to_string()));
        assert!([200, 201].contains(&put.status), "{}", put.body);
        wait_ready(services[1].client(), name);
    }
    // Vectors change, come and go.
    for n in (0..ITEMS).step_by(6) {
        clips[n] = clip(n + 1);
        put_with_clip(services[n % 2].client(), n, clips[n].as_ref());
    }
    services[1].client().wait_quiet(QUIET);
    let lists = |client: &Client, model: &str| -> Vec<Vec<(String, u32)>> {
        let list = |n: usize| {
            let similar = similar(client, n, model).similar.into_iter();
            let similar = similar.map(|one| (one.id.to_string(), one.score.to_bits()));
            similar.collect()
        };
        (0..ITEMS).map(list).collect()
    };
    let by_clip: Vec<_> = (0..ITEMS).map(|n| by_clip(n, &clips)).collect();
    for service in &services {
        wait_for("exact lists", QUIET, || {
            match lists(service.client(), "&model=pictures") == by_clip {
                true => Ok(()),
                false => Err("others".to_owned()),
            }
        });
    }
    let by_mix = lists(services[0].client(), "&model=best");
    assert_eq!(lists(services[1].client(), "&model=best"), by_mix);
    // Of each part, its weight times its score.
    let pair = |model: &str| {
        let body = json!({"pairs": [["i0", "i5"]], "model": model});
        let path = format!("{}/scores", path::domain(DOMAIN));
        let answer = answered(|| services[0].client().post(&path, &body));
        let score = &answer.with_status(200).json()["scores"][0];
        score.as_f64().unwrap_or_default()
    };
    let expected = 0.7 * pair("text-2") + 0.3 * pair("pictures");
    assert!((pair("best") - expected).abs() < 1e-5, "not {expected}");

    let activate = path::activate(DOMAIN, "best");
    answered(|| services[1].client().post(&activate, &json!({}))).with_status(200);
    let owner = cluster.database.owner_address(0).expect("an owner");
    let at = services.iter().position(|one| one.is_at(&owner));
    services
        .swap_remove(at.expect("one of them"))
        .process
        .kill_9();
    let left = services[0].client();
    wait_for("the lists of both models", QUIET, || {
        let is_served = similar(left, 0, "").model.as_str() == "best";
        match is_served && lists(left, "") == by_mix {
            true => Ok(()),
            false => Err("others".to_owned()),
        }
    });
    wait_ready(left, "pictures");
    assert_eq!(lists(left, "&model=pictures"), by_clip);
    let answer = left.get(&path::model(DOMAIN, "best")).with_status(200);
    let best: ModelAnswer = answer.read();
    assert_eq!((best.state, best.of.len()), (ModelState::Active, 2));
}
