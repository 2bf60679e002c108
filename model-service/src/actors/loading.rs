//! Loading: all of one domain, from the store.

use kindred_shared::DomainName;

use kindred_domain::intake::Failure;
use kindred_domain::loaded::Loaded;
use kindred_domain::store::{Store, StoreError};

/// Rows of one page of a scan.
const PAGE: usize = 1_000;

/// Reads a domain: items, features, and, if it is dirty, whose lists are stored.
pub async fn load(store: &dyn Store, domain: &DomainName) -> Result<Box<Loaded>, Failure> {
    read(store, domain).await.map_err(|error| failure(&error))
}

async fn read(store: &dyn Store, domain: &DomainName) -> Result<Box<Loaded>, StoreError> {
    let mut loaded = Box::<Loaded>::default();
    let mut from = None;
    loop {
        let page = store.scan_items(domain, from.as_ref(), PAGE).await?;
        page.rows.into_iter().for_each(|row| loaded.add_item(row));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    loop {
        let page = store.scan_features(domain, from.as_ref(), PAGE).await?;
        page.rows
            .into_iter()
            .for_each(|row| loaded.add_feature(row));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    // Read last: a mark set by a former owner while we scanned must not be missed.
    loaded.row = store.domain(domain).await?;
    loaded.settings = store.settings(domain).await?;
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
