//! A store that must not be used is refused with its reason; one that cannot grow loses nothing.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use redb::{Database, TableDefinition};
use serde_json::json;

use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::check::assert_exact;
use crate::exactness::expected::Expected;
use crate::exactness::stored;
use crate::support::deadline::wait_for;
use crate::support::place::{Place, free_port};
use crate::support::program::{Kindred, Start, run};
use crate::support::random::Random;

/// What a store says about itself.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const FILE: &str = "kindred.redb";
const DOMAIN: &str = "store.test";
const QUIET: Duration = Duration::from_secs(60);

/// A place with a store in it, of a program that has ended.
fn place_with_store() -> Place {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let event = Event::created(DOMAIN, "a", 1, &json!({"title": "Night trains return"}));
    kindred.client().batch(DOMAIN, &[event.line]);
    kindred.client().wait_quiet(QUIET);
    kindred.stop();
    place
}

fn file(place: &Place) -> PathBuf {
    place.data_dir().join(FILE)
}

fn start_again(directory: &Path, data_dir: &Path) -> Output {
    run(
        directory,
        &[
            "standalone",
            "--listen",
            &format!("127.0.0.1:{}", free_port()),
            "--data-dir",
            data_dir.to_str().expect("a path in UTF-8"),
        ],
    )
}

/// It ended by itself, not with 0, and said all of these words.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{}: {said}",
        output.status
    );
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn change_meta(file: &Path, key: &str, value: &[u8]) {
    let database = Database::open(file).expect("a store");
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .open_table(META)
        .expect("its own description")
        .insert(key, value)
        .expect("a changed description");
    transaction.commit().expect("a commit");
}

#[test]
fn a_newer_store_is_refused() {
    let place = place_with_store();
    change_meta(&file(&place), "version", &99u32.to_le_bytes());
    let output = start_again(place.directory(), &place.data_dir());
    assert_refused(&output, &["newer", "99"]);
}

#[test]
fn a_store_of_other_word_vectors_is_refused() {
    let place = place_with_store();
    let key = "inputs:words-1";
    change_meta(&file(&place), key, b"vectors of long ago");
    let output = start_again(place.directory(), &place.data_dir());
    assert_refused(
        &output,
        &["words-1 (vectors of long ago)", "words-1 (vectors en:"],
    );
}

#[test]
fn a_store_of_another_number_of_partitions_is_refused() {
    let place = place_with_store();
    change_meta(&file(&place), "partitions", &7u16.to_le_bytes());
    let output = start_again(place.directory(), &place.data_dir());
    assert_refused(&output, &["7 partitions"]);
}

#[test]
fn a_store_in_use_is_refused() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let output = start_again(place.directory(), &place.data_dir());
    assert_refused(&output, &["in use"]);
    kindred.client().get("/readyz").with_status(200);
    kindred.stop();
}

#[test]
fn a_damaged_store_is_refused() {
    let place = place_with_store();
    let file = file(&place);
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len().min(64 << 10);
    bytes[..end].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let output = start_again(place.directory(), &place.data_dir());
    assert_refused(&output, &[place.data_dir().to_str().unwrap()]);
}

#[test]
fn a_store_that_cannot_grow_acknowledges_only_what_it_holds() {
    /// Batches to fill it with: far more than fits.
    const BATCHES: usize = 60;
    const EVENTS: usize = 50;
    const WORDS: usize = 2_000;
    /// 24 MiB in units of 512 bytes: an empty store fits, sixty batches do not.
    const LARGEST_FILE: u32 = 49_152;

    let place = Place::beside_others();
    let how = Start {
        largest_file: Some(LARGEST_FILE),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &how);
    let mut random = Random::of_test("a full store");
    let mut acknowledged: Vec<Event> = Vec::new();
    let mut refused = None;
    for batch in 0..BATCHES {
        let events: Vec<Event> = (0..EVENTS)
            .map(|n| {
                let said = text_item(&mut random, WORDS);
                Event::created(DOMAIN, &format!("b{batch}-{n}"), 1, &said)
            })
            .collect();
        let lines: Vec<&str> = events.iter().map(|event| event.line.as_str()).collect();
        let answer = kindred
            .client()
            .try_batch(DOMAIN, &lines.join("\n"))
            .expect("it answers, full or not");
        if answer.status != 200 {
            refused = Some((answer, events));
            break;
        }
        acknowledged.extend(events);
    }
    let (answer, events) = refused.expect("the store fills up");
    assert!(
        (500..600).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.body
    );
    assert!(
        answer.content_type.starts_with("application/problem+json"),
        "{}",
        answer.body
    );
    assert!(
        answer.body.contains("full") || answer.body.contains("large"),
        "{}",
        answer.body
    );
    // Reading goes on, once the database is open again.
    wait_for("reading goes on", QUIET, || {
        let answer = kindred.client().get("/v1/domains");
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    });
    kindred.kill_9();

    // With room again, all that was acknowledged is there, and the rest can be sent again.
    let kindred = Kindred::start(&place, &Start::default());
    let lines: Vec<String> = events.iter().map(|event| event.line.clone()).collect();
    kindred.client().batch(DOMAIN, &lines);
    kindred.client().wait_quiet(QUIET);
    kindred.stop();
    let expected = Expected::of(acknowledged.iter().chain(&events));
    assert_exact(&stored::read(&place.data_dir()), &expected);
}
