//! Items with their contents. The store has them in different tables, and an event may change an item between the reads
//! of both, or be stored only in part so far. So what does not fit together is read again.

use std::time::Duration;

use kindred_domain::material::Material;
use kindred_domain::store::{ItemRow, Liveness, Store, StoreError};
use kindred_shared::{DomainName, ItemId};

/// Waits before an item is read again.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// These items with their contents, ordered by id; items that do not exist are left out.
///
/// # Errors
/// When the store fails.
pub(crate) async fn materials(
    store: &dyn Store,
    domain: &DomainName,
    ids: &[ItemId],
) -> Result<Vec<Material>, StoreError> {
    let rows = store.items(domain, ids).await?;
    of_rows(store, domain, rows.into_iter().flatten().collect()).await
}

/// The same for items whose rows were just read; rows may be replaced by newer ones. Where row and content still do not
/// fit together after the last wait, they are returned as they are: [`Material::is_whole`] says so.
///
/// # Errors
/// When the store fails.
pub(crate) async fn of_rows(
    store: &dyn Store,
    domain: &DomainName,
    rows: Vec<ItemRow>,
) -> Result<Vec<Material>, StoreError> {
    read(store, domain, rows, WAITS).await
}

async fn read(
    store: &dyn Store,
    domain: &DomainName,
    mut rows: Vec<ItemRow>,
    waits: impl IntoIterator<Item = Duration>,
) -> Result<Vec<Material>, StoreError> {
    let mut found = Vec::with_capacity(rows.len());
    let mut waits = waits.into_iter();
    loop {
        let ids: Vec<ItemId> = rows.iter().map(|row| row.id.clone()).collect();
        let contents = store.contents(domain, &ids).await?;
        let read = rows.into_iter().zip(contents).map(|(row, content)| {
            let content = content.unwrap_or_default();
            Material { row, content }
        });
        let (mut fit, mut torn): (Vec<_>, Vec<_>) = read.partition(fits);
        found.append(&mut fit);
        let Some(wait) = waits.next().filter(|_| !torn.is_empty()) else {
            found.append(&mut torn);
            found.sort_unstable_by(|a, b| a.row.id.cmp(&b.row.id));
            return Ok(found);
        };
        tokio::time::sleep(wait).await;
        let ids: Vec<ItemId> = torn.into_iter().map(|torn| torn.row.id).collect();
        let again = store.items(domain, &ids).await?;
        rows = again.into_iter().flatten().collect();
    }
}

/// Items that are gone have no content.
fn fits(material: &Material) -> bool {
    material.row.liveness != Liveness::Live || material.is_whole()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::iter::repeat;

    use kindred_domain::material::{content_hash, vector_hashes};
    use kindred_domain::store::{Content, Write};

    use super::*;
    use crate::store::contract::{content, domain, id, item, models, put};
    use crate::store::embedded::{EmbeddedStore, Identity};

    const SOON: Duration = Duration::from_millis(1);

    fn store() -> std::sync::Arc<EmbeddedStore> {
        EmbeddedStore::in_memory(&Identity {
            models: models(),
            partitions: 1,
        })
    }

    fn row(version: u64, content: &Content) -> ItemRow {
        let row = item("a", version);
        ItemRow {
            content_hash: content_hash(row.title.as_deref(), row.language.as_deref(), content),
            vector_hashes: vector_hashes(content),
            ..row
        }
    }

    #[tokio::test]
    async fn what_is_being_changed_is_read_again_until_it_fits_together() {
        let (store, domain) = (store(), domain("torn"));
        let (before, after) = (content("before"), content("after"));
        let whole = vec![
            Write::Item(row(1, &before)),
            Write::Content(id("a"), before.clone()),
        ];
        put(&*store, &domain, 1, 1, whole).await.unwrap();
        let ids = [id("a"), id("unknown")];
        let found = materials(&*store, &domain, &ids).await.unwrap();
        assert_eq!((found.len(), &found[0].content), (1, &before));
        // The event that changes it is half stored.
        let half = vec![Write::Content(id("a"), after.clone())];
        put(&*store, &domain, 1, 2, half).await.unwrap();
        let rest = async {
            tokio::time::sleep(SOON * 5).await;
            let row = vec![Write::Item(row(2, &after))];
            put(&*store, &domain, 1, 3, row).await.unwrap();
        };
        let again = read(&*store, &domain, vec![row(1, &before)], repeat(SOON));
        let (found, ()) = tokio::join!(again, rest);
        let found = found.unwrap();
        assert_eq!((found.len(), found[0].row.version), (1, 2));
        assert!(found[0].is_whole());
    }

    #[tokio::test]
    async fn what_never_fits_together_is_returned_and_what_is_gone_is_not_waited_for() {
        let (store, domain) = (store(), domain("torn"));
        let gone = ItemRow {
            liveness: Liveness::Deleted,
            ..item("gone", 1)
        };
        // It would wait for ever.
        let found = read(&*store, &domain, vec![gone], repeat(SOON)).await;
        assert_eq!(found.unwrap().len(), 1);
        let damaged = vec![Write::Item(item("a", 1))];
        put(&*store, &domain, 1, 2, damaged).await.unwrap();
        let found = read(&*store, &domain, vec![item("a", 1)], [SOON; 2]).await;
        assert!(!found.unwrap()[0].is_whole());
    }
}
