//! Runs `shared/testdata/events/`:
//!
//! - `accepted/<name>.json` is parsed and must be written as `accepted/<name>.expected.json`
//!   (compared as JSON; the expected file must parse to the same event);
//! - `refused/*.json` are arrays of cases: `event` (an object), `raw` (a text) or `bytes`;
//!   optionally `limits`, and either `routing_key` or `address`; and the expected refusal.

use std::fs;
use std::path::PathBuf;

use kindred_shared::event::{Event, Limits, Refusal, parse, parse_for, parse_item};
use kindred_shared::{DomainName, ItemId};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    event: Option<Value>,
    raw: Option<String>,
    bytes: Option<Vec<u8>>,
    routing_key: Option<String>,
    address: Option<Address>,
    #[serde(default)]
    limits: CaseLimits,
    reason: String,
    field: Option<String>,
    detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    domain: String,
    id: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct CaseLimits {
    message_bytes: Option<usize>,
    text_bytes: Option<usize>,
    attributes: Option<usize>,
}

impl CaseLimits {
    fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            message_bytes: self.message_bytes.unwrap_or(usual.message_bytes),
            text_bytes: self.text_bytes.unwrap_or(usual.text_bytes),
            attributes: self.attributes.unwrap_or(usual.attributes),
        }
    }
}

impl Case {
    fn input(&self) -> Vec<u8> {
        match (&self.event, &self.raw, &self.bytes) {
            (Some(event), None, None) => event.to_string().into_bytes(),
            (None, Some(raw), None) => raw.clone().into_bytes(),
            (None, None, Some(bytes)) => bytes.clone(),
            _ => panic!("a case has one of event, raw and bytes"),
        }
    }

    fn run(&self) -> Result<Event, Refusal> {
        let (input, limits) = (self.input(), self.limits.limits());
        match (&self.routing_key, &self.address) {
            (None, None) => parse(&input, &limits),
            (Some(key), None) => parse_for(&input, &limits, key),
            (None, Some(address)) => parse_item(
                &input,
                &limits,
                &DomainName::new(&address.domain).unwrap(),
                &ItemId::new(&address.id).unwrap(),
            ),
            (Some(_), Some(_)) => panic!("a case has a routing key or an address"),
        }
    }
}

/// The files of one folder, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/events")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn golden_files() {
    let mut faults = Vec::new();
    let accepted = files("accepted");
    let is_expected = |path: &PathBuf| path.to_string_lossy().ends_with(".expected.json");
    let mut ran = 0;
    for path in accepted.iter().filter(|path| !is_expected(path)) {
        ran += 1;
        let expected = fs::read_to_string(path.with_extension("expected.json")).unwrap();
        match parse(&fs::read(path).unwrap(), &Limits::default()) {
            Ok(event) => {
                let written: Value = serde_json::from_str(&event.to_json()).unwrap();
                if written != serde_json::from_str::<Value>(&expected).unwrap() {
                    faults.push(format!("{}: got {written}", path.display()));
                }
                assert_eq!(parse(expected.as_bytes(), &Limits::default()), Ok(event));
            }
            Err(refusal) => faults.push(format!("{}: {refusal}", path.display())),
        }
    }
    for path in files("refused") {
        let cases: Vec<Case> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (at, case) in cases.iter().enumerate() {
            ran += 1;
            let got = match case.run() {
                Ok(event) => format!("accepted: {}", event.to_json()),
                Err(got) => {
                    let same = got.reason.word() == case.reason
                        && got.field == case.field
                        && got.detail == case.detail;
                    if same {
                        continue;
                    }
                    format!("{} {:?} {}", got.reason.word(), got.field, got.detail)
                }
            };
            faults.push(format!("{} case {at}: got {got}", path.display()));
        }
    }
    assert!(ran >= 60, "only {ran} golden cases were found");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
