//! Upgrades stores of older versions.
//!
//! Version 1 had one feature per item, keyed by domain and id. Features are copied to their new
//! table in bounded transactions; the last transaction drops the old table and writes the version.
//! A crash before that leaves a store of version 1, and the upgrade starts over.

use redb::{Database, ReadableDatabase, TableDefinition};

use super::encoding::{feature_key, split_key, split_value};
use super::failure::Trouble;
use super::opening::{Meta, STORE_VERSION, VERSION};
use super::tables::{MARKERS, META, StampedTable, Tables};

/// Features of version 1: the key has no model.
const FEATURES_1: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("item_features");
/// Bytes of rows after which a transaction is committed.
const STEP_BYTES: usize = 8 << 20;

/// Upgrades a store to the current version.
pub(super) fn upgrade(database: &Database, found: &Meta) -> Result<(), Trouble> {
    if found.version == STORE_VERSION {
        return Ok(());
    }
    let mut features = 0;
    let mut from = Some(Vec::new());
    forget_unfinished(database)?;
    while let Some(first) = from {
        let (copied, next) = copy_features(database, &first, STEP_BYTES)?;
        features += copied;
        from = next;
    }
    finish(database)?;
    tracing::info!(
        from = found.version,
        to = STORE_VERSION,
        features,
        "store.upgraded"
    );
    Ok(())
}

/// Removes what an unfinished upgrade has copied: the old rows may have changed since.
fn forget_unfinished(database: &Database) -> Result<(), Trouble> {
    let transaction = database.begin_write()?;
    transaction.delete_table(StampedTable::Features.definition())?;
    Ok(transaction.commit()?)
}

/// Copies features from a key on until a transaction is full. Returns how many, and where to
/// continue.
fn copy_features(
    database: &Database,
    from: &[u8],
    step_bytes: usize,
) -> Result<(u64, Option<Vec<u8>>), Trouble> {
    let reading = database.begin_read()?;
    let transaction = database.begin_write()?;
    let (mut copied, mut bytes, mut next) = (0, 0, None);
    {
        let old = match reading.open_table(FEATURES_1) {
            Ok(old) => old,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok((0, None)),
            Err(error) => return Err(error.into()),
        };
        let mut new = transaction.open_table(StampedTable::Features.definition())?;
        for entry in old.range(from..)? {
            let (key, value) = entry?;
            if bytes >= step_bytes {
                next = Some(key.value().to_vec());
                break;
            }
            // An unreadable row is dropped: its feature will be computed again.
            let Ok((head, mut reader)) = split_value(value.value()) else {
                continue;
            };
            // The writers that a deletion marker would have to beat are gone.
            if head.deleted {
                continue;
            }
            let (Ok((domain, id)), Ok(stamp)) = (split_key(key.value()), reader.feature_stamp())
            else {
                continue;
            };
            let model = stamp.space.model();
            new.insert(&*feature_key(domain, &model, id), value.value())?;
            bytes += key.value().len() + value.value().len();
            copied += 1;
        }
    }
    transaction.commit()?;
    Ok((copied, next))
}

