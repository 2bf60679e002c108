//! `kindred doctor`: finds problems in the systems Kindred depends on, and says how to fix them.
//!
//! Every check gathers its facts first and then judges them without I/O. Nothing is changed.

mod broker;
mod clocks;
mod database;
mod finding;
mod programs;
mod standalone;

use std::io::Write;

use self::finding::{DoctorReport, Finding};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use super::output::json_lines;
use crate::config::{Config, Origin, Origins};

/// Checks broker, database, permissions, versions and clocks; says what is wrong and how to fix it.
///
/// Prints one line per check: ok, unknown (the check could not be made, with the reason), warning
/// or problem. Exits with 0 if there is no problem, else with 1. Changes nothing. Run it with the
/// credentials of the program whose permissions are to be checked.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Whose needs are checked
    #[arg(long = "as", value_enum, default_value_t = Part::ModelService)]
    part: Part,
    /// URL of the broker's management API, with user and password if they differ from those of
    /// amqp_url [default: port 15672 of the broker]
    #[arg(long, value_name = "URL")]
    management: Option<String>,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// A program that needs the broker or the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// `kindred model-service`
    ModelService,
    /// `compute-worker`
    ComputeWorker,
    /// A publisher of events: only the broker is checked
    Publisher,
    /// `kindred standalone`: only the data directory and the address are checked
    Standalone,
}

pub(crate) fn run(
    args: &DoctorArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let given = |key| origins.of(key) != Origin::Default;
    let mut findings = Vec::new();
    if args.part == Part::Standalone || given("data_dir") {
        let facts = standalone::look(config);
        findings.extend(standalone::judge(&facts));
    }
    let clustered = args.part != Part::Standalone
        && (!given("data_dir") || given("amqp_url") || given("cql_nodes"));
    if clustered {
        findings.extend(look_at_cluster(args, config)?);
    }
    let report = DoctorReport::new(findings);
    if json {
        json_lines(out, &report)?;
    } else {
        report.print(out)?;
    }
    Ok(if report.healthy {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn look_at_cluster(args: &DoctorArgs, config: &Config) -> Result<Vec<Finding>, CommandError> {
    let connector = (config.broker.connector("kindred doctor"))
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let management = broker::management::Address::of(config, args.management.as_deref())?;
    actix::System::new().block_on(async {
        let (part, partitions) = (args.part, config.domains.partitions);
        let facts = broker::look::look(&connector, config, &management, part).await;
        let mut findings = broker::judge(&facts, part, partitions);
        let mut clocks = vec![clocks::of_broker(&facts)];
        let mut versions = programs::of_broker(&facts);
        if part != Part::Publisher {
            let facts = database::look::look(config, part).await;
            findings.extend(database::judge(&facts, config, part));
            clocks.push(clocks::of_database(&facts));
            versions.extend(programs::look(&facts, config)?);
        }
        findings.push(programs::judge(&versions));
        findings.extend(clocks::judge(&clocks));
        Ok(findings)
    })
}
