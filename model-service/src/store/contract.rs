//! What every implementation of the store must do.
//!
//! A [`Fixture`] opens the store under test, and `store_contract!` makes a test of every case.
//! Cases use domains and partitions of their own, so that they can share one database. Times are
//! whole milliseconds: every store keeps at least that.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use kindred_shared::{DomainName, Feature, ItemId, ModelInputs, ModelName, Space, VectorName};
use serde_json::json;

use kindred_domain::experiment::feedback::FeedbackKind;
use kindred_domain::experiment::statistics::Sums;
use kindred_domain::experiment::store::{Ended, ExperimentRow, ExperimentStore, Writer};
use kindred_domain::experiment::tally::{ReaderKey, Tally};
use kindred_domain::experiment::{Arm, Experiment};
use kindred_domain::habits::Habits;
use kindred_domain::keys::{Grants, KeyRow, KeyStore};
use kindred_domain::log::LogEntry;
use kindred_domain::models::Swept;
use kindred_domain::settings::{Answered, DomainSettings, SettingsOutcome};
use kindred_domain::store::*;

/// Longest a case may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A store under test.
#[async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// Opens the store in its current state.
    async fn open(&self) -> Arc<dyn Store>;

    /// Opens the store's keys in their current state.
    async fn open_keys(&self) -> Arc<dyn KeyStore>;

    /// Opens the store in its current state, and its experiments.
    async fn open_experiments(&self) -> (Arc<dyn Store>, Arc<dyn ExperimentStore>);
}

