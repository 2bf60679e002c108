//! Connects, and checks whether this program may use what it finds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kindred_runtime::cql::{self, CqlOptions};
use kindred_shared::Backoff;
use kindred_shared::{ModelInputs, ModelName};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::{Consistency, Statement};
use tokio::time::{sleep, timeout};

use super::CassandraStore;
use super::agreement::{Agreement, agree, in_words};
use super::failure::Trouble;
use super::partitions::{KEY, Partitions};
use super::schema::{self, Keyspace, NEWEST, Standing};
use super::statements::Statements;
use crate::store::{OpenError, first_model};

/// Longest one attempt to connect may take, creating the schema included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(120);
/// Pauses between attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
/// Replicas with which the loss of one node loses no data.
const SAFE_COPIES: u32 = 3;

/// Names of rows in `meta`. This one names the model and inputs of all features in a keyspace of
/// version 0.1.
const MODEL: &str = "model";
/// Prefix of rows that hold the inputs with which a model's features here were made.
const INPUTS: &str = "inputs:";

/// Which keyspace to open, and what is expected of it.
#[derive(Debug, Clone)]
pub struct CassandraOptions {
    /// The database.
    pub database: CqlOptions,
    /// The keyspace; created if missing.
    pub keyspace: String,
    /// Replicas of every row per data centre, used when the keyspace is created here.
    pub replication_factor: u8,
    /// Number of partitions, the same for all model services.
    pub partitions: u16,
    /// The models that this program knows, and their inputs. The keyspace may have features of
    /// other models, too; they are left alone.
    pub models: Vec<ModelInputs>,
    /// This instance's values of the shared settings.
    pub agreement: Agreement,
    /// Whether to continue when the loss of a node can lose acknowledged writes.
    pub allow_periodic: bool,
}

/// Why one attempt to connect failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The database is unreachable, not ready, or refuses this role: it may work later.
    #[error("{place} cannot be used yet: {detail}")]
    Away {
        /// Keyspace and nodes.
        place: String,
        /// What the database said, with a remedy if one is known.
        detail: String,
    },
    /// Only a person can fix it.
    #[error(transparent)]
    Refused(#[from] OpenError),
}

impl CassandraStore {
    /// Connects with one attempt. Creates the keyspace and its tables if missing.
    ///
    /// # Errors
    /// [`ConnectError`]: after `Away`, another attempt may succeed.
    pub async fn connect(options: &CassandraOptions) -> Result<Arc<Self>, ConnectError> {
        let place = place(options);
        match timeout(ATTEMPT_TIMEOUT, open(options, &place)).await {
            Ok(Ok(store)) => Ok(Arc::new(store)),
            Ok(Err(OpenFailure::Refused(error))) => Err(error.into()),
            Ok(Err(OpenFailure::Trouble(trouble))) => match trouble.into_open_error(&place) {
                Ok(error) => Err(error.into()),
                Err(detail) => Err(ConnectError::Away { place, detail }),
            },
            Err(_) => Err(ConnectError::Away {
                place,
                detail: "it took too long".to_owned(),
            }),
        }
    }

    /// Connects as soon as the database is available, logging what it waits for.
    ///
    /// # Errors
    /// [`OpenError`] when waiting does not help.
    pub async fn wait(options: &CassandraOptions) -> Result<Arc<Self>, OpenError> {
        let mut backoff = RECONNECT;
        loop {
            match Self::connect(options).await {
                Ok(store) => return Ok(store),
                Err(ConnectError::Refused(error)) => return Err(error),
                Err(ConnectError::Away { place, detail }) => {
                    let delay = backoff.failed();
                    let again_in = humantime::format_duration(delay);
                    tracing::warn!(place, detail, %again_in, "store.away");
                    sleep(delay).await;
                }
            }
        }
    }
}

/// Why a store was not opened.
enum OpenFailure {
    Refused(OpenError),
    Trouble(Trouble),
}

