//! Reading rows.
//!
//! The buckets of a domain are read side by side and merged, so that pages come in the order of
//! ids whatever bucket they lie in. A page reads its share and a little more of every bucket, and
//! a bucket that runs dry early is read on: memory is bounded by the page.

use std::collections::{BTreeMap, HashMap, VecDeque};

use futures_util::future::try_join_all;
use kindred_shared::{DomainName, ItemId};
use scylla::response::query_result::QueryRowsResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::CassandraStore;
use super::facts::{BUCKETS, MODELS, bucket};
use super::failure::Trouble;
use super::rows::{self, StoredDomain};
use super::statements::Statements;
use kindred_domain::store::{Content, DomainRow, FeatureRow, ItemRow, ListRow, Page, SettingsRow};

/// Most rows of a page, whatever is asked for.
const MAX_PAGE_ROWS: usize = 10_000;
/// Most ids of one request for items.
const IDS_PER_REQUEST: usize = 100;

/// A row that is scanned in pages.
pub(super) trait Scanned: Sized + Send {
    /// Models whose partitions are read; one without a name where the model is no part of the key.
    const MODELS: &'static [&'static str];

    fn statement(statements: &Statements) -> &PreparedStatement;

    /// Rows in the order they came, each with its id and write time. Of two rows of one id the
    /// later written is the row.
    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, i64, Self)>, Trouble>;
}

impl Scanned for ItemRow {
    const MODELS: &'static [&'static str] = &[""];

    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.items_from
    }

    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, i64, Self)>, Trouble> {
        let rows = rows::items(found)?.into_iter();
        Ok(rows.map(|row| (row.id.clone(), 0, row)).collect())
    }
}

impl Scanned for ItemId {
    const MODELS: &'static [&'static str] = &[""];

    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.item_ids_from
    }

    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, i64, Self)>, Trouble> {
        let ids = rows::ids(found)?.into_iter();
        Ok(ids.map(|id| (id.clone(), 0, id)).collect())
    }
}

impl Scanned for FeatureRow {
    const MODELS: &'static [&'static str] = &MODELS;

    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.features_from
    }

    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, i64, Self)>, Trouble> {
        let rows = rows::features(found)?.into_iter();
        Ok(rows
            .map(|(row, written)| (row.id.clone(), written, row))
            .collect())
    }
}

/// Where the scan of one bucket is.
struct Cursor<T> {
    model: &'static str,
    bucket: i16,
    rows: VecDeque<(ItemId, i64, T)>,
    /// The least id not read yet may be this; `None`: all are read.
    resume: Option<String>,
}

/// Rows to ask each bucket for, so that most pages need one request a bucket.
fn share(limit: usize, buckets: i16) -> usize {
    let mean = (limit + 1) / usize::try_from(buckets).unwrap_or(1).max(1);
    // Two deviations of a hash's spread.
    mean + 2 * mean.isqrt() + 2
}

impl CassandraStore {
    /// Reads all rows a statement finds: what is asked here is limited by itself.
    async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Trouble> {
        let _turn = self.reading.acquire().await;
        let found = self.session.execute_unpaged(statement, values).await?;
        Ok(found.into_rows_result()?)
    }

    /// A domain's number of buckets.
    pub(super) async fn buckets(&self, domain: &DomainName) -> Result<i16, Trouble> {
        match self.facts.of(domain).buckets {
            Some(buckets) => Ok(buckets),
            None => {
                let stored = self.stored_domain(domain).await?;
                Ok(stored.map_or(BUCKETS, |(_, buckets)| buckets))
            }
        }
    }

    /// A domain's row and number of buckets, as stored.
    pub(super) async fn stored_domain(
        &self,
        domain: &DomainName,
    ) -> Result<Option<(DomainRow, i16)>, Trouble> {
        let found = self
            .read(&self.statements.domain, (domain.as_str(),))
            .await?;
        let stored = found.maybe_first_row::<StoredDomain<'_>>()?;
        let stored = stored.map(rows::domain).transpose()?;
        if let Some((_, buckets)) = &stored {
            self.facts.registered(domain, *buckets);
        }
        Ok(stored)
    }

