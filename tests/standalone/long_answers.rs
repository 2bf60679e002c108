//! Long titles, and readers that do not take what they asked for: answers stay short, and what waits is bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde_json::json;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAIN: &str = "long.test";
const ITEMS: usize = 60;
/// What a title may be in answers (CONTRACT).
const TITLE: usize = 2 << 10;
/// An answer of 50 has less than this, however long titles are.
const MOST_OF_50: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(120);
/// Readers that take nothing, of an answer of 20 MB or so each.
const SLOW: usize = 60;
/// By how much they may have the program grow: 64 MiB of answers of one address, and what makes the next ones.
const MOST_GROWTH: u64 = 768 << 20;

/// Items with titles of 100 KiB.
fn fill(client: &Client) {
    let lines: Vec<String> = (0..ITEMS)
        .map(|n| {
            let title = format!("Bridges over river {n} ").repeat(5_000);
            let address = format!("https://long.test/{n}/").repeat(80);
            json!({"type": "item.created", "domain": DOMAIN, "id": format!("i{n}"), "language": "en",
                "title": title, "url": address, "image": address})
            .to_string()
        })
        .collect();
    client.batch(DOMAIN, &lines);
    client.wait_quiet(LIMIT);
}

#[track_caller]
fn check_fifty(client: &Client) {
    let answer = client
        .get(&path::similar(DOMAIN, "i0", 50))
        .with_status(200);
    assert!(
        answer.body.len() < MOST_OF_50,
        "{} bytes",
        answer.body.len()
    );
    let answer: SimilarAnswer = answer.read();
    assert_eq!(answer.similar.len(), 50);
    for one in &answer.similar {
        let title = one.title.as_deref().expect("a title").len();
        assert!((TITLE - 4..=TITLE).contains(&title), "{title} bytes");
    }
}

#[test]
fn fifty_neighbours_with_long_titles_are_less_than_a_mebibyte() {
    let place = Place::beside_others();
    let start = Start {
        idle_after: Some("1s"),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &start);
    fill(kindred.client());
    check_fifty(kindred.client());
    wait_for("the domain sleeps", LIMIT, || {
        let state = kindred.client().get(&path::domain(DOMAIN)).json()["state"].clone();
        (state == "asleep").then_some(()).ok_or(state.to_string())
    });
    check_fifty(kindred.client());
}

#[test]
fn readers_that_take_nothing_have_the_program_hold_little() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    fill(kindred.client());
    let query = json!({"items": [{"id": "i0"}], "limit": 50});
    let body = json!({"queries": vec![query; 100]}).to_string();
    let ask = |client: &Client| client.try_get("/healthz").map(|answer| answer.status);
    let before = kindred.resident_bytes();
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", place.port())).expect("a connection");
            stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
            let head = format!(
                "POST /v1/domains/{DOMAIN}/similar:batch HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let asked = stream.write_all((head + &body).as_bytes());
            asked.expect("a request");
            stream
        })
        .collect();
    // Until each has its answer, of which it takes the first words.
    let words: Vec<String> = slow
        .iter_mut()
        .map(|stream| {
            let mut words = [0; 12];
            stream.read_exact(&mut words).expect("an answer");
            String::from_utf8_lossy(&words).into_owned()
        })
        .collect();
    let answered = words.iter().filter(|words| words.ends_with("200")).count();
    let busy = words.iter().filter(|words| words.ends_with("429")).count();
    assert!(answered > 0 && answered + busy == SLOW, "{words:?}");
    let grown = kindred.resident_bytes().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "it grew by {} MiB", grown >> 20);
    assert!(busy > SLOW / 2, "{busy} of {SLOW} were told to wait");
    assert_eq!(ask(kindred.client()), Ok(200));
    check_fifty(kindred.client());
}
