//! Migrates to one partition of lists per domain: the table is dropped and recreated, and every
//! domain is marked dirty, so that its next owner computes and stores its lists again.
//!
//! Domains are marked before the table is dropped, and the migration is recorded last: no crash can
//! leave a clean domain without lists, and the next attempt starts over.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use kindred_domain::store::Stamp;
use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};

use super::{Keyspace, run};
use crate::store::cassandra::failure::Trouble;
use crate::store::cassandra::stopped::{Why, registered};

const WHY: Why = Why {
    what: "the table of lists must be recreated",
    again: "kindred schema",
};

/// Marks written at a time.
const MARKS: usize = 64;

/// Layout of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The table does not exist.
    None,
    /// Each list is a partition, as in version 0.1.
    OnePartitionAList,
    OnePartitionADomain,
}

/// The layout of the table of lists. Changes nothing.
pub(super) async fn shape(session: &Session, keyspace: &Keyspace) -> Result<Shape, Trouble> {
    let query = "SELECT kind FROM system_schema.columns \
         WHERE keyspace_name = ? AND table_name = 'similar_items' AND column_name = 'id'";
    let mut query = Statement::new(query);
    // The schema tables are local to each node.
    query.set_consistency(Consistency::One);
    let found = session.query_unpaged(query, (keyspace.as_str(),)).await?;
    let found = found.into_rows_result()?;
    Ok(match found.maybe_first_row::<(&str,)>()? {
        None => Shape::None,
        Some(("clustering",)) => Shape::OnePartitionADomain,
        Some(_) => Shape::OnePartitionAList,
    })
}

/// Marks every domain dirty, and drops the table if each list is a partition; returns whether it
/// did.
///
/// # Errors
/// [`Trouble::InUse`] while a model service is alive.
pub(super) async fn clear_the_way(session: &Session, keyspace: &Keyspace) -> Result<bool, Trouble> {
    WHY.refuse_while_in_use(session, keyspace).await?;
    mark_all_dirty(session, keyspace).await?;
    // A service that started since has taken a partition, or announced itself.
    WHY.refuse_while_announced(session, keyspace).await?;
    if shape(session, keyspace).await? != Shape::OnePartitionAList {
        return Ok(false);
    }
    let drop = keyspace.fill("DROP TABLE IF EXISTS {ks}.similar_items");
    run(session, keyspace, drop).await?;
    tracing::warn!(
        keyspace = keyspace.as_str(),
        remedy = "permissions on it went with the table: run deploy/cassandra/roles.cql again",
        "store.lists_dropped"
    );
    Ok(true)
}

/// Marks every domain dirty, each at a new epoch of its partition, so that neither earlier nor late
/// writes of a former owner undo it. Partitions are left without an owner.
pub(super) async fn mark_all_dirty(session: &Session, keyspace: &Keyspace) -> Result<(), Trouble> {
    let mut partitions: BTreeMap<i16, (u64, Vec<String>)> = BTreeMap::new();
    for domain in registered(session, keyspace).await? {
        let (newest, domains) = partitions.entry(domain.partition).or_default();
        *newest = (*newest).max(domain.written.epoch().0);
        domains.push(domain.name);
    }
    let mark = "INSERT INTO {ks}.domains (domain, dirty) VALUES (?, ?) USING TIMESTAMP ?";
    let mut mark = session.prepare(keyspace.fill(mark)).await?;
    mark.set_is_idempotent(true);
    for (partition, (newest, domains)) in partitions {
        let epoch = WHY.next_epoch(session, keyspace, partition, newest).await?;
        let stamp = Stamp::new(epoch, 0)
            .ok_or_else(|| Trouble::Row("partitions", format!("epoch {}", epoch.0)))?;
        let marks = domains.into_iter().map(|domain| {
            let values = (domain, epoch.0.cast_signed(), stamp.as_i64());
            session.execute_unpaged(&mark, values)
        });
        let mut marked = stream::iter(marks).buffer_unordered(MARKS);
        while marked.try_next().await?.is_some() {}
    }
    Ok(())
}
