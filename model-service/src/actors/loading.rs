//! Loading: all of one domain, from the store.

use kindred_shared::{DomainName, ModelName};

use kindred_domain::intake::Failure;
use kindred_domain::loaded::Loaded;
use kindred_domain::store::{Store, StoreError};

/// Rows of one page of a scan.
const PAGE: usize = 1_000;

/// Reads a domain: items, features, and, if it is dirty, whose lists are stored.
pub async fn load(store: &dyn Store, domain: &DomainName) -> Result<Box<Loaded>, Failure> {
    let models = models(store, domain).await?;
    let read = read(store, domain, &models).await;
    read.map_err(|error| failure(&error))
}

async fn read(
    store: &dyn Store,
    domain: &DomainName,
    models: &[ModelName],
) -> Result<Box<Loaded>, StoreError> {
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
    for model in models {
        loop {
            let page = store
                .scan_features(domain, model, from.as_ref(), PAGE)
                .await?;
            page.rows
                .into_iter()
                .for_each(|row| loaded.add_feature(row));
            from = page.next;
            if from.is_none() {
                break;
            }
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

/// The models of which a domain's features count. One that is not registered has none.
async fn models(store: &dyn Store, domain: &DomainName) -> Result<Vec<ModelName>, Failure> {
    let row = store.domain(domain).await.map_err(|e| failure(&e))?;
    match row.map(|row| row.model) {
        None => Ok(Vec::new()),
        Some(model) if store.knows(&model) => Ok(vec![model, ModelName::own()]),
        Some(model) => Err(Failure {
            needs_help: true,
            detail: format!(
                "the domain is of model {model}, which this program does not know; it is left as it \
                 is until a program serves it that knows the model"
            ),
        }),
    }
}

/// What a store's error means to those who wait.
pub fn failure(error: &StoreError) -> Failure {
    let needs_help = matches!(error, StoreError::Full(_) | StoreError::Damaged(_));
    Failure {
        needs_help,
        detail: error.to_string(),
    }
}
