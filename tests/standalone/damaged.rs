//! Rows of the store that are damaged: whoever is not concerned goes on, and what can be is made anew.

use std::time::Duration;

use kindred_api::domain::DomainAnswer;
use kindred_api::path;
use kindred_domain::store::{
    Epoch, FeatureRow, ItemRow, ListRow, Neighbour, Partition, Stamp, Store, Write, WriteBatch,
};
use kindred_shared::{DomainName, Feature, ItemId};
use model_service::store::embedded::{EmbeddedStore, Identity};
use serde_json::json;

use crate::exactness::stored::{Stored, read};
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "damaged.test";
const OTHER: &str = "whole.test";
const QUIET: Duration = Duration::from_secs(60);

fn line(domain: &str, id: &str, text: &str) -> String {
    json!({"type": "item.created", "domain": domain, "id": id, "version": 1, "language": "en",
        "title": text, "text": format!("{text} and what else there is to say of trains")})
    .to_string()
}

fn texts(domain: &str) -> Vec<String> {
    let texts = [
        "night trains",
        "sleeper trains",
        "slow trains",
        "trains by the sea",
    ];
    let texts = texts.iter().enumerate();
    texts
        .map(|(n, text)| line(domain, &format!("i{n}"), text))
        .collect()
}

/// A store of two domains whose lists are made; what it has.
fn filled(place: &Place) -> Stored {
    let kindred = Kindred::start(place, &Start::default());
    for domain in [DOMAIN, OTHER] {
        kindred.client().batch(domain, &texts(domain));
    }
    let clean = || {
        let dirty = kindred.client().metric("kindred_domains_dirty");
        if dirty == 0.0 {
            Ok(())
        } else {
            Err(format!("{dirty} domains"))
        }
    };
    kindred.client().wait_quiet(QUIET);
    wait_for("all domains are clean", QUIET, clean);
    kindred.stop();
    read(&place.data_dir())
}

/// Writes rows as no Kindred does, behind the back of one that has ended.
fn damage(place: &Place, writes: Vec<Write>) {
    let identity = Identity {
        models: Vec::new(),
        partitions: 1,
    };
    let store = EmbeddedStore::open(&place.data_dir(), &identity).expect("a store");
    let partition = Partition(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let lease = store.lease(partition).await.expect("a lease");
        let epoch = lease.map_or(Epoch(1), |lease| lease.epoch());
        // After all that it wrote, before all that the next one writes.
        let stamp = Stamp::new(epoch, Stamp::SEQS - 1).expect("a stamp");
        let batch = WriteBatch {
            domain: DomainName::new(DOMAIN).unwrap(),
            fence: false,
            writes,
        };
        store
            .commit(partition, epoch, stamp, batch)
            .await
            .expect("a commit");
    });
}

fn id(id: &str) -> ItemId {
    ItemId::new(id).unwrap()
}

fn told(client: &Client) -> DomainAnswer {
    client.get(&path::domain(DOMAIN)).with_status(200).read()
}

#[track_caller]
fn wait_mended(client: &Client) {
    wait_for("nothing is damaged any more", QUIET, || {
        match told(client).trouble {
            Some(trouble) => Err(trouble),
            None => Ok(()),
        }
    });
    assert_eq!(client.metric("kindred_damaged_rows"), 0.0);
}

/// The rows of both domains are what they were, but for when lists were made.
#[track_caller]
fn assert_same(now: &Stored, before: &Stored) {
    for domain in [DOMAIN, OTHER] {
        let (now, before) = (&now[domain], &before[domain]);
        assert_eq!(now.items, before.items);
        assert_eq!(now.features, before.features);
        let lists = |of: &crate::exactness::stored::StoredDomain| -> Vec<(ItemId, Vec<Neighbour>)> {
            let lists = of.lists.values();
            lists
                .map(|list| (list.id.clone(), list.neighbours.clone()))
                .collect()
        };
        assert_eq!(lists(now), lists(before));
    }
}