impl<E: Into<Trouble>> From<E> for OpenFailure {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

/// Keyspace and nodes, for messages.
fn place(options: &CassandraOptions) -> String {
    format!(
        "keyspace {} at {}",
        options.keyspace,
        options.database.nodes.join(",")
    )
}

async fn open(options: &CassandraOptions, place: &str) -> Result<CassandraStore, OpenFailure> {
    let unusable = |detail: String| {
        OpenFailure::Refused(OpenError::Unusable {
            place: place.to_owned(),
            detail,
        })
    };
    let keyspace = Keyspace::new(&options.keyspace).ok_or_else(|| {
        unusable("a keyspace's name is a letter and up to 47 letters, digits and '_'".to_owned())
    })?;
    let session = cql::connect(&options.database, keyspace.as_str()).await?;
    if let Standing::Newer(found) = schema::check(&session, &keyspace).await? {
        return Err(OpenFailure::Refused(OpenError::Newer {
            place: place.to_owned(),
            found,
            known: NEWEST,
        }));
    }
    let copies = copies(&session, &keyspace).await?;
    let copies = copies.unwrap_or(options.replication_factor.into());
    let commit_log = commit_log(&session).await?;
    if let Some(detail) = danger(copies, commit_log.as_deref()) {
        if !options.allow_periodic {
            return Err(unusable(detail));
        }
        tracing::warn!(place, detail, "store.not_durable");
    }
    if let Some(detail) = lease_trouble(copies, paxos_variant(&session).await?.as_deref()) {
        tracing::warn!(place, detail, "store.leases_may_fail");
    }
    // Nothing is created in a keyspace that would be refused.
    schema::migrate(&session, &keyspace, options.replication_factor).await?;
    identify(&session, &keyspace, options, place).await?;
    let differences = agree(&session, &keyspace, &options.agreement).await?;
    if !differences.is_empty() {
        return Err(OpenFailure::Refused(OpenError::Disagrees {
            place: place.to_owned(),
            differences: in_words(&differences),
        }));
    }
    let statements = Statements::prepare(&session, &keyspace).await?;
    tracing::info!(place, copies, commit_log, "store.opened");
    let models = options.models.iter().map(|known| known.model.clone());
    Ok(CassandraStore::new(
        Arc::new(session),
        statements,
        keyspace,
        options.agreement.clone(),
        options.partitions,
        models.collect(),
    ))
}

/// Replicas of every row, over all data centres; `None`: the keyspace does not exist.
pub(crate) async fn copies(session: &Session, keyspace: &Keyspace) -> Result<Option<u32>, Trouble> {
    let query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = session.query_unpaged(query, (keyspace.as_str(),)).await?;
    let found = found.into_rows_result()?;
    let row = found.maybe_first_row::<(HashMap<String, String>,)>()?;
    Ok(row.map(|(options,)| {
        options
            .iter()
            .filter(|(name, _)| *name != "class")
            // "3/1" means three copies, one of them transient.
            .filter_map(|(_, copies)| copies.split('/').next()?.parse::<u32>().ok())
            .sum()
    }))
}

/// The node's `commitlog_sync`; `None` if it is not reported.
pub(crate) async fn commit_log(session: &Session) -> Result<Option<String>, Trouble> {
    node_setting(session, "commitlog_sync").await
}

/// The node's `paxos_variant`; `None` if it is not reported or does not exist.
pub(crate) async fn paxos_variant(session: &Session) -> Result<Option<String>, Trouble> {
    if schema::is_scylla(session) {
        return Ok(None);
    }
    node_setting(session, "paxos_variant").await
}

/// The risk for leases with this kind of conditional writes, if there is one.
pub(crate) fn lease_trouble(copies: u32, paxos_variant: Option<&str>) -> Option<String> {
    let variant = paxos_variant.filter(|variant| copies > 1 && *variant != "v2")?;
    Some(format!(
        "paxos_variant is {variant}: with {copies} replicas of every row, conditional writes \
         sometimes fail without a fault, and leases are kept by retrying; set paxos_variant: v2 \
         in the cassandra.yaml of every node (Cassandra 4.1 and newer)"
    ))
}

/// A setting of the node that answers; `None` if it is not reported.
async fn node_setting(session: &Session, name: &str) -> Result<Option<String>, Trouble> {
    let query = if schema::is_scylla(session) {
        format!("SELECT value FROM system.config WHERE name = '{name}'")
    } else {
        format!("SELECT value FROM system_views.settings WHERE name = '{name}'")
    };
    // These tables are local to the node, so no other consistency is possible.
    let mut statement = Statement::new(query);
    statement.set_consistency(Consistency::One);
    let found = match session.query_unpaged(statement, ()).await {
        Ok(found) => found.into_rows_result()?,
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid | DbError::Unauthorized,
            _,
        ))) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let row = found.maybe_first_row::<(Option<String>,)>()?;
    let value = row.and_then(|(value,)| value);
    Ok(value.map(|value| value.trim_matches('"').to_owned()))
}

/// The risk in relying on this database's acknowledgements, if there is one.
pub(crate) fn danger(copies: u32, commit_log: Option<&str>) -> Option<String> {
    const REMEDY: &str = "set commitlog_sync: batch (or group) in the node's cassandra.yaml, or \
         keep three replicas of every row, or allow it in the configuration";
    if copies >= SAFE_COPIES {
        return None;
    }
    match commit_log {
        Some("batch" | "group") => None,
        Some(mode) => Some(format!(
            "commitlog_sync is {mode} and there are {copies} replicas of every row: a node that \
             dies loses what it acknowledged; {REMEDY}"
        )),
        None => Some(format!(
            "the database does not report its commitlog_sync (the role needs SELECT on \
             system_views.settings) and there are {copies} copies of every row; {REMEDY}"
        )),
    }
}

