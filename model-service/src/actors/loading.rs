//! Loading: of one domain, its own rows, some items, or all of it, from the store.

use kindred_shared::{DomainName, ItemId, ModelName};

use super::memory::Load;
use kindred_domain::intake::Failure;
use kindred_domain::loaded::{Loaded, Opened};
use kindred_domain::memory::of_loading_read;
use kindred_domain::store::{ItemRow, Store, StoreError};

/// Rows of one page of a scan.
const PAGE: usize = 1_000;

/// Reads a domain's own rows.
///
/// # Errors
/// When the store fails, or this program does not know the domain's model.
pub async fn open(store: &dyn Store, domain: &DomainName) -> Result<Box<Opened>, Failure> {
    let row = store.domain(domain).await.map_err(|e| failure(&e))?;
    let settings = store.settings(domain).await.map_err(|e| failure(&e))?;
    let opened = Opened { row, settings };
    match opened.model() {
        Some(model) if !store.knows(model) => Err(Failure {
            needs_help: true,
            detail: format!(
                "the domain is of model {model}, which this program does not know; it is left as it \
                 is until a program serves it that knows the model"
            ),
        }),
        _ => Ok(Box::new(opened)),
    }
}

/// Reads some items, in the order of their ids.
///
/// # Errors
/// When the store fails.
pub async fn items(
    store: &dyn Store,
    domain: &DomainName,
    ids: &[ItemId],
) -> Result<Vec<Option<ItemRow>>, Failure> {
    let items = store.items(domain, ids).await;
    items.map_err(|error| failure(&error))
}

/// Reads a domain, once it is its turn: items, features of a model and of own vectors, and, if it is dirty,
/// whose lists are stored.
///
/// # Errors
/// When the store fails.
pub async fn load(
    store: &dyn Store,
    domain: &DomainName,
    model: &ModelName,
    load: &Load,
) -> Result<Box<Loaded>, Failure> {
    load.begin().await;
    let read = read(store, domain, model, load).await;
    read.map_err(|error| failure(&error))
}

async fn read(
    store: &dyn Store,
    domain: &DomainName,
    model: &ModelName,
    load: &Load,
) -> Result<Box<Loaded>, StoreError> {
    let mut loaded = Box::<Loaded>::default();
    let mut from = None;
    let (mut items, mut feature_bytes) = (0, 0);
    loop {
        let page = store.scan_items(domain, from.as_ref(), PAGE).await?;
        page.rows.iter().for_each(|row| loaded.add_item(row));
        items += page.rows.len() as u64;
        load.go_on(of_loading_read(items, feature_bytes)).await;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for model in [model, &ModelName::own()] {
        loop {
            let page = store
                .scan_features(domain, model, from.as_ref(), PAGE)
                .await?;
            for row in page.rows {
                feature_bytes += row.feature.bytes() as u64;
                loaded.add_feature(row);
            }
            load.go_on(of_loading_read(items, feature_bytes)).await;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    // Read last: a mark set by a former owner while we scanned must not be missed.
    loaded.row = store.domain(domain).await?;
    if loaded.row.as_ref().is_some_and(|row| row.dirty.is_some()) {
        loop {
            let page = store.scan_list_ids(domain, from.as_ref(), PAGE).await?;
            page.rows.into_iter().for_each(|id| loaded.add_list(id));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(loaded)
}

/// What a store's error means to those who wait.
pub fn failure(error: &StoreError) -> Failure {
    let needs_help = matches!(error, StoreError::Full(_) | StoreError::Damaged(_));
    Failure {
        needs_help,
        detail: error.to_string(),
    }
}
