//! Imports against a small server that answers as a test tells it.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::cli::Exit;

/// Answers a request: path, body → status, body.
type Handler = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// A server on a free port, for the life of the test.
fn serve(handler: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let handler: Arc<Handler> = Arc::new(handler);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let handler = Arc::clone(&handler);
            std::thread::spawn(move || answer_all(stream.unwrap(), &*handler));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, handler: &Handler) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let path = first.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, answer) = handler(&path, std::str::from_utf8(&body).ok()?);
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )
        .ok()?;
    }
}

/// Accepts all lines except those that contain `bad`.
fn accept(body: &str) -> (u16, String) {
    let rejected: Vec<_> = body
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("bad"))
        .map(|(at, _)| {
            serde_json::json!({"line": at + 1, "type": "/problems/invalid-id", "detail": "no id"})
        })
        .collect();
    let accepted = body.lines().count() - rejected.len();
    let answer = serde_json::json!({"accepted": accepted, "rejected": rejected});
    (200, answer.to_string())
}

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}/")).unwrap()
}

fn options(directory: &tempfile::TempDir) -> Options {
    Options {
        domain: None,
        rejects: Some(directory.path().join("rejects.ndjson")),
        timeout: Duration::from_secs(20),
        shown: false,
        ..Options::default()
    }
}