/// Drops the old table with its deletion markers, and sets the current version.
fn finish(database: &Database) -> Result<(), Trouble> {
    let transaction = database.begin_write()?;
    Tables::open(&transaction, &[])?;
    transaction.delete_table(FEATURES_1)?;
    {
        let of_features = [StampedTable::Features as u8];
        let mut markers = transaction.open_table(MARKERS)?;
        markers.retain(|marker, ()| !marker.starts_with(&of_features))?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(VERSION, STORE_VERSION.to_le_bytes().as_slice())?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::path::Path;

    use kindred_domain::store::{FeatureRow, Store, Write};
    use kindred_shared::{ModelName, Space};
    use redb::ReadableTable;
    use tempfile::TempDir;

    use super::super::encoding::key;
    use super::super::opening::{FILE, MODEL, builder, read_meta};
    use super::super::{EmbeddedStore, Identity};
    use super::*;
    use crate::store::OpenError;
    use crate::store::contract::{all_rows, domain, feature, id, models, put, words};

    fn identity() -> Identity {
        Identity {
            models: models(),
            partitions: 4,
        }
    }

    /// Twenty texts, an own vector, and a deleted item.
    async fn fill(dir: &Path) {
        let store = EmbeddedStore::open(dir, &identity()).unwrap();
        let mut writes = vec![Write::Feature(own("v"))];
        for n in 0..20 {
            writes.extend(all_rows(&format!("i{n:02}"), 3));
        }
        put(&*store, &domain("d"), 1, 0, writes).await.unwrap();
        let gone = vec![Write::DeleteFeatures(id("gone"))];
        put(&*store, &domain("d"), 1, 1, gone).await.unwrap();
    }

    fn own(name: &str) -> FeatureRow {
        FeatureRow {
            habits: 0,
            space: Space::own(2),
            ..feature(name, 4)
        }
    }

    /// Rewrites a store's features, metadata and markers as version 1 had them; the other tables
    /// are the same.
    fn make_first_version(database: &Database) {
        let transaction = database.begin_write().unwrap();
        {
            let new = transaction
                .open_table(StampedTable::Features.definition())
                .unwrap();
            let mut old = transaction.open_table(FEATURES_1).unwrap();
            for entry in new.iter().unwrap() {
                let (new_key, value) = entry.unwrap();
                let (domain_of, rest) = split_key(new_key.value()).unwrap();
                let id = rest.rsplit_once('\0').unwrap().1;
                let old_key = key(&domain(domain_of), id);
                old.insert(&*old_key, value.value()).unwrap();
            }
            let mut markers = transaction.open_table(MARKERS).unwrap();
            markers.retain(|_, ()| false).unwrap();
            let mut marker = vec![StampedTable::Features as u8];
            marker.extend(key(&domain("d"), "gone"));
            markers.insert(&*marker, ()).unwrap();
            let mut meta = transaction.open_table(META).unwrap();
            meta.retain(|name, _| !name.starts_with("inputs:")).unwrap();
            let said = "words-1 (vectors en:ab12)";
            meta.insert(MODEL, said.as_bytes()).unwrap();
            meta.insert(VERSION, 1_u32.to_le_bytes().as_slice())
                .unwrap();
        }
        transaction
            .delete_table(StampedTable::Features.definition())
            .unwrap();
        transaction
            .delete_table(StampedTable::Settings.definition())
            .unwrap();
        transaction.commit().unwrap();
    }

    /// All of a model's features, by name.
    async fn features(store: &EmbeddedStore, model: &ModelName) -> Vec<FeatureRow> {
        let page = store.scan_features(&domain("d"), model, None, 99).await;
        page.unwrap().rows
    }

    async fn assert_taken_over(dir: &Path) {
        for _ in 0..2 {
            let store = EmbeddedStore::open(dir, &identity()).unwrap();
            let expected: Vec<_> = (0..20).map(|n| feature(&format!("i{n:02}"), 3)).collect();
            assert_eq!(features(&store, &words()).await, expected);
            assert_eq!(features(&store, &ModelName::own()).await, [own("v")]);
            let items = store.scan_items(&domain("d"), None, 99).await.unwrap();
            assert_eq!(items.rows.len(), 20);
            assert_eq!(store.settings(&domain("d")).await, Ok(None));
            let again = vec![Write::Feature(feature("i00", 3))];
            put(&*store, &domain("d"), 1, 2, again).await.unwrap();
        }
        let database = builder().open(dir.join(FILE)).unwrap();
        assert_eq!(read_meta(&database).unwrap().version, STORE_VERSION);
        let reading = database.begin_read().unwrap();
        assert!(reading.open_table(FEATURES_1).is_err(), "the old table");
        let markers = reading.open_table(MARKERS).unwrap();
        assert_eq!(markers.iter().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_store_of_the_first_version_is_taken_over() {
        let dir = TempDir::new().unwrap();
        fill(dir.path()).await;
        make_first_version(&builder().open(dir.path().join(FILE)).unwrap());
        // It is checked before anything is changed.
        let mut other = identity();
        other.models[0].inputs = "vectors en:cd34".into();
        let refused = EmbeddedStore::open(dir.path(), &other).err().unwrap();
        assert!(
            matches!(&refused, OpenError::OtherModel { found, .. } if found == "words-1 (vectors en:ab12)"),
            "{refused}"
        );
        let database = builder().open(dir.path().join(FILE)).unwrap();
        assert_eq!(read_meta(&database).unwrap().version, 1);
        drop(database);
        assert_taken_over(dir.path()).await;
    }

    /// A crash leaves what was committed: some steps. Changes that an older program makes then
    /// count.
    #[tokio::test]
    async fn an_upgrade_may_end_anywhere() {
        for steps in [0, 1, 7, 20] {
            let dir = TempDir::new().unwrap();
            fill(dir.path()).await;
            let database = builder().open(dir.path().join(FILE)).unwrap();
            make_first_version(&database);
            let of_then = |name: &str| key(&domain("d"), name);
            let transaction = database.begin_write().unwrap();
            {
                let mut old = transaction.open_table(FEATURES_1).unwrap();
                let row = old.get(&*of_then("i00")).unwrap();
                let row = row.unwrap().value().to_vec();
                old.insert(&*of_then("a"), &*row).unwrap();
            }
            transaction.commit().unwrap();
            forget_unfinished(&database).unwrap();
            let mut from = Vec::new();
            for _ in 0..steps {
                let (copied, next) = copy_features(&database, &from, 1).unwrap();
                assert_eq!(copied, 1);
                from = next.unwrap();
            }
            let transaction = database.begin_write().unwrap();
            transaction
                .open_table(FEATURES_1)
                .unwrap()
                .remove(&*of_then("a"))
                .unwrap();
            transaction.commit().unwrap();
            drop(database);
            assert_taken_over(dir.path()).await;
        }
    }
}
