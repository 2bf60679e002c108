//! `kindred evaluate`: lists measured by what people said, without a service.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use kindred_api::path;
use serde_json::{Value, json};

use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, kindred as kindred_program};

const QUIET: Duration = Duration::from_secs(120);
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/courier.ndjson");
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/courier.expected.json");

fn evaluate(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = kindred_program(directory);
    command
        .arg("evaluate")
        .args(["--items", SAMPLE])
        .args(arguments);
    command.output().expect("the program starts")
}

/// The neighbours that were written down for the demo, as links.
fn links() -> String {
    let expected = std::fs::read(EXPECTED).expect("the demo's file");
    let expected: Vec<Value> = serde_json::from_slice(&expected).expect("its JSON");
    let mut links = String::new();
    for question in expected {
        let wanted = question["expected"].as_array().expect("ids").clone();
        for to in wanted {
            links += &json!({"from": question["id"], "to": to}).to_string();
            links += "\n";
        }
    }
    links
}

#[test]
fn the_demo_is_measured_and_the_report_is_a_page() {
    let place = Place::beside_others();
    let directory = place.directory();
    std::fs::write(directory.join("links.ndjson"), links()).expect("a file");
    let output = evaluate(
        directory,
        &["--links", "links.ndjson", "-o", "report.html", "--json"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let systems = report["systems"].as_array().expect("systems");
    let of = |name: &str, measure: &str| {
        let found = systems.iter().find(|one| one["name"] == name);
        let found = &found.expect("it is measured")["measures"][measure];
        let [value, low, high] = ["value", "low", "high"].map(|part| found[part].as_f64());
        let (value, low, high) = (
            value.expect("a value"),
            low.unwrap_or(9.0),
            high.unwrap_or(-9.0),
        );
        assert!(low <= value && value <= high, "{found}");
        value
    };
    // The demo says the same of its lists: at least eight in ten questions hit (tests/standalone/fresh.rs).
    assert!(of("words-1", "links hit@5") > 0.8);
    assert!(of("words-1", "links MRR") > 0.5);
    assert!(of("TF-IDF", "links recall@10") > 0.3);
    assert!(of("BM25", "links recall@10") > 0.3);

    let page = std::fs::read_to_string(directory.join("report.html")).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "no outside asset"
    );
}

#[test]
fn a_running_domain_is_measured_as_its_items_in_a_file_are() {
    const DOMAIN: &str = "courier.test";
    let place = Place::beside_others();
    let directory = place.directory();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let lines = std::fs::read_to_string(SAMPLE).expect("the demo's file");
    let event = |line: &str| {
        let mut event: Value = serde_json::from_str(line).expect("an event");
        event["domain"] = json!(DOMAIN);
        event
    };
    let events: Vec<Value> = lines.lines().map(event).collect();
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    client.batch(DOMAIN, &events);
    client.wait_quiet(QUIET);
    let other = path::model(DOMAIN, "words-1");
    let kind = json!({"kind": "words-1"}).to_string();
    client.put(&other, &kind).with_status(201);
    wait_for("the model", QUIET, || {
        let model = client.get(&other).with_status(200).json();
        match model["state"].as_str() {
            Some("ready") => Ok(()),
            _ => Err(model.to_string()),
        }
    });

    std::fs::write(directory.join("links.ndjson"), links()).expect("a file");
    let ids: Vec<String> = events.iter().map(|event| id_of(event)).collect();
    let judged = (1..ids.len()).map(|n| json!({"a": ids[n - 1], "b": ids[n], "score": n % 5}));
    let judged: Vec<String> = judged.map(|line| line.to_string()).collect();
    std::fs::write(directory.join("judged.ndjson"), judged.join("\n")).expect("a file");
    let said = ["--links", "links.ndjson", "--judgements", "judged.ndjson"];
    let report = |of: &[&str]| -> Value {
        let mut command = kindred_program(directory);
        let output = command
            .arg("evaluate")
            .args(of)
            .args(said)
            .arg("--json")
            .output();
        let output = output.expect("the program starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let url = client.url("");
    let running = report(&["--domain", DOMAIN, "--url", &url, "-o", "running.html"]);
    let models = ["--model", "text-2", "--model", "words-1"];
    let file = report(&[&["--items", SAMPLE][..], &models].concat());
    let measures = |report: &Value| {
        let systems = report["systems"].as_array().expect("systems").clone();
        let one = |one: Value| (one["name"].to_string(), one["measures"].clone());
        systems.into_iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(measures(&running), measures(&file));
    let agreement = &running["agreement"][0];
    assert_eq!(
        (&agreement["a"], &agreement["b"]),
        (&json!("text-2"), &json!("words-1"))
    );
    assert_eq!(agreement, &file["agreement"][0]);
    let overlap = agreement["overlap"].as_f64().expect("a share");
    assert!((0.2..1.0).contains(&overlap), "{agreement}");
    let page = std::fs::read_to_string(directory.join("running.html")).expect("a page");
    assert!(page.contains("Where text-2 and words-1 differ most"));

    let mut command = kindred_program(directory);
    command.args([
        "evaluate", "--domain", DOMAIN, "--url", &url, "--model", "none",
    ]);
    let output = command.output().expect("the program starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words}");
    assert!(words.contains("ready there: text-2, words-1"), "{words}");
}

#[test]
fn named_vectors_and_mixes_are_measured() {
    const DOMAIN: &str = "pictures.test";
    let place = Place::beside_others();
    let directory = place.directory();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let words = ["glacier", "harbour", "bread", "storm"];
    let event = |n: usize| {
        let angle = (n * 5 % 17) as f32 / 6.0;
        let title = format!("The {} and the {}", words[n % 4], words[n / 4 % 4]);
        let vectors = match n % 5 {
            0 => json!({}),
            _ => json!({"clip": [angle.cos(), angle.sin()]}),
        };
        json!({"type": "item.created", "domain": DOMAIN, "id": format!("i{n:02}"), "title": title,
            "language": "en", "vectors": vectors})
        .to_string()
    };
    let events: Vec<String> = (0..30).map(event).collect();
    std::fs::write(directory.join("items.ndjson"), events.join("\n")).expect("a file");
    let judged = (1..30)
        .map(|n| json!({"a": format!("i{:02}", n - 1), "b": format!("i{n:02}"), "score": n % 5}));
    let judged: Vec<String> = judged.map(|line| line.to_string()).collect();
    std::fs::write(directory.join("judged.ndjson"), judged.join("\n")).expect("a file");
    client.batch(DOMAIN, &events);
    client.wait_quiet(QUIET);
    for (name, body) in [
        ("pictures", json!({"kind": "vectors", "vector": "clip"})),
        (
            "best",
            json!({"kind": "mix", "of": {"text-2": 0.7, "pictures": 0.3}}),
        ),
    ] {
        let path = path::model(DOMAIN, name);
        client.put(&path, &body.to_string()).with_status(201);
        wait_for("the model", QUIET, || {
            let model = client.get(&path).with_status(200).json();
            match model["state"].as_str() {
                Some("ready") => Ok(()),
                _ => Err(model.to_string()),
            }
        });
    }
    let systems = |of: &[&str]| -> Vec<Value> {
        let mut command = kindred_program(directory);
        command.arg("evaluate").args(of);
        command.args(["--judgements", "judged.ndjson", "--json"]);
        let output = command.output().expect("the program starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        report["systems"].as_array().expect("systems").clone()
    };
    let url = client.url("");
    let both = ["--model", "pictures", "--model", "best"];
    let running = systems(&[&["--domain", DOMAIN, "--url", &url][..], &both].concat());
    let file = systems(&["--items", "items.ndjson", "--model", "vectors.clip"]);
    assert_eq!(
        (&running[0]["name"], &file[0]["name"]),
        (&json!("pictures"), &json!("vectors.clip"))
    );
    assert_eq!(running[0]["measures"], file[0]["measures"]);
    assert_eq!(running[1]["name"], "best");
    assert_ne!(running[1]["measures"], running[0]["measures"]);
}

fn id_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).expect("an event");
    event["id"].as_str().expect("an id").to_owned()
}

#[test]
fn what_cannot_be_measured_is_said() {
    let place = Place::beside_others();
    for (arguments, code, words) in [
        (&["--model", "words-9"][..], 2, "expected one of"),
        (&["--model", "vectors.Clip"][..], 2, "a-z"),
        (&["--tags", "colour"][..], 2, "attributes.NAME"),
        (&["--tags", "attributes.none"][..], 2, "no item has a label"),
        (&["--links", "missing.ndjson"][..], 2, "missing.ndjson"),
    ] {
        let output = evaluate(place.directory(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
