//! `kindred publish`: files of events through the real program, a broker that dies, a queue that
//! is full, and going on after its own end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::Broker;
use super::cluster::{Cluster, EVENTS, How};
use super::services::Control;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::process::Process;
use crate::support::program::kindred;
use crate::support::random::Random;

const DOMAINS: usize = 3;
const WORDS: usize = 12;
const QUIET: Duration = Duration::from_secs(240);
/// Longest until it has published some.
const SOME: Duration = Duration::from_secs(120);
/// CONTRACT: exit codes.
const FAILED: i32 = 1;
const SOME_REJECTED: i32 = 3;
const UNREACHABLE: i32 = 5;

fn events(what: &str, count: usize) -> Vec<Event> {
    let mut random = Random::of_test(what);
    (0..count)
        .map(|n| {
            let domain = format!("file-{}.test", n % DOMAINS);
            let said = text_item(&mut random, WORDS);
            Event::created(&domain, &format!("item-{n}"), 1, &said)
        })
        .collect()
}

/// A file in the test's directory, with these lines.
fn file<'a>(directory: &Path, lines: impl IntoIterator<Item = &'a str>) -> PathBuf {
    let path = directory.join("events.ndjson");
    let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, text).expect("a file in the test's own directory");
    path
}

/// `kindred publish` as one who may do nothing else.
fn publish(directory: &Path, broker: &Broker, file: &Path, more: &[&str]) -> Command {
    let mut command = kindred(directory);
    command
        .env("KINDRED_AMQP_URL", broker.publisher_url())
        .args(["publish", "--json"])
        .arg(file)
        .args(more);
    command
}

#[track_caller]
fn output(mut command: Command) -> Output {
    command.stderr(Stdio::piped()).output().expect("it starts")
}

#[track_caller]
fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[test]
fn bad_lines_are_told_with_their_place_and_the_others_are_in_exact_lists() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let events = events("publish bad lines", 300);
    let mut lines: Vec<&str> = events.iter().map(|event| event.line.as_str()).collect();
    let no_title = json!({"type": "item.created", "domain": "file-0.test", "id": "x"}).to_string();
    lines.insert(7, "{\"type\":");
    lines.insert(100, &no_title);
    let directory = cluster.directory();
    let file = file(directory, lines);

    let ended = output(publish(directory, &cluster.broker, &file, &[]));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(SOME_REJECTED), "{said}");
    let told = summary(&ended);
    assert_eq!(
        (&told["published"], &told["rejected"]),
        (&json!(300), &json!(2))
    );
    for (line, reason) in [(8, "invalid-json"), (101, "missing-field")] {
        let place = format!("{}:{line}: {reason}", file.display());
        assert!(said.contains(&place), "{place} is not in {said}");
    }
    let rejects = std::fs::read_to_string(told["rejects"].as_str().unwrap()).unwrap();
    let rejects: Vec<Value> = rejects
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rejects.len(), 2);
    assert_eq!(rejects[1]["event"], no_title.as_str());
    assert!(!state(&file).exists(), "there is nothing to go on with");
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}