/// Makes a test of every case; `$fixture` is an expression that makes a fresh [`Fixture`]. With a reason
/// before it, tests that are left out unless asked for.
macro_rules! store_contract {
    (@case [$($attribute:tt)*] $fixture:expr; $case:ident) => {
        $($attribute)*
        #[tokio::test]
        async fn $case() {
            let fixture = $fixture;
            tokio::time::timeout(
                $crate::store::contract::DEADLINE,
                $crate::store::contract::$case(&fixture),
            )
            .await
            .expect("the case ends before its deadline");
        }
    };
    (@cases $attributes:tt $fixture:expr; $($case:ident),+) => {$(
        $crate::store::contract::store_contract!(@case $attributes $fixture; $case);
    )+};
    (@all $attributes:tt $fixture:expr) => {
        $crate::store::contract::store_contract!(@cases $attributes $fixture;
            round_trip, features_of_models_lie_side_by_side, features_of_vectors_and_mixes_belong_to_their_domain, rows_of_unknown_models_are_left_alone, the_settings_last_set_are_read, pages_ten_thousand_rows_in_order, pages_lists_in_order, keeps_strange_ids_apart,
            deletes_and_creates_again, a_late_lower_stamp_loses, the_same_batch_again_is_harmless,
            a_newer_owner_fences_out_an_older, a_fence_keeps_settings_out, one_of_sixteen_contenders_gets_the_lease,
            a_stale_expectation_is_refused, a_removed_domain_is_swept_in_steps, the_row_of_a_removed_domain_is_purged, knows_who_is_there, keeps_domains_apart, keeps_what_it_acknowledged,
            a_key_is_made_once_and_removed, experiments_are_kept_with_what_readers_did,
            a_model_beside_the_served_one_is_stored_and_swept, the_log_of_a_domain_is_kept_trimmed_and_swept,
            a_damaged_row_counts_as_none_until_it_is_written, a_damaged_row_of_a_domain_is_put_right,
            restarts_under_load);
    };
    (ignored: $reason:literal; $fixture:expr) => {
        $crate::store::contract::store_contract!(@all [#[ignore = $reason]] $fixture);
    };
    ($fixture:expr) => {
        $crate::store::contract::store_contract!(@all [] $fixture);
    };
}
pub(crate) use store_contract;

pub(crate) fn domain(name: &str) -> DomainName {
    DomainName::new(name).unwrap()
}

pub(crate) fn id(name: &str) -> ItemId {
    ItemId::new(name).unwrap()
}

pub(crate) fn stamp(epoch: u64, seq: u32) -> Stamp {
    Stamp::new(Epoch(epoch), seq).unwrap()
}

/// The model of texts.
pub(crate) fn words() -> ModelName {
    ModelName::new("words-1").unwrap()
}

/// The models known to the program under test.
pub(crate) fn models() -> Vec<ModelInputs> {
    let inputs = |model, inputs: &str| ModelInputs {
        model,
        inputs: inputs.into(),
    };
    vec![
        inputs(words(), "vectors en:ab12"),
        inputs(ModelName::own(), ""),
    ]
}

fn at(milliseconds: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap()
}

pub(crate) fn domain_row(name: &DomainName, live: u64) -> DomainRow {
    DomainRow {
        domain: name.clone(),
        partition: 0,
        model: words(),
        registered_at: at(1_795_424_400_123),
        dirty: Some(7),
        live,
        visible: live / 2,
        next_expiry: Some(at(1_795_424_500_000)),
        removal: None,
    }
}

pub(crate) fn item(name: &str, version: u64) -> ItemRow {
    ItemRow {
        id: id(name),
        version,
        liveness: Liveness::Live,
        since: at(1_795_424_400_001),
        hidden: version % 2 == 1,
        title: Some(format!("Größe {name}")),
        url: Some("https://news.example/a?b=c".into()),
        image: version
            .is_multiple_of(3)
            .then(|| "https://news.example/a.webp".into()),
        language: None,
        group: Some(String::new()),
        categories: BTreeSet::from(["a".into(), "日本".into()]),
        published_at: Some(at(-5)),
        publish_at: version.is_multiple_of(5).then(|| at(1_795_424_400_002)),
        expires_at: None,
        accepted_at: version.is_multiple_of(2).then(|| at(1_795_424_400_000)),
        attributes: BTreeMap::from([("author".into(), "x\ny".into())]),
        rejected: None,
        content_hash: u64::MAX - version,
        vector_hashes: if version.is_multiple_of(2) {
            BTreeMap::from([(clip(), u64::MAX - version), (VectorName::own(), 0)])
        } else {
            BTreeMap::new()
        },
    }
}

fn clip() -> VectorName {
    VectorName::new("clip").unwrap()
}

pub(crate) fn content(text: &str) -> Content {
    Content {
        text: Some(text.into()),
        vector: Some(vec![0.5, -0.25, f32::MIN_POSITIVE]),
        vectors: BTreeMap::from([(clip(), vec![-0.0, 1.0, f32::MAX])]),
    }
}

pub(crate) fn feature(name: &str, version: u64) -> FeatureRow {
    FeatureRow {
        id: id(name),
        version,
        space: Space::stored("words-1/en"),
        habits: if version.is_multiple_of(2) {
            0
        } else {
            u64::MAX - version
        },
        feature: Feature::new(vec![0.6, -0.0], vec![3, u32::MAX], vec![0.8, 1e-30]).unwrap(),
    }
}

pub(crate) fn list(name: &str, score: f32) -> ListRow {
    ListRow {
        id: id(name),
        neighbours: vec![
            Neighbour {
                id: id("n/1"),
                score,
            },
            Neighbour {
                id: id("日本/語"),
                score: score / 3.0,
            },
        ],
        model: words(),
        updated_at: at(1_795_424_400_777),
    }
}

/// Commits at epoch `e` of partition 0, without a fence.
pub(crate) async fn put(
    store: &dyn Store,
    domain: &DomainName,
    epoch: u64,
    seq: u32,
    writes: Vec<Write>,
) -> Result<(), StoreError> {
    let batch = WriteBatch {
        domain: domain.clone(),
        fence: false,
        writes,
    };
    store
        .commit(Partition(0), Epoch(epoch), stamp(epoch, seq), batch)
        .await
}

/// Every kind of row of one item.
pub(crate) fn all_rows(name: &str, version: u64) -> Vec<Write> {
    vec![
        Write::Item(item(name, version)),
        Write::Content(id(name), content(&format!("text {version}"))),
        Write::Feature(feature(name, version)),
        Write::List(list(name, score_at(version))),
    ]
}

/// A score that identifies the version.
fn score_at(version: u64) -> f32 {
    1.0 / (version as f32 + 1.0)
}

fn all_deleted(name: &str) -> Vec<Write> {
    vec![
        Write::PurgeItem(id(name)),
        Write::DeleteContent(id(name)),
        Write::DeleteFeatures(id(name)),
        Write::DeleteList(id(name)),
    ]
}

/// Asserts that every kind of row of an item exists at a version, or that none exists.
#[track_caller]
fn assert_rows(found: Found, name: &str, version: Option<u64>) {
    assert_eq!(found.item, version.map(|v| item(name, v)));
    assert_eq!(
        found.content,
        version.map(|v| content(&format!("text {v}")))
    );
    assert_eq!(found.feature, version.map(|v| feature(name, v)));
    assert_eq!(found.list, version.map(|v| list(name, score_at(v))));
    let stamp = version.map(|version| FeatureStamp {
        version,
        space: Space::stored("words-1/en"),
        zero: false,
    });
    assert_eq!(found.feature_stamp, stamp);
    assert_eq!(found.list_listed, version.is_some());
}

struct Found {
    item: Option<ItemRow>,
    content: Option<Content>,
    feature: Option<FeatureRow>,
    feature_stamp: Option<FeatureStamp>,
    list: Option<ListRow>,
    list_listed: bool,
}

async fn find(store: &dyn Store, domain: &DomainName, name: &str) -> Found {
    let id = id(name);
    let one = std::slice::from_ref(&id);
    let from = Some(&id);
    let words = words();
    let features = store.scan_features(domain, &words, from, 1).await;
    let features = features.unwrap().rows;
    let lists = store.scan_list_ids(domain, from, 1).await.unwrap().rows;
    Found {
        item: store.items(domain, one).await.unwrap().remove(0),
        content: store.contents(domain, one).await.unwrap().remove(0),
        feature: features.into_iter().find(|row| row.id == id),
        feature_stamp: store.feature_stamp(domain, &words, &id).await.unwrap(),
        list: store.list(domain, &id).await.unwrap(),
        list_listed: lists.contains(&id),
    }
}

/// All items of a domain, read by scanning, and the number of pages that took.
pub(crate) async fn scan(
    store: &dyn Store,
    domain: &DomainName,
    limit: usize,
) -> (Vec<ItemRow>, usize) {
    let (mut rows, mut pages, mut from) = (Vec::new(), 0, None);
    loop {
        let page = store
            .scan_items(domain, from.as_ref(), limit)
            .await
            .unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        pages += 1;
        match page.next {
            Some(next) => from = Some(next),
            None => return (rows, pages),
        }
    }
}

pub(crate) async fn round_trip(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("round-trip");
    assert_eq!(store.domain(&d).await.unwrap(), None);
    assert_rows(find(&*store, &d, "a").await, "a", None);

    let mut writes = all_rows("a", 1);
    writes.push(Write::Domain(domain_row(&d, 9)));
    let mut tombstone = item("gone", 3);
    tombstone.liveness = Liveness::Expired;
    tombstone.rejected = Some("no text".into());
    tombstone.categories.clear();
    tombstone.attributes.clear();
    writes.push(Write::Item(tombstone.clone()));
    let zero = FeatureRow {
        id: id("zero"),
        version: 4,
        space: Space::own(384),
        habits: 0,
        feature: Feature::zero(),
    };
    writes.push(Write::Feature(zero.clone()));
    writes.push(Write::Content(id("zero"), Content::default()));
    let empty = ListRow {
        neighbours: vec![],
        ..list("zero", 1.0)
    };
    writes.push(Write::List(empty.clone()));
    put(&*store, &d, 1, 0, writes).await.unwrap();

    assert_rows(find(&*store, &d, "a").await, "a", Some(1));
    assert_eq!(
        store.domain(&d).await.unwrap(),
        Some(domain_row(&d, 9)),
        "the domain's row"
    );
    assert!(store.domains().await.unwrap().contains(&domain_row(&d, 9)));
    let ids = [id("gone"), id("never"), id("a"), id("gone")];
    let items = store.items(&d, &ids).await.unwrap();
    let (gone, a) = (Some(tombstone), Some(item("a", 1)));
    assert_eq!(items, [gone.clone(), None, a, gone]);
    let found = find(&*store, &d, "zero").await;
    assert_eq!(found.content, Some(Content::default()));
    assert_eq!(found.feature, None, "of words-1");
    assert_eq!(found.list, Some(empty));
    let own = ModelName::own();
    let features = store.scan_features(&d, &own, None, 9).await.unwrap().rows;
    assert_eq!(features, [zero]);
    let stamp = store.feature_stamp(&d, &own, &id("zero")).await.unwrap();
    assert!(stamp.unwrap().zero);
}

/// Features of one model, read one row at a time.
async fn features(store: &dyn Store, domain: &DomainName, model: &ModelName) -> Vec<FeatureRow> {
    let (mut rows, mut from) = (Vec::new(), None);
    loop {
        let page = store.scan_features(domain, model, from.as_ref(), 1).await;
        let page = page.unwrap();
        rows.extend(page.rows);
        from = page.next;
        if from.is_none() {
            return rows;
        }
    }
}

/// An item's feature of any model.
fn feature_of(model: &str, name: &str, version: u64) -> FeatureRow {
    FeatureRow {
        space: Space::stored(&format!("{model}/2")),
        ..feature(name, version)
    }
}

pub(crate) async fn features_of_models_lie_side_by_side(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("models");
    let (words, own) = (words(), ModelName::own());
    assert!(store.knows(&words) && store.knows(&own));
    let own_of = |name: &str, version| feature_of("own", name, version);
    let writes = vec![
        Write::Feature(feature("a", 1)),
        Write::Feature(feature("b", 1)),
        Write::Feature(own_of("a", 2)),
        Write::Feature(own_of("c", 2)),
    ];
    put(&*store, &d, 1, 5, writes).await.unwrap();
    let of_words = [feature("a", 1), feature("b", 1)];
    assert_eq!(features(&*store, &d, &words).await, of_words);
    let of_own = [own_of("a", 2), own_of("c", 2)];
    assert_eq!(features(&*store, &d, &own).await, of_own);
    let a = id("a");
    let version = async |model| {
        let stamp = store.feature_stamp(&d, model, &a).await.unwrap();
        stamp.map(|stamp| stamp.version)
    };
    assert_eq!(
        (version(&words).await, version(&own).await),
        (Some(1), Some(2))
    );
    let newest = newest_feature(&*store, &d, &words, &a).await.unwrap();
    assert_eq!(newest.unwrap().space, own_of("a", 2).space);

    // Each has its own stamp, and all are deleted with the item.
    put(&*store, &d, 1, 4, vec![Write::Feature(own_of("a", 9))])
        .await
        .unwrap();
    put(&*store, &d, 1, 6, vec![Write::Feature(feature("a", 3))])
        .await
        .unwrap();
    assert_eq!(
        (version(&words).await, version(&own).await),
        (Some(3), Some(2))
    );
    put(&*store, &d, 1, 7, vec![Write::DeleteFeatures(id("a"))])
        .await
        .unwrap();
    put(&*store, &d, 1, 6, vec![Write::Feature(own_of("a", 8))])
        .await
        .unwrap();
    assert_eq!((version(&words).await, version(&own).await), (None, None));
    assert_eq!(features(&*store, &d, &words).await, [feature("b", 1)]);
    assert_eq!(features(&*store, &d, &own).await, [own_of("c", 2)]);
}

pub(crate) async fn features_of_vectors_and_mixes_belong_to_their_domain(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("own-kinds");
    let (of_clip, mix) = (ModelName::of_vector(&clip()), ModelName::of_mix(u64::MAX));
    let gone = ModelName::new("vectors-gone").unwrap();
    let kinds = [&of_clip, &mix, &gone];
    assert!(kinds.iter().all(|kind| store.knows(kind)));
    let mut set = settings(5);
    set.settings.model = Some(mix.clone());
    set.models = serde_json::from_value(json!({
        "active": "best",
        "beside": {"pictures": {"kind": of_clip, "stage": "ready"}},
        "leaving": {"former": {"kind": gone, "wholly": true}},
        "mixes": {"best": {"of": {"pictures": {"kind": of_clip, "weight": 0.7}}}},
    }))
    .unwrap();
    let of = |kind: &ModelName, name: &str| feature_of(kind.as_str(), name, 1);
    let mut writes = vec![
        Write::Domain(domain_row(&d, 2)),
        Write::Settings(set.clone()),
        Write::Item(item("a", 2)),
        Write::Item(item("b", 2)),
        Write::Feature(feature_of("own", "b", 2)),
    ];
    for kind in kinds {
        writes.extend(["a", "b"].map(|name| Write::Feature(of(kind, name))));
    }
    put(&*store, &d, 1, 0, writes).await.unwrap();
    assert_eq!(store.settings(&d).await, Ok(Some(set)));
    for kind in kinds {
        let both = [of(kind, "a"), of(kind, "b")];
        assert_eq!(features(&*store, &d, kind).await, both);
    }
    // Vectors of items' own are no features of these kinds.
    let newest = newest_feature(&*store, &d, &mix, &id("b")).await.unwrap();
    assert_eq!(newest.unwrap().space, of(&mix, "b").space);

    // Features of these kinds are deleted by name.
    let all_known = vec![
        Write::DeleteFeatures(id("a")),
        Write::DeleteFeature(of_clip.clone(), id("a")),
    ];
    put(&*store, &d, 1, 1, all_known).await.unwrap();
    assert_eq!(features(&*store, &d, &of_clip).await, [of(&of_clip, "b")]);
    assert_eq!(features(&*store, &d, &mix).await.len(), 2);

    // With the domain, all are deleted: of the served model, of others, and of those that are being deleted.
    let mut steps = 0;
    while !store.sweep(&d, stamp(1, 20), 7).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "it never ends");
    }
    for kind in kinds {
        assert_eq!(features(&*store, &d, kind).await, []);
    }
}

