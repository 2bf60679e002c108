//! Gathers the facts about the database.

use std::time::Duration;

use chrono::Utc;
use compute_worker::models::names;
use kindred_runtime::cql;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::statement::{Consistency, Statement};
use scylla::value::{CqlTimestamp, Row};
use tokio::time::timeout;

use super::super::Part;
use super::{DatabaseFacts, Inside, NoEntry, Owner, Rights};
use crate::config::Config;
use crate::store::cassandra::opening::{commit_log, copies, inputs, paxos_variant};
use crate::store::cassandra::partitions::found;
use crate::store::cassandra::schema::{Keyspace, check, is_scylla};

/// Longest time to connect, with every node tried.
const CONNECT: Duration = Duration::from_secs(20);

pub(in super::super) async fn look(config: &Config, part: Part) -> DatabaseFacts {
    let options = config.database.options();
    let place = options.nodes.join(",");
    let connecting = timeout(
        CONNECT,
        cql::connect(&options, &config.database.cql_keyspace),
    );
    let session = match connecting.await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(no_entry(&error.to_string())),
        Err(_) => Err(NoEntry::Away(format!("no answer within {CONNECT:?}"))),
    };
    let inside = match session {
        Ok(session) => Ok(Box::new(look_inside(&session, config, part).await)),
        Err(no_entry) => Err(no_entry),
    };
    DatabaseFacts { place, inside }
}

fn no_entry(words: &str) -> NoEntry {
    let small = words.to_ascii_lowercase();
    let about_login = ["authentication", "credentials", "password", "username"];
    if about_login.iter().any(|word| small.contains(word)) {
        NoEntry::Refused(words.to_owned())
    } else {
        NoEntry::Away(words.to_owned())
    }
}

async fn look_inside(session: &Session, config: &Config, part: Part) -> Inside {
    // The configuration has validated the name already.
    let keyspace = Keyspace::new(&config.database.cql_keyspace);
    let cluster = session.get_cluster_state();
    let nodes = cluster.get_nodes_info();
    let up = nodes.iter().filter(|node| node.is_connected()).count();
    let version = one::<(String,)>(session, "SELECT release_version FROM system.local").await;
    let mut inside = Inside {
        version: version.map(|row| row.map(|(version,)| version).unwrap_or_default()),
        is_scylla: is_scylla(session),
        nodes: nodes.len(),
        up,
        copies: Err("the keyspace's name cannot be read".to_owned()),
        standing: Err("the keyspace's name cannot be read".to_owned()),
        commit_log: commit_log(session).await.map_err(|error| error.to_string()),
        paxos_variant: paxos_variant(session).await.unwrap_or_default(),
        partitions: Err("the keyspace's name cannot be read".to_owned()),
        unknown_models: Vec::new(),
        largest: None,
        blocks: Err("the keyspace's name cannot be read".to_owned()),
        rights: rights(session, config).await,
        owners: Vec::new(),
        ahead_ms: ahead_ms(session).await,
    };
    let Some(keyspace) = keyspace else {
        return inside;
    };
    inside.copies = copies(session, &keyspace).await.map_err(|e| e.to_string());
    let blocks = keyspace.fill("SELECT part FROM {ks}.feature_blocks LIMIT 1");
    inside.blocks = one::<(i16,)>(session, &blocks).await.map(|_| ());
    if part == Part::ComputeWorker {
        return inside;
    }
    inside.standing = check(session, &keyspace).await.map_err(|e| e.to_string());
    let partitions = found(session, &keyspace).await;
    inside.partitions = partitions.map_err(|error| error.to_string());
    if let Ok(models) = inputs(session, &keyspace).await {
        let known = names();
        // Those of encoders depend on what each program is configured with.
        let unknown = models
            .into_keys()
            .filter(|model| !known.contains(model) && model.encoder().is_none());
        inside.unknown_models = unknown.collect();
    }
    let domains = keyspace.fill("SELECT domain, live FROM {ks}.domains");
    if let Ok(rows) = all::<(String, Option<i64>)>(session, &domains).await {
        let live = rows
            .into_iter()
            .map(|(domain, live)| (domain, live.unwrap_or(0)));
        inside.largest = live.max_by_key(|(_, live)| *live);
    }
    let owners = keyspace.fill("SELECT partition, owner, address FROM {ks}.partitions");
    type Row = (i16, Option<String>, Option<String>);
    if let Ok(rows) = all::<Row>(session, &owners).await {
        inside.owners = rows
            .into_iter()
            .map(|(partition, owner, address)| Owner {
                partition,
                owner: owner.unwrap_or_default(),
                address: address.unwrap_or_default(),
            })
            .collect();
    }
    inside
}

/// What this role was granted; `None`: the database requires no login, or allows everything to
/// everyone.
async fn rights(session: &Session, config: &Config) -> Result<Option<Rights>, String> {
    let Some((user, _)) = config.database.login() else {
        return Ok(None);
    };
    let role = user.replace('"', "\"\"");
    let text = |row: &Row, at: usize| {
        let column = row.columns.get(at).and_then(Option::as_ref);
        column
            .and_then(|value| value.as_text().cloned())
            .unwrap_or_default()
    };
    // role, super, …
    let of = all::<Row>(session, &format!("LIST ROLES OF \"{role}\"")).await;
    let is_superuser = of.is_ok_and(|rows| {
        rows.iter().any(|row| {
            let column = row.columns.get(1).and_then(Option::as_ref);
            column.and_then(|value| value.as_boolean()) == Some(true)
        })
    });
    // role, username, resource, permission
    let listed = all::<Row>(session, &format!("LIST ALL PERMISSIONS OF \"{role}\"")).await;
    match listed {
        Ok(rows) => Ok(Some(Rights {
            is_superuser,
            granted: rows
                .iter()
                .map(|row| (text(row, 2), text(row, 3)))
                .collect(),
        })),
        Err(words) if words.contains("AllowAll") => Ok(None),
        Err(words) => Err(words),
    }
}

async fn ahead_ms(session: &Session) -> Result<i64, String> {
    let began = Utc::now();
    let query = "SELECT toTimestamp(now()) FROM system.local";
    let found = one::<(CqlTimestamp,)>(session, query).await?;
    let ended = Utc::now();
    // Half way between question and answer.
    let here = (began.timestamp_millis() + ended.timestamp_millis()) / 2;
    found
        .map(|(there,)| there.0 - here)
        .ok_or_else(|| "it does not report the time".to_owned())
}

async fn one<T>(session: &Session, query: &str) -> Result<Option<T>, String>
where
    T: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    Ok(all::<T>(session, query).await?.into_iter().next())
}

async fn all<T>(session: &Session, query: &str) -> Result<Vec<T>, String>
where
    T: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let mut statement = Statement::new(query);
    // The question is about one node; a lost node is reported separately.
    statement.set_consistency(Consistency::One);
    statement.set_is_idempotent(true);
    let found = session
        .query_unpaged(statement, ())
        .await
        .map_err(|error| error.to_string())?;
    // An empty list of permissions comes as no rows at all.
    if !found.is_rows() {
        return Ok(Vec::new());
    }
    let found = found
        .into_rows_result()
        .map_err(|error| error.to_string())?;
    let rows = found.rows::<T>().map_err(|error| error.to_string())?;
    rows.collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}
