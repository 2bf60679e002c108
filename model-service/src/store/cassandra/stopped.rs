//! What may be done only while no model service runs, and how partitions are prepared for later
//! services.

use std::collections::BTreeMap;

use kindred_domain::lease::LeaseTimes;
use kindred_domain::store::{Epoch, Stamp};
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::{Consistency, Statement};
use tokio::time::sleep;

use super::failure::Trouble;
use super::schema::Keyspace;

/// Why model services must be stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Why {
    /// The change.
    pub what: &'static str,
    /// The command that makes it.
    pub again: &'static str,
}

/// The relevant part of a domain's row.
pub(super) struct Registered {
    pub name: String,
    pub partition: i16,
    /// When its row was last written whole.
    pub written: Stamp,
}

/// All domains, unordered.
pub(super) async fn registered(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<Vec<Registered>, Trouble> {
    let mut domains = Vec::new();
    // All non-null columns have the row's write time.
    let query = keyspace.fill("SELECT domain, partition, WRITETIME(live) FROM {ks}.domains");
    let mut state = PagingState::start();
    loop {
        let (found, next) = session.query_single_page(query.as_str(), (), state).await?;
        let found = found.into_rows_result()?;
        for row in found.rows::<(String, i16, Option<i64>)>()? {
            let (name, partition, written) = row?;
            domains.push(Registered {
                name,
                partition,
                written: Stamp::stored(written.unwrap_or(0)),
            });
        }
        match next {
            PagingStateResponse::HasMorePages { state: next } => state = next,
            PagingStateResponse::NoMorePages => return Ok(domains),
        }
    }
}

impl Why {
    /// Leaves a partition without an owner, at an epoch above all earlier ones and above `written`.
    pub(super) async fn next_epoch(
        &self,
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
                Err(self.in_use(&owner, "which took a partition just now"))
            }
        }
    }

    /// Refuses while a model service is alive.
    ///
    /// # Errors
    /// [`Trouble::InUse`].
    pub(super) async fn refuse_while_in_use(
        &self,
        session: &Session,
        keyspace: &Keyspace,
    ) -> Result<(), Trouble> {
        self.refuse_while_announced(session, keyspace).await?;
        // An owner that does not announce itself (none does with one partition) is recognised by
        // its beat.
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
                return Err(self.in_use(&owner, &format!("at {address}")));
            }
        }
        self.refuse_while_announced(session, keyspace).await
    }

    /// Refuses while a model service announces itself.
    ///
    /// # Errors
    /// [`Trouble::InUse`].
    pub(super) async fn refuse_while_announced(
        &self,
        session: &Session,
        keyspace: &Keyspace,
    ) -> Result<(), Trouble> {
        let query = keyspace.fill("SELECT owner, address FROM {ks}.instances LIMIT 1");
        let found = session.query_unpaged(query, ()).await?.into_rows_result()?;
        match found.maybe_first_row::<(String, String)>()? {
            None => Ok(()),
            Some((owner, address)) => Err(self.in_use(&owner, &format!("at {address}"))),
        }
    }

    fn in_use(&self, owner: &str, detail: &str) -> Trouble {
        let owner = if owner.is_empty() { "another" } else { owner };
        let Self { what, again } = self;
        Trouble::InUse(format!(
            "{what}, but a model service is running: {owner}, {detail}; stop every model service \
             (SIGTERM), wait ten seconds, and run `{again}` again"
        ))
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
