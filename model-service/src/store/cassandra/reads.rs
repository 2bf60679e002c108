//! Reading rows.
//!
//! The buckets of a domain are read in parallel and merged, so that pages are ordered by id across
//! buckets. A page reads its share and a little more from every bucket, and reads on in a bucket
//! that runs dry early: memory is bounded by the page size.

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
use super::rows::{self, Read, ReadDomain, StoredDomain};
use super::statements::Statements;
use crate::store::damage::{self, Unsound};
use kindred_domain::log::LogEntry;
use kindred_domain::store::{
    Beside, Content, DomainRow, FeatureRow, ItemRow, ListRow, Page, SettingsRow,
};

/// Most rows per page, whatever is requested.
const MAX_PAGE_ROWS: usize = 10_000;
/// Most ids per request for items.
const IDS_PER_REQUEST: usize = 100;

/// A row that can be scanned in pages.
pub(super) trait Scanned: Sized + Send {
    fn statement(statements: &Statements) -> &PreparedStatement;

    /// Its table.
    const TABLE: &'static str;

    /// Decodes rows, in the order they came.
    fn decode(
        found: &QueryRowsResult,
        model: Option<&ModelName>,
    ) -> Result<Vec<Read<Self>>, Trouble>;

    /// Whose row it is.
    fn id(&self) -> &ItemId;
}

impl Scanned for ItemRow {
    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.items_from
    }

    const TABLE: &'static str = damage::ITEMS;

    fn decode(found: &QueryRowsResult, _: Option<&ModelName>) -> Result<Vec<Read<Self>>, Trouble> {
        rows::items(found)
    }

    fn id(&self) -> &ItemId {
        &self.id
    }
}

impl Scanned for FeatureRow {
    fn statement(statements: &Statements) -> &PreparedStatement {
        &statements.features_from
    }

    const TABLE: &'static str = damage::FEATURES;

    fn decode(
        found: &QueryRowsResult,
        model: Option<&ModelName>,
    ) -> Result<Vec<Read<Self>>, Trouble> {
        let model = model.cloned().unwrap_or_else(ModelName::own);
        rows::features(found, &model)
    }

    fn id(&self) -> &ItemId {
        &self.id
    }
}

/// Position of the scan in one bucket.
struct Cursor<T> {
    bucket: i16,
    rows: VecDeque<T>,
    /// A lower bound of the ids not read yet; `None`: all are read.
    resume: Option<String>,
}

impl<T: Scanned> Cursor<T> {
    fn head(&self) -> Option<&ItemId> {
        self.rows.front().map(T::id)
    }
}

/// Rows to request from each bucket, so that most pages need one request per bucket.
fn share(limit: usize, buckets: i16) -> usize {
    let mean = (limit + 1) / usize::try_from(buckets).unwrap_or(1).max(1);
    // Two standard deviations of the spread over buckets.
    mean + 2 * mean.isqrt() + 2
}

