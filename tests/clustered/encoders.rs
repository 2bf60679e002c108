//! A model of kind `onnx` in a cluster: it waits for a worker that has its encoder, and holds up nothing else.

use std::path::Path;
use std::time::Duration;

use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use serde_json::json;

use super::cluster::{Cluster, How};
use crate::support::client::Client;
use crate::support::deadline::wait_for;

const DOMAIN: &str = "meaning.test";
const QUIET: Duration = Duration::from_secs(120);

fn model(client: &Client) -> Result<ModelAnswer, String> {
    let answer = client.get(&path::model(DOMAIN, "meaning"));
    match answer.status {
        200 => Ok(answer.read()),
        _ => Err(answer.body),
    }
}

#[test]
fn a_model_is_built_once_a_worker_has_its_encoder() {
    let cluster = Cluster::new();
    // Where tests/encoders/fetch puts it.
    let encoders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/encoders");
    let encoders = encoders.to_str().expect("a path in UTF-8");
    let service = cluster.service(&How {
        more: vec![("KINDRED_ENCODERS", encoders.to_owned())],
        ..How::default()
    });
    let client = service.client();
    let without = cluster.worker();
    for (id, text) in [
        ("a", "Night trains return"),
        ("b", "The railway is open again"),
        ("c", "Bread needs steam"),
    ] {
        let body = json!({"text": text, "language": "en"}).to_string();
        client.put(&path::item(DOMAIN, id), &body).with_status(202);
    }
    client.wait_live(DOMAIN, 3, QUIET);
    client.wait_quiet(QUIET);
    let kind = json!({"kind": "onnx", "encoder": "minilm"}).to_string();
    client
        .put(&path::model(DOMAIN, "meaning"), &kind)
        .with_status(201);
    wait_for("it says what it waits for", QUIET, || {
        let model = model(client)?;
        let waits = model.state == ModelState::Building
            && model
                .reason
                .as_deref()
                .is_some_and(|why| why.contains("does not know model"));
        waits.then_some(()).ok_or_else(|| format!("{model:?}"))
    });
    // The served model goes on meanwhile.
    let body = json!({"text": "Trains and bread", "language": "en"}).to_string();
    client.put(&path::item(DOMAIN, "d"), &body).with_status(202);
    let served = format!("{}/similar", path::item(DOMAIN, "d"));
    wait_for("lists are made", QUIET, || match client.get(&served) {
        answer if answer.status == 200 && answer.body.contains("text-2") => Ok(()),
        answer => Err(answer.body),
    });

    let _with = cluster.worker_with(&[("KINDRED_ENCODERS", encoders)]);
    drop(without);
    wait_for("it is ready", QUIET, || {
        let model = model(client)?;
        let is_ready = model.state == ModelState::Ready;
        is_ready.then_some(()).ok_or_else(|| format!("{model:?}"))
    });
    let similar = format!("{}/similar?model=meaning", path::item(DOMAIN, "a"));
    let answer = client.get(&similar).with_status(200).json();
    assert_eq!(answer["similar"][0]["id"], "b", "{answer}");
}
