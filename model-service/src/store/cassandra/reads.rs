//! Reading rows.
//!
//! The buckets of a domain are read side by side and merged, so that pages come in the order of
//! ids whatever bucket they lie in. A page reads its share and a little more of every bucket, and
//! a bucket that runs dry early is read on: memory is bounded by the page.

use std::collections::{BTreeMap, HashMap, VecDeque};

use futures_util::future::try_join_all;
use kindred_shared::{DomainName, ItemId, ModelName};
use scylla::response::query_result::QueryRowsResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;

use super::CassandraStore;
use super::facts::{BUCKETS, bucket};
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
    fn statement(statements: &Statements) -> &PreparedStatement;

    /// Rows in the order they came, each with its id.
    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, Self)>, Trouble>;
}

impl Scanned for ItemRow {
    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.items_from
    }

    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, Self)>, Trouble> {
        let rows = rows::items(found)?.into_iter();
        Ok(rows.map(|row| (row.id.clone(), row)).collect())
    }
}

impl Scanned for FeatureRow {
    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.features_from
    }

    fn decode(found: &QueryRowsResult) -> Result<Vec<(ItemId, Self)>, Trouble> {
        let rows = rows::features(found)?.into_iter();
        Ok(rows.map(|row| (row.id.clone(), row)).collect())
    }
}

/// Where the scan of one bucket is.
struct Cursor<T> {
    bucket: i16,
    rows: VecDeque<(ItemId, T)>,
    /// The least id not read yet may be this; `None`: all are read.
    resume: Option<String>,
}

impl<T> Cursor<T> {
    fn head(&self) -> Option<&ItemId> {
        self.rows.front().map(|(id, _)| id)
    }
}

/// Rows to ask each bucket for, so that most pages need one request a bucket.
fn share(limit: usize, buckets: i16) -> usize {
    let mean = (limit + 1) / usize::try_from(buckets).unwrap_or(1).max(1);
    // Two deviations of a hash's spread.
    mean + 2 * mean.isqrt() + 2
}

impl CassandraStore {
    /// Reads all rows a statement finds: what is asked here is limited by itself. While no quorum answers, most
    /// requests end at once.
    pub(super) async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Trouble> {
        let _turn = self.reading.acquire().await;
        self.ask_quorum(statement, values).await
    }

    pub(super) async fn ask_quorum(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Trouble> {
        if !self.quorum.is_worth_asking() {
            return Err(Trouble::NoQuorum);
        }
        let begun = Instant::now();
        let found = self.session.execute_unpaged(statement, values).await;
        self.quorum.asked(begun, &found);
        Ok(found?.into_rows_result()?)
    }

    /// A domain's number of buckets.
    pub(super) async fn buckets(&self, domain: &DomainName) -> Result<i16, Trouble> {
        match self.facts.buckets(domain) {
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

    /// Rows of a domain in the order of ids; of one model where the model is a part of their key.
    pub(super) async fn scan<T: Scanned>(
        &self,
        domain: &DomainName,
        model: Option<&ModelName>,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<T>, Trouble> {
        let limit = limit.clamp(1, MAX_PAGE_ROWS);
        let buckets = self.buckets(domain).await?;
        let share = share(limit, buckets);
        let from = from.map_or("", ItemId::as_str);
        let mut cursors: Vec<Cursor<T>> = (0..buckets)
            .map(|bucket| Cursor {
                bucket,
                rows: VecDeque::new(),
                resume: Some(from.to_owned()),
            })
            .collect();
        let mut page = Vec::with_capacity(limit);
        loop {
            let mut fills = Vec::new();
            for cursor in &mut cursors {
                if cursor.rows.is_empty() && cursor.resume.is_some() {
                    fills.push(self.fill(domain, model, cursor, share));
                }
            }
            try_join_all(fills).await?;
            // An id lies in one bucket.
            let heads = cursors.iter_mut().filter(|cursor| !cursor.rows.is_empty());
            let least = heads.min_by(|a, b| a.head().cmp(&b.head()));
            let Some(least) = least else {
                return Ok(Page {
                    rows: page,
                    next: None,
                });
            };
            if page.len() == limit {
                return Ok(Page {
                    rows: page,
                    next: least.head().cloned(),
                });
            }
            page.extend(least.rows.pop_front().map(|(_, row)| row));
        }
    }

    /// Reads a cursor's next rows.
    async fn fill<T: Scanned>(
        &self,
        domain: &DomainName,
        model: Option<&ModelName>,
        cursor: &mut Cursor<T>,
        rows: usize,
    ) -> Result<(), Trouble> {
        let Some(from) = cursor.resume.take() else {
            return Ok(());
        };
        let statement = T::statement(&self.statements);
        let limit = i32::try_from(rows).unwrap_or(i32::MAX);
        let (domain, bucket) = (domain.as_str(), cursor.bucket);
        let found = match model {
            None => self.read(statement, (domain, bucket, &from, limit)).await,
            Some(model) => {
                let values = (domain, model.as_str(), bucket, &from, limit);
                self.read(statement, values).await
            }
        }?;
        let decoded = T::decode(&found)?;
        if decoded.len() == rows {
            // The least text above an id: ids have no control characters.
            cursor.resume = decoded.last().map(|(id, _)| format!("{id}\0"));
        }
        cursor.rows.extend(decoded);
        Ok(())
    }

    /// Ids of stored lists, which are one partition.
    pub(super) async fn scan_lists(
        &self,
        domain: &DomainName,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, Trouble> {
        let limit = limit.clamp(1, MAX_PAGE_ROWS);
        // One more than asked for is where the next page begins.
        let rows = i32::try_from(limit + 1).unwrap_or(i32::MAX);
        let values = (domain.as_str(), from.map_or("", ItemId::as_str), rows);
        let found = self.read(&self.statements.list_ids_from, values).await?;
        let mut rows = rows::list_ids(&found)?;
        let next = (rows.len() > limit).then(|| rows.pop()).flatten();
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
            let of_bucket = by_bucket.entry(bucket(id, buckets)).or_default();
            of_bucket.push(id.as_str());
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

    /// An item's feature of one model.
    pub(super) async fn feature(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<FeatureRow>, Trouble> {
        let bucket = bucket(id, self.buckets(domain).await?);
        let values = (domain.as_str(), model.as_str(), bucket, id.as_str());
        let found = self.read(&self.statements.feature, values).await?;
        Ok(rows::features(&found)?.pop())
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