#[test]
fn who_waits_comes_back_when_all_is_served() {
    const AT_ONCE: Duration = Duration::ZERO;
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let mut events = events("publish and wait", 600);
    let directory = cluster.directory();
    let url = format!("http://127.0.0.1{}", service.port());
    let wait = |events: &[Event], more: &[&str]| {
        let file = file(directory, events.iter().map(|event| event.line.as_str()));
        let more = [&["--wait", "--url", &url], more].concat();
        output(publish(directory, &cluster.broker, &file, &more))
    };
    let all_served = |events: &[Event]| {
        let ended = wait(events, &[]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{said}");
        let told = summary(&ended);
        assert!(told["served_after_seconds"].is_f64(), "{told}");
        cluster.settled(service.client(), &Expected::of(events), AT_ONCE);
    };
    all_served(&events);
    // The same again, with something new in the middle: the last events say nothing new.
    let said = text_item(&mut Random::of_test("publish and wait again"), WORDS);
    events[300] = Event::created("file-0.test", "item-300", 2, &said);
    all_served(&events);

    service.process.stop();
    let ended = wait(&events, &["--wait-timeout", "3s"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(UNREACHABLE), "{said}");
    assert!(said.contains("gave up after 3s"), "{said}");
    assert_eq!(summary(&ended)["published"], 600);
}

/// Where it is kept how far a publish is.
fn state(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".publish.json");
    PathBuf::from(path)
}

/// Waits until this many events are confirmed, as far as is written down.
#[track_caller]
fn wait_published(process: &mut Process, file: &Path, wanted: u64) -> u64 {
    wait_for("some are published", SOME, || {
        process.assert_running();
        let text = std::fs::read(state(file)).map_err(|error| error.to_string())?;
        let state: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        match state["published"].as_u64() {
            Some(published) if published >= wanted => Ok(published),
            other => Err(format!("{other:?}")),
        }
    })
}

#[test]
fn every_event_arrives_though_the_broker_and_the_publisher_die() {
    const COUNT: usize = 12_000;
    let cluster = Cluster::alone();
    let events = events("publish with kills", COUNT);
    let directory = cluster.directory();
    let file = file(directory, events.iter().map(|event| event.line.as_str()));
    let log = directory.join("publish.log");
    // Few at once, so that it is still at it when something dies.
    let start = |more: &[&str]| {
        let command = publish(
            directory,
            &cluster.broker,
            &file,
            &[&["--in-flight", "16"], more].concat(),
        );
        Process::spawn("kindred publish", command, &log)
    };
    // Before there is an exchange.
    let mut publishing = start(&[]);
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let before = wait_published(&mut publishing, &file, 1);
    let control = Control::of_broker();
    control.kill();
    publishing.assert_running();
    control.start();
    let after = wait_published(&mut publishing, &file, before + 500);
    assert!(
        after < COUNT as u64,
        "it was done before it could be killed"
    );
    publishing.kill_9();

    let ended = output(publish(directory, &cluster.broker, &file, &["--resume"]));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert_eq!(summary(&ended)["published"], COUNT);
    let told = std::fs::read_to_string(&log).unwrap();
    for words in ["exchange kindred.items", "accepts events again"] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}

#[test]
fn a_full_queue_is_waited_for() {
    let cluster = Cluster::new();
    // Its topology is wanted, and nobody who takes anything.
    cluster.service(&How::default()).process.stop();
    cluster.broker.limit(EVENTS, 50);
    let events = events("publish into a full queue", 600);
    let directory = cluster.directory();
    let file = file(directory, events.iter().map(|event| event.line.as_str()));
    let log = directory.join("publish.log");
    let command = publish(directory, &cluster.broker, &file, &[]);
    let mut publishing = Process::spawn("kindred publish", command, &log);
    wait_for("it says that the queue is full", SOME, || {
        publishing.assert_running();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("queue is full") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let status = publishing.ended(QUIET);
    assert_eq!(status.code(), Some(0), "{}", publishing.last_words());
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
}

#[test]
fn an_exchange_without_a_queue_and_a_user_who_may_not_are_told() {
    let place = Place::beside_others();
    let broker = Broker::new();
    broker.declare_exchange("kindred.items", "topic");
    let events = events("publish nowhere", 3);
    let file = file(
        place.directory(),
        events.iter().map(|event| event.line.as_str()),
    );
    let ended = output(publish(place.directory(), &broker, &file, &[]));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(FAILED), "{said}");
    assert!(said.contains("topology is missing"), "{said}");

    let mut command = publish(place.directory(), &broker, &file, &[]);
    command.env("KINDRED_AMQP_URL", broker.worker_url());
    let ended = output(command);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(FAILED), "{said}");
    assert!(said.contains("forbids this user to publish"), "{said}");
}
