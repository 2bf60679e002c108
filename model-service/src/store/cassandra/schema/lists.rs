//! The way to lists that are one partition a domain: the table is dropped and made anew, and every
//! domain is marked dirty, so that its next owner makes and stores its lists again.
//!
//! Domains are marked before the table is dropped, and the migration is written down last: a crash at
//! any point leaves no clean domain without lists, and the next try goes the whole way again.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use kindred_domain::lease::LeaseTimes;
use kindred_domain::store::{Epoch, Stamp};
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::{Consistency, Statement};
use tokio::time::sleep;

use super::{Keyspace, run};
use crate::store::cassandra::failure::Trouble;

/// Marks that are written at a time.
const MARKS: usize = 64;

/// How lists lie in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// There is no table.
    None,
    /// Each list is a partition, as in version 0.1.
    OnePartitionAList,
    OnePartitionADomain,
}

/// How the table of lists is. Changes nothing.
pub(super) async fn shape(session: &Session, keyspace: &Keyspace) -> Result<Shape, Trouble> {
    let query = "SELECT kind FROM system_schema.columns \
         WHERE keyspace_name = ? AND table_name = 'similar_items' AND column_name = 'id'";
    let mut query = Statement::new(query);
    // Each node has the schema to itself.
    query.set_consistency(Consistency::One);
    let found = session.query_unpaged(query, (keyspace.as_str(),)).await?;
    let found = found.into_rows_result()?;
    Ok(match found.maybe_first_row::<(&str,)>()? {
        None => Shape::None,
        Some(("clustering",)) => Shape::OnePartitionADomain,
        Some(_) => Shape::OnePartitionAList,
    })
}

