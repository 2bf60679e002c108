//! The command line: the commands of `kindred`, and how they end.
//!
//! Machine-readable output (`--json`) and tables go to standard output, logs and progress to
//! standard error. See [`Exit`] for exit codes.

mod agreement;
mod bench;
mod client;
mod conditions;
mod demo;
mod doctor;
mod domain;
mod domain_log;
mod evaluate;
mod exit;
mod export;
mod filters;
mod flags;
mod import;
mod interrupt;
mod items;
mod keys;
mod local;
mod manual;
mod memory;
mod model_service;
mod models;
mod neighbours;
mod output;
mod partitions;
mod publish;
mod repair;
mod replay;
mod retry;
mod schema;
mod show_config;
mod similar;
mod standalone;
mod state_file;
mod status;
mod vectors;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::{CommandError, EXIT_CODES, Exit, Outcome};

use self::flags::AllFlags;
use crate::config::{Config, Flags, LOG};

/// Log filter of commands that report their own progress, including an unreachable broker.
const QUIET_LOG: &str = "warn,kindred_runtime::amqp=error,lapin=off";

/// Version, commit and build.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILT_FROM"), ")");

/// Keeps every item's most similar items exact while items are added, changed and removed.
///
/// Without a command, runs `standalone`.
#[derive(Debug, Parser)]
#[command(name = "kindred", version = VERSION, after_help = EXIT_CODES, subcommand_help_heading = "Commands")]
struct Cli {
    #[command(flatten)]
    flags: AllFlags,
    /// Write JSON to standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(local::DemoArgs),
    Standalone(local::StandaloneArgs),
    ModelService(local::ModelServiceArgs),
    Schema(schema::SchemaArgs),
    Agreement(agreement::AgreementArgs),
    /// Shows or changes the number of partitions
    #[command(subcommand)]
    Partitions(PartitionsCommand),
    Doctor(doctor::DoctorArgs),
    Import(import::ImportArgs),
    Publish(publish::PublishArgs),
    Replay(Box<replay::ReplayArgs>),
    Similar(Box<similar::SimilarArgs>),
    Status(status::StatusArgs),
    Repair(repair::RepairArgs),
    /// Shows or changes the settings of a domain, and who changed what
    #[command(subcommand)]
    Domain(DomainCommand),
    /// The models of a domain: the served one, and others built next to it
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Creates, lists and revokes keys
    #[command(subcommand)]
    Keys(KeysCommand),
    Items(items::ItemsArgs),
    Export(export::ExportArgs),
    Config(show_config::ConfigArgs),
    Neighbours(neighbours::NeighboursArgs),
    Evaluate(evaluate::EvaluateArgs),
    /// Word vectors
    #[command(subcommand)]
    Vectors(VectorsCommand),
    /// Measurements
    #[command(subcommand)]
    Bench(BenchCommand),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

#[derive(Debug, Subcommand)]
enum DomainCommand {
    Show(domain::ShowArgs),
    Set(Box<domain::SetArgs>),
    Log(domain_log::LogArgs),
    Delete(domain::DeleteArgs),
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    List(models::ListArgs),
    Put(models::PutArgs),
    Activate(models::ActivateArgs),
    Delete(models::DeleteArgs),
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Create(keys::CreateArgs),
    List(keys::ListArgs),
    Revoke(keys::RevokeArgs),
}

#[derive(Debug, Subcommand)]
enum PartitionsCommand {
    Show(partitions::ShowArgs),
    Set(partitions::SetArgs),
}

#[derive(Debug, Subcommand)]
enum VectorsCommand {
    Prepare(vectors::PrepareArgs),
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    Pipeline(local::PipelineArgs),
    Freshness(local::FreshnessArgs),
    Queries(local::QueriesArgs),
    Models(local::ModelsArgs),
    Similarity(local::SimilarityArgs),
    Extract(local::ExtractArgs),
}

impl Command {
    /// Keys given after the command; commands about the program itself have none.
    fn flags(&self) -> Option<&Flags> {
        let flags = match self {
            Self::Demo(args) => &args.flags.0,
            Self::Standalone(args) => &args.flags.0,
            Self::ModelService(args) => &args.flags.0,
            Self::Schema(args) => &args.flags.0,
            Self::Agreement(args) => &args.flags.0,
            Self::Partitions(PartitionsCommand::Show(args)) => &args.flags.0,
            Self::Partitions(PartitionsCommand::Set(args)) => &args.flags.0,
            Self::Doctor(args) => &args.flags.0,
            Self::Import(args) => &args.flags.0,
            Self::Publish(args) => &args.flags.0,
            Self::Replay(args) => &args.flags.0,
            Self::Similar(args) => &args.flags.0,
            Self::Status(args) => &args.flags.0,
            Self::Repair(args) => &args.flags.0,
            Self::Domain(DomainCommand::Show(args)) => &args.flags.0,
            Self::Domain(DomainCommand::Set(args)) => &args.flags.0,
            Self::Domain(DomainCommand::Log(args)) => &args.flags.0,
            Self::Domain(DomainCommand::Delete(args)) => &args.flags.0,
            Self::Models(ModelsCommand::List(args)) => &args.flags.0,
            Self::Models(ModelsCommand::Put(args)) => &args.flags.0,
            Self::Models(ModelsCommand::Activate(args)) => &args.flags.0,
            Self::Models(ModelsCommand::Delete(args)) => &args.flags.0,
            Self::Keys(KeysCommand::Create(args)) => &args.flags.0,
            Self::Keys(KeysCommand::List(args)) => &args.flags.0,
            Self::Keys(KeysCommand::Revoke(args)) => &args.flags.0,
            Self::Items(args) => &args.flags.0,
            Self::Export(args) => &args.flags.0,
            Self::Config(args) => &args.flags.0,
            Self::Neighbours(args) => &args.flags.0,
            Self::Evaluate(args) => &args.flags.0,
            Self::Vectors(VectorsCommand::Prepare(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Pipeline(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Freshness(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Queries(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Models(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Similarity(args)) => &args.flags.0,
            Self::Bench(BenchCommand::Extract(args)) => &args.flags.0,
            Self::Completions(_) | Self::Man(_) => return None,
        };
        Some(flags)
    }

    /// A service's logs would drown the output of commands that print results. `neighbours` logs
    /// only what is wanted.
    fn logs_little(&self) -> bool {
        !matches!(
            self,
            Self::Standalone(_) | Self::ModelService(_) | Self::Neighbours(_)
        )
    }
}

/// Runs the program: reads the command line, the environment and the configuration, runs the
/// command, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is not a failure: the reader has seen enough.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let mut out = std::io::stdout().lock();
    let outcome = run(cli, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                // Standard error may be closed; the exit code still reports the failure.
                let _ = writeln!(std::io::stderr(), "kindred: {failure}");
            }
            failure.exit.into()
        }
    }
}

fn run(cli: Cli, out: &mut dyn Write) -> Outcome {
    let command = cli.command.unwrap_or_else(|| {
        Command::Standalone(local::StandaloneArgs {
            flags: AllFlags::default(),
        })
    });
    let flags = match command.flags() {
        Some(behind) => cli.flags.0.and_then(behind.clone()),
        // Neither needs a configuration, so an invalid one must not get in the way.
        None => return manual::run(&command, Cli::command(), out),
    };
    let (config, origins) = Config::resolve(&flags, std::env::vars_os(), Path::new(""))?;
    let log = if command.logs_little() {
        QUIET_LOG
    } else {
        LOG
    };
    config.logging.start(&origins, log)?;
    let json = cli.json;
    match command {
        Command::Import(args) => import::run(&args, &config, json, out),
        Command::Publish(args) => publish::run(&args, &config, json, out),
        Command::Replay(args) => replay::run(&args, &config, json, out),
        Command::Similar(args) => similar::run(&args, &config, json, out),
        Command::Status(args) => status::run(&args, &config, json, out),
        Command::Repair(args) => repair::run(&args, &config, json, out),
        Command::Domain(DomainCommand::Show(args)) => domain::show(&args, &config, json, out),
        Command::Domain(DomainCommand::Set(args)) => domain::set(&args, &config, json, out),
        Command::Domain(DomainCommand::Log(args)) => domain_log::log(&args, &config, json, out),
        Command::Domain(DomainCommand::Delete(args)) => domain::delete(&args, &config, json, out),
        Command::Models(ModelsCommand::List(args)) => models::list(&args, &config, json, out),
        Command::Models(ModelsCommand::Put(args)) => models::put(&args, &config, json, out),
        Command::Models(ModelsCommand::Activate(args)) => {
            models::activate(&args, &config, json, out)
        }
        Command::Models(ModelsCommand::Delete(args)) => models::delete(&args, &config, json, out),
        Command::Keys(KeysCommand::Create(args)) => keys::create(&args, &config, json, out),
        Command::Keys(KeysCommand::List(args)) => keys::list(&args, &config, json, out),
        Command::Keys(KeysCommand::Revoke(args)) => keys::revoke(&args, &config, json, out),
        Command::Items(args) => items::run(&args, &config, json, out),
        Command::Export(args) => export::run(&args, &config, json, out),
        Command::Neighbours(args) => neighbours::run(&args, &config, json, out),
        Command::Evaluate(args) => evaluate::run(&args, &config, json, out),
        Command::Config(_) => show_config::run(&config, &origins, json, out),
        Command::Vectors(VectorsCommand::Prepare(args)) => vectors::run(&args, json, out),
        Command::Standalone(_) => standalone::run(&config, &origins, json, out),
        Command::ModelService(_) => model_service::run(&config),
        Command::Schema(args) => schema::run(&args, &config, out),
        Command::Agreement(args) => agreement::run(&args, &config, json, out),
        Command::Partitions(PartitionsCommand::Show(_)) => partitions::show(&config, json, out),
        Command::Partitions(PartitionsCommand::Set(args)) => {
            partitions::set(&args, &config, json, out)
        }
        Command::Doctor(args) => doctor::run(&args, &config, &origins, json, out),
        Command::Demo(args) => demo::run(&args, &config, &origins, json, out),
        Command::Bench(BenchCommand::Pipeline(args)) => {
            bench::run(&args, &config, &origins, json, out)
        }
        Command::Bench(BenchCommand::Freshness(args)) => {
            bench::freshness::run(&args, &config, &origins, json, out)
        }
        Command::Bench(BenchCommand::Queries(args)) => {
            bench::queries::run(&args, &config, &origins, json, out)
        }
        Command::Bench(BenchCommand::Models(args)) => {
            bench::models::run(&args, &config, &origins, json, out)
        }
        Command::Bench(BenchCommand::Similarity(args)) => {
            bench::similarity::run(&args, &config, json, out)
        }
        Command::Bench(BenchCommand::Extract(args)) => {
            bench::extract::run(&args, &config, json, out)
        }
        Command::Completions(_) | Command::Man(_) => manual::run(&command, Cli::command(), out),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    mod documents;

    use super::*;
    use crate::config::keys;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Cargo hands what a build script sets to what it runs: named KINDRED_…, it would be an unknown variable there.
    #[test]
    fn what_the_build_says_is_no_configuration() {
        let built = env!("BUILT_FROM");
        let named = std::env::vars_os().filter(|(_, value)| value.as_os_str() == built);
        let named: Vec<_> = named.map(|(name, _)| name).collect();
        let is_ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("KINDRED_");
        assert!(!named.iter().any(is_ours), "{named:?}");
    }

    #[test]
    fn flags_behind_ids_are_no_ids() {
        let behind = ["a", "b", "--limit", "2", "--json"];
        let line = ["kindred", "similar", "news.example"];
        let cli = Cli::try_parse_from(line.into_iter().chain(behind)).unwrap();
        assert!(cli.json, "{cli:?}");
        let hyphen = Cli::try_parse_from(line.into_iter().chain(["--", "-a"]));
        assert!(hyphen.is_ok(), "{hyphen:?}");
    }

    #[test]
    fn there_are_exactly_these_commands() {
        let names: Vec<String> = Cli::command()
            .get_subcommands()
            .flat_map(|command| {
                let name = command.get_name().to_owned();
                let below: Vec<String> = command
                    .get_subcommands()
                    .map(|sub| format!("{name} {}", sub.get_name()))
                    .collect();
                if below.is_empty() { vec![name] } else { below }
            })
            .collect();
        assert_eq!(
            names,
            [
                "demo",
                "standalone",
                "model-service",
                "schema",
                "agreement",
                "partitions show",
                "partitions set",
                "doctor",
                "import",
                "publish",
                "replay",
                "similar",
                "status",
                "repair",
                "domain show",
                "domain set",
                "domain log",
                "domain delete",
                "models list",
                "models put",
                "models activate",
                "models delete",
                "keys create",
                "keys list",
                "keys revoke",
                "items",
                "export",
                "config",
                "neighbours",
                "evaluate",
                "vectors prepare",
                "bench pipeline",
                "bench freshness",
                "bench queries",
                "bench models",
                "bench similarity",
                "bench extract",
                "completions",
                "man"
            ]
        );
    }

    #[test]
    fn every_key_is_a_flag_and_every_exit_code_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for key in keys() {
            assert!(
                help.contains(&format!("--{} <VALUE>", key.flag())),
                "{}",
                key.name
            );
            assert!(help.contains(&key.variable()), "{}", key.name);
        }
        assert!(help.contains(EXIT_CODES.lines().last().unwrap().trim()));
    }

    #[test]
    fn flags_count_before_and_after_the_command() {
        let cli = Cli::try_parse_from([
            "kindred",
            "--threads",
            "1",
            "--window",
            "1s",
            "standalone",
            "--threads",
            "2",
        ])
        .unwrap();
        let flags = cli
            .flags
            .0
            .and_then(cli.command.unwrap().flags().unwrap().clone());
        let (config, _) = Config::resolve(&flags, [], Path::new("/nonexistent")).unwrap();
        assert_eq!(config.compute.threads, 2);
        assert_eq!(config.domains.window, std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_temporary_service_takes_no_data_directory() {
        assert!(Cli::try_parse_from(["kindred", "demo", "--data-dir", "x"]).is_err());
        assert!(Cli::try_parse_from(["kindred", "demo", "--window", "1s"]).is_ok());
    }
}
