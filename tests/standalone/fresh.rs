//! How soon a change is in answers.

use std::time::{Duration, Instant};

use kindred_api::path::item;
use serde_json::{Value, json};

use crate::corpus::event::Event;
use crate::corpus::generated::{rare_word, text_item};
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

const DOMAIN: &str = "fresh.test";
/// Items of the quiet domain.
const ITEMS: usize = 5_000;
/// Items put into it, one after the other.
const MEASURED: usize = 50;
const WORDS: usize = 25;
/// The default window.
const WINDOW: Duration = Duration::from_millis(250);
/// What may be added to the window, for the median.
const BUDGET: Duration = Duration::from_millis(50);
/// Longest a single one may take: a broken one fails, a slow one counts.
const SEEN: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(300);

#[test]
fn an_item_is_in_its_neighbours_answers_after_its_window_and_gone_when_its_deletion_returns() {
    let place = Place::new();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let mut random = Random::of_test("fresh");
    let said: Vec<Value> = (0..ITEMS).map(|_| text_item(&mut random, WORDS)).collect();
    let lines: Vec<String> = said
        .iter()
        .enumerate()
        .map(|(n, said)| Event::created(DOMAIN, &format!("old-{n}"), 1, said).line)
        .collect();
    for batch in lines.chunks(500) {
        client.batch(DOMAIN, batch);
    }
    client.wait_quiet(QUIET);

    let mut delays = Vec::new();
    for n in 0..MEASURED {
        let like = random.below(ITEMS);
        let (neighbour, id) = (format!("old-{like}"), format!("new-{n}"));
        // One word apart from its neighbour: it comes first there.
        let mut new = said[like].clone();
        let text = format!("{} {}", new["text"].as_str().unwrap(), rare_word(2_500 + n));
        new["text"] = json!(text);
        let event = Event::created(DOMAIN, &id, 1, &new);
        let started = Instant::now();
        client.put(&item(DOMAIN, &id), &event.line).with_status(202);
        wait_for("the new item is its neighbour's neighbour", SEEN, || {
            let similar = client.similar(DOMAIN, &neighbour, 10).expect("visible");
            match similar.iter().any(|one| one.id.as_str() == id) {
                true => Ok(()),
                false => Err(format!("{similar:?}")),
            }
        });
        delays.push(started.elapsed());
        client.wait_quiet(QUIET);
    }
    delays.sort();
    let median = delays[MEASURED / 2];
    println!(
        "put to seen: median {median:?}, fastest {:?}, slowest {:?}",
        delays[0],
        delays[MEASURED - 1]
    );

    for n in 0..MEASURED {
        let id = format!("new-{n}");
        let neighbours = client.similar(DOMAIN, &id, 50).expect("visible");
        assert!(!neighbours.is_empty());
        client.delete(&item(DOMAIN, &id)).with_status(202);
        assert_eq!(client.similar(DOMAIN, &id, 50), None, "its own answer");
        for neighbour in neighbours
            .iter()
            .filter(|one| one.id.as_str().starts_with("old-"))
        {
            let similar = client
                .similar(DOMAIN, neighbour.id.as_str(), 50)
                .expect("visible");
            assert!(
                similar.iter().all(|one| one.id.as_str() != id),
                "{id} is gone, and in the answer of {}",
                neighbour.id
            );
        }
    }
    kindred.stop();
    assert!(
        median <= WINDOW + BUDGET,
        "median {median:?} from put to seen, allowed {WINDOW:?} + {BUDGET:?}; all: {delays:?}"
    );
}
