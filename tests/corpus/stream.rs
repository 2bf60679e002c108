//! The stream of events of the whole import: created, sent twice, updated, hidden, deleted, and
//! in any order, which versions allow.

use serde_json::{Value, json};

use super::debian::{self, Package};
use super::event::Event;
use crate::support::random::Random;

/// Items of the import.
pub(crate) const ITEMS: usize = 20_000;
/// Share of items whose first event comes twice.
const DUPLICATED: f64 = 0.05;
/// Share of items that are updated.
const UPDATED: f64 = 0.05;
/// Share of the updated items that are hidden by it.
const HIDDEN: f64 = 0.1;
/// Share of items that are deleted.
const DELETED: f64 = 0.05;
/// Share of items that do not say their language.
const LANGUAGE_UNSAID: f64 = 0.3;
/// Events of a batch.
const BATCH: usize = 100;

/// Events of one domain that go in one request.
#[derive(Debug, Clone)]
pub(crate) struct EventBatch {
    pub(crate) domain: String,
    pub(crate) events: Vec<Event>,
}

/// [`ITEMS`] of Debian's packages as shuffled batches.
pub(crate) fn whole_import() -> Vec<EventBatch> {
    let mut random = Random::of_test("whole import");
    let mut packages: Vec<&Package> = debian::packages().iter().collect();
    assert!(
        packages.len() >= ITEMS,
        "the lists hold only {} packages",
        packages.len()
    );
    random.shuffle(&mut packages);
    packages.truncate(ITEMS);

    let mut events = Vec::new();
    for package in &packages {
        let (domain, id) = (&package.domain, &package.name);
        let created = Event::created(domain, id, 1_000, &said(package, &mut random));
        if random.chance(DUPLICATED) {
            events.push(created.clone());
        }
        events.push(created);
        if random.chance(UPDATED) {
            let mut other = said(packages[random.below(packages.len())], &mut random);
            if random.chance(HIDDEN) {
                other["hidden"] = json!(true);
            }
            events.push(Event::updated(domain, id, 2_000, &other));
        }
        if random.chance(DELETED) {
            events.push(Event::deleted(domain, id, 3_000));
        }
    }
    random.shuffle(&mut events);
    batches(events, &mut random)
}

fn said(package: &Package, random: &mut Random) -> Value {
    let mut said = json!({
        "title": package.title,
        "text": package.text,
        "url": format!("https://packages.debian.example/{}", package.name),
    });
    if !random.chance(LANGUAGE_UNSAID) {
        said["language"] = json!("en");
    }
    said
}

/// Cuts a stream into batches of one domain each, in a random order.
fn batches(events: Vec<Event>, random: &mut Random) -> Vec<EventBatch> {
    let mut by_domain: std::collections::BTreeMap<String, Vec<Event>> = Default::default();
    for event in events {
        by_domain
            .entry(event.domain.clone())
            .or_default()
            .push(event);
    }
    let mut batches: Vec<EventBatch> = by_domain
        .into_iter()
        .flat_map(|(domain, events)| {
            events
                .chunks(BATCH)
                .map(|chunk| EventBatch {
                    domain: domain.clone(),
                    events: chunk.to_vec(),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    random.shuffle(&mut batches);
    batches
}
