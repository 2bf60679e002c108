//! Models beside the served one, whichever model service is asked, and when their owner dies.

use std::time::Duration;

use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::json;

use super::cluster::{Cluster, How};
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