/// Checks what the store was created for, or records it the first time.
async fn identify(
    session: &Session,
    keyspace: &Keyspace,
    options: &CassandraOptions,
    place: &str,
) -> Result<(), OpenFailure> {
    let partitions = options.partitions.to_string();
    let mut made_with = inputs(session, keyspace).await?;
    for wanted in &options.models {
        let ModelInputs { model, inputs } = wanted;
        let first = made_with.remove(model).unwrap_or_else(|| inputs.clone());
        let inputs = meta(session, keyspace, &format!("{INPUTS}{model}"), &first).await?;
        let model = model.clone();
        let found = ModelInputs { model, inputs };
        if found != *wanted {
            return Err(OpenFailure::Refused(OpenError::OtherModel {
                place: place.to_owned(),
                found: found.to_string(),
                wanted: wanted.to_string(),
            }));
        }
    }
    for model in made_with.keys() {
        tracing::warn!(place, %model, "store.unknown_model_left_alone");
    }
    let found = meta(session, keyspace, KEY, &partitions).await?;
    match found.parse()? {
        Partitions::Of(found) if found == options.partitions => Ok(()),
        Partitions::Of(found) => Err(OpenFailure::Refused(OpenError::OtherPartitions {
            place: place.to_owned(),
            found,
            wanted: options.partitions,
        })),
        Partitions::Changing { from, to } => Err(OpenFailure::Refused(OpenError::Unusable {
            place: place.to_owned(),
            detail: format!(
                "a change from {from} to {to} partitions is unfinished; `kindred partitions set \
                 {to}` completes it"
            ),
        })),
    }
}

/// The inputs of every model that may have features in the keyspace.
pub(crate) async fn inputs(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<BTreeMap<ModelName, String>, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT key, value FROM {ks}.meta"));
    read.set_consistency(Consistency::Quorum);
    let found = session.query_unpaged(read, ()).await?.into_rows_result()?;
    let (mut models, mut first) = (BTreeMap::new(), None);
    for row in found.rows::<(&str, String)>()? {
        let (key, value) = row?;
        if key == MODEL {
            first = first_model(&value);
        } else if let Some(model) = key.strip_prefix(INPUTS) {
            let model = ModelName::new(model).map_err(|e| Trouble::Row("meta", e.to_string()))?;
            models.insert(model, value);
        }
    }
    if let Some(first) = first {
        models.entry(first.model).or_insert(first.inputs);
    }
    Ok(models)
}

/// The value of a row of `meta`; set to `wanted` if there is none.
async fn meta(
    session: &Session,
    keyspace: &Keyspace,
    key: &str,
    wanted: &str,
) -> Result<String, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT value FROM {ks}.meta WHERE key = ?"));
    read.set_consistency(Consistency::Serial);
    let write = keyspace.fill("INSERT INTO {ks}.meta (key, value) VALUES (?, ?) IF NOT EXISTS");
    // Twice: the row exists the second time, whoever wrote it.
    for _ in 0..2 {
        let found = session.query_unpaged(read.clone(), (key,)).await?;
        let found = found.into_rows_result()?;
        if let Some((value,)) = found.maybe_first_row::<(String,)>()? {
            return Ok(value);
        }
        session.query_unpaged(write.as_str(), (key, wanted)).await?;
    }
    Ok(wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_several_copies_and_the_first_paxos_trouble_leases() {
        for (copies, variant, is_trouble) in [
            (1, Some("v1"), false),
            (3, Some("v2"), false),
            (3, None, false),
            (3, Some("v1"), true),
            (
                2,
                Some("v1_without_linearizable_reads_or_rejected_writes"),
                true,
            ),
        ] {
            let said = lease_trouble(copies, variant);
            assert_eq!(said.is_some(), is_trouble, "{copies} {variant:?} {said:?}");
        }
    }

    #[test]
    fn a_database_that_can_lose_what_it_acknowledged_is_refused() {
        for (copies, mode, is_dangerous) in [
            (1, Some("batch"), false),
            (1, Some("group"), false),
            (1, Some("periodic"), true),
            (2, Some("periodic"), true),
            (3, Some("periodic"), false),
            (1, None, true),
            (3, None, false),
        ] {
            let said = danger(copies, mode);
            assert_eq!(said.is_some(), is_dangerous, "{copies} {mode:?} {said:?}");
            assert!(said.is_none_or(|said| said.contains("commitlog_sync: batch")));
        }
    }
}