pub(crate) async fn rows_of_unknown_models_are_left_alone(fixture: &impl Fixture) {
    let later = ModelName::new("words-2").unwrap();
    let d = domain("unknown-model");
    let store = fixture.open().await;
    assert!(!store.knows(&later));
    let mut row = domain_row(&d, 1);
    row.model = later.clone();
    let mut writes = all_rows("a", 1);
    writes.push(Write::Domain(row.clone()));
    writes.push(Write::Feature(feature_of("words-2", "a", 1)));
    put(&*store, &d, 1, 0, writes).await.unwrap();
    put(&*store, &d, 1, 1, all_deleted("a")).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", None);
    let left = [feature_of("words-2", "a", 1)];
    assert_eq!(features(&*store, &d, &later).await, left);
    let opened = crate::actors::loading::open(&*store, &d, None).await;
    let refused = opened.unwrap_err();
    assert!(
        refused.needs_help && refused.detail.contains("words-2"),
        "{refused:?}"
    );
    drop(store);

    let store = fixture.open().await;
    assert_eq!(features(&*store, &d, &later).await, left);
    assert_eq!(store.domain(&d).await, Ok(Some(row)));
}

pub(crate) async fn a_removed_domain_is_swept_in_steps(fixture: &impl Fixture) {
    const ITEMS: u64 = 30;
    let (d, other) = (domain("swept"), domain("swept-not"));
    let store = fixture.open().await;
    let name = |n: u64| format!("i{n}");
    let mut row = domain_row(&d, ITEMS);
    let mut writes = vec![Write::Domain(row.clone()), Write::Settings(settings(5))];
    writes.extend((0..ITEMS).flat_map(|n| all_rows(&name(n), 4)));
    put(&*store, &d, 1, 0, writes).await.unwrap();
    put(&*store, &other, 1, 1, all_rows("i1", 4)).await.unwrap();
    row.removal = Some(Removed {
        request: "r1".into(),
        at: at(1_795_424_400_000),
        stage: RemovalStage::Sweeping,
    });
    let mark = vec![Write::Domain(row.clone())];
    put(&*store, &d, 1, 2, mark).await.unwrap();
    assert!(store.reading(&d, &id("i1")).await.unwrap().item.is_none());

    let mut steps = 0;
    while !store.sweep(&d, stamp(1, 10 + steps), 7).await.unwrap() {
        steps += 1;
        assert!(steps < 1_000, "it never ends");
    }
    assert!(steps > 1, "it takes steps");
    for n in 0..ITEMS {
        assert_rows(find(&*store, &d, &name(n)).await, &name(n), None);
    }
    assert_eq!(store.settings(&d).await, Ok(None));
    assert_eq!(store.domain(&d).await, Ok(Some(row)));
    assert_rows(find(&*store, &other, "i1").await, "i1", Some(4));

    // Written again; a second sweep must not delete that.
    put(&*store, &d, 1, 2_000, all_rows("i1", 1)).await.unwrap();
    assert!(store.sweep(&d, stamp(1, 1_999), 7).await.is_ok());
    assert_rows(find(&*store, &d, "i1").await, "i1", Some(1));
}

