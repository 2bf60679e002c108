//! Reads a domain from the store: its own rows, some items, or everything.

use std::sync::Arc;

use kindred_shared::{DomainName, ItemId, ModelName};

use super::memory::Load;
use kindred_domain::intake::Failure;
use kindred_domain::loaded::{Loaded, Opened};
use kindred_domain::material::Material;
use kindred_domain::memory::of_loading_read;
use kindred_domain::mix::Mix;
use kindred_domain::store::{BesideRow, DomainRow, FeatureRow, ItemRow, Page, Store, StoreError};

/// Why a mix cannot be made: an older program has rewritten the domain's settings without it.
pub const LOST_MIX: &str = "what it mixes is not stored any more; put the model again";

/// Rows of a scan's first page.
const FIRST_PAGE: usize = 1_000;
/// Bytes that its further pages have, about. A page costs a database more than its rows do.
const PAGE_BYTES: usize = 4 << 20;
/// Most rows per page, and what pages of ids alone have.
const MOST_ROWS: usize = 8_000;

/// Reads a domain's own rows, as seen by the machine of the served model, or by that of a model
/// next to it (name and kind).
///
/// # Errors
/// When the store fails, or the domain's model is unknown.
pub async fn open(
    store: &dyn Store,
    domain: &DomainName,
    of: Option<(&ModelName, &ModelName)>,
) -> Result<Box<Opened>, Failure> {
    let row = store.domain(domain).await.map_err(|e| failure(&e))?;
    let settings = store.settings(domain).await.map_err(|e| failure(&e))?;
    let mut opened = Opened { row, settings };
    if let Some((model, kind)) = of {
        let beside = store.beside(domain, model).await.map_err(|e| failure(&e))?;
        opened = opened.of_model(kind, beside);
    }
    match opened.model() {
        Some(model) if !store.knows(model) => Err(Failure {
            needs_help: true,
            detail: format!(
                "unknown model {model}; the domain stays unchanged until a program that knows \
                 the model serves it"
            ),
        }),
        Some(model) if model.is_mix() && opened.mix_of(model).is_none() => Err(Failure {
            needs_help: true,
            detail: LOST_MIX.to_owned(),
        }),
        _ => Ok(Box::new(opened)),
    }
}

/// Reads some items, ordered by id.
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

/// Reads some items with their texts and vectors, ordered by id.
///
/// # Errors
/// When the store fails.
pub async fn whole(
    store: &dyn Store,
    domain: &DomainName,
    ids: &[ItemId],
) -> Result<Vec<Option<Material>>, Failure> {
    let read = tokio::try_join!(store.items(domain, ids), store.contents(domain, ids));
    let (rows, contents) = read.map_err(|error| failure(&error))?;
    let whole = rows.into_iter().zip(contents).map(|(row, content)| {
        let content = content.unwrap_or_default();
        row.map(|row| Material { row, content })
    });
    Ok(whole.collect())
}

/// Reads a domain for the machine of one model once it is its turn: items, features of the model
/// and own vectors, in any order; then its row, and, if it is dirty, which items have stored lists.
///
/// # Errors
/// When the store fails.
pub async fn load(
    store: &dyn Store,
    domain: &DomainName,
    (model, mix): (&ModelName, Option<Arc<Mix>>),
    of: Option<(&ModelName, &ModelName)>,
    load: &Load,
) -> Result<Box<Loaded>, Failure> {
    load.begin().await;
    let read = read(store, domain, (model, mix), of, load).await;
    read.map_err(|error| failure(&error))
}

