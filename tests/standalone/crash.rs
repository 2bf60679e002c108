//! Crash points: at every step of an event's way the program kills itself, is started again, and
//! makes everything right without another event.

use std::time::Duration;

use model_service::crash::{LOADING_POINTS, POINTS};
use serde_json::json;

use crate::corpus::event::Event;
use crate::corpus::generated;
use crate::exactness::check::assert_exact;
use crate::exactness::expected::Expected;
use crate::exactness::stored;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};
use crate::support::random::Random;

const TEXTS: &str = "texts.test";
const VECTORS: &str = "vectors.test";
/// Feeding rounds before a point counts as never passed.
const ROUNDS: usize = 5;
/// Items of the first round in each domain: more than a list keeps.
const FIRST: usize = 90;
const LATER: usize = 20;
const WORDS: usize = 20;
const DIMENSION: usize = 12;
const QUIET: Duration = Duration::from_secs(60);
const WINDOW: &str = "20ms";

#[test]
fn at_every_point_at_its_first_passing() {
    for point in POINTS {
        die_at(point, 1);
    }
}

#[test]
fn at_every_point_when_lists_are_already_stored() {
    for point in POINTS {
        die_at(point, 4);
    }
}

#[test]
fn at_every_point_of_loading_while_events_come() {
    for point in LOADING_POINTS {
        die_at(point, 1);
    }
}

#[track_caller]
fn die_at(point: &str, passing: usize) {
    println!("{point}:{passing}");
    let mut random = Random::new(passing as u64);
    let place = Place::beside_others();
    let mut sent: Vec<Event> = Vec::new();
    let mut unacknowledged: Vec<Vec<Event>> = Vec::new();
    let mut rounds = 0..ROUNDS;
    if LOADING_POINTS.contains(&point) {
        let kindred = Kindred::start(
            &place,
            &Start {
                window: Some(WINDOW),
                ..Start::default()
            },
        );
        for round in rounds.by_ref().take(2) {
            for batch in round_of(round, &mut random) {
                assert!(acknowledged(&kindred, &batch), "{point}: before the end");
                sent.extend(batch);
            }
        }
        kindred.client().wait_quiet(QUIET);
        kindred.stop();
    }
    let mut kindred = Kindred::spawn(
        &place,
        &Start {
            window: Some(WINDOW),
            crash_at: Some(format!("{point}:{passing}")),
            ..Start::default()
        },
    );
    'feeding: {
        if !ready_or_dead(&mut kindred) {
            break 'feeding;
        }
        for round in rounds {
            for batch in round_of(round, &mut random) {
                sent.extend(batch.iter().cloned());
                if !acknowledged(&kindred, &batch) {
                    unacknowledged.push(batch);
                }
            }
            if !quiet_or_dead(&mut kindred, point.ends_with("-clean")) {
                break 'feeding;
            }
        }
        panic!("{point} was not passed {passing} times in {ROUNDS} rounds");
    }
    drop(kindred);

    let kindred = Kindred::start(
        &place,
        &Start {
            window: Some(WINDOW),
            ..Start::default()
        },
    );
    for batch in &unacknowledged {
        assert!(acknowledged(&kindred, batch), "{point}: after the restart");
    }
    kindred.client().wait_quiet(QUIET);
    kindred.stop();
    assert_exact(&stored::read(&place.data_dir()), &Expected::of(&sent));
}

/// `false`: it died at its start.
#[track_caller]
fn ready_or_dead(kindred: &mut Kindred) -> bool {
    wait_for("kindred is ready, or dead", QUIET, || {
        if kindred.died().is_some() {
            return Ok(false);
        }
        match kindred.client().try_get("/readyz") {
            Ok(answer) if answer.status == 200 => Ok(true),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(error),
        }
    })
}

/// `false`: it died. `marked`: the store must say too that the domains are clean, a second later.
#[track_caller]
fn quiet_or_dead(kindred: &mut Kindred, marked: bool) -> bool {
    wait_for("every domain is quiet, or kindred dead", QUIET, || {
        if kindred.died().is_some() {
            return Ok(false);
        }
        let domains = kindred.client().try_domains()?;
        let metrics = kindred.client().try_get("/metrics")?.body;
        let is_marked = metrics
            .lines()
            .any(|line| line == "kindred_domains_dirty 0");
        if domains.iter().all(|domain| domain.quiet) && (is_marked || !marked) {
            Ok(true)
        } else {
            Err(format!("{domains:?}"))
        }
    })
}

/// Sends a batch; whether it was acknowledged, wholly.
fn acknowledged(kindred: &Kindred, batch: &[Event]) -> bool {
    let lines: Vec<&str> = batch.iter().map(|event| event.line.as_str()).collect();
    match kindred
        .client()
        .try_batch(&batch[0].domain, &lines.join("\n"))
    {
        Ok(answer) if answer.status == 200 => {
            assert_eq!(answer.json()["accepted"], batch.len(), "{}", answer.body);
            true
        }
        // It died on the way; nothing is known about any line.
        Ok(_) | Err(_) => false,
    }
}

/// The events of a round, a batch a domain: new items; from the second round on also updates,
/// changes of metadata alone, hides, deletions and re-creations.
fn round_of(round: usize, random: &mut Random) -> Vec<Vec<Event>> {
    let version = 1_000 * (round as u64 + 1);
    [TEXTS, VECTORS]
        .into_iter()
        .map(|domain| {
            let mut said = || {
                if domain == TEXTS {
                    generated::text_item(random, WORDS)
                } else {
                    generated::vector_item(random, DIMENSION)
                }
            };
            let first = match round {
                0 => 0,
                _ => FIRST + (round - 1) * LATER,
            };
            let count = if round == 0 { FIRST } else { LATER };
            let mut batch: Vec<Event> = (first..first + count)
                .map(|n| Event::created(domain, &id(n), version, &said()))
                .collect();
            if round > 0 {
                // Each round its own ten of the first items, so that each is still there.
                let own = (round - 1) * 10;
                for n in own..own + 4 {
                    batch.push(Event::updated(domain, &id(n), version, &said()));
                }
                for n in own + 4..own + 6 {
                    let mut hidden = said();
                    hidden["hidden"] = json!(true);
                    batch.push(Event::updated(domain, &id(n), version, &hidden));
                }
                for n in own + 6..own + 10 {
                    batch.push(Event::deleted(domain, &id(n), version));
                }
                batch.push(Event::created(domain, &id(own + 9), version + 1, &said()));
            }
            batch
        })
        .collect()
}

fn id(n: usize) -> String {
    format!("item-{n:04}")
}