pub(crate) async fn a_model_beside_the_served_one_is_stored_and_swept(fixture: &impl Fixture) {
    let (d, other) = (domain("beside"), domain("beside-not"));
    let (a, b) = (ModelName::new("a").unwrap(), ModelName::new("b").unwrap());
    let store = fixture.open().await;
    let row = |live| BesideRow {
        dirty: (live < 5).then_some(3),
        live,
        visible: live,
        next_expiry: Some(at(1_795_424_500_000)),
    };
    let of_model = |name: &str, model: &ModelName| ListRow {
        model: model.clone(),
        ..list(name, 0.5)
    };
    let rows = |model: &ModelName| {
        let lists =
            ["x", "y", "z"].map(|name| Write::BesideList(model.clone(), of_model(name, model)));
        let habits = Habits {
            of: 7,
            ..Habits::default()
        };
        let mut writes = vec![
            Write::Beside(model.clone(), row(4)),
            Write::BesideHabits(model.clone(), habits),
        ];
        writes.extend(lists);
        writes
    };
    let mut writes = vec![Write::Domain(domain_row(&d, 1))];
    writes.extend(all_rows("x", 4));
    put(&*store, &d, 1, 0, writes).await.unwrap();
    for (seq, of, model) in [(1, &d, &a), (2, &d, &b), (3, &other, &a)] {
        put(&*store, of, 1, seq, rows(model)).await.unwrap();
    }
    let last = vec![
        Write::Beside(a.clone(), row(9)),
        Write::DeleteBesideList(a.clone(), id("y")),
    ];
    put(&*store, &d, 1, 4, last).await.unwrap();
    // A late write.
    let late = vec![Write::BesideList(a.clone(), of_model("y", &a))];
    put(&*store, &d, 1, 3, late).await.unwrap();
    let found = store.beside(&d, &a).await.unwrap();
    assert_eq!((found.row, found.habits.of), (Some(row(9)), 7));
    let page = store.scan_beside_list_ids(&d, &a, None, 1).await.unwrap();
    assert_eq!((page.rows, page.next), (vec![id("x")], Some(id("z"))));
    let found = store.beside_list(&d, &a, &id("x")).await;
    assert_eq!(found, Ok(Some(of_model("x", &a))));
    assert_eq!(store.beside_list(&d, &a, &id("y")).await, Ok(None));
    assert_rows(find(&*store, &d, "x").await, "x", Some(4));

    let sweep = async |swept: Swept, seq: u32| {
        let mut steps = 0;
        while !store
            .sweep_model(&d, &swept, stamp(1, seq), 2)
            .await
            .unwrap()
        {
            steps += 1;
            assert!(steps < 100, "it never ends");
        }
    };
    let lists_alone = Swept {
        name: a.clone(),
        wholly: false,
        features: None,
    };
    sweep(lists_alone, 10).await;
    assert_eq!(store.beside_list(&d, &a, &id("x")).await, Ok(None));
    assert_eq!(store.beside(&d, &a).await.unwrap().row, Some(row(9)));
    let wholly = Swept {
        name: a.clone(),
        wholly: true,
        features: Some(words()),
    };
    sweep(wholly, 11).await;
    assert_eq!(store.beside(&d, &a).await, Ok(Beside::default()));
    assert_eq!(find(&*store, &d, "x").await.feature, None);
    assert_eq!(
        find(&*store, &d, "x").await.list,
        Some(list("x", score_at(4)))
    );
    let of_others = store.beside_list(&d, &b, &id("x")).await;
    assert_eq!(of_others, Ok(Some(of_model("x", &b))));
    let of_others = store.beside_list(&other, &a, &id("x")).await;
    assert_eq!(of_others, Ok(Some(of_model("x", &a))));

    // Removing the domain removes all of it.
    let mut steps = 0;
    while !store.sweep(&d, stamp(1, 20), 7).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "it never ends");
    }
    assert_eq!(store.beside(&d, &b).await, Ok(Beside::default()));
    assert_eq!(store.beside_list(&d, &b, &id("x")).await, Ok(None));
}

pub(crate) async fn the_row_of_a_removed_domain_is_purged(fixture: &impl Fixture) {
    let (d, other) = (domain("purged"), domain("purged-not"));
    let store = fixture.open().await;
    let removed = |domain: &DomainName| DomainRow {
        removal: Some(Removed {
            request: "r1".into(),
            at: at(1_795_424_400_000),
            stage: RemovalStage::Done,
        }),
        ..domain_row(domain, 0)
    };
    for (seq, of) in [(0, &d), (1, &other)] {
        put(&*store, of, 2, seq, vec![Write::Domain(removed(of))])
            .await
            .unwrap();
    }
    let names = async || {
        let rows = store.domains().await.unwrap().into_iter();
        let ours = rows.filter(|row| row.domain == d || row.domain == other);
        ours.map(|row| row.domain).collect::<BTreeSet<_>>()
    };
    // A late write has no effect.
    put(&*store, &d, 1, 9, vec![Write::PurgeDomain])
        .await
        .unwrap();
    assert_eq!(store.domain(&d).await, Ok(Some(removed(&d))));
    put(&*store, &d, 2, 2, vec![Write::PurgeDomain])
        .await
        .unwrap();
    assert_eq!(store.domain(&d).await, Ok(None));
    assert_eq!(names().await, BTreeSet::from([other.clone()]));
    let late = vec![Write::Domain(domain_row(&d, 4))];
    put(&*store, &d, 1, 10, late).await.unwrap();
    assert_eq!(
        store.domain(&d).await,
        Ok(None),
        "what is purged stays away"
    );

    // Registered again.
    let again = domain_row(&d, 5);
    let mut writes = all_rows("a", 1);
    writes.push(Write::Domain(again.clone()));
    put(&*store, &d, 2, 3, writes).await.unwrap();
    assert_eq!(store.domain(&d).await, Ok(Some(again)));
    assert_rows(find(&*store, &d, "a").await, "a", Some(1));
    assert_eq!(names().await.len(), 2);
}

fn settings(window_ms: u64) -> SettingsRow {
    let mut settings = DomainSettings {
        languages: Some(vec!["de".into(), "sv".into()]),
        window: Some(Duration::from_millis(window_ms)),
        ..DomainSettings::default()
    };
    // As a newer version may have set it.
    let later = serde_json::json!({"deep": [1, "ä"]});
    settings.unknown.insert("later".into(), later);
    SettingsRow {
        settings,
        answered: vec![Answered {
            request: "r1".into(),
            outcome: SettingsOutcome::Conflict("languages".into()),
        }],
        habits: Habits {
            of: window_ms,
            sample: u64::MAX,
            are_known: true,
            language: Some("sv".into()),
            boilerplate: [1, u64::MAX].into(),
            texts: 64,
            terms: [(0, 4), (u32::MAX, 64)].into(),
        },
        models: kindred_domain::models::Models::default(),
        log: serde_json::from_value(
            json!({"newest": [log_entry(7)], "last": 7, "recorded": 4, "floor": 2}),
        )
        .unwrap(),
        updated_at: at(1_795_424_400_456),
    }
}

fn log_entry(number: i64) -> LogEntry {
    LogEntry {
        number,
        at: at(1_795_424_400_000 + number),
        by: format!("key-{number}"),
        what: "settings.changed".to_owned(),
        before: json!({"window": "1s", "max_items": null}),
        after: json!({"window": "Größe", "max_items": number}),
    }
}

