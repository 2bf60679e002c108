//! Answers readers while there is no view of a domain: two requests per answer, at QUORUM, or below
//! it when there is no quorum.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kindred_shared::{DomainName, ItemId};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::Instant;

use super::CassandraStore;
use super::facts::{BUCKETS, bucket};
use super::failure::Trouble;
use super::rows;
use super::rows::ReadDomain;
use crate::store::damage;
use kindred_domain::store::{ItemRow, Reading, StoreError};

/// Longest wait for a request before readers are answered from one replica.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many replicas to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    Quorum,
    One,
}

impl CassandraStore {
    pub(super) async fn read_for_readers(
        &self,
        domain: &DomainName,
        id: &ItemId,
    ) -> Result<Reading, StoreError> {
        if self.quorum.is_worth_asking() {
            match self.reading_from(Copies::Quorum, domain, id).await {
                // Asking fewer replicas does not help against damaged rows.
                Err(trouble @ (Trouble::Row(..) | Trouble::Answer(_))) => {
                    return Err(trouble.of_read());
                }
                Err(_) => {}
                Ok(reading) => return Ok(reading),
            }
        }
        let reading = self.reading_from(Copies::One, domain, id).await;
        reading.map_err(Trouble::of_read)
    }

    async fn reading_from(
        &self,
        copies: Copies,
        domain: &DomainName,
        id: &ItemId,
    ) -> Result<Reading, Trouble> {
        let _turn = self.reading.acquire().await;
        let key = (domain.as_str(), id.as_str());
        let found = self.ask(copies, &self.statements.list, key).await?;
        let list = self.sound_list(domain, id, &found)?;
        let ids = Reading::ids(id, list.as_ref());
        let known = self.facts.buckets(domain);
        let of_domain = match known {
            Some(buckets) => buckets,
            None => {
                let stored = self.seen_domain(copies, domain).await?;
                stored.map_or(BUCKETS, |read| read.buckets)
            }
        };
        let buckets: BTreeSet<i16> = ids.iter().map(|id| bucket(id, of_domain)).collect();
        let buckets: Vec<i16> = buckets.into_iter().collect();
        let texts: BTreeSet<&str> = ids.iter().map(ItemId::as_str).collect();
        let texts: Vec<&str> = texts.into_iter().collect();
        let key = (domain.as_str(), &buckets, &texts);
        let (found, stored) = tokio::try_join!(
            self.ask(copies, &self.statements.items_in, key),
            self.seen_domain(copies, domain),
        )?;
        let found = self.sound(domain, damage::ITEMS, rows::items(&found)?);
        let found = found.into_iter();
        let found: HashMap<ItemId, ItemRow> = found.map(|row| (row.id.clone(), row)).collect();
        // A removed domain may have rows left.
        let is_removed = stored.is_some_and(|read| !read.is_there());
        let found = if is_removed { HashMap::new() } else { found };
        let mut items = ids.iter().map(|id| found.get(id).cloned());
        Ok(Reading {
            item: items.next().flatten(),
            neighbours: items.collect(),
            list,
            is_stale: copies == Copies::One,
        })
    }

    /// A domain's row and number of buckets, at the given consistency.
    async fn seen_domain(
        &self,
        copies: Copies,
        domain: &DomainName,
    ) -> Result<Option<ReadDomain>, Trouble> {
        let asked = self.ask(copies, &self.statements.domain, (domain.as_str(),));
        let found = asked.await?;
        let stored = found.maybe_first_row::<rows::StoredDomain<'_>>()?;
        Ok(stored.and_then(rows::domain))
    }

    async fn ask(
        &self,
        copies: Copies,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Trouble> {
        let mut statement = statement.clone();
        statement.set_request_timeout(Some(PATIENCE));
        if copies == Copies::One {
            statement.set_consistency(Consistency::One);
        }
        let begun = Instant::now();
        let found = self.session.execute_unpaged(&statement, values).await;
        if copies == Copies::Quorum {
            self.quorum.asked(begun, &found);
        }
        Ok(found?.into_rows_result()?)
    }
}