#[test]
fn damaged_features_are_made_anew_by_themselves() {
    let place = Place::beside_others();
    let before = filled(&place);
    let sound = &before[DOMAIN].features;
    let wrong = |name: &str, dense: Vec<f32>| {
        Write::Feature(FeatureRow {
            feature: Feature::new(dense, vec![], vec![]).unwrap(),
            ..sound[&id(name)].clone()
        })
    };
    // Not of length 1; and of another length than the others.
    damage(
        &place,
        vec![wrong("i1", vec![f32::MAX; 3]), wrong("i2", vec![0.6, 0.8])],
    );

    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    assert_eq!(client.similar(OTHER, "i0", 10).unwrap().len(), 3);
    // Its next event has all of it read.
    let title = json!({"title": "trains", "version": 1, "language": "en"});
    client
        .put(&path::item(DOMAIN, "i9"), &title.to_string())
        .with_status(202);
    client.wait_quiet(QUIET);
    wait_mended(client);
    assert_eq!(client.similar(DOMAIN, "i1", 10).unwrap().len(), 4);
    client.delete(&path::item(DOMAIN, "i9")).with_status(202);
    client.wait_quiet(QUIET);
    kindred.stop();
    let mut now = read(&place.data_dir());
    now.get_mut(DOMAIN)
        .expect("the domain")
        .items
        .remove(&id("i9"));
    assert_same(&now, &before);
}

#[test]
fn a_damaged_list_is_answered_all_the_same_and_made_anew_when_told() {
    let place = Place::beside_others();
    let before = filled(&place);
    let list = before[DOMAIN].lists[&id("i2")].clone();
    let wrong = Neighbour {
        id: id("i0"),
        score: 7.5,
    };
    let wrong = ListRow {
        neighbours: vec![wrong],
        ..list.clone()
    };
    damage(&place, vec![Write::List(wrong)]);

    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let answered = client.similar(DOMAIN, "i2", 10).unwrap();
    let answered: Vec<(&str, f32)> = answered
        .iter()
        .map(|one| (one.id.as_str(), one.score))
        .collect();
    let stored = list
        .neighbours
        .iter()
        .map(|one| (one.id.as_str(), one.score));
    assert_eq!(answered, stored.collect::<Vec<_>>());
    let trouble = told(client).trouble.expect("it is told");
    for word in [DOMAIN, "similar_items", "\"i2\"", "7.5"] {
        assert!(trouble.contains(word), "{trouble} names {word}");
    }
    assert_eq!(client.metric("kindred_damaged_rows"), 1.0);

    let url = format!("http://127.0.0.1:{}", place.port());
    let none = run(place.directory(), &["repair", "nobody.test", "--url", &url]);
    assert_eq!(none.status.code(), Some(4), "{none:?}");
    let repaired = run(place.directory(), &["repair", DOMAIN, "i2", "--url", &url]);
    assert!(repaired.status.success(), "{repaired:?}");
    wait_mended(client);
    client.wait_quiet(QUIET);
    kindred.stop();
    assert_same(&read(&place.data_dir()), &before);
}

#[test]
fn an_item_whose_row_is_damaged_is_gone_until_it_is_published_again() {
    let place = Place::beside_others();
    let before = filled(&place);
    let wrong = ItemRow {
        version: u64::MAX,
        ..before[DOMAIN].items[&id("i3")].clone()
    };
    damage(&place, vec![Write::Item(wrong)]);

    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    client.get(&path::item(DOMAIN, "i3")).with_status(404);
    let trouble = told(client).trouble.expect("it is told");
    assert!(
        trouble.contains("items of \"i3\" (it cannot be read: -1 is not a valid version)"),
        "{trouble}"
    );
    let url = format!("http://127.0.0.1:{}", place.port());
    let repaired = run(place.directory(), &["repair", DOMAIN, "--url", &url]);
    assert!(repaired.status.success(), "{repaired:?}");
    client.wait_quiet(QUIET);
    let others = client.similar(DOMAIN, "i0", 10).unwrap();
    assert!(
        others.len() == 2 && others.iter().all(|one| one.id.as_str() != "i3"),
        "{others:?}"
    );
    assert!(
        told(client).trouble.is_some(),
        "nothing it is made of is left"
    );

    client.batch(DOMAIN, &texts(DOMAIN)[3..]);
    client.wait_quiet(QUIET);
    wait_mended(client);
    assert_eq!(client.similar(DOMAIN, "i0", 10).unwrap().len(), 3);
    assert_eq!(client.similar(DOMAIN, "i3", 10).unwrap().len(), 3);
    kindred.stop();
}
