//! 20,000 real items through HTTP batches: exact, exact after ten kills, and the same bits with
//! one thread and two.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::corpus::event::{Event, Fate};
use crate::corpus::stream;
use crate::exactness::check::{assert_exact, assert_same_bits};
use crate::exactness::import::{QUIET, batches, expected, imported_with, undisturbed};
use crate::exactness::stored;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::feed::{FEEDERS, Progress, feed};
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

/// Longest until the next batches are acknowledged.
const FEEDING: Duration = Duration::from_secs(300);
const KILLS: usize = 10;

#[test]
fn twenty_thousand_items_get_exact_lists() {
    assert_exact(&undisturbed(), &expected());
}

#[test]
fn one_thread_and_two_make_the_same_bits() {
    let two = undisturbed();
    assert_same_bits(&imported_with(1), &two);
}

#[test]
fn ten_kills_during_the_import_change_nothing() {
    let undisturbed = undisturbed();
    let batches = batches();
    let mut random = Random::of_test("moments of kills");
    let place = Place::new();
    let how = Start::default();
    let kindred = Kindred::start(&place, &how);
    let client = kindred.client().clone();
    let progress = Progress::default();
    let kindred = std::thread::scope(|scope| {
        for _ in 0..FEEDERS {
            scope.spawn(|| feed(&client, batches, &progress));
        }
        let mut kindred = kindred;
        for kill in 0..KILLS {
            // Spread over the import, the last ones when most is acknowledged but not compared.
            // By batches and not by time: however fast it is, there is more to come.
            let spread = batches.len() / (KILLS + 1);
            let after = batches.len() * (kill + 1) / (KILLS + 1) + random.below(spread / 2);
            wait_for("batches are acknowledged", FEEDING, || {
                let acknowledged = progress.acknowledged();
                if acknowledged >= after {
                    Ok(())
                } else {
                    Err(format!("{acknowledged} of {after}"))
                }
            });
            let in_hand = work_in_hand(&client, &progress);
            kindred.kill_9();
            println!("kill {kill} after {after} batches: {in_hand:?}");
            assert!(in_hand.any(), "kill {kill} hit nothing: {in_hand:?}");
            kindred = Kindred::start(&place, &how);
        }
        kindred
    });
    assert!(
        progress.sent_again() > 0,
        "no kill hit a batch under way; the kills came too late"
    );
    client.wait_quiet(QUIET);
    kindred.stop();
    let stored = stored::read(&place.data_dir());
    assert_exact(&stored, &expected());
    assert_same_bits(&stored, &undisturbed);
}

/// What a kill interrupts.
#[derive(Debug)]
struct InHand {
    batches_under_way: usize,
    domains_not_quiet: usize,
}

impl InHand {
    fn any(&self) -> bool {
        self.batches_under_way + self.domains_not_quiet > 0
    }
}

#[track_caller]
fn work_in_hand(client: &Client, progress: &Progress) -> InHand {
    let domains = client.try_domains().expect("it has not been killed yet");
    InHand {
        batches_under_way: progress.under_way(),
        domains_not_quiet: domains.iter().filter(|domain| !domain.quiet).count(),
    }
}

#[test]
fn the_import_is_what_it_says() {
    let batches = batches();
    let events: Vec<&Event> = batches.iter().flat_map(|batch| &batch.events).collect();
    let items: BTreeSet<(&str, &str)> = events
        .iter()
        .map(|event| (event.domain.as_str(), event.id.as_str()))
        .collect();
    assert_eq!(items.len(), stream::ITEMS);
    let domains: BTreeSet<&str> = items.iter().map(|(domain, _)| *domain).collect();
    assert_eq!(domains.len(), 20, "{domains:?}");
    for held_out in ["graphics.debian", "science.debian", "net.debian"] {
        assert!(!domains.contains(held_out));
    }
    let of = |fits: &dyn Fn(&Event) -> bool| events.iter().filter(|event| fits(event)).count();
    let updated = of(&|event| event.version == 2_000);
    let deleted = of(&|event| event.fate == Fate::Deleted);
    let duplicated = of(&|event| event.version == 1_000) - stream::ITEMS;
    for count in [updated, deleted, duplicated] {
        assert!(
            (stream::ITEMS / 25..stream::ITEMS / 16).contains(&count),
            "about 5%: {count}"
        );
    }
    assert!(batches.iter().all(|batch| {
        batch
            .events
            .iter()
            .all(|event| event.domain == batch.domain && !event.line.contains('\n'))
    }));
    let bytes: usize = events.iter().map(|event| event.line.len()).sum();
    println!(
        "{} events, {} batches, {bytes} bytes",
        events.len(),
        batches.len()
    );
}
