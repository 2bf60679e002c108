//! "A window of m items compares m·N pairs, a deletion only short lists", by the program's own
//! count.

use std::time::Duration;

use serde_json::json;

use crate::corpus::event::Event;
use crate::corpus::generated::vector_item;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

const DOMAIN: &str = "pairs.test";
const METRIC: &str = "kindred_pairs_compared_total";
/// Items at first: more than a list keeps, so that lists are cut.
const N: usize = 300;
/// Items that come later.
const M: usize = 40;
const DIMENSION: usize = 16;
const QUIET: Duration = Duration::from_secs(60);

#[test]
fn a_window_compares_its_items_with_all_and_a_deletion_compares_nothing() {
    let place = Place::new();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let mut random = Random::of_test("pairs");
    let created = |n: usize, random: &mut Random| {
        Event::created(DOMAIN, &format!("i{n}"), 1, &vector_item(random, DIMENSION)).line
    };
    let pairs = || {
        client.wait_quiet(QUIET);
        client.metric(METRIC)
    };

    let first: Vec<String> = (0..N).map(|n| created(n, &mut random)).collect();
    client.batch(DOMAIN, &first);
    let after_first = pairs();
    assert_eq!(after_first, half_square(N), "each pair once");

    let later: Vec<String> = (N..N + M).map(|n| created(n, &mut random)).collect();
    client.batch(DOMAIN, &later);
    let after_later = pairs();
    let compared = after_later - after_first;
    let least = (M * N) as f64;
    assert!(
        (least..=least + half_square(M)).contains(&compared),
        "{compared} pairs for {M} items into {N}"
    );

    client.batch(DOMAIN, &[Event::deleted(DOMAIN, "i7", 2).line]);
    assert_eq!(
        pairs(),
        after_later,
        "a deletion; every list is long enough"
    );

    // The same vector with another title: a change of metadata alone.
    let mut said: serde_json::Value = serde_json::from_str(&later[0]).unwrap();
    said["url"] = json!("https://pairs.test/moved");
    let moved = Event::updated(DOMAIN, &format!("i{N}"), 2, &said);
    client.batch(DOMAIN, std::slice::from_ref(&moved.line));
    assert_eq!(pairs(), after_later, "a change of metadata alone");

    client.batch(DOMAIN, &[moved.line, first[3].clone()]);
    assert_eq!(pairs(), after_later, "an equal and an older version");
    kindred.stop();
}

fn half_square(n: usize) -> f64 {
    (n * (n - 1) / 2) as f64
}