pub(crate) async fn the_log_of_a_domain_is_kept_trimmed_and_swept(fixture: &impl Fixture) {
    let (d, other) = (domain("logged"), domain("logged-2"));
    let last = 10_000_000_000_000;
    let store = fixture.open().await;
    let read = async |store: &dyn Store, of: &DomainName, after, most| {
        let entries = store.log(of, after, most).await.unwrap();
        let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
        let are_whole = entries
            .iter()
            .all(|entry| *entry == log_entry(entry.number));
        assert!(are_whole, "{entries:?}");
        numbers
    };
    assert_eq!(read(&*store, &d, 0, 9).await, [0; 0]);
    let log = |numbers: &[i64]| numbers.iter().map(|n| Write::Log(log_entry(*n))).collect();
    put(&*store, &d, 1, 1, vec![Write::Domain(domain_row(&d, 0))])
        .await
        .unwrap();
    put(&*store, &d, 1, 2, log(&[10, 9, last])).await.unwrap();
    put(&*store, &other, 1, 3, log(&[1, 9])).await.unwrap();
    // Some come again, after a crash.
    put(&*store, &d, 2, 0, log(&[100, 9, 10])).await.unwrap();
    put(&*store, &d, 1, 4, log(&[9])).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    assert_eq!(read(&*store, &d, 0, 9).await, [9, 10, 100, last]);
    assert_eq!(read(&*store, &d, 0, 2).await, [9, 10]);
    assert_eq!(read(&*store, &d, 9, 2).await, [10, 100]);
    assert_eq!(read(&*store, &d, 99, 9).await, [100, last]);
    assert_eq!(read(&*store, &d, last, 9).await, [0; 0]);
    assert_eq!(read(&*store, &other, 0, 9).await, [1, 9]);
    let trim = vec![Write::Log(log_entry(101)), Write::TrimLog(100)];
    put(&*store, &d, 2, 1, trim).await.unwrap();
    assert_eq!(read(&*store, &d, 0, 9).await, [100, 101, last]);
    let trim = vec![Write::TrimLog(0)];
    put(&*store, &d, 2, 2, trim).await.unwrap();
    assert_eq!(read(&*store, &d, 0, 9).await, [100, 101, last]);
    while !store.sweep(&d, stamp(2, 3), 2).await.unwrap() {}
    assert_eq!(read(&*store, &d, 0, 9).await, [0; 0]);
    assert_eq!(read(&*store, &other, 0, 9).await, [1, 9]);
    put(&*store, &d, 2, 4, log(&[5])).await.unwrap();
    assert_eq!(read(&*store, &d, 0, 9).await, [5]);
}

pub(crate) async fn the_settings_last_set_are_read(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (d, other) = (domain("settled"), domain("settled-2"));
    assert_eq!(store.settings(&d).await, Ok(None));
    for (epoch, seq, window, counts) in [
        (2, 5, 100, 100),
        (2, 4, 50, 100),
        (1, 9, 60, 100),
        (3, 0, 200, 200),
    ] {
        let write = vec![Write::Settings(settings(window))];
        put(&*store, &d, epoch, seq, write).await.unwrap();
        assert_eq!(store.settings(&d).await, Ok(Some(settings(counts))));
    }
    assert_eq!(store.settings(&other).await, Ok(None));
    assert_eq!(
        store.domain(&d).await,
        Ok(None),
        "settings register nothing"
    );
    let none = SettingsRow {
        settings: DomainSettings::default(),
        ..settings(0)
    };
    let write = vec![Write::Settings(none.clone())];
    put(&*store, &d, 3, 1, write).await.unwrap();
    drop(store);
    assert_eq!(fixture.open().await.settings(&d).await, Ok(Some(none)));
}

pub(crate) async fn pages_ten_thousand_rows_in_order(fixture: &impl Fixture) {
    const ROWS: usize = 10_000;
    let store = fixture.open().await;
    let d = domain("paged");
    // A step coprime to ROWS visits every row once, out of order.
    let names: Vec<String> = (0..ROWS)
        .map(|n| format!("i{}", n * 7_919 % ROWS))
        .collect();
    for (seq, chunk) in (0..).zip(names.chunks(500)) {
        let writes = chunk.iter().map(|n| Write::Item(item(n, 2))).collect();
        put(&*store, &d, 1, seq, writes).await.unwrap();
    }
    let mut sorted = names.clone();
    sorted.sort();
    let (rows, pages) = scan(&*store, &d, 97).await;
    assert!(rows.iter().map(|row| row.id.as_str()).eq(sorted.iter()));
    assert!(pages >= ROWS / 97, "{pages} pages");

    let from = id(&sorted[5_000]);
    let page = store.scan_items(&d, Some(&from), 1).await.unwrap();
    assert_eq!(page.rows[0].id, from, "the first id is included");
    assert_eq!(page.next, Some(id(&sorted[5_001])));
    let last = id(&sorted[ROWS - 1]);
    let page = store.scan_items(&d, Some(&last), 1).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (1, None));
}

/// Ids of lists, by scanning.
async fn list_ids(store: &dyn Store, domain: &DomainName, limit: usize) -> Vec<ItemId> {
    let (mut ids, mut from) = (Vec::new(), None);
    loop {
        let page = store.scan_list_ids(domain, from.as_ref(), limit).await;
        let page = page.unwrap();
        assert!(page.rows.len() <= limit);
        ids.extend(page.rows);
        from = page.next;
        if from.is_none() {
            return ids;
        }
    }
}

pub(crate) async fn pages_lists_in_order(fixture: &impl Fixture) {
    const LISTS: usize = 1_000;
    let store = fixture.open().await;
    let (d, other) = (domain("lists"), domain("lists-2"));
    let name = |n: usize| format!("i{}", n * 7_919 % LISTS);
    // Fifty neighbours with long ids: many more bytes than fit in one request.
    let long = "n".repeat(250);
    let neighbours: Vec<_> = (0..50_u8)
        .map(|n| Neighbour {
            id: id(&format!("{long}{n:02}")),
            score: 1.0 / f32::from(n + 1),
        })
        .collect();
    let row = |n| ListRow {
        neighbours: neighbours.clone(),
        ..list(&name(n), 1.0)
    };
    // No item has such an id: lists are found independently of items.
    let writes = (0..LISTS).map(|n| Write::List(row(n))).collect();
    put(&*store, &d, 2, 0, writes).await.unwrap();
    put(&*store, &other, 2, 0, vec![Write::List(row(0))])
        .await
        .unwrap();
    // Lists and deletions in one commit, unordered; and a late one that has no effect.
    let writes = (0..LISTS).map(|n| match n % 3 {
        0 => Write::DeleteList(id(&name(n))),
        _ => Write::List(list(&name(n), 0.25)),
    });
    put(&*store, &d, 2, 2, writes.collect()).await.unwrap();
    let late = (0..LISTS).map(|n| match n % 2 {
        0 => Write::DeleteList(id(&name(n))),
        _ => Write::List(row(n)),
    });
    put(&*store, &d, 2, 1, late.collect()).await.unwrap();

    let left = (0..LISTS).filter(|n| n % 3 != 0);
    let mut sorted: Vec<ItemId> = left.map(|n| id(&name(n))).collect();
    sorted.sort();
    for limit in [1_000, 97] {
        assert_eq!(list_ids(&*store, &d, limit).await, sorted, "{limit} a page");
    }
    for one in &sorted {
        let found = store.list(&d, one).await.unwrap();
        assert_eq!(found, Some(list(one.as_str(), 0.25)));
    }
    assert_eq!(list_ids(&*store, &other, 1).await, [id(&name(0))]);
    let page = store.scan_list_ids(&d, Some(&sorted[5]), 1).await.unwrap();
    assert_eq!(page.rows, [sorted[5].clone()], "the first id is included");
    assert_eq!(page.next.as_ref(), Some(&sorted[6]));
    let last = sorted.last();
    let page = store.scan_list_ids(&d, last, 1).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (1, None));
}

