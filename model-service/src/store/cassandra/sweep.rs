//! Deletes all rows of a removed domain, in steps.
//!
//! A partition is deleted with one statement; each text is a partition of its own, found through
//! its item. So a bucket's texts are deleted before its items, and a step starts where items are
//! left.

use std::collections::BTreeSet;

use kindred_shared::{DomainName, ItemId, ModelName};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::CassandraStore;
use super::counts::Table;
use super::failure::Trouble;
use super::opening;
use super::rows::{self, Change, RowChange};
use crate::store::damage;
use kindred_domain::models::Swept;
use kindred_domain::store::{SettingsRow, Stamp, StoreError};

impl CassandraStore {
    /// Deletes at most `most` items of a domain, and with the last of them everything else. Returns
    /// whether none are left.
    pub(super) async fn sweep_domain(
        &self,
        domain: &DomainName,
        stamp: Stamp,
        most: usize,
    ) -> Result<bool, StoreError> {
        let (of, at) = (domain.as_str(), stamp.as_i64());
        let all = &self.statements;
        self.delete(&all.sweep_lists, (at, of), Table::Lists)
            .await?;
        for model in self.models_beside(domain).await.map_err(Trouble::of_read)? {
            let key = (at, of, model.as_str());
            self.delete(&all.sweep_beside_lists, key, Table::ModelLists)
                .await?;
        }
        let buckets = self.buckets(domain).await.map_err(Trouble::of_read)?;
        for bucket in 0..buckets {
            let found = self.item_ids(domain, bucket, most).await;
            let (ids, found) = found.map_err(Trouble::of_read)?;
            if found == 0 {
                continue;
            }
            // Invalid ids are deleted with the rest.
            let is_last = found < most || ids.is_empty();
            self.delete_items(domain, bucket, stamp, ids, is_last)
                .await?;
            if is_last {
                // Late writes from before stay deleted, too.
                self.delete(&all.sweep_items, (at, of, bucket), Table::Items)
                    .await?;
            }
            return Ok(false);
        }
        let mut kinds = self.models_there().await.map_err(Trouble::of_read)?;
        // The settings are deleted last.
        let set = self.stored_settings(domain).await;
        let set = set.map_err(Trouble::of_read)?;
        kinds.extend(set.iter().flat_map(SettingsRow::kinds));
        for model in kinds {
            for bucket in 0..buckets {
                let key = (at, of, model.as_str(), bucket);
                self.delete(&all.sweep_features, key, Table::Features)
                    .await?;
            }
        }
        self.sweep_experiments(domain, at).await?;
        self.delete(&all.sweep_all_beside, (at, of), Table::Models)
            .await?;
        self.delete(&all.sweep_log, (at, of), Table::Log).await?;
        self.delete(&all.sweep_settings, (at, of), Table::Settings)
            .await?;
        Ok(true)
    }

    /// Deletes what is stored of a model: one statement per partition, however many rows there are.
    pub(super) async fn sweep_one_model(
        &self,
        domain: &DomainName,
        swept: &Swept,
        stamp: Stamp,
    ) -> Result<bool, StoreError> {
        let (of, at) = (domain.as_str(), stamp.as_i64());
        let all = &self.statements;
        let key = (at, of, swept.name.as_str());
        self.delete(&all.sweep_beside_lists, key, Table::ModelLists)
            .await?;
        if let Some(kind) = &swept.features {
            let buckets = self.buckets(domain).await.map_err(Trouble::of_read)?;
            for bucket in 0..buckets {
                let key = (at, of, kind.as_str(), bucket);
                self.delete(&all.sweep_features, key, Table::Features)
                    .await?;
            }
        }
        if swept.wholly {
            self.delete(&all.sweep_beside, key, Table::Models).await?;
        }
        Ok(true)
    }

    /// Some ids of a bucket, and the number of their rows.
    async fn item_ids(
        &self,
        domain: &DomainName,
        bucket: i16,
        most: usize,
    ) -> Result<(Vec<ItemId>, usize), Trouble> {
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        let values = (domain.as_str(), bucket, limit);
        let found = self.read(&self.statements.item_ids, values).await?;
        let read = rows::ids(&found)?;
        let count = read.len();
        Ok((self.sound(domain, damage::ITEMS, read), count))
    }

    /// Deletes items' texts, and their rows unless those are deleted with the partition.
    async fn delete_items(
        &self,
        domain: &DomainName,
        bucket: i16,
        stamp: Stamp,
        ids: Vec<ItemId>,
        is_last: bool,
    ) -> Result<(), StoreError> {
        let row = |change| RowChange {
            domain: domain.clone(),
            bucket,
            stamp: stamp.as_i64(),
            change,
        };
        let texts = ids.iter().cloned().map(Change::DeleteContent).map(row);
        self.write_rows(texts.collect()).await?;
        if is_last {
            return Ok(());
        }
        let items = ids.into_iter().map(Change::PurgeItem).map(row);
        self.write_rows(items.collect()).await
    }

    /// The models that are known, or have features in the keyspace.
    async fn models_there(&self) -> Result<BTreeSet<ModelName>, Trouble> {
        let there = opening::inputs(&self.session, &self.keyspace).await?;
        let mut models: BTreeSet<ModelName> = there.into_keys().collect();
        models.extend(self.models.iter().cloned());
        Ok(models)
    }

    async fn delete(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        table: Table,
    ) -> Result<(), StoreError> {
        let _turn = self.writing.acquire().await;
        let deleted = self.session.execute_unpaged(statement, values).await;
        deleted.map_err(|error| Trouble::from(error).of_write())?;
        self.counts.add(table);
        Ok(())
    }
}
