//! What a stopped program left in its store.

use std::collections::BTreeMap;
use std::path::Path;

use kindred_domain::store::{DomainRow, FeatureRow, ItemRow, ListRow, Liveness, Page, Store};
use kindred_shared::{ItemId, ModelName};
use model_service::store::embedded::{EmbeddedStore, Identity};

/// Rows of a page of a scan.
const PAGE: usize = 1_000;

/// One domain, whole; rows by id.
#[derive(Debug)]
pub(crate) struct StoredDomain {
    pub(crate) row: DomainRow,
    pub(crate) items: BTreeMap<ItemId, ItemRow>,
    pub(crate) features: BTreeMap<ItemId, FeatureRow>,
    pub(crate) lists: BTreeMap<ItemId, ListRow>,
}

impl StoredDomain {
    /// Items that are in answers.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &ItemRow> {
        let now = chrono::Utc::now();
        self.items.values().filter(move |item| {
            item.liveness == Liveness::Live
                && !item.hidden
                && item.expires_at.is_none_or(|at| at > now)
        })
    }
}

/// Every domain by name.
pub(crate) type Stored = BTreeMap<String, StoredDomain>;

/// Reads the store of a program that has ended.
pub(crate) fn read(data_dir: &Path) -> Stored {
    // As a program that knows no model: whatever is there is left alone.
    let identity = Identity {
        models: Vec::new(),
        partitions: 1,
    };
    let store = EmbeddedStore::open(data_dir, &identity).expect("the store of an ended program");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let mut stored = Stored::new();
            for row in store.domains().await.expect("domains") {
                let domain = read_domain(&store, row).await;
                stored.insert(domain.row.domain.to_string(), domain);
            }
            stored
        })
}

async fn read_domain(store: &EmbeddedStore, row: DomainRow) -> StoredDomain {
    let name = &row.domain;
    let items = all(async |from| store.scan_items(name, from.as_ref(), PAGE).await).await;
    let items = items.into_iter().map(|item| (item.id.clone(), item));
    let items: BTreeMap<ItemId, ItemRow> = items.collect();
    let mut features = BTreeMap::new();
    for model in [&row.model, &ModelName::own()] {
        let rows = all(async |from| {
            let page = store.scan_features(name, model, from.as_ref(), PAGE);
            page.await
        });
        for feature in rows.await {
            // A feature of another version does not count.
            let item = items.get(&feature.id);
            if item.is_some_and(|item| item.version == feature.version) {
                features.insert(feature.id.clone(), feature);
            }
        }
    }
    let list_ids = all(async |from| store.scan_list_ids(name, from.as_ref(), PAGE).await).await;
    let mut lists = BTreeMap::new();
    for id in list_ids {
        let list = store.list(name, &id).await.expect("a list");
        lists.insert(id, list.expect("a list that the scan names"));
    }
    StoredDomain {
        items,
        features,
        lists,
        row,
    }
}

async fn all<T, E: std::fmt::Debug>(
    page: impl AsyncFn(Option<ItemId>) -> Result<Page<T>, E>,
) -> Vec<T> {
    let mut rows = Vec::new();
    let mut from = None;
    loop {
        let next = page(from).await.expect("a page");
        rows.extend(next.rows);
        from = next.next;
        if from.is_none() {
            return rows;
        }
    }
}