pub(crate) async fn keeps_strange_ids_apart(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("strange");
    let long = "x".repeat(256);
    let almost = "x".repeat(255);
    let wide = "é".repeat(128);
    let mut names = vec![
        "a",
        "a/b",
        "a/b/",
        "a b",
        "a%2Fb",
        "ab",
        "A",
        "é",
        "日本",
        "\u{10FFFF}",
        "\u{E000}",
        "~",
        "!",
        &long,
        &almost,
        &wide,
    ];
    let writes = names.iter().flat_map(|name| all_rows(name, 6)).collect();
    put(&*store, &d, 1, 0, writes).await.unwrap();
    put(&*store, &d, 1, 1, all_deleted("a/b")).await.unwrap();
    names.retain(|name| *name != "a/b");
    for name in &names {
        assert_rows(find(&*store, &d, name).await, name, Some(6));
    }
    assert_rows(find(&*store, &d, "a/b").await, "a/b", None);
    names.sort_by_key(|name| name.as_bytes());
    let (rows, _) = scan(&*store, &d, 3).await;
    assert!(rows.iter().map(|r| r.id.as_str()).eq(names.iter().copied()));
    let lists = list_ids(&*store, &d, 3).await;
    assert!(lists.iter().map(ItemId::as_str).eq(names.iter().copied()));
}

pub(crate) async fn deletes_and_creates_again(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("again");
    put(&*store, &d, 1, 0, all_rows("a", 1)).await.unwrap();
    put(&*store, &d, 1, 1, all_deleted("a")).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", None);
    assert!(scan(&*store, &d, 10).await.0.is_empty());
    put(&*store, &d, 1, 2, all_rows("a", 2)).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", Some(2));
    put(&*store, &d, 2, 0, all_deleted("a")).await.unwrap();
    put(&*store, &d, 2, 1, all_deleted("a")).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", None);
    drop(store);

    let store = fixture.open().await;
    assert_rows(find(&*store, &d, "a").await, "a", None);
    put(&*store, &d, 2, 2, all_rows("a", 3)).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", Some(3));
}

pub(crate) async fn a_late_lower_stamp_loses(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("late");
    let with_domain = |version| {
        let mut writes = all_rows("a", version);
        writes.push(Write::Domain(domain_row(&d, version)));
        writes
    };
    put(&*store, &d, 3, 5, with_domain(9)).await.unwrap();
    for (epoch, seq) in [(3, 4), (2, Stamp::SEQS - 1), (1, 0)] {
        put(&*store, &d, epoch, seq, with_domain(1)).await.unwrap();
        put(&*store, &d, epoch, seq, all_deleted("a"))
            .await
            .unwrap();
        assert_rows(find(&*store, &d, "a").await, "a", Some(9));
        let row = store.domain(&d).await.unwrap();
        assert_eq!(row, Some(domain_row(&d, 9)));
    }
    put(&*store, &d, 3, 6, all_deleted("a")).await.unwrap();
    put(&*store, &d, 3, 5, all_rows("a", 8)).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", None);

    // Deleting what never existed is a write, too.
    put(&*store, &d, 3, 7, all_deleted("b")).await.unwrap();
    put(&*store, &d, 2, 9, all_rows("b", 8)).await.unwrap();
    assert_rows(find(&*store, &d, "b").await, "b", None);
    put(&*store, &d, 4, 0, all_rows("b", 10)).await.unwrap();
    assert_rows(find(&*store, &d, "b").await, "b", Some(10));
}

pub(crate) async fn the_same_batch_again_is_harmless(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("twice");
    for _ in 0..2 {
        put(&*store, &d, 1, 1, all_rows("a", 4)).await.unwrap();
        assert_rows(find(&*store, &d, "a").await, "a", Some(4));
    }
    for _ in 0..2 {
        put(&*store, &d, 1, 2, all_deleted("a")).await.unwrap();
        assert_rows(find(&*store, &d, "a").await, "a", None);
    }
}

fn lease(epoch: u64, owner: &str, beat: u64) -> Lease {
    Lease {
        epoch,
        owner: owner.into(),
        address: "127.0.0.1:8080".into(),
        beat,
    }
}

pub(crate) async fn a_newer_owner_fences_out_an_older(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (d, p) = (domain("fenced"), Partition(901));
    let fenced = |version| WriteBatch {
        domain: d.clone(),
        fence: true,
        writes: all_rows("a", version),
    };
    let first = lease(4, "one", 0);
    let taken = store.take_lease(p, None, &first).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let mine = store.commit(p, Epoch(4), stamp(4, 0), fenced(1)).await;
    assert_eq!(mine, Ok(()));
    let second = lease(5, "two", 0);
    let taken = store.take_lease(p, Some(&first), &second).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let late = store.commit(p, Epoch(4), stamp(4, 1), fenced(2));
    let mine = store.commit(p, Epoch(5), stamp(5, 0), fenced(3));
    // At the same time, so that a store may put both into one group.
    let (late, mine) = tokio::join!(late, mine);
    let superseded = StoreError::Superseded {
        partition: p,
        ours: Epoch(4),
        current: Epoch(5),
    };
    assert_eq!(late, Err(superseded));
    assert_eq!(mine, Ok(()));
    assert_rows(find(&*store, &d, "a").await, "a", Some(3));
}

pub(crate) async fn a_fence_keeps_settings_out(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (d, p) = (domain("fenced-settings"), Partition(905));
    let taken = store.take_lease(p, None, &lease(2, "two", 0)).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let fenced = |window| WriteBatch {
        domain: d.clone(),
        fence: true,
        writes: vec![Write::Settings(settings(window))],
    };
    let late = store.commit(p, Epoch(1), stamp(1, 0), fenced(1)).await;
    assert!(
        matches!(late, Err(StoreError::Superseded { .. })),
        "{late:?}"
    );
    let mine = store.commit(p, Epoch(2), stamp(2, 0), fenced(2)).await;
    assert_eq!(mine, Ok(()));
    let late = store.commit(p, Epoch(1), stamp(1, 1), fenced(3)).await;
    assert!(
        matches!(late, Err(StoreError::Superseded { .. })),
        "{late:?}"
    );
    assert_eq!(store.settings(&d).await, Ok(Some(settings(2))));
}

