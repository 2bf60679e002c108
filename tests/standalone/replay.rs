//! The log of events of a standalone, and `kindred replay` of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kindred_api::path::{domain, item};
use model_service::crash::EVENT_LOG_POINTS;
use serde_json::{Value, json};

use crate::corpus::event::Event;
use crate::corpus::generated;
use crate::corpus::history::history;
use crate::exactness::check::{assert_exact, assert_same_bits};
use crate::exactness::expected::Expected;
use crate::exactness::stored;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::process::Process;
use crate::support::program::{Kindred, Start, ended, kindred};
use crate::support::random::Random;

const TEXTS: &str = "texts.test";
const VECTORS: &str = "vectors.test";
const WORDS: usize = 20;
const DIMENSION: usize = 12;
const ITEMS: usize = 90;
const QUIET: Duration = Duration::from_secs(60);
/// Longest until a replay has saved its position.
const SAVED: Duration = Duration::from_secs(60);
/// Longest a replay may take.
const ENDED: Duration = Duration::from_secs(120);
/// CONTRACT: exit codes.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const SOME_REJECTED: i32 = 3;

fn logging() -> Start {
    Start {
        window: Some("20ms"),
        flags: ["--log-retention", "30days"].map(str::to_owned).to_vec(),
        ..Start::default()
    }
}

/// `kindred replay` of the log of the test's standalone.
fn replay(place: &Place, more: &[&str]) -> Command {
    let mut command = kindred(place.directory());
    command.args(["replay", "--json", "--from", "start", "--from-dir", "data"]);
    command.args(more);
    command
}

fn into(place: &Place) -> PathBuf {
    place.directory().join("rebuilt")
}

/// The histories of two domains.
fn events(what: &str) -> Vec<Event> {
    let mut random = Random::of_test(what);
    let mut events = history(TEXTS, ITEMS, || generated::text_item(&mut random, WORDS));
    events.extend(history(VECTORS, ITEMS, || {
        generated::vector_item(&mut random, DIMENSION)
    }));
    events
}

#[track_caller]
fn send(client: &Client, events: &[Event]) {
    for of in [TEXTS, VECTORS] {
        let its = events.iter().filter(|event| event.domain == of);
        let lines: Vec<String> = its.map(|event| event.line.clone()).collect();
        for lines in lines.chunks(25) {
            client.batch(of, lines);
        }
    }
}

/// Makes a log, and the store that it must make again; the newest events by version.
#[track_caller]
fn fill(place: &Place, what: &str) -> Vec<Event> {
    let service = Kindred::start(place, &logging());
    let events = events(what);
    send(service.client(), &events);
    service.client().wait_quiet(QUIET);
    service.stop();
    events
}

#[track_caller]
fn assert_same(place: &Place, rebuilt: &Path) {
    assert_same_bits(&stored::read(&place.data_dir()), &stored::read(rebuilt));
}