async fn read(
    store: &dyn Store,
    domain: &DomainName,
    (model, mix): (&ModelName, Option<Arc<Mix>>),
    of: Option<(&ModelName, &ModelName)>,
    load: &Load,
) -> Result<Box<Loaded>, StoreError> {
    let mut loaded = Box::new(Loaded::of(model, mix));
    let (mut items, mut feature_bytes) = (0, 0);
    let own = ModelName::own();
    let [mut of_items, mut of_model, mut of_own] = [const { Scan::START }; 3];
    of_own.is_over = !model.prefers_own();
    // Pages of all three are read at once: a database reads them on several cores.
    while !(of_items.is_over && of_model.is_over && of_own.is_over) {
        let (rows, features, own_features) = tokio::try_join!(
            items_page(store, domain, &of_items),
            features_page(store, domain, model, &of_model),
            features_page(store, domain, &own, &of_own),
        )?;
        for mut row in of_items.took(rows, ItemRow::bytes) {
            if of.is_some() {
                // The rejection concerns the served model only.
                row.rejected = None;
            }
            loaded.add_item(&row);
            items += 1;
        }
        let bytes = |row: &FeatureRow| row.feature.bytes();
        let features = of_model.took(features, bytes);
        for row in features.into_iter().chain(of_own.took(own_features, bytes)) {
            feature_bytes += row.feature.bytes() as u64;
            loaded.add_feature(row);
        }
        load.go_on(of_loading_read(items, feature_bytes)).await;
    }
    let mut from = None;
    // Read last: a mark that a former owner set during the scan must not be missed.
    loaded.row = store.domain(domain).await?;
    if let Some((model, kind)) = of {
        let beside = store.beside(domain, model).await?;
        let row = loaded.row.take();
        let seen = |row| BesideRow::seen(beside.row, row, kind);
        loaded.row = row.filter(DomainRow::is_there).map(seen);
    }
    if loaded.row.as_ref().is_some_and(|row| row.dirty.is_some()) {
        loop {
            let page = match of {
                None => {
                    store
                        .scan_list_ids(domain, from.as_ref(), MOST_ROWS)
                        .await?
                }
                Some((model, _)) => {
                    let page = store.scan_beside_list_ids(domain, model, from.as_ref(), MOST_ROWS);
                    page.await?
                }
            };
            page.rows.into_iter().for_each(|id| loaded.add_list(id));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(loaded)
}

/// Progress of a scan.
struct Scan {
    /// Where the next page starts; `None`: at the beginning.
    after: Option<ItemId>,
    is_over: bool,
    /// Rows of the next page.
    rows: usize,
}

impl Scan {
    const START: Self = Self {
        after: None,
        is_over: false,
        rows: FIRST_PAGE,
    };

    /// Takes the rows of a page that was read, if any; the next one is as large as their sizes allow.
    fn took<T>(&mut self, page: Option<Page<T>>, bytes: impl Fn(&T) -> usize) -> Vec<T> {
        let Some(page) = page else {
            return Vec::new();
        };
        let read: usize = page.rows.iter().map(bytes).sum();
        if let Some(fit) = (PAGE_BYTES * page.rows.len()).checked_div(read) {
            // Rows differ: twice as many at most as are known to fit.
            self.rows = fit.min(2 * self.rows).clamp(1, MOST_ROWS);
        }
        self.is_over = page.next.is_none();
        self.after = page.next;
        page.rows
    }
}

async fn items_page(
    store: &dyn Store,
    domain: &DomainName,
    scan: &Scan,
) -> Result<Option<Page<ItemRow>>, StoreError> {
    if scan.is_over {
        return Ok(None);
    }
    let page = store.scan_items(domain, scan.after.as_ref(), scan.rows);
    page.await.map(Some)
}

async fn features_page(
    store: &dyn Store,
    domain: &DomainName,
    model: &ModelName,
    scan: &Scan,
) -> Result<Option<Page<FeatureRow>>, StoreError> {
    if scan.is_over {
        return Ok(None);
    }
    let page = store.scan_features(domain, model, scan.after.as_ref(), scan.rows);
    page.await.map(Some)
}

/// The meaning of a store error for those who wait.
pub fn failure(error: &StoreError) -> Failure {
    let needs_help = matches!(error, StoreError::Full(_) | StoreError::Damaged(_));
    Failure {
        needs_help,
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: usize, bytes: usize) -> Option<Page<usize>> {
        Some(Page {
            rows: vec![bytes; rows],
            next: ItemId::new("next").ok(),
        })
    }

    #[test]
    fn pages_are_as_large_as_their_rows_allow() {
        let mut scan = Scan::START;
        scan.took(page(1_000, 1 << 10), |bytes| *bytes);
        assert_eq!(scan.rows, 2_000, "twice as many at most");
        scan.took(page(2_000, 1 << 10), |bytes| *bytes);
        scan.took(page(4_000, 1 << 10), |bytes| *bytes);
        assert_eq!(scan.rows, 4_096);
        scan.took(page(4_096, 64 << 10), |bytes| *bytes);
        assert_eq!(scan.rows, 64, "large rows");
        scan.took(page(64, 64 << 20), |bytes| *bytes);
        assert_eq!(scan.rows, 1, "one row at least");
        for _ in 0..20 {
            scan.took(page(scan.rows, 100), |bytes| *bytes);
        }
        assert_eq!(scan.rows, MOST_ROWS);
        scan.took(page(0, 0), |bytes| *bytes);
        scan.took(page(3, 0), |bytes| *bytes);
        assert_eq!(scan.rows, MOST_ROWS, "nothing to go by");
        assert!(!scan.is_over);
    }
}