pub(crate) async fn one_of_sixteen_contenders_gets_the_lease(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let p = Partition(902);
    let mut current = None;
    for round in 1..=5 {
        let contenders = (0..16).map(|n| {
            let (store, expected) = (Arc::clone(&store), current.clone());
            tokio::spawn(async move {
                let mine = lease(round, &format!("contender {n}"), 0);
                let outcome = store.take_lease(p, expected.as_ref(), &mine).await;
                (mine, outcome.unwrap())
            })
        });
        let outcomes = futures_util::future::join_all(contenders).await;
        let row = store.lease(p).await.unwrap();
        let mut winners = Vec::new();
        for outcome in outcomes {
            match outcome.unwrap() {
                (mine, Cas::Applied) => winners.push(mine),
                (_, Cas::Refused(found)) => assert_eq!(found, row, "losers see the winner"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(row.as_ref(), winners.first());
        current = row;
    }
}

pub(crate) async fn a_stale_expectation_is_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let p = Partition(903);
    assert_eq!(store.lease(p).await, Ok(None));
    let (one, two) = (lease(1, "one", 0), lease(1, "one", 1));
    let refused = store.take_lease(p, Some(&one), &two).await;
    assert_eq!(refused, Ok(Cas::Refused(None)));
    let taken = store.take_lease(p, None, &one).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let beaten = store.take_lease(p, Some(&one), &two).await;
    assert_eq!(beaten, Ok(Cas::Applied));
    for stale in [None, Some(&one)] {
        let refused = store.take_lease(p, stale, &lease(2, "late", 0)).await;
        assert_eq!(refused, Ok(Cas::Refused(Some(two.clone()))));
    }
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.lease(p).await, Ok(Some(two)));
    assert_eq!(store.lease(Partition(904)).await, Ok(None));
}

pub(crate) async fn knows_who_is_there(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let there = async || {
        let mut there = store.instances().await.unwrap();
        there.sort_unstable();
        there
    };
    assert!(there().await.is_empty());
    let (long, short) = (Duration::from_secs(600), Duration::from_secs(1));
    for (owner, lasting) in [("one", long), ("two", long), ("three", short)] {
        store.announce(owner, "host:1", lasting).await.unwrap();
    }
    store.withdraw("two").await.unwrap();
    store.withdraw("nobody").await.unwrap();
    // The case's own deadline applies if the third never leaves.
    while there().await != ["one"] {
        tokio::task::yield_now().await;
    }
    // Announced again for a shorter time: that counts.
    store.announce("one", "host:1", short).await.unwrap();
    store.announce("two", "host:1", long).await.unwrap();
    while there().await != ["two"] {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn keeps_domains_apart(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let names = ["apart", "apart-2", "apart.a", "Apart", "apar"];
    for (n, name) in (1..).zip(names) {
        let d = domain(name);
        let mut writes = all_rows("a", n);
        writes.push(Write::Item(item(&format!("only {name}"), n)));
        put(&*store, &d, 1, 0, writes).await.unwrap();
    }
    for (n, name) in (1..).zip(names) {
        let d = domain(name);
        assert_rows(find(&*store, &d, "a").await, "a", Some(n));
        let rows = scan(&*store, &d, 10).await.0;
        assert_eq!(rows, [item("a", n), item(&format!("only {name}"), n)]);
        assert_eq!(
            store.scan_list_ids(&d, None, 10).await.unwrap().rows.len(),
            1
        );
    }
    put(&*store, &domain("apart"), 1, 1, all_deleted("a"))
        .await
        .unwrap();
    assert_rows(find(&*store, &domain("apart-2"), "a").await, "a", Some(2));
}

pub(crate) async fn keeps_what_it_acknowledged(fixture: &impl Fixture) {
    let d = domain("kept");
    for round in 0..3_u32 {
        let store = fixture.open().await;
        let name = format!("item {round}");
        put(&*store, &d, 1, round, all_rows(&name, 1))
            .await
            .unwrap();
        // Sent without waiting for the acknowledgement: later it exists whole, or not at all.
        let asked = put(&*store, &d, 1, round, vec![Write::Item(item("maybe", 2))]);
        drop(tokio::time::timeout(Duration::ZERO, asked).await);
        drop(store);
        let store = fixture.open().await;
        for earlier in 0..=round {
            let name = format!("item {earlier}");
            assert_rows(find(&*store, &d, &name).await, &name, Some(1));
        }
        let maybe = store.items(&d, &[id("maybe")]).await.unwrap().remove(0);
        assert!(maybe.is_none_or(|row| row == item("maybe", 2)));
    }
}

pub(crate) async fn restarts_under_load(fixture: &impl Fixture) {
    let d = domain("restarted");
    let mut acknowledged = 0_u32;
    for _ in 0..3 {
        let store = fixture.open().await;
        let from = acknowledged;
        let tasks: Vec<_> = (from..from + 60)
            .map(|n| {
                let (store, d) = (Arc::clone(&store), d.clone());
                tokio::spawn(async move {
                    let writes = all_rows(&format!("{n}"), u64::from(n));
                    put(&*store, &d, 1, n, writes).await.map(|()| n)
                })
            })
            .collect();
        // The callers drop the store one by one while others still wait for it.
        drop(store);
        for task in tasks {
            acknowledged = acknowledged.max(task.await.unwrap().unwrap() + 1);
        }
        let store = fixture.open().await;
        for n in 0..acknowledged {
            let name = format!("{n}");
            assert_rows(find(&*store, &d, &name).await, &name, Some(u64::from(n)));
        }
    }
    assert_eq!(acknowledged, 180);
}

pub(crate) async fn a_key_is_made_once_and_removed(fixture: &impl Fixture) {
    let key = |name: &str, byte: u8, grants: &[&str], expires_at| KeyRow {
        id: name.to_owned(),
        hash: [byte; 32],
        grants: Grants::read(grants.iter().copied()).unwrap(),
        created_at: at(1_795_424_400_123),
        expires_at,
    };
    let one = key("one", 1, &["admin"], None);
    let expires_at = Some(at(1_795_424_500_000));
    let two = key("two", 2, &["metrics", "read:news.*"], expires_at);
    let all = async |store: &dyn KeyStore| {
        let mut all = store.keys().await.unwrap();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    };
    let store = fixture.open_keys().await;
    assert_eq!(all(&*store).await, []);
    assert_eq!(store.add_key(&one).await, Ok(true));
    assert_eq!(store.add_key(&two).await, Ok(true));
    let other = key("one", 3, &["read:*"], None);
    assert_eq!(store.add_key(&other).await, Ok(false));
    drop(store);

    let store = fixture.open_keys().await;
    assert_eq!(all(&*store).await, [one, two.clone()]);
    assert_eq!(store.remove_key("one").await, Ok(true));
    assert_eq!(store.remove_key("one").await, Ok(false));
    drop(store);
    assert_eq!(all(&*fixture.open_keys().await).await, [two]);
}

fn experiment(name: &str, run: i64) -> ExperimentRow {
    let arm = |name: &str, share| Arm {
        name: name.to_owned(),
        share,
        model: Some(words()),
        defaults: None,
    };
    ExperimentRow {
        run,
        since: at(run),
        by: "k1".to_owned(),
        ended: None,
        experiment: Experiment {
            name: name.to_owned(),
            salt: "Größe".to_owned(),
            arms: vec![arm("a", 0.1), arm("b", 0.9)],
        },
    }
}

pub(crate) async fn experiments_are_kept_with_what_readers_did(fixture: &impl Fixture) {
    const READERS: usize = 300;
    let (d, other) = (domain("tried"), domain("tried-not"));
    let (store, tried) = fixture.open_experiments().await;
    let owned = |epoch| Lease {
        epoch,
        owner: "one".into(),
        address: "127.0.0.1:8080".into(),
        beat: 0,
    };
    let p = Partition(2);
    let taken = store.take_lease(p, None, &owned(1)).await;
    assert_eq!(taken, Ok(Cas::Applied));
    put(&*store, &d, 1, 0, vec![Write::Domain(domain_row(&d, 0))])
        .await
        .unwrap();
    let writer = |epoch: u64, seq| Writer {
        partition: p,
        epoch: Epoch(epoch),
        stamp: stamp(epoch, seq),
    };

    // Reads return the last write.
    let (first, second) = (
        experiment("first", 1_795_424_400_000),
        experiment("second", 1_795_424_400_001),
    );
    for (seq, row) in [(1, &first), (2, &second)] {
        tried.put_experiment(writer(1, seq), &d, row).await.unwrap();
    }
    let ended = ExperimentRow {
        ended: Some(Ended {
            at: at(1_795_424_500_000),
            by: "k2".to_owned(),
            sums: vec![Sums::default(); 2],
        }),
        ..first.clone()
    };
    tried
        .put_experiment(writer(1, 3), &d, &ended)
        .await
        .unwrap();
    let all = async |tried: &dyn ExperimentStore, of: &DomainName| {
        let mut rows = tried.experiments(of).await.unwrap();
        rows.sort_unstable_by_key(|row| row.run);
        rows
    };
    assert_eq!(all(&*tried, &d).await, [ended.clone(), second.clone()]);
    assert_eq!(all(&*tried, &other).await, []);

    // Readers of a run, in pages; the last write counts.
    let tally = |event: &str| {
        let mut tally = Tally::default();
        tally.count(event, 1, FeedbackKind::Seen, at(1_795_424_400_000));
        tally
    };
    let rows = |event: &str| -> Vec<(ReaderKey, Tally)> {
        let keys = (0..READERS).map(|n| ReaderKey::of(&n.to_string()));
        keys.map(|key| (key, tally(event))).collect()
    };
    tried
        .put_readers(writer(1, 4), &d, second.run, &rows("e1"))
        .await
        .unwrap();
    tried
        .put_readers(writer(1, 5), &d, second.run, &rows("e2"))
        .await
        .unwrap();
    tried
        .put_readers(writer(1, 6), &d, first.run, &rows("e3")[..1])
        .await
        .unwrap();
    let known = [ReaderKey::of("nobody"), ReaderKey::of("7")];
    let found = tried.readers(&d, second.run, &known).await.unwrap();
    assert_eq!(found, [None, Some(tally("e2"))]);
    let scanned = async |tried: &dyn ExperimentStore, of: &DomainName, run| {
        let (mut rows, mut behind) = (BTreeMap::new(), None);
        loop {
            let page = tried.scan_readers(of, run, behind, 37).await.unwrap();
            for (key, tally) in page.rows {
                assert_eq!(rows.insert(key, tally), None, "a reader twice");
            }
            behind = page.next;
            if behind.is_none() {
                return rows;
            }
        }
    };
    let expected: BTreeMap<_, _> = rows("e2").into_iter().collect();
    assert_eq!(scanned(&*tried, &d, second.run).await, expected);
    assert_eq!(scanned(&*tried, &d, second.run + 1).await.len(), 0);
    drop((store, tried));

    // All of it is durable, and a former owner is refused.
    let (store, tried) = fixture.open_experiments().await;
    assert_eq!(all(&*tried, &d).await, [ended, second.clone()]);
    assert_eq!(scanned(&*tried, &d, second.run).await, expected);
    let taken = store.take_lease(p, Some(&owned(1)), &owned(2)).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let late = tried
        .put_readers(writer(1, 7), &d, second.run, &rows("e4")[..1])
        .await;
    assert!(
        matches!(late, Err(StoreError::Superseded { .. })),
        "{late:?}"
    );
    let late = tried.put_experiment(writer(1, 8), &d, &first).await;
    assert!(
        matches!(late, Err(StoreError::Superseded { .. })),
        "{late:?}"
    );

    // Deletes a run's readers and an experiment; a sweep deletes the rest.
    tried
        .forget_readers(writer(2, 1), &d, first.run)
        .await
        .unwrap();
    assert_eq!(scanned(&*tried, &d, first.run).await.len(), 0);
    assert_eq!(scanned(&*tried, &d, second.run).await.len(), READERS);
    tried
        .delete_experiment(writer(2, 2), &d, "first")
        .await
        .unwrap();
    assert_eq!(all(&*tried, &d).await, std::slice::from_ref(&second));
    let mut steps = 0;
    while !store.sweep(&d, stamp(2, 10 + steps), 50).await.unwrap() {
        steps += 1;
        assert!(steps < 1_000, "it never ends");
    }
    assert_eq!(all(&*tried, &d).await, []);
    assert_eq!(scanned(&*tried, &d, second.run).await.len(), 0);
}

/// What is wrong with rows, by place.
fn places(damaged: &Damaged) -> Vec<(&'static str, &str)> {
    let rows = damaged.rows.iter();
    rows.map(|row| (row.table, row.id.as_str())).collect()
}

pub(crate) async fn a_damaged_row_counts_as_none_until_it_is_written(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let d = domain("damaged-rows");
    let sound = ["a", "c", "d"].iter().flat_map(|name| all_rows(name, 1));
    put(&*store, &d, 1, 0, sound.collect()).await.unwrap();
    let damaged = vec![
        Write::Item(item("b", u64::MAX)),
        Write::Content(
            id("b"),
            Content {
                vector: Some(vec![f32::NAN]),
                ..content("text")
            },
        ),
        Write::Feature(FeatureRow {
            feature: Feature::new(vec![9.0], vec![], vec![]).unwrap(),
            ..feature("b", 1)
        }),
        Write::List(list("b", 7.5)),
    ];
    put(&*store, &d, 1, 1, damaged).await.unwrap();
    assert_eq!(store.damaged(&d), Damaged::default(), "nobody has read it");

    let found = find(&*store, &d, "b").await;
    assert_eq!((found.item, found.content, found.list), (None, None, None));
    assert_eq!((found.feature, found.feature_stamp), (None, None));
    // So that it is rewritten, or deleted, like other lists.
    assert!(found.list_listed);
    for name in ["a", "c", "d"] {
        assert_rows(find(&*store, &d, name).await, name, Some(1));
    }
    let names =
        |rows: &[ItemRow]| -> Vec<String> { rows.iter().map(|row| row.id.to_string()).collect() };
    for limit in 1..5 {
        assert_eq!(names(&scan(&*store, &d, limit).await.0), ["a", "c", "d"]);
    }
    let ids = ["d", "b", "a"].map(id);
    let items = store.items(&d, &ids).await.unwrap();
    assert_eq!(items, [Some(item("d", 1)), None, Some(item("a", 1))]);
    let told = store.damaged(&d);
    let tables = ["item_features", "item_texts", "items", "similar_items"];
    assert_eq!(places(&told), tables.map(|table| (table, "b")));
    assert_eq!(told.count, 4);
    let words = told.in_words(&d).unwrap();
    for word in [
        "4 rows",
        "item_features of \"b\"",
        "length 1",
        "7.5",
        "kindred repair",
    ] {
        assert!(words.contains(word), "{words} says {word}");
    }
    assert_eq!(store.damaged(&domain("damaged-nobody")), Damaged::default());

    put(&*store, &d, 1, 2, all_rows("b", 2)).await.unwrap();
    assert_rows(find(&*store, &d, "b").await, "b", Some(2));
    assert_eq!(store.damaged(&d), Damaged::default());
}

pub(crate) async fn a_damaged_row_of_a_domain_is_put_right(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (d, other) = (domain("damaged-domain"), domain("damaged-neighbour"));
    let row = DomainRow {
        dirty: None,
        ..domain_row(&d, u64::MAX)
    };
    put(&*store, &d, 1, 0, vec![Write::Domain(row.clone())])
        .await
        .unwrap();
    let sound = Write::Domain(domain_row(&other, 4));
    put(&*store, &other, 1, 0, vec![sound]).await.unwrap();
    let right = DomainRow {
        dirty: Some(0),
        live: 0,
        visible: 0,
        ..row
    };
    assert_eq!(store.domain(&d).await.unwrap(), Some(right.clone()));
    let all = store.domains().await.unwrap();
    assert!(all.contains(&right) && all.contains(&domain_row(&other, 4)));
    let told = store.damaged(&d);
    assert_eq!(places(&told), [("domains", "")]);
    assert!(told.rows[0].reason.contains("-1 live items"), "{told:?}");
    assert_eq!(store.damaged(&other), Damaged::default());
    let sound = Write::Domain(domain_row(&d, 3));
    put(&*store, &d, 1, 1, vec![sound]).await.unwrap();
    assert_eq!(store.domain(&d).await.unwrap(), Some(domain_row(&d, 3)));
    assert_eq!(store.damaged(&d), Damaged::default());
}
