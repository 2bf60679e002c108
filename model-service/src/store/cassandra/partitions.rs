//! The number of partitions of a keyspace, and how to change it while no model service runs.
//!
//! A change is recorded first, so that no service starts before it is complete, and every step may
//! be repeated. All partitions get an epoch above all earlier ones: a domain that moves to another
//! partition is written with newer stamps, and late writes of a former owner have no effect.

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
    what: "the number of partitions cannot be changed now",
    again: "kindred partitions set",
};

/// Name of the row in `meta`.
pub(super) const KEY: &str = "partitions";

/// Rows written at a time.
const WRITES: usize = 64;

/// The number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partitions {
    /// The current number.
    Of(u16),
    /// A change is running, or was interrupted.
    Changing {
        /// The old number.
        from: u16,
        /// The new number.
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

/// The keyspace's number of partitions; `None`: no model service was ever started on it.
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

/// Refuses while a model service is alive.
///
/// # Errors
/// [`Trouble::InUse`].
pub(crate) async fn refuse_while_in_use(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<(), Trouble> {
    WHY.refuse_while_in_use(session, keyspace).await
}

/// Records that the number will change: from now on no model service starts.
///
/// # Errors
/// [`Trouble::InUse`] when somebody else changed it just now.
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

/// Leaves every partition without an owner, all at the same epoch, above all earlier ones.
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

/// Records the new partition of every domain.
///
/// # Errors
/// Those of the database.
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

/// Records the new number: model services may start with it.
///
/// # Errors
/// [`Trouble::InUse`] when a model service is alive, or somebody else changed the number just now.
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
            "another `kindred partitions set` is running; wait for it to end".to_owned(),
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
