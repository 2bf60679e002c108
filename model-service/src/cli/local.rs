//! Options of commands that start a service in this process.

use std::path::PathBuf;

use kindred_shared::DomainName;

use super::flags::{AllFlags, ServiceFlags};
use super::import::domain;
use crate::sites::Base;

/// Runs everything in one process, with an embedded store.
#[derive(Debug, clap::Args)]
pub(crate) struct StandaloneArgs {
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Runs the clustered model service: events and jobs over RabbitMQ, all data in Cassandra/ScyllaDB.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelServiceArgs {
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// Shows what Kindred does with your own site or a bundled sample, and keeps serving.
///
/// A site is a folder or a file as `kindred import` takes it. The data is in a temporary directory.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Folder or file of a site [default: the bundled sample]
    #[arg(value_name = "FOLDER|FILE")]
    pub(crate) source: Option<PathBuf>,
    /// Domain of its items [default: its host, or its name]
    #[arg(long, requires = "source", value_parser = domain)]
    pub(crate) domain: Option<DomainName>,
    /// Where the site is published, such as https://blog.example [default: from its settings]
    #[arg(long, value_name = "URL", requires = "source", value_parser = Base::parse)]
    pub(crate) url_base: Option<Base>,
    /// Exit after printing
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Options that say how a service to measure is run.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Over RabbitMQ and Cassandra/ScyllaDB, with compute workers
    #[arg(long)]
    pub(crate) clustered: bool,
    /// With --clustered: number of `compute-worker` processes
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
}

/// Measures how fast events become served lists, on a service of its own.
///
/// Without --clustered: in one process, in a temporary directory. With it: on the configured
/// broker, which must be idle, in a keyspace of its own that is dropped at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct PipelineArgs {
    /// Number of items; with --input, at most this many
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) items: u32,
    /// Number of domains that share the items
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) domains: u16,
    /// NDJSON of events whose titles and texts are used [default: generated texts]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Measures how soon events show in lists while others keep coming, on a service of its own.
///
/// New items arrive at each of the rates in domains of each of the sizes. Without --clustered: in
/// one process, in a temporary directory. With it: on the configured broker, which must be idle, in
/// a keyspace of its own that is dropped at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct FreshnessArgs {
    /// Number of items at the start, over all domains; several separated by commas
    #[arg(long, default_value = "10000", value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) items: Vec<u32>,
    /// Events per second; several separated by commas
    #[arg(long, default_value = "50", value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: Vec<u32>,
    /// How long events arrive at each rate, in seconds
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Number of domains that share the items
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) domains: u16,
    /// NDJSON of events whose titles and texts are used [default: generated texts]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Measures query latency over HTTP while events keep coming, on a service of its own.
///
/// There is one domain; each event gives one of its items another text. Kinds of queries run one
/// after the other: unfiltered, with filters that let one item in 1,000 or every other item pass,
/// by text, and explained.
#[derive(Debug, clap::Args)]
pub(crate) struct QueriesArgs {
    /// Number of items
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) items: u32,
    /// Events per second; 0: none
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) events: u32,
    /// Queries per second
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) queries: u32,
    /// How long each kind of query runs, in seconds
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// NDJSON of events whose titles and texts are used [default: generated texts]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Measures what models beside the active one cost, on a service of its own: memory, events, and
/// activations.
///
/// Every domain has the same models: of texts, of vectors that items bring, and mixes of both. Events
/// come one by one, each when everything is quiet.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    /// Number of domains
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) domains: u16,
    /// Items of each domain
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) items: u32,
    /// Models of each domain, the active one included
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=64))]
    pub(crate) models: u16,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Measures comparisons of text features: with their sparse parts, and the dense parts alone.
///
/// The two are measured alternately; no service is involved.
#[derive(Debug, clap::Args)]
pub(crate) struct SimilarityArgs {
    /// Number of texts; with --input, at most this many
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub(crate) items: u32,
    /// NDJSON of events whose titles and texts are used [default: generated texts]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Neighbours per row
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) keep: u16,
    /// Rows inserted and compared with all others
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) new: u16,
    /// Rounds, of which the fastest counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// Measures how many documents of 200 words a core turns into features, by language.
///
/// Markup, detection of the language, terms and the default model are all included.
#[derive(Debug, clap::Args)]
pub(crate) struct ExtractArgs {
    /// Documents per language
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) items: u32,
    /// Rounds, of which the fastest counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Only these languages [default: all that have documents]
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub(crate) of: Vec<String>,
    /// Measure this encoder of the folder `encoders`, instead of text-2
    #[arg(long, value_name = "NAME")]
    pub(crate) encoder: Option<String>,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}
