//! Operations on keys, however they are requested: over HTTP, over the socket of a running service,
//! or by a command that has the store to itself.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kindred_api::key::{CreatedKey, Key, KeyBody};
use kindred_domain::keys::{Grants, KeyRow, KeyStore, MAX_KEYS};
use kindred_domain::store::StoreError;
use serde::{Deserialize, Serialize};

use super::secret::new_key;

/// Longest validity of a key.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);
/// How many random names are tried.
const NAMES: usize = 3;

/// A requested operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// Create a key.
    Create(KeyBody),
    /// List all keys.
    List,
    /// Delete the key of this name.
    Revoke(String),
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// The created key.
    Created(CreatedKey),
    /// All keys.
    Keys(Vec<Key>),
    /// Whether the key existed.
    Revoked(bool),
    /// Refused, for this reason.
    Refused(String),
}

/// Why a key is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MakeError {
    /// A field is invalid.
    #[error("{field}: {detail}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// The limit is reached.
    #[error("there are already {MAX_KEYS} keys, the maximum; revoke some")]
    Full,
    /// The system has no randomness.
    #[error("the system provides no random numbers; a key made without them could be guessed")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a key in a store.
///
/// # Errors
/// [`MakeError`].
pub(crate) async fn make(store: &dyn KeyStore, body: &KeyBody) -> Result<CreatedKey, MakeError> {
    let grants = Grants::read(body.grants.iter().map(String::as_str));
    let grants = grants.map_err(|error| MakeError::Field {
        field: "grants",
        detail: error.to_string(),
    })?;
    let expires_at = body.expires.as_deref().map(end).transpose()?;
    if store.keys().await?.len() >= MAX_KEYS {
        return Err(MakeError::Full);
    }
    for _ in 0..NAMES {
        let made = new_key(grants.clone(), expires_at);
        let (row, secret) = made.map_err(|_| MakeError::NoRandomness)?;
        if store.add_key(&row).await? {
            let Key {
                id,
                grants,
                expires,
                created: _,
            } = told(&row);
            return Ok(CreatedKey {
                id,
                secret,
                grants,
                expires,
            });
        }
    }
    Err(MakeError::NoRandomness)
}

/// When a key with this validity expires.
fn end(text: &str) -> Result<DateTime<Utc>, MakeError> {
    let length = humantime::parse_duration(text.trim()).ok();
    let length = length.filter(|length| !length.is_zero() && *length <= LONGEST);
    let length = length.and_then(|length| TimeDelta::from_std(length).ok());
    let at = length.and_then(|length| Utc::now().checked_add_signed(length));
    at.ok_or_else(|| MakeError::Field {
        field: "expires",
        detail: "expires is a duration of at most 100 years, such as 90d; leave it out for a key \
            that never expires"
            .to_owned(),
    })
}

/// A key as answers show it.
pub(crate) fn told(row: &KeyRow) -> Key {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Key {
        id: row.id.clone(),
        grants: row.grants.texts(),
        created: time(row.created_at),
        expires: row.expires_at.map(time),
    }
}

/// Performs an operation.
pub(crate) async fn perform(store: &dyn KeyStore, ask: &Ask) -> Told {
    let done = match ask {
        Ask::Create(body) => make(store, body).await.map(Told::Created),
        Ask::List => store.keys().await.map_err(MakeError::from).map(|mut rows| {
            rows.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Told::Keys(rows.iter().map(told).collect())
        }),
        Ask::Revoke(id) => store
            .remove_key(id)
            .await
            .map_err(MakeError::from)
            .map(Told::Revoked),
    };
    done.unwrap_or_else(|error| Told::Refused(error.to_string()))
}
