//! `kindred doctor`: what is wrong with what Kindred stands on, and what to do about it.
//!
//! Every check gathers facts first and judges them apart, without I/O. Nothing is changed.

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

/// Checks broker, database, permissions, versions and clocks; says what is wrong and what to do.
///
/// A line a check: ok, unknown (it could not be made, and why), warning or problem. Ends with 0
/// when there is no problem, else with 1. Changes nothing. Log in as the program whose permissions
/// are to be checked.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Whose needs are checked
    #[arg(long = "as", value_enum, default_value_t = Part::ModelService)]
    part: Part,
    /// The broker's management, with user and password where they are not those of amqp_url
    /// [default: port 15672 of the broker]
    #[arg(long, value_name = "URL")]
    management: Option<String>,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Who asks broker and database for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// `kindred model-service`
    ModelService,
    /// `compute-worker`
    ComputeWorker,
    /// Who publishes events: the broker alone is looked at
    Publisher,
    /// `kindred standalone`: the data directory alone is looked at
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
