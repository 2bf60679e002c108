//! The number of partitions of a keyspace, and how it is changed while no model service runs.
//!
//! A change is written down first, so that no service starts before it is done, and every step may be
//! repeated. Partitions get an epoch above all there were: a domain that comes to another partition is written
//! at newer stamps than before, and what a former owner writes late changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use kindred_domain::store::{Epoch, Stamp};
use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};

use super::failure::Trouble;
use super::schema::Keyspace;
use super::stopped::{Registered, Why, registered};

const WHY: Why = Why {
    what: "the number of partitions is to be changed",
    again: "kindred partitions set",
};

/// Name of the row of `meta`.
pub(super) const KEY: &str = "partitions";

/// Rows that are written at a time.
const WRITES: usize = 64;

/// How many partitions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partitions {
    /// So many.
    Of(u16),
    /// They are being changed, or that was interrupted.
    Changing {
        /// So many there were.
        from: u16,
        /// So many there are to be.
        to: u16,
    },
}

impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(number) => write!(f, "{number}"),
            Self::Changing { from, to } => write!(f, "{from} to {to}"),
        }
    }
}

impl FromStr for Partitions {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self, Trouble> {
        let number = |text: &str| {
            let number: Option<u16> = text.parse().ok();
            number.ok_or_else(|| Trouble::Row("meta", format!("{text:?} partitions")))
        };
        match text.split_once(" to ") {
            None => Ok(Self::Of(number(text)?)),
            Some((from, to)) => Ok(Self::Changing {
                from: number(from)?,
                to: number(to)?,
            }),
        }
    }
}

/// How many partitions the keyspace has; `None`: no model service was ever started on it.
pub(crate) async fn found(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<Option<Partitions>, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT value FROM {ks}.meta WHERE key = ?"));
    read.set_consistency(Consistency::Serial);
    let found = session.query_unpaged(read, (KEY,)).await?;
    let found = found.into_rows_result()?;
    let row = found.maybe_first_row::<(String,)>()?;
    row.map(|(text,)| text.parse()).transpose()
}

/// Refuses while a model service is there.
///
/// # Errors
/// [`Trouble::InUse`].
pub(crate) async fn refuse_while_in_use(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<(), Trouble> {
    WHY.refuse_while_in_use(session, keyspace).await
}

/// Says that the number is to be another: from now on no model service starts.
///
/// # Errors
/// [`Trouble::InUse`] when another one changed it just now.
pub(crate) async fn begin(
    session: &Session,
    keyspace: &Keyspace,
    before: Partitions,
    to: u16,
) -> Result<Partitions, Trouble> {
    let (Partitions::Of(from) | Partitions::Changing { from, .. }) = before;
    let next = Partitions::Changing { from, to };
    replace(session, keyspace, before, next).await?;
    Ok(next)
}

/// Leaves every partition without an owner, all at the same epoch, above all there were.
///
/// # Errors
/// [`Trouble::InUse`] when a model service took one.
pub(crate) async fn raise_epochs(
    session: &Session,
    keyspace: &Keyspace,
    count: u16,
) -> Result<(Epoch, Vec<String>), Trouble> {
    let domains = registered(session, keyspace).await?;
    let written = domains.iter().map(|domain| domain.written.epoch().0);
    let mut newest = written.max().unwrap_or(0);
    let query = keyspace.fill("SELECT epoch FROM {ks}.partitions");
    let found = session.query_unpaged(query, ()).await?.into_rows_result()?;
    for row in found.rows::<(i64,)>()? {
        newest = newest.max(row?.0.cast_unsigned());
    }
    for partition in 0..count {
        let partition = partition.cast_signed();
        WHY.next_epoch(session, keyspace, partition, newest).await?;
    }
    let names = domains.into_iter().map(|Registered { name, .. }| name);
    Ok((Epoch(newest + 1), names.collect()))
}

/// Writes down to which partition each domain belongs.
///
/// # Errors
/// Of the database.
pub(crate) async fn assign(
    session: &Session,
    keyspace: &Keyspace,
    epoch: Epoch,
    domains: BTreeMap<String, u16>,
) -> Result<(), Trouble> {
    let stamp = Stamp::new(epoch, 0)
        .ok_or_else(|| Trouble::Row("partitions", format!("epoch {}", epoch.0)))?;
    let assign = "UPDATE {ks}.domains USING TIMESTAMP ? SET partition = ? WHERE domain = ?";
    let mut assign = session.prepare(keyspace.fill(assign)).await?;
    assign.set_is_idempotent(true);
    let writes = domains.into_iter().map(|(domain, partition)| {
        let values = (stamp.as_i64(), partition.cast_signed(), domain);
        session.execute_unpaged(&assign, values)
    });
    let mut written = stream::iter(writes).buffer_unordered(WRITES);
    while written.try_next().await?.is_some() {}
    Ok(())
}

/// Says that the number is the new one: model services may start with it.
///
/// # Errors
/// [`Trouble::InUse`] when a model service is there, or another one changed the number just now.
pub(crate) async fn finish(
    session: &Session,
    keyspace: &Keyspace,
    changing: Partitions,
    to: u16,
) -> Result<(), Trouble> {
    WHY.refuse_while_announced(session, keyspace).await?;
    replace(session, keyspace, changing, Partitions::Of(to)).await
}

async fn replace(
    session: &Session,
    keyspace: &Keyspace,
    before: Partitions,
    next: Partitions,
) -> Result<(), Trouble> {
    if before == next {
        return Ok(());
    }
    let write = keyspace.fill("UPDATE {ks}.meta SET value = ? WHERE key = ? IF value = ?");
    let values = (next.to_string(), KEY, before.to_string());
    session.query_unpaged(write, values).await?;
    match found(session, keyspace).await? {
        Some(now) if now == next => Ok(()),
        _ => Err(Trouble::InUse(
            "another `kindred partitions set` runs; let it end".to_owned(),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for partitions in [Partitions::Of(8), Partitions::Changing { from: 8, to: 4 }] {
            let read: Partitions = partitions.to_string().parse().unwrap();
            assert_eq!(read, partitions);
        }
        for bad in ["", "many", "8 to", "8 to many", "70000"] {
            assert!(bad.parse::<Partitions>().is_err(), "{bad}");
        }
    }
}
