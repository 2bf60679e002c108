//! `kindred evaluate`: lists measured by what people said, without a service.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::program::kindred;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/courier.ndjson");
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/courier.expected.json");

fn evaluate(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = kindred(directory);
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
fn what_cannot_be_measured_is_said() {
    let place = Place::beside_others();
    for (arguments, code, words) in [
        (&["--model", "words-9"][..], 2, "expected one of"),
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
