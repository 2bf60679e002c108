//! `kindred schema`: creates or prints the tables of the clustered role.

use std::io::Write;

use kindred_runtime::cql::connect;

use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use crate::config::Config;
use crate::store::cassandra::schema::{Keyspace, migrate, statements};

/// Creates missing tables in Cassandra/ScyllaDB; needs a role that may do so.
///
/// A model service does the same when it starts, if its own role may.
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// Print the statements for an empty keyspace instead, to be run by hand
    #[arg(long)]
    pub(crate) print: bool,
    /// With --print: for ScyllaDB
    #[arg(long, requires = "print")]
    pub(crate) scylla: bool,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

pub(super) fn run(args: &SchemaArgs, config: &Config, out: &mut dyn Write) -> Outcome {
    let keyspace = Keyspace::new(&config.database.cql_keyspace).ok_or_else(|| {
        CommandError::failed(format!(
            "cql_keyspace: {:?} is not a valid keyspace name",
            config.database.cql_keyspace
        ))
    })?;
    let copies = config.database.cql_replication;
    if args.print {
        for statement in statements(&keyspace, copies, args.scylla) {
            writeln!(out, "{statement};")?;
        }
        return Ok(Exit::Done);
    }
    actix::System::new().block_on(async {
        let session = connect(&config.database.options(), &config.database.cql_keyspace)
            .await
            .map_err(|error| {
                CommandError::failed(format!("the database cannot be reached: {error}"))
            })?;
        migrate(&session, &keyspace, copies).await.map_err(|error| {
            CommandError::failed(format!("the schema could not be created: {error}"))
        })
    })?;
    writeln!(
        out,
        "the schema in {} is up to date",
        config.database.cql_keyspace
    )?;
    Ok(Exit::Done)
}