#[test]
fn a_log_makes_the_same_items_and_lists_in_another_directory_however_often() {
    let place = Place::beside_others();
    let service = Kindred::start(&place, &logging());
    let client = service.client();
    // A domain that is deleted and made anew: nothing from before comes back.
    let once = |text: &str| json!({"title": text, "text": "Sleepers run again."}).to_string();
    for id in ["old", "older"] {
        client
            .put(&item("anew.test", id), &once(id))
            .with_status(202);
    }
    client.delete(&domain("anew.test")).with_status(202);
    for id in ["new", "newer"] {
        client
            .put(&item("anew.test", id), &once(id))
            .with_status(202);
    }
    // Settings decide what is compared.
    let across = json!({"across_languages": true, "max_items": 3}).to_string();
    client.put(&domain("across.test"), &across).with_status(201);
    for (id, language, text) in [
        ("de", "de", "Der Nachtzug nach Hamburg fährt wieder."),
        ("en", "en", "The night train to Hamburg runs again."),
        ("no", "en", "Flour, water and salt make a loaf."),
    ] {
        let said = json!({"title": text, "language": language}).to_string();
        client.put(&item("across.test", id), &said).with_status(202);
    }
    // Patches, and events whose version the domain gives.
    let patch = json!({"url": "https://texts.test/i000", "categories": ["rail"]}).to_string();
    send(client, &events("a log makes the same"));
    client.patch(&item(TEXTS, "i000"), &patch).with_status(202);
    client
        .put(&item(TEXTS, "given"), &once("given"))
        .with_status(202);
    client.delete(&item(TEXTS, "i001")).with_status(202);
    client.wait_quiet(QUIET);
    let patched = client.get(&item(TEXTS, "i000")).with_status(200).json();
    service.stop();

    let rebuilt = into(&place);
    let (first, _) = ended(replay(&place, &["--into", "./rebuilt"]), DONE);
    assert_eq!(first["complete"], true, "{first}");
    assert_eq!(
        (&first["refused"], &first["unreadable"]),
        (&json!(0), &json!(0))
    );
    assert!(first["deleted"].as_u64() > Some(0), "{first}");
    assert!(first["lists_after_seconds"].is_f64(), "{first}");
    assert!(!place.directory().join("rebuilt.replay.json").exists());
    assert_same(&place, &rebuilt);
    // Over what is there.
    let (second, _) = ended(replay(&place, &["--into", "./rebuilt"]), DONE);
    assert_eq!(second["replayed"], first["replayed"], "{second}");
    assert_same(&place, &rebuilt);
    // Into itself: the log does not grow by what is read from it.
    let size = || {
        log_files(&place)
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum()
    };
    let before: u64 = size();
    ended(
        replay(&place, &["--into", "./data", "--log-retention", "30days"]),
        DONE,
    );
    assert_eq!(size(), before);
    assert_same(&place, &rebuilt);

    // It serves.
    fs::rename(place.data_dir(), place.directory().join("former")).unwrap();
    fs::rename(&rebuilt, place.data_dir()).unwrap();
    let again = Kindred::start(&place, &Start::default());
    let item_of = |id| again.client().get(&item(TEXTS, id)).json();
    assert_eq!(item_of("i000")["url"], patched["url"]);
    assert_eq!(item_of("i000")["version"], patched["version"]);
    let settings = again.client().get(&domain("across.test")).json();
    assert_eq!(settings["max_items"], 3, "{settings}");
    let of_german = again.client().similar("across.test", "de", 1).unwrap();
    assert_eq!(of_german[0].id.as_str(), "en");
    again.stop();
}

/// The files of the log, the oldest first.
fn log_files(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.data_dir().join("event-log")).expect("a log");
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_acknowledged_is_in_the_log_whenever_the_process_dies() {
    for point in EVENT_LOG_POINTS {
        for passing in [1, 5, 9] {
            die_while_logging(point, passing);
        }
    }
}

