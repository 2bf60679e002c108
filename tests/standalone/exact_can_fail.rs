//! The check of exactness, checked: it takes right lists and finds each kind of wrong one.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use kindred_domain::store::{DomainRow, FeatureRow, ItemRow, ListRow, Liveness, Neighbour};
use kindred_shared::{DomainName, Feature, ItemId, Space};

use crate::corpus::event::Event;
use crate::exactness::check::faults;
use crate::exactness::expected::Expected;
use crate::exactness::reference::canonical_score;
use crate::exactness::stored::{Stored, StoredDomain};
use crate::support::random::Random;

const DOMAIN: &str = "check.test";
const ITEMS: usize = 70;
const NEIGHBOURS: usize = 50;

fn id(n: usize) -> ItemId {
    ItemId::new(&format!("i{n:02}")).unwrap()
}

/// A feature with both parts, of length 1.
fn feature(random: &mut Random) -> Feature {
    let values: Vec<f64> = (0..12).map(|_| 0.1 + random.unit()).collect();
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let mut values = values.iter().map(|value| (value / length) as f32);
    let dense: Vec<f32> = values.by_ref().take(9).collect();
    let terms = vec![1, 5 + random.below(3) as u32, 20];
    Feature::new(dense, terms, values.collect()).unwrap()
}

/// A right store, and the events that led to it.
fn right() -> (Stored, Expected) {
    let mut random = Random::new(7);
    let features: Vec<Feature> = (0..ITEMS).map(|_| feature(&mut random)).collect();
    let now = Utc::now();
    let mut domain = StoredDomain {
        row: DomainRow {
            domain: DomainName::new(DOMAIN).unwrap(),
            partition: 0,
            model: kindred_shared::ModelName::new("words-1").expect("a name"),
            registered_at: now,
            dirty: None,
            live: ITEMS as u64,
            visible: ITEMS as u64,
            next_expiry: None,
            removal: None,
        },
        items: BTreeMap::new(),
        features: BTreeMap::new(),
        lists: BTreeMap::new(),
    };
    for (n, own) in features.iter().enumerate() {
        let mut neighbours: Vec<Neighbour> = features
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != n)
            .map(|(other, its)| Neighbour {
                id: id(other),
                score: canonical_score(own, its),
            })
            .collect();
        neighbours.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        neighbours.truncate(NEIGHBOURS);
        domain.items.insert(id(n), item(n));
        domain.features.insert(
            id(n),
            FeatureRow {
                id: id(n),
                version: 1,
                space: Space::stored("words-1/en"),
                habits: 0,
                feature: own.clone(),
            },
        );
        domain.lists.insert(
            id(n),
            ListRow {
                id: id(n),
                neighbours,
                model: kindred_shared::ModelName::new("words-1").expect("a name"),
                updated_at: now,
            },
        );
    }
    let events: Vec<Event> = (0..ITEMS)
        .map(|n| Event::created(DOMAIN, id(n).as_str(), 1, &serde_json::json!({})))
        .collect();
    (
        BTreeMap::from([(DOMAIN.to_owned(), domain)]),
        Expected::of(&events),
    )
}

fn item(n: usize) -> ItemRow {
    ItemRow {
        id: id(n),
        version: 1,
        liveness: Liveness::Live,
        since: Utc::now(),
        hidden: false,
        title: None,
        url: None,
        image: None,
        language: None,
        group: None,
        categories: BTreeSet::new(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        accepted_at: None,
        attributes: BTreeMap::new(),
        rejected: None,
        content_hash: 0,
        vector_hashes: BTreeMap::new(),
    }
}

/// Asserts that the check finds something once `damage` is done.
#[track_caller]
fn finds(damage: impl FnOnce(&mut StoredDomain)) {
    let (mut stored, expected) = right();
    damage(stored.get_mut(DOMAIN).expect("the domain"));
    assert!(!faults(&stored, &expected).is_empty());
}

fn first_list(domain: &mut StoredDomain) -> &mut Vec<Neighbour> {
    &mut domain.lists.get_mut(&id(0)).expect("a list").neighbours
}

#[test]
fn right_lists_pass() {
    let (stored, expected) = right();
    assert_eq!(faults(&stored, &expected), Vec::<String>::new());
}

#[test]
fn each_kind_of_wrong_list_is_found() {
    finds(|domain| drop(first_list(domain).remove(3)));
    finds(|domain| drop(first_list(domain).pop()));
    finds(|domain| first_list(domain).swap(0, 1));
    finds(|domain| first_list(domain)[4].score *= 1.0 + f32::EPSILON);
    finds(|domain| first_list(domain)[49].id = id(0));
    finds(|domain| first_list(domain).clear());
    finds(|domain| {
        let list = first_list(domain);
        list[49] = list[48].clone();
    });
}

#[test]
fn rows_that_are_missing_or_too_many_are_found() {
    finds(|domain| drop(domain.lists.remove(&id(5))));
    finds(|domain| drop(domain.features.remove(&id(5))));
    finds(|domain| drop(domain.items.remove(&id(5))));
    finds(|domain| domain.items.get_mut(&id(5)).unwrap().version = 2);
    finds(|domain| domain.features.get_mut(&id(5)).unwrap().version = 2);
    finds(|domain| domain.items.get_mut(&id(5)).unwrap().hidden = true);
    finds(|domain| domain.items.get_mut(&id(5)).unwrap().liveness = Liveness::Deleted);
    finds(|domain| domain.row.dirty = Some(1));
}
