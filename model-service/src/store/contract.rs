//! What every twin of the store must do.
//!
//! A twin says in [`Twin`] how it is opened, and `store_contract!` makes a test of every case.
//! Cases use domains and partitions of their own, so that they can share one database. Times are
//! whole milliseconds: no twin keeps less.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use kindred_shared::{DomainName, Feature, ItemId, ModelInputs, ModelName, Space};

use kindred_domain::settings::{Answered, DomainSettings, SettingsOutcome};
use kindred_domain::store::*;

/// Longest a case may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A store under test.
#[async_trait]
pub(crate) trait Twin: Send + Sync {
    /// Opens the store as it is now.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of every case; `$twin` is an expression that makes a fresh [`Twin`]. With a reason
/// before it, tests that are left out unless asked for.
macro_rules! store_contract {
    (@case [$($attribute:tt)*] $twin:expr; $case:ident) => {
        $($attribute)*
        #[tokio::test]
        async fn $case() {
            let twin = $twin;
            tokio::time::timeout(
                $crate::store::contract::DEADLINE,
                $crate::store::contract::$case(&twin),
            )
            .await
            .expect("the case ends before its deadline");
        }
    };
    (@cases $attributes:tt $twin:expr; $($case:ident),+) => {$(
        $crate::store::contract::store_contract!(@case $attributes $twin; $case);
    )+};
    (@all $attributes:tt $twin:expr) => {
        $crate::store::contract::store_contract!(@cases $attributes $twin;
            round_trip, features_of_models_lie_side_by_side, rows_of_unknown_models_are_left_alone, the_settings_last_set_are_read, pages_ten_thousand_rows_in_order, pages_lists_in_order, keeps_strange_ids_apart,
            deletes_and_creates_again, a_late_lower_stamp_loses, the_same_batch_again_is_harmless,
            a_newer_owner_fences_out_an_older, a_fence_keeps_settings_out, one_of_sixteen_contenders_gets_the_lease,
            a_stale_expectation_is_refused, a_removed_domain_is_swept_in_steps, the_row_of_a_removed_domain_is_purged, knows_who_is_there, keeps_domains_apart, keeps_what_it_acknowledged,
            restarts_under_load);
    };
    (ignored: $reason:literal; $twin:expr) => {
        $crate::store::contract::store_contract!(@all [#[ignore = $reason]] $twin);
    };
    ($twin:expr) => {
        $crate::store::contract::store_contract!(@all [] $twin);
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

/// The models that a program under test knows.
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
    }
}

pub(crate) fn content(text: &str) -> Content {
    Content {
        text: Some(text.into()),
        vector: Some(vec![0.5, -0.25, f32::MIN_POSITIVE]),
    }
}

pub(crate) fn feature(name: &str, version: u64) -> FeatureRow {
    FeatureRow {
        id: id(name),
        version,
        space: Space::stored("words-1/en"),
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
                id: id("日本"),
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
    let batch = Batch {
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
        Write::List(list(name, version as f32 / 8.0)),
    ]
}

fn all_deleted(name: &str) -> Vec<Write> {
    vec![
        Write::PurgeItem(id(name)),
        Write::DeleteContent(id(name)),
        Write::DeleteFeatures(id(name)),
        Write::DeleteList(id(name)),
    ]
}

/// Asserts that every kind of row of an item is there at a version, or that none is.
#[track_caller]
fn assert_rows(found: Found, name: &str, version: Option<u64>) {
    assert_eq!(found.item, version.map(|v| item(name, v)));
    assert_eq!(
        found.content,
        version.map(|v| content(&format!("text {v}")))
    );
    assert_eq!(found.feature, version.map(|v| feature(name, v)));
    assert_eq!(found.list, version.map(|v| list(name, v as f32 / 8.0)));
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

/// All items of a domain by scanning, and the number of pages it took.
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

pub(crate) async fn round_trip(twin: &impl Twin) {
    let store = twin.open().await;
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

/// Features of one model, by scanning a row at a time.
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

pub(crate) async fn features_of_models_lie_side_by_side(twin: &impl Twin) {
    let store = twin.open().await;
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

    // Each has a stamp of its own, and all go with the item.
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

pub(crate) async fn rows_of_unknown_models_are_left_alone(twin: &impl Twin) {
    let later = ModelName::new("words-2").unwrap();
    let d = domain("unknown-model");
    let store = twin.open().await;
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
    let opened = crate::actors::loading::open(&*store, &d).await;
    let refused = opened.unwrap_err();
    assert!(
        refused.needs_help && refused.detail.contains("words-2"),
        "{refused:?}"
    );
    drop(store);

    let store = twin.open().await;
    assert_eq!(features(&*store, &d, &later).await, left);
    assert_eq!(store.domain(&d).await, Ok(Some(row)));
}

pub(crate) async fn a_removed_domain_is_swept_in_steps(twin: &impl Twin) {
    const ITEMS: u64 = 30;
    let (d, other) = (domain("swept"), domain("swept-not"));
    let store = twin.open().await;
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

    // Anew, and what is swept once more is not that.
    put(&*store, &d, 1, 2_000, all_rows("i1", 1)).await.unwrap();
    assert!(store.sweep(&d, stamp(1, 1_999), 7).await.is_ok());
    assert_rows(find(&*store, &d, "i1").await, "i1", Some(1));
}

pub(crate) async fn the_row_of_a_removed_domain_is_purged(twin: &impl Twin) {
    let (d, other) = (domain("purged"), domain("purged-not"));
    let store = twin.open().await;
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
    // What came late has no effect.
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

    // Anew.
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
        updated_at: at(1_795_424_400_456),
    }
}

pub(crate) async fn the_settings_last_set_are_read(twin: &impl Twin) {
    let store = twin.open().await;
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
    assert_eq!(twin.open().await.settings(&d).await, Ok(Some(none)));
}

pub(crate) async fn pages_ten_thousand_rows_in_order(twin: &impl Twin) {
    const ROWS: usize = 10_000;
    let store = twin.open().await;
    let d = domain("paged");
    // A step that shares no factor with ROWS visits every row once, out of order.
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

pub(crate) async fn pages_lists_in_order(twin: &impl Twin) {
    const LISTS: usize = 1_000;
    let store = twin.open().await;
    let (d, other) = (domain("lists"), domain("lists-2"));
    let name = |n: usize| format!("i{}", n * 7_919 % LISTS);
    // Fifty neighbours with long ids: many more bytes than go into one request.
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
    // No item has such an id: lists are found by themselves.
    let writes = (0..LISTS).map(|n| Write::List(row(n))).collect();
    put(&*store, &d, 2, 0, writes).await.unwrap();
    put(&*store, &other, 2, 0, vec![Write::List(row(0))])
        .await
        .unwrap();
    // Lists and deletions in one commit, in no order; and a late one that changes nothing.
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

pub(crate) async fn keeps_strange_ids_apart(twin: &impl Twin) {
    let store = twin.open().await;
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

pub(crate) async fn deletes_and_creates_again(twin: &impl Twin) {
    let store = twin.open().await;
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

    let store = twin.open().await;
    assert_rows(find(&*store, &d, "a").await, "a", None);
    put(&*store, &d, 2, 2, all_rows("a", 3)).await.unwrap();
    assert_rows(find(&*store, &d, "a").await, "a", Some(3));
}

pub(crate) async fn a_late_lower_stamp_loses(twin: &impl Twin) {
    let store = twin.open().await;
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

    // A deletion of what never was is a write too.
    put(&*store, &d, 3, 7, all_deleted("b")).await.unwrap();
    put(&*store, &d, 2, 9, all_rows("b", 8)).await.unwrap();
    assert_rows(find(&*store, &d, "b").await, "b", None);
    put(&*store, &d, 4, 0, all_rows("b", 10)).await.unwrap();
    assert_rows(find(&*store, &d, "b").await, "b", Some(10));
}

pub(crate) async fn the_same_batch_again_is_harmless(twin: &impl Twin) {
    let store = twin.open().await;
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

pub(crate) async fn a_newer_owner_fences_out_an_older(twin: &impl Twin) {
    let store = twin.open().await;
    let (d, p) = (domain("fenced"), Partition(901));
    let fenced = |version| Batch {
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
    // At the same time, so that a twin may put both into one group.
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

pub(crate) async fn a_fence_keeps_settings_out(twin: &impl Twin) {
    let store = twin.open().await;
    let (d, p) = (domain("fenced-settings"), Partition(905));
    let taken = store.take_lease(p, None, &lease(2, "two", 0)).await;
    assert_eq!(taken, Ok(Cas::Applied));
    let fenced = |window| Batch {
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

pub(crate) async fn one_of_sixteen_contenders_gets_the_lease(twin: &impl Twin) {
    let store = twin.open().await;
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

pub(crate) async fn a_stale_expectation_is_refused(twin: &impl Twin) {
    let store = twin.open().await;
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
    let store = twin.open().await;
    assert_eq!(store.lease(p).await, Ok(Some(two)));
    assert_eq!(store.lease(Partition(904)).await, Ok(None));
}

pub(crate) async fn knows_who_is_there(twin: &impl Twin) {
    let store = twin.open().await;
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
    // The case's own deadline ends it should the third stay.
    while there().await != ["one"] {
        tokio::task::yield_now().await;
    }
    // Again, for less: that counts.
    store.announce("one", "host:1", short).await.unwrap();
    store.announce("two", "host:1", long).await.unwrap();
    while there().await != ["two"] {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn keeps_domains_apart(twin: &impl Twin) {
    let store = twin.open().await;
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

pub(crate) async fn keeps_what_it_acknowledged(twin: &impl Twin) {
    let d = domain("kept");
    for round in 0..3_u32 {
        let store = twin.open().await;
        let name = format!("item {round}");
        put(&*store, &d, 1, round, all_rows(&name, 1))
            .await
            .unwrap();
        // Sent, and its acknowledgement not waited for: there whole later, or not there.
        let asked = put(&*store, &d, 1, round, vec![Write::Item(item("maybe", 2))]);
        drop(tokio::time::timeout(Duration::ZERO, asked).await);
        drop(store);
        let store = twin.open().await;
        for earlier in 0..=round {
            let name = format!("item {earlier}");
            assert_rows(find(&*store, &d, &name).await, &name, Some(1));
        }
        let maybe = store.items(&d, &[id("maybe")]).await.unwrap().remove(0);
        assert!(maybe.is_none_or(|row| row == item("maybe", 2)));
    }
}

pub(crate) async fn restarts_under_load(twin: &impl Twin) {
    let d = domain("restarted");
    let mut acknowledged = 0_u32;
    for _ in 0..3 {
        let store = twin.open().await;
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
        // The callers let go of the store one by one while others still wait for it.
        drop(store);
        for task in tasks {
            acknowledged = acknowledged.max(task.await.unwrap().unwrap() + 1);
        }
        let store = twin.open().await;
        for n in 0..acknowledged {
            let name = format!("{n}");
            assert_rows(find(&*store, &d, &name).await, &name, Some(u64::from(n)));
        }
    }
    assert_eq!(acknowledged, 180);
}