#[track_caller]
fn die_while_logging(point: &str, passing: usize) {
    println!("{point}:{passing}");
    let place = Place::beside_others();
    let mut service = Kindred::spawn(
        &place,
        &Start {
            crash_at: Some(format!("{point}:{passing}")),
            ..logging()
        },
    );
    wait_for("kindred is ready", QUIET, || {
        match service.client().try_get("/readyz") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let events = events("dies while logging");
    let mut sent = events.chunks(9);
    let mut unacknowledged = None;
    let mut acknowledged = Vec::new();
    for chunk in sent.by_ref() {
        let lines: Vec<&str> = chunk.iter().map(|event| event.line.as_str()).collect();
        let of = &chunk[0].domain;
        // A chunk may begin in one domain and end in the other.
        let lines: Vec<&str> = lines
            .into_iter()
            .filter(|line| line.contains(of.as_str()))
            .collect();
        match service.client().try_batch(of, &lines.join("\n")) {
            Ok(answer) if answer.status == 200 => {
                acknowledged.extend(chunk.iter().filter(|event| event.domain == *of));
            }
            Ok(_) | Err(_) => {
                unacknowledged = Some((of.clone(), lines.join("\n")));
                break;
            }
        }
    }
    wait_for("it has died", QUIET, || {
        service.died().ok_or_else(|| "it runs".to_owned())
    });
    drop(service);

    // Before anything else: nobody has mended the log.
    let rebuilt = into(&place);
    let (first, said) = ended(replay(&place, &["--into", "./rebuilt"]), DONE);
    assert_eq!(
        first["unreadable"], 0,
        "a line that is not whole is none: {said}"
    );
    let there = stored::read(&rebuilt);
    for event in &acknowledged {
        let found = there.get(&event.domain).and_then(|of| {
            let its = |item: &&kindred_domain::store::ItemRow| item.id.as_str() == event.id;
            of.items.values().find(its)
        });
        let found = found.map(|item| item.version);
        assert!(
            found >= Some(event.version),
            "{point}: {event:?} is {found:?}"
        );
    }

    let service = Kindred::start(&place, &logging());
    if let Some((of, lines)) = unacknowledged {
        let again = service.client().try_batch(&of, &lines).expect("it answers");
        assert_eq!(again.status, 200, "{}", again.body);
    }
    send(service.client(), &events);
    service.client().wait_quiet(QUIET);
    service.stop();
    assert_exact(&stored::read(&place.data_dir()), &Expected::of(&events));
    ended(replay(&place, &["--into", "./rebuilt"]), DONE);
    assert_same(&place, &rebuilt);
}

#[test]
fn a_replay_that_dies_or_is_interrupted_is_resumed() {
    let place = Place::beside_others();
    fill(&place, "a replay that dies");
    let rebuilt = into(&place);
    let state = place.directory().join("rebuilt.replay.json");
    // It dies after its position was saved.
    let mut dying = replay(&place, &["--into", "./rebuilt", "--rate", "40"]);
    dying.env("KINDRED_TEST_CRASH_AT", "before-replayed-event:80");
    let mut dying = Process::spawn("kindred replay", dying, &place.log());
    wait_for("it dies", ENDED, || {
        dying.died().ok_or_else(|| "it runs".to_owned())
    });
    assert!(state.exists(), "{}", dying.last_words());
    let saved = |state: &Path| -> u64 {
        let saved: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        saved["next"].as_u64().unwrap()
    };
    let first = saved(&state);
    assert!(first > 0);

    // Ctrl-C ends the next one.
    let slowly = ["--into", "./rebuilt", "--rate", "20", "--resume"];
    let mut interrupted = replay(&place, &slowly);
    interrupted.stdout(Stdio::piped()).stderr(Stdio::piped());
    let interrupted = interrupted.spawn().expect("it starts");
    wait_for("it gets further", SAVED, || match saved(&state) {
        further if further > first + 10 => Ok(()),
        same => Err(same.to_string()),
    });
    let pid = interrupted.id().to_string();
    let signalled = Command::new("kill").args(["-INT", &pid]).status();
    assert!(signalled.expect("kill").success());
    let output = interrupted.wait_with_output().expect("its own child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(FAILED), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(summary["complete"], false, "{summary} {said}");
    assert!(said.contains("--resume"), "{said}");
    assert!(state.exists(), "{said}");

    // Not as part of another replay.
    let other = [
        "--into",
        "./elsewhere",
        "--state",
        "rebuilt.replay.json",
        "--resume",
    ];
    let (_, said) = ended(replay(&place, &other), USAGE);
    assert!(said.contains("another replay"), "{said}");

    let (last, said) = ended(replay(&place, &["--into", "./rebuilt", "--resume"]), DONE);
    assert!(said.contains("continuing after"), "{said}");
    assert_eq!(last["complete"], true, "{last}");
    assert!(!state.exists());
    assert_same(&place, &rebuilt);
    let (_, said) = ended(replay(&place, &["--into", "./rebuilt", "--resume"]), USAGE);
    assert!(said.contains("does not exist"), "{said}");
}

#[test]
fn what_cannot_be_read_is_named_and_stops_nothing() {
    let place = Place::beside_others();
    fill(&place, "what cannot be read");
    let file = log_files(&place).pop().unwrap();
    let good = json!({"type": "item.created", "domain": TEXTS, "id": "by hand", "version": 1,
        "title": "A line without a time"});
    let mut log = File::options().append(true).open(file).unwrap();
    write!(log, "no event\n{good}\n{{\"type\":\"item.crea").unwrap();
    drop(log);
    let (told, said) = ended(replay(&place, &["--into", "./rebuilt"]), SOME_REJECTED);
    assert_eq!(
        (&told["unreadable"], &told["complete"]),
        (&json!(1), &json!(true))
    );
    assert!(said.contains(": invalid-json: "), "{said}");
    let there = stored::read(&into(&place));
    let texts = &there[TEXTS];
    assert!(texts.items.keys().any(|id| id.as_str() == "by hand"));
    assert_eq!(texts.items.len(), 91, "and all others");
}

#[test]
fn a_domain_is_replayed_into_a_running_service_and_a_deleted_one_brought_back() {
    let place = Place::beside_others();
    let events = fill(&place, "a domain is replayed");
    let service = Kindred::start(&place, &logging());
    let client = service.client();
    let url = client.url("");
    let lists = |client: &Client| -> Vec<Vec<(String, u32)>> {
        let list = |n: usize| {
            client
                .similar(TEXTS, &format!("i{n:03}"), 50)
                .unwrap_or_default()
        };
        let bits = |n| {
            list(n)
                .into_iter()
                .map(|one| (one.id.to_string(), one.score.to_bits()))
        };
        (0..90).map(|n| bits(n).collect()).collect()
    };
    let before = lists(client);
    assert!(before.iter().any(|list| list.len() == 50));
    let of_texts = ["--domain", TEXTS, "--url", &url];
    // Into what is there: it changes nothing.
    let (told, _) = ended(replay(&place, &of_texts), DONE);
    assert!(told["replayed"].as_u64() >= Some(90), "{told}");
    assert_eq!(told["domains"], 1, "{told}");
    client.wait_quiet(QUIET);
    assert_eq!(lists(client), before);

    client.delete(&domain(TEXTS)).with_status(202);
    // What came before a deletion is deleted.
    let (told, _) = ended(replay(&place, &of_texts), DONE);
    assert_eq!(told["replayed"], 0, "{told}");
    client.get(&domain(TEXTS)).with_status(404);
    let undelete = [&of_texts[..], &["--undelete", "--rate", "2000"]].concat();
    ended(replay(&place, &undelete), DONE);
    client.wait_quiet(QUIET);
    assert_eq!(lists(client), before);
    service.stop();
    assert_exact(&stored::read(&place.data_dir()), &Expected::of(&events));
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let place = Place::beside_others();
    // A standalone that keeps no log.
    Kindred::start(&place, &Start::default()).stop();
    let (_, said) = ended(replay(&place, &["--into", "./rebuilt"]), FAILED);
    assert!(said.contains("log_retention"), "{said}");
    assert!(!into(&place).exists(), "nothing was begun");
    for (wrong, hint) in [
        (&["--into", "not-a-keyspace"][..], "./not-a-keyspace"),
        (&["--into", "./x", "--url", "http://127.0.0.1:1"], "--url"),
        (&["--undelete"], "--domain"),
        (&["--rate", "0"], "--rate"),
        (&["--domain", "no domain"], "1 to 128 characters"),
    ] {
        let (_, said) = ended(replay(&place, wrong), USAGE);
        assert!(said.contains(hint), "{wrong:?}: {said}");
    }
    let mut when = kindred(place.directory());
    when.args(["replay", "--from", "yesterday"]);
    let (_, said) = ended(when, USAGE);
    assert!(said.contains("2026-11-23T09:00:00Z"), "{said}");
    // A directory in use.
    let service = Kindred::start(&place, &logging());
    let said = json!({"title": "Night trains return"}).to_string();
    service
        .client()
        .put(&item(TEXTS, "a"), &said)
        .with_status(202);
    let (_, said) = ended(replay(&place, &["--into", "./data"]), FAILED);
    assert!(said.contains("in use"), "{said}");
    // Its log can be read meanwhile.
    ended(replay(&place, &["--into", "./rebuilt"]), DONE);
    service.stop();
    assert_same(&place, &into(&place));
    // Nobody is there.
    let nobody = format!("http://127.0.0.1:{}", place.port());
    let nobody = ["--url", &nobody, "--timeout", "1s"];
    let (_, said) = ended(replay(&place, &nobody), 5);
    assert!(said.contains("does not answer"), "{said}");
}