fn rejects(path: &std::path::Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn lines_arrays_and_packed_files_are_the_same() {
    let lines = "{\"domain\":\"a\",\"id\":\"1\"}\n{\"domain\":\"b\",\"id\":\"2\"}\n";
    let array = "[{\"domain\":\"a\",\n\"id\":\"1\"},{\"domain\":\"b\",\"id\":\"2\"}]";
    let pack = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // Two members, as from `cat a.gz b.gz`.
    let members = [pack(&lines[..25]), pack(&lines[25..])].concat();
    for input in [
        lines.into(),
        array.into(),
        pack(lines),
        pack(array),
        members,
    ] {
        let seen: Arc<Mutex<HashMap<String, Vec<serde_json::Value>>>> = Arc::default();
        let server = serve({
            let seen = Arc::clone(&seen);
            move |path, body| {
                let events = body.lines().map(|line| serde_json::from_str(line).unwrap());
                seen.lock()
                    .unwrap()
                    .entry(path.to_owned())
                    .or_default()
                    .extend(events);
                accept(body)
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        std::fs::write(&file, input).unwrap();
        let (summary, _) = load(
            &client(server),
            vec![Source::open(&file).unwrap()],
            &options(&directory),
        )
        .unwrap();
        assert_eq!((summary.accepted, summary.ended.rejected), (2, 0));
        assert_eq!(summary.ended.rejects, None);
        assert!(!directory.path().join("rejects.ndjson").exists());
        let seen = seen.lock().unwrap();
        for (domain, id) in [("a", "1"), ("b", "2")] {
            let events = &seen[&format!("/v1/domains/{domain}/items:batch")];
            assert_eq!(events.len(), 1);
            assert_eq!(events[0]["id"], id);
            assert_eq!(events[0].get("version"), None, "the domain gives one");
        }
    }
}

#[test]
fn bad_lines_are_kept_with_their_reason_and_the_rest_goes_in() {
    let server = serve(|_, body| accept(body));
    let directory = tempfile::tempdir().unwrap();
    let long = "x".repeat(2 << 20);
    let input = format!(
        "{{\"domain\":\"a\",\"id\":\"1\",\"version\":5}}\nnot json\n{{\"id\":\"2\"}}\n\
         {long}\n\n{{\"domain\":\"a\",\"id\":\"bad\"}}\n{{\"domain\":\"a\",\"id\":\"3\"}}"
    );
    let (summary, _) = load(
        &client(server),
        vec![Source::bytes("events", input.into_bytes())],
        &options(&directory),
    )
    .unwrap();
    assert_eq!((summary.accepted, summary.ended.rejected), (2, 4));
    let mut kept = rejects(&summary.ended.rejects.unwrap());
    kept.sort_by_key(|reject| reject["line"].as_u64());
    let told: Vec<_> = kept
        .iter()
        .map(|reject| {
            (
                reject["line"].as_u64().unwrap(),
                reject["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, "invalid-json"),
            (3, "missing-field"),
            (4, "too-large"),
            (6, "invalid-id")
        ]
    );
    assert_eq!(kept[0]["event"], "not json");
    assert_eq!(kept[3]["event"], "{\"domain\":\"a\",\"id\":\"bad\"}");
    assert_eq!(kept[3]["detail"], "no id");
    assert_eq!(kept[3]["file"], "events");
}

#[test]
fn a_domain_keeps_its_order_and_has_one_batch_on_its_way() {
    let busy: Arc<Mutex<HashMap<String, bool>>> = Arc::default();
    let seen: Arc<Mutex<HashMap<String, Vec<u64>>>> = Arc::default();
    let overlapped = Arc::new(AtomicBool::new(false));
    let server = serve({
        let (busy, seen, overlapped) = (busy, Arc::clone(&seen), Arc::clone(&overlapped));
        move |path, body| {
            if busy.lock().unwrap().insert(path.to_owned(), true) == Some(true) {
                overlapped.store(true, Ordering::SeqCst);
            }
            let numbers = body.lines().map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["n"].as_u64().unwrap()
            });
            seen.lock()
                .unwrap()
                .entry(path.to_owned())
                .or_default()
                .extend(numbers);
            busy.lock().unwrap().insert(path.to_owned(), false);
            accept(body)
        }
    });
    let input: String = (0..9_000)
        .map(|n| format!("{{\"domain\":\"d{}\",\"n\":{n}}}\n", n % 2))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let (summary, _) = load(
        &client(server),
        vec![Source::bytes("events", input.into_bytes())],
        &options(&directory),
    )
    .unwrap();
    assert_eq!(summary.accepted, 9_000);
    assert!(!overlapped.load(Ordering::SeqCst));
    assert!(
        seen.lock()
            .unwrap()
            .values()
            .all(|numbers| numbers.is_sorted())
    );
}

#[test]
fn a_server_that_cannot_take_events_is_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = serve({
        let asked = Arc::clone(&asked);
        move |_, body| match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => (
                503,
                "{\"type\":\"/problems/unavailable\",\"detail\":\"later\"}".into(),
            ),
            _ => accept(body),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let (summary, _) = load(
        &client(server),
        vec![Source::bytes("events", "{\"domain\":\"a\"}")],
        &options(&directory),
    )
    .unwrap();
    assert_eq!((summary.accepted, asked.load(Ordering::SeqCst)), (1, 3));
}

#[test]
fn a_server_that_is_not_running_is_unreachable() {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let directory = tempfile::tempdir().unwrap();
    let failure = load(
        &client(address),
        vec![Source::bytes("events", "{\"domain\":\"a\"}")],
        &Options {
            timeout: Duration::from_millis(1),
            ..options(&directory)
        },
    )
    .unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("gave up"), "{failure}");
}

#[test]
fn a_refused_batch_rejects_its_lines_and_another_server_fails() {
    let directory = tempfile::tempdir().unwrap();
    let sources = || {
        vec![Source::bytes(
            "events",
            "{\"domain\":\"a\"}\n{\"domain\":\"a\"}",
        )]
    };
    let problem = serve(|_, _| {
        (
            404,
            "{\"type\":\"/problems/unknown-domain\",\"detail\":\"register it\"}".into(),
        )
    });
    let (summary, _) = load(&client(problem), sources(), &options(&directory)).unwrap();
    assert_eq!((summary.accepted, summary.ended.rejected), (0, 2));
    assert_eq!(
        rejects(&summary.ended.rejects.unwrap())[1]["reason"],
        "unknown-domain"
    );

    for (status, body) in [(404, "<html>"), (200, "{}"), (200, "{\"accepted\":1}")] {
        let other = serve(move |_, _| (status, body.to_owned()));
        let failure = load(&client(other), sources(), &options(&directory)).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed, "{failure}");
    }
}

#[test]
fn a_file_cut_off_in_the_middle_fails_and_what_was_read_goes_in() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let lines: String = (0..50_000)
        .map(|n| format!("{{\"domain\":\"a\",\"n\":{n}}}\n"))
        .collect();
    encoder.write_all(lines.as_bytes()).unwrap();
    let mut packed = encoder.finish().unwrap();
    packed.truncate(packed.len() / 2);
    let accepted = Arc::new(AtomicUsize::new(0));
    let server = serve({
        let accepted = Arc::clone(&accepted);
        move |_, body| {
            accepted.fetch_add(body.lines().count(), Ordering::SeqCst);
            accept(body)
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let (summary, broken) = load(
        &client(server),
        vec![Source::bytes("events.gz", packed)],
        &options(&directory),
    )
    .unwrap();
    let failure = broken.unwrap();
    assert!(summary.accepted > 1_000);
    assert_eq!(failure.exit, Exit::Failed);
    assert!(
        failure
            .message
            .contains("events.gz cannot be read any further"),
        "{failure}"
    );
    assert!(accepted.load(Ordering::SeqCst) > 1_000);
}

#[test]
fn what_follows_packed_data_does_no_harm() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(b"{\"domain\":\"a\",\"n\":1}\n{\"domain\":\"a\",\n\"n\":2}\n")
        .unwrap();
    let packed = encoder.finish().unwrap();
    let directory = tempfile::tempdir().unwrap();
    for follows in [&[0; 600][..], b"garbage"] {
        let source = Source::bytes("events.gz", [&packed, follows].concat());
        let address = serve(|_, body| accept(body));
        let loaded = load(&client(address), vec![source], &options(&directory)).unwrap();
        let (summary, broken) = loaded;
        assert_eq!((summary.accepted, broken), (2, None));
    }
}