impl CassandraStore {
    /// Reads all rows of a statement, which must limit itself. While no quorum answers, most
    /// requests fail at once.
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
                let read = self.read_domain(domain).await?;
                Ok(read.map_or(BUCKETS, |read| read.buckets))
            }
        }
    }

    /// A domain's row and number of buckets, as stored.
    pub(super) async fn stored_domain(
        &self,
        domain: &DomainName,
    ) -> Result<Option<(DomainRow, i16)>, Trouble> {
        match self.read_domain(domain).await? {
            Some(read) => self.put_right(read).await,
            None => Ok(None),
        }
    }

    async fn read_domain(&self, domain: &DomainName) -> Result<Option<ReadDomain>, Trouble> {
        let found = self
            .read(&self.statements.domain, (domain.as_str(),))
            .await?;
        let stored = found.maybe_first_row::<StoredDomain<'_>>()?;
        let read = stored.and_then(rows::domain);
        if let Some(read) = &read {
            self.facts.registered(domain, read.buckets);
        }
        Ok(read)
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
            let mut read = Vec::new();
            for row in found.rows::<StoredDomain<'_>>()? {
                let row = row?;
                match rows::domain(row) {
                    Some(row) => read.push(row),
                    None => tracing::error!(name = row.0, "store.domain_without_name"),
                }
            }
            drop(found);
            for row in read {
                domains.extend(self.put_right(row).await?.map(|(row, _)| row));
            }
            match next {
                PagingStateResponse::HasMorePages { state: next } => state = next,
                PagingStateResponse::NoMorePages => return Ok(domains),
            }
        }
    }

    /// A domain's settings, as stored.
    pub(super) async fn stored_settings(
        &self,
        domain: &DomainName,
    ) -> Result<Option<SettingsRow>, Trouble> {
        let found = self
            .read(&self.statements.settings, (domain.as_str(),))
            .await?;
        let row = rows::settings(&found)?;
        Ok(row.and_then(|row| self.sound_one(domain, damage::SETTINGS, row)))
    }

    /// Entries of a domain's log, by number.
    pub(super) async fn stored_log(
        &self,
        domain: &DomainName,
        after: i64,
        most: usize,
    ) -> Result<Vec<LogEntry>, Trouble> {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let values = (domain.as_str(), after, most);
        let found = self.read(&self.statements.log, values).await?;
        Ok(self.sound(domain, damage::LOG, rows::log(&found)?))
    }

    /// Rows of a domain ordered by id; of one model if the model is part of their key.
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
            // Each id is in one bucket only.
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
            page.extend(least.rows.pop_front());
        }
    }

    /// Reads more rows for a cursor until some are sound, or none are left.
    async fn fill<T: Scanned>(
        &self,
        domain: &DomainName,
        model: Option<&ModelName>,
        cursor: &mut Cursor<T>,
        rows: usize,
    ) -> Result<(), Trouble> {
        let statement = T::statement(&self.statements);
        let limit = i32::try_from(rows).unwrap_or(i32::MAX);
        let bucket = cursor.bucket;
        while cursor.rows.is_empty()
            && let Some(from) = cursor.resume.take()
        {
            let name = domain.as_str();
            let found = match model {
                None => self.read(statement, (name, bucket, &from, limit)).await,
                Some(model) => {
                    let values = (name, model.as_str(), bucket, &from, limit);
                    self.read(statement, values).await
                }
            }?;
            let decoded = T::decode(&found, model)?;
            if decoded.len() == rows {
                let last = decoded.last().map(|last| match last {
                    Ok(row) => row.id().as_str(),
                    Err(unsound) => &unsound.id,
                });
                // The smallest text above an id: ids have no control characters.
                cursor.resume = last.map(|id| format!("{id}\0"));
            }
            cursor.rows.extend(self.sound(domain, T::TABLE, decoded));
        }
        Ok(())
    }

    /// What is stored of a model next to the served one.
    pub(super) async fn stored_beside(
        &self,
        domain: &DomainName,
        model: &ModelName,
    ) -> Result<Beside, Trouble> {
        let values = (domain.as_str(), model.as_str());
        let found = self.read(&self.statements.beside, values).await?;
        let (row, habits) = rows::beside(&found)?;
        let row = row.and_then(|row| self.sound_one(domain, damage::MODELS, row));
        let habits = habits.and_then(|row| self.sound_one(domain, damage::MODELS, row));
        let habits = habits.unwrap_or_default();
        Ok(Beside { row, habits })
    }

    /// The models next to the served one that have stored data.
    pub(super) async fn models_beside(
        &self,
        domain: &DomainName,
    ) -> Result<Vec<ModelName>, Trouble> {
        let values = (domain.as_str(),);
        let found = self.read(&self.statements.all_beside, values).await?;
        let mut models = Vec::new();
        for row in found.rows::<(&str,)>()? {
            // Invalid names cannot have been written by anybody.
            models.extend(ModelName::new(row?.0).ok());
        }
        Ok(models)
    }

    pub(super) async fn beside_list_of(
        &self,
        domain: &DomainName,
        model: &ModelName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, Trouble> {
        let values = (domain.as_str(), model.as_str(), id.as_str());
        let found = self.read(&self.statements.beside_list, values).await?;
        self.sound_list(domain, id, &found)
    }

    /// Ids of stored lists, which are one partition; of a model next to the served one if one is
    /// named.
    pub(super) async fn scan_lists(
        &self,
        domain: &DomainName,
        model: Option<&ModelName>,
        from: Option<&ItemId>,
        limit: usize,
    ) -> Result<Page<ItemId>, Trouble> {
        let limit = limit.clamp(1, MAX_PAGE_ROWS);
        // One row more than requested: the next page starts there.
        let most = i32::try_from(limit + 1).unwrap_or(i32::MAX);
        let (mut rows, mut from) = (Vec::new(), from.map_or("", ItemId::as_str).to_owned());
        loop {
            let found = match model {
                None => {
                    let values = (domain.as_str(), &from, most);
                    self.read(&self.statements.list_ids_from, values).await?
                }
                Some(model) => {
                    let values = (domain.as_str(), model.as_str(), &from, most);
                    let statement = &self.statements.beside_list_ids_from;
                    self.read(statement, values).await?
                }
            };
            let read = rows::ids(&found)?;
            let last = read.last().map(|last| match last {
                Ok(id) => id.as_str(),
                Err(unsound) => &unsound.id,
            });
            let is_over = read.len() <= limit;
            from = last.map_or_else(String::new, |id| format!("{id}\0"));
            rows.extend(self.sound(domain, damage::LISTS, read));
            if rows.len() > limit {
                let next = rows.swap_remove(limit);
                rows.truncate(limit);
                return Ok(Page {
                    rows,
                    next: Some(next),
                });
            }
            if is_over {
                return Ok(Page { rows, next: None });
            }
        }
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
            let rows = self.sound(domain, damage::ITEMS, rows::items(&rows)?);
            found.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
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
        let mut contents = Vec::with_capacity(ids.len());
        for (id, found) in ids.iter().zip(try_join_all(reads).await?) {
            let row = rows::content(&found)?;
            contents.push(row.and_then(|row| {
                let row = row.map_err(|why| Unsound::new(id.as_str(), why));
                self.sound_one(domain, damage::CONTENTS, row)
            }));
        }
        Ok(contents)
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
        let rows = rows::features(&found, model)?;
        Ok(self.sound(domain, damage::FEATURES, rows).pop())
    }

    pub(super) async fn list_of(
        &self,
        domain: &DomainName,
        id: &ItemId,
    ) -> Result<Option<ListRow>, Trouble> {
        let values = (domain.as_str(), id.as_str());
        let found = self.read(&self.statements.list, values).await?;
        self.sound_list(domain, id, &found)
    }

    /// The list that was found, if it is sound.
    pub(super) fn sound_list(
        &self,
        domain: &DomainName,
        id: &ItemId,
        found: &QueryRowsResult,
    ) -> Result<Option<ListRow>, Trouble> {
        Ok(rows::list(id, found)?.and_then(|row| {
            let row = row.map_err(|why| Unsound::new(id.as_str(), why));
            self.sound_one(domain, damage::LISTS, row)
        }))
    }
}