    pub(super) async fn all_domains(&self) -> Result<Vec<DomainRow>, Trouble> {
        let mut domains = Vec::new();
        let mut state = PagingState::start();
        loop {
            let page = self
                .session
                .execute_single_page(&self.statements.domains, (), state)
                .await?;
            let (found, next) = page;
            let found = found.into_rows_result()?;
            for row in found.rows::<StoredDomain<'_>>()? {
                domains.push(rows::domain(row?)?.0);
            }
            match next {
                PagingStateResponse::HasMorePages { state: next } => state = next,
                PagingStateResponse::NoMorePages => return Ok(domains),
            }
        }
    }

    /// What is set for a domain, as stored.
    pub(super) async fn stored_settings(
        &self,
        domain: &DomainName,
    ) -> Result<Option<SettingsRow>, Trouble> {
        let found = self
            .read(&self.statements.settings, (domain.as_str(),))
            .await?;
        rows::settings(&found)
    }

    /// Rows of a domain in the order of ids.
    pub(super) async fn scan<T: Scanned>(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<T>, Trouble> {
        let limit = limit.clamp(1, MAX_PAGE_ROWS);
        let buckets = self.buckets(domain).await?;
        let share = share(limit, buckets);
        let from = from.map_or("", ItemId::as_str);
        let mut cursors = Vec::new();
        for model in T::MODELS {
            for bucket in 0..buckets {
                cursors.push(Cursor::<T> {
                    model,
                    bucket,
                    rows: VecDeque::new(),
                    resume: Some(from.to_owned()),
                });
            }
        }
        let mut page = Vec::with_capacity(limit);
        loop {
            let mut fills = Vec::new();
            for cursor in &mut cursors {
                if cursor.rows.is_empty() && cursor.resume.is_some() {
                    fills.push(self.fill(domain, cursor, share));
                }
            }
            try_join_all(fills).await?;
            let heads = cursors.iter().filter_map(|cursor| cursor.rows.front());
            let Some(least) = heads.map(|(id, ..)| id).min().cloned() else {
                return Ok(Page {
                    rows: page,
                    next: None,
                });
            };
            if page.len() == limit {
                return Ok(Page {
                    rows: page,
                    next: Some(least),
                });
            }
            let mut newest: Option<(i64, T)> = None;
            for cursor in &mut cursors {
                if let Some((_, written, row)) = cursor.rows.pop_front_if(|(id, ..)| *id == least)
                    && newest.as_ref().is_none_or(|(other, _)| written > *other)
                {
                    newest = Some((written, row));
                }
            }
            page.extend(newest.map(|(_, row)| row));
        }
    }

    /// Reads a cursor's next rows.
    async fn fill<T: Scanned>(
        &self,
        domain: &DomainName,
        cursor: &mut Cursor<T>,
        rows: usize,
    ) -> Result<(), Trouble> {
        let Some(from) = cursor.resume.take() else {
            return Ok(());
        };
        let statement = T::statement(&self.statements);
        let limit = i32::try_from(rows).unwrap_or(i32::MAX);
        let (domain, bucket) = (domain.as_str(), cursor.bucket);
        let found = if cursor.model.is_empty() {
            self.read(statement, (domain, bucket, &from, limit)).await
        } else {
            self.read(statement, (domain, cursor.model, bucket, &from, limit))
                .await
        }?;
        let decoded = T::decode(&found)?;
        if decoded.len() == rows {
            // The least text above an id: ids have no control characters.
            cursor.resume = decoded.last().map(|(id, ..)| format!("{id}\0"));
        }
        cursor.rows.extend(decoded);
        Ok(())
    }

    /// Ids of stored lists: of the items, those that have one. Lists have no order of their own.
    pub(super) async fn scan_lists(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, Trouble> {
        let Page { rows: ids, next } = self.scan::<ItemId>(domain, from, limit).await?;
        let mut found = Vec::with_capacity(ids.len());
        for id in &ids {
            found.push(self.read(&self.statements.list_id, (domain.as_str(), id.as_str())));
        }
        let found = try_join_all(found).await?;
        let rows = ids
            .into_iter()
            .zip(found)
            .filter_map(|(id, found)| (found.rows_num() > 0).then_some(id))
            .collect();
        Ok(Page { rows, next })
    }

    pub(super) async fn items_of(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<ItemRow>>, Trouble> {
        let buckets = self.buckets(domain).await?;
        let mut by_bucket = BTreeMap::<i16, Vec<&str>>::new();
        for id in ids {
            let id = id.as_str();
            by_bucket.entry(bucket(id, buckets)).or_default().push(id);
        }
        let mut reads = Vec::new();
        for (bucket, ids) in &mut by_bucket {
            ids.sort_unstable();
            ids.dedup();
            for ids in ids.chunks(IDS_PER_REQUEST) {
                let values = (domain.as_str(), bucket, ids);
                reads.push(self.read(&self.statements.items_of, values));
            }
        }
        let mut found = HashMap::new();
        for rows in try_join_all(reads).await? {
            found.extend(
                rows::items(&rows)?
                    .into_iter()
                    .map(|row| (row.id.clone(), row)),
            );
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    pub(super) async fn contents_of(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
    ) -> Result<Vec<Option<Content>>, Trouble> {
        let mut reads = Vec::with_capacity(ids.len());
        for id in ids {
            reads.push(self.read(&self.statements.content, (domain.as_str(), id.as_str())));
        }
        try_join_all(reads)
            .await?
            .iter()
            .map(rows::content)
            .collect()
    }

    /// An item's feature, whatever its model.
    pub(super) async fn feature(
        &self,
        domain: &DomainName,
        id: &ItemId,
    ) -> Result<Option<FeatureRow>, Trouble> {
        let bucket = bucket(id.as_str(), self.buckets(domain).await?);
        let reads = MODELS.map(|model| {
            let values = (domain.as_str(), model, bucket, id.as_str());
            self.read(&self.statements.feature, values)
        });
        let mut rows = Vec::new();
        for found in try_join_all(reads).await? {
            rows.extend(rows::features(&found)?);
        }
        let newest = rows.into_iter().max_by_key(|(_, written)| *written);
        Ok(newest.map(|(row, _)| row))
    }

    /// Whether a domain may have features of a model, remembered from the first time on.
    pub(super) async fn holds(
        &self,
        domain: &DomainName,
        buckets: i16,
        model: usize,
    ) -> Result<bool, Trouble> {
        if let Some(holds) = self.facts.of(domain).holds[model] {
            return Ok(holds);
        }
        let mut reads = Vec::new();
        for bucket in 0..buckets {
            let values = (domain.as_str(), MODELS[model], bucket);
            reads.push(self.read(&self.statements.any_feature, values));
        }
        let found = try_join_all(reads).await?;
        let found = found.iter().any(|rows| rows.rows_num() > 0);
        self.facts.looked(domain, model, found);
        Ok(self.facts.of(domain).holds[model].unwrap_or(found))
    }

    pub(super) async fn list_of(
        &self,
        domain: &DomainName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, Trouble> {
        let values = (domain.as_str(), id.as_str());
        let found = self.read(&self.statements.list, values).await?;
        rows::list(id, &found)
    }
}