/// Marks every domain dirty, and drops the table where its lists are partitions of their own. Whether
/// it did that.
///
/// # Errors
/// [`Trouble::InUse`] while a model service is there.
pub(super) async fn clear_the_way(session: &Session, keyspace: &Keyspace) -> Result<bool, Trouble> {
    refuse_while_in_use(session, keyspace).await?;
    mark_all_dirty(session, keyspace).await?;
    // One that came since took a partition, or said that it is there.
    refuse_while_announced(session, keyspace).await?;
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

/// Marks every domain dirty, each at an epoch of its partition that nobody had: what a former owner
/// wrote, or writes late, does not undo it. Partitions are left without an owner.
pub(super) async fn mark_all_dirty(session: &Session, keyspace: &Keyspace) -> Result<(), Trouble> {
    let mut partitions: BTreeMap<i16, (u64, Vec<String>)> = BTreeMap::new();
    // All columns but a null have the row's write time.
    let query = keyspace.fill("SELECT domain, partition, WRITETIME(live) FROM {ks}.domains");
    let mut state = PagingState::start();
    loop {
        let (found, next) = session.query_single_page(query.as_str(), (), state).await?;
        let found = found.into_rows_result()?;
        for row in found.rows::<(String, i16, Option<i64>)>()? {
            let (domain, partition, written) = row?;
            let (newest, domains) = partitions.entry(partition).or_default();
            *newest = (*newest).max(Stamp::stored(written.unwrap_or(0)).epoch().0);
            domains.push(domain);
        }
        match next {
            PagingStateResponse::HasMorePages { state: next } => state = next,
            PagingStateResponse::NoMorePages => break,
        }
    }
    let mark = "INSERT INTO {ks}.domains (domain, dirty) VALUES (?, ?) USING TIMESTAMP ?";
    let mut mark = session.prepare(keyspace.fill(mark)).await?;
    mark.set_is_idempotent(true);
    for (partition, (newest, domains)) in partitions {
        let epoch = next_epoch(session, keyspace, partition, newest).await?;
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

/// Leaves a partition without an owner, at an epoch above all there were.
async fn next_epoch(
    session: &Session,
    keyspace: &Keyspace,
    partition: i16,
    written: u64,
) -> Result<Epoch, Trouble> {
    let before = owner(session, keyspace, partition).await?;
    let stored = before.as_ref().map_or(0, |(epoch, ..)| *epoch);
    let epoch = stored.cast_unsigned().max(written) + 1;
    let wanted = epoch.cast_signed();
    if before.is_some() {
        let update =
            "UPDATE {ks}.partitions SET epoch = ?, owner = '' WHERE partition = ? IF epoch = ?";
        let values = (wanted, partition, stored);
        session.query_unpaged(keyspace.fill(update), values).await?;
    } else {
        let insert = "INSERT INTO {ks}.partitions (partition, epoch, owner, address, beat) \
             VALUES (?, ?, '', '', 0) IF NOT EXISTS";
        let values = (partition, wanted);
        session.query_unpaged(keyspace.fill(insert), values).await?;
    }
    match owner(session, keyspace, partition).await? {
        Some((epoch, owner, _)) if epoch == wanted && owner.is_empty() => {
            Ok(Epoch(epoch.cast_unsigned()))
        }
        after => {
            let (_, owner, _) = after.unwrap_or_default();
            Err(in_use(&owner, "which took a partition just now"))
        }
    }
}

/// Epoch, owner and beat of a partition; `None`: it never had an owner.
async fn owner(
    session: &Session,
    keyspace: &Keyspace,
    partition: i16,
) -> Result<Option<(i64, String, i64)>, Trouble> {
    let query = "SELECT epoch, owner, beat FROM {ks}.partitions WHERE partition = ?";
    let mut query = Statement::new(keyspace.fill(query));
    query.set_consistency(Consistency::Serial);
    let found = session.query_unpaged(query, (partition,)).await?;
    Ok(found.into_rows_result()?.maybe_first_row()?)
}

/// An owner that is not announced (with one partition none is) shows by its beat.
async fn refuse_while_in_use(session: &Session, keyspace: &Keyspace) -> Result<(), Trouble> {
    refuse_while_announced(session, keyspace).await?;
    let before = owners(session, keyspace).await?;
    if before.is_empty() {
        return Ok(());
    }
    sleep(LeaseTimes::default().take).await;
    for (partition, (owner, address, beat)) in owners(session, keyspace).await? {
        if before
            .get(&partition)
            .is_none_or(|(_, _, old)| *old != beat)
        {
            return Err(in_use(&owner, &format!("at {address}")));
        }
    }
    refuse_while_announced(session, keyspace).await
}

/// Owner, address and beat of every partition that has one.
async fn owners(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<BTreeMap<i16, (String, String, i64)>, Trouble> {
    let query = keyspace.fill("SELECT partition, owner, address, beat FROM {ks}.partitions");
    let found = session.query_unpaged(query, ()).await?.into_rows_result()?;
    let mut owners = BTreeMap::new();
    for row in found.rows::<(i16, String, String, i64)>()? {
        let (partition, owner, address, beat) = row?;
        if !owner.is_empty() {
            owners.insert(partition, (owner, address, beat));
        }
    }
    Ok(owners)
}

async fn refuse_while_announced(session: &Session, keyspace: &Keyspace) -> Result<(), Trouble> {
    let query = keyspace.fill("SELECT owner, address FROM {ks}.instances LIMIT 1");
    let found = session.query_unpaged(query, ()).await?.into_rows_result()?;
    match found.maybe_first_row::<(String, String)>()? {
        None => Ok(()),
        Some((owner, address)) => Err(in_use(&owner, &format!("at {address}"))),
    }
}

fn in_use(owner: &str, what: &str) -> Trouble {
    let owner = if owner.is_empty() { "another" } else { owner };
    Trouble::InUse(format!(
        "the table of lists is to be made anew, and a model service is there: {owner}, {what}; stop \
         every model service (SIGTERM), wait ten seconds, and run `kindred schema` again"
    ))
}
