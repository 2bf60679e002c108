//! Keys: written only by lightweight transactions, so that the caller knows whether a key was
//! created or removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::failure::{Trouble, is_unknown};
use super::lease::{ASK_AGAIN, Said, said};
use super::schema::Keyspace;
use kindred_domain::keys::{Grants, KeyRow, KeyStore};
use kindred_domain::store::StoreError;

type Columns = (
    String,
    Vec<u8>,
    Option<BTreeSet<String>>,
    CqlTimestamp,
    Option<CqlTimestamp>,
);

fn key(columns: Columns) -> Result<KeyRow, Trouble> {
    let (id, hash, grants, created_at, expires_at) = columns;
    let bad = |what: String| Trouble::Row("access_keys", format!("{id:?}: {what}"));
    let time = |at: CqlTimestamp| -> Result<DateTime<Utc>, Trouble> {
        DateTime::from_timestamp_millis(at.0).ok_or_else(|| bad("a time out of range".to_owned()))
    };
    let grants = grants.unwrap_or_default();
    let grants = Grants::read(grants.iter().map(String::as_str));
    Ok(KeyRow {
        hash: hash
            .try_into()
            .map_err(|_| bad("a hash that is not 32 bytes long".to_owned()))?,
        grants: grants.map_err(|error| bad(error.to_string()))?,
        created_at: time(created_at)?,
        expires_at: expires_at.map(time).transpose()?,
        id: id.clone(),
    })
}

/// How often a conditional write with unknown outcome is sent again.
const TRIES: u32 = 5;
/// Keys read at a time.
const PAGE_ROWS: i32 = 1_000;

/// The table of keys, over any session: commands use it while services run.
pub(crate) struct KeyTable {
    session: Arc<Session>,
    all: PreparedStatement,
    add: PreparedStatement,
    remove: PreparedStatement,
}

impl KeyTable {
    /// The table in this keyspace.
    ///
    /// # Errors
    /// When it does not exist, or the database does not answer.
    pub(crate) async fn prepare(
        session: Arc<Session>,
        keyspace: &Keyspace,
    ) -> Result<Self, Trouble> {
        let prepare = async |text: &str| session.prepare(keyspace.fill(text)).await;
        let mut all =
            prepare("SELECT id, hash, grants, created_at, expires_at FROM {ks}.access_keys")
                .await?;
        all.set_consistency(Consistency::Quorum);
        all.set_page_size(PAGE_ROWS);
        all.set_is_idempotent(true);
        let add = "INSERT INTO {ks}.access_keys (id, hash, grants, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
        let add = prepare(add).await?;
        let remove = prepare("DELETE FROM {ks}.access_keys WHERE id = ? IF EXISTS").await?;
        Ok(Self {
            all,
            add,
            remove,
            session,
        })
    }

    async fn read(&self) -> Result<Vec<KeyRow>, Trouble> {
        let (mut keys, mut state) = (Vec::new(), PagingState::start());
        loop {
            let page = self.session.execute_single_page(&self.all, (), state);
            let (found, next) = page.await?;
            let found = found.into_rows_result()?;
            for columns in found.rows::<Columns>()? {
                keys.push(key(columns?)?);
            }
            match next {
                PagingStateResponse::HasMorePages { state: more } => state = more,
                PagingStateResponse::NoMorePages => return Ok(keys),
            }
        }
    }

    /// Whether a conditional write was applied. If its outcome was lost, it is sent again, and counts as applied if its
    /// condition no longer holds: no one else writes that row, since names are random and removed only once.
    async fn conditional(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Clone,
    ) -> Result<bool, Trouble> {
        let (mut pause, mut tries) = (ASK_AGAIN, 0);
        loop {
            let result = self
                .session
                .execute_unpaged(statement, values.clone())
                .await;
            match result.map_err(Trouble::from).and_then(said) {
                Ok(Said::Applied) => return Ok(true),
                Ok(Said::Refused(_)) => return Ok(tries > 0),
                Err(Trouble::Execution(error)) if is_unknown(&error) && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(pause.failed()).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
}

#[async_trait]
impl KeyStore for KeyTable {
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read().await.map_err(Trouble::of_read)
    }

    async fn add_key(&self, row: &KeyRow) -> Result<bool, StoreError> {
        let time = |at: DateTime<Utc>| CqlTimestamp(at.timestamp_millis());
        let grants: BTreeSet<String> = row.grants.texts().into_iter().collect();
        let values = (
            row.id.clone(),
            row.hash.to_vec(),
            grants,
            time(row.created_at),
            row.expires_at.map(time),
        );
        let added = self.conditional(&self.add, values).await;
        added.map_err(Trouble::of_write)
    }

    async fn remove_key(&self, id: &str) -> Result<bool, StoreError> {
        let removed = self.conditional(&self.remove, (id,)).await;
        removed.map_err(Trouble::of_write)
    }
}
