//! `kindred partitions`: shows or changes a cluster's number of partitions.

use std::io::Write;

use kindred_runtime::amqp::repartition::{events_waiting, finish, rebind, routes};
use kindred_runtime::amqp::{Names, close};
use kindred_runtime::cql::connect;
use scylla::client::session::Session;
use serde::Serialize;

use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use crate::config::Config;
use crate::store::cassandra::partitions::{self, Partitions};
use crate::store::cassandra::schema::Keyspace;

/// Shows how many partitions the cluster has.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Changes the number of partitions while no model service runs.
///
/// Stop publishers first, let the model services drain their queues, and stop them. Then run this
/// command, set the new number in the configuration of all services, and start them. The broker's
/// user must be allowed to configure kindred.*, and the database's role to modify the tables
/// `meta`, `partitions` and `domains`. If the change is interrupted, run the same command again.
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// The new number of partitions
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    number: u16,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

#[derive(Debug, Serialize)]
struct Report {
    partitions: u16,
    /// The target of an unfinished change.
    #[serde(skip_serializing_if = "Option::is_none")]
    changing_to: Option<u16>,
    /// Domains that were assigned to a partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    domains: Option<usize>,
}

pub(crate) fn show(config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let found = actix::System::new().block_on(async {
        let (session, keyspace) = database(config).await?;
        existing(&session, &keyspace).await
    })?;
    let (partitions, changing_to) = match found {
        Partitions::Of(number) => (number, None),
        Partitions::Changing { from, to } => (from, Some(to)),
    };
    let report = Report {
        partitions,
        changing_to,
        domains: None,
    };
    if json {
        writeln!(
            out,
            "{}",
            serde_json::to_string(&report).unwrap_or_default()
        )?;
        return Ok(Exit::Done);
    }
    match changing_to {
        None => writeln!(out, "{partitions} partitions")?,
        Some(to) => writeln!(
            out,
            "{partitions} partitions; a change to {to} is unfinished: `kindred partitions set \
            {to}` completes it"
        )?,
    }
    Ok(Exit::Done)
}

pub(crate) fn set(args: &SetArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let changed = actix::System::new().block_on(change(args.number, config))?;
    if json {
        let report = Report {
            partitions: args.number,
            changing_to: None,
            domains: changed,
        };
        writeln!(
            out,
            "{}",
            serde_json::to_string(&report).unwrap_or_default()
        )?;
        return Ok(Exit::Done);
    }
    let number = args.number;
    match changed {
        None => writeln!(out, "there are already {number} partitions")?,
        Some(domains) => writeln!(
            out,
            "{number} partitions for {domains} domains; now set partitions = {number} for every \
             model service, and start them"
        )?,
    }
    Ok(Exit::Done)
}

/// Changes the number; returns how many domains there are, or `None` if nothing had to be done.
async fn change(to: u16, config: &Config) -> Result<Option<usize>, CommandError> {
    let (session, keyspace) = database(config).await?;
    let (session, keyspace) = (&session, &keyspace);
    let before = existing(session, keyspace).await?;
    if before == Partitions::Of(to) {
        return Ok(None);
    }
    let (Partitions::Of(from) | Partitions::Changing { from, .. }) = before;
    let most = match before {
        Partitions::Of(from) => from.max(to),
        // An unfinished change may have created queues of its own.
        Partitions::Changing { from, to: begun } => from.max(begun).max(to),
    };
    partitions::refuse_while_in_use(session, keyspace)
        .await
        .map_err(failed)?;
    let connector = config.broker.connector("kindred partitions");
    let connector = connector.map_err(failed)?;
    let connection = connector.connect("partitions").await.map_err(failed)?;
    let names = Names::default();
    if let Partitions::Of(from) = before {
        let waiting = events_waiting(&connection, &names, from).await;
        let waiting = waiting.map_err(failed)?;
        if waiting > 0 {
            return Err(CommandError::failed(format!(
                "{waiting} events wait in the queues of the {from} partitions; stop publishers, \
                 run the model services until the queues are empty (`kindred status`), stop \
                 them, and run this again"
            )));
        }
    }
    let changing = partitions::begin(session, keyspace, before, to);
    let changing = changing.await.map_err(failed)?;
    let raised = partitions::raise_epochs(session, keyspace, most).await;
    let (epoch, domains) = raised.map_err(failed)?;
    tracing::info!(
        from,
        to,
        domains = domains.len(),
        epoch = epoch.0,
        "partitions.changing"
    );
    let unfinished = |error: &dyn std::fmt::Display| {
        CommandError::failed(format!(
            "{error}; the change is not finished, and no model service starts until it is: run \
             `kindred partitions set {to}` again"
        ))
    };
    rebind(&connection, &names, most, to)
        .await
        .map_err(|error| unfinished(&error))?;
    let routed = routes(&connection, &names, to, &domains).await;
    let routed = routed.map_err(|error| unfinished(&error))?;
    partitions::assign(session, keyspace, epoch, routed)
        .await
        .map_err(|error| unfinished(&error))?;
    // Events may arrive before services start: they wait in their queues.
    finish(&connection, &names, most, to)
        .await
        .map_err(|error| unfinished(&error))?;
    partitions::finish(session, keyspace, changing, to)
        .await
        .map_err(|error| unfinished(&error))?;
    close(&connection).await;
    Ok(Some(domains.len()))
}

async fn database(config: &Config) -> Result<(Session, Keyspace), CommandError> {
    let name = &config.database.cql_keyspace;
    let keyspace = Keyspace::new(name).ok_or_else(|| {
        CommandError::usage(format!(
            "cql_keyspace: {name:?} is not a valid keyspace name"
        ))
    })?;
    let session = connect(&config.database.options(), name).await;
    Ok((session.map_err(failed)?, keyspace))
}

async fn existing(session: &Session, keyspace: &Keyspace) -> Result<Partitions, CommandError> {
    let found = partitions::found(session, keyspace).await;
    found.map_err(failed)?.ok_or_else(|| {
        CommandError::failed(format!(
            "no model service has been started on keyspace {} yet: the first one creates as many \
             partitions as it is configured with",
            keyspace.as_str()
        ))
    })
}

fn failed(error: impl std::fmt::Display) -> CommandError {
    CommandError::failed(error.to_string())
}
