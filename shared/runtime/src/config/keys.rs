//! Every configuration key, declared once: name, help, default, what is expected, how it is read
//! and shown. Flags, variables, file keys, the documentation and `kindred config` come from here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kindred_similarity::Kernel;

use super::secret::{Secrecy, Secret};
use super::values::{self, LanguageVectors};
use super::{ConfigError, Origin};
use crate::telemetry::LogFormat;
use kindred_shared::event::Limits;

/// Whom a key means something to. Every program accepts every key and ignores those that mean
/// nothing to it, so that one file or environment can serve all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `kindred standalone`.
    Standalone,
    /// Services in one process and a temporary directory: `kindred demo`, `kindred bench`.
    Temporary,
    /// `kindred model-service`.
    ModelService,
    /// `compute-worker`.
    ComputeWorker,
    /// Commands that speak HTTP to a service: `import`, `similar`, `status`.
    Client,
    /// Commands that speak to broker and database: `publish`, `schema`, `doctor`.
    Operator,
    /// Commands that compute on files, without any service: `neighbours`.
    Tool,
}

use Role::{Client, ComputeWorker, ModelService, Operator, Standalone, Temporary, Tool};

const EVERYONE: &[Role] = &[
    Standalone,
    Temporary,
    ModelService,
    ComputeWorker,
    Client,
    Operator,
    Tool,
];
const HTTP: &[Role] = &[Standalone, Temporary, ModelService, Client];
/// Those that decide what is done.
const DECIDING: &[Role] = &[Standalone, Temporary, ModelService];
/// Those that extract and compare.
const WORKING: &[Role] = &[Standalone, Temporary, ComputeWorker];
/// Those that compare.
const COMPARING: &[Role] = &[Standalone, Temporary, ComputeWorker, Tool];
const CLUSTERED: &[Role] = &[ModelService, ComputeWorker, Operator];
const OWNING: &[Role] = &[ModelService, Operator];

/// What is known about a key, besides how its value is read.
#[derive(Debug)]
pub struct Key {
    /// Its name: the file key.
    pub name: &'static str,
    /// What it is for, one or two sentences.
    pub help: &'static str,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// What a value looks like.
    pub expects: &'static str,
    /// Whom it means something to.
    pub roles: &'static [Role],
    /// What of its value may be shown.
    pub secrecy: Secrecy,
}

impl Key {
    /// The environment variable: `KINDRED_DATA_DIR` for `data_dir`.
    pub fn variable(&self) -> String {
        format!("{}{}", super::PREFIX, self.name.to_ascii_uppercase())
    }

    /// The flag without its dashes: `data-dir` for `data_dir`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

macro_rules! keys {
    ($(
        $(#[doc = $help:literal])+
        $name:ident: $type:ty = $default:literal, $roles:expr,
            $expects:literal, $parse:expr, $show:expr $(, $secrecy:expr)?;
    )+) => {
        /// Every key, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(
            Key {
                name: stringify!($name),
                help: concat!($($help),+).trim_ascii(),
                default: $default,
                expects: $expects,
                roles: $roles,
                secrecy: keys!(@secrecy $($secrecy)?),
            }
        ),+];

        /// Everything a Kindred program can be told before it starts.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $(
                $(#[doc = $help])+
                pub $name: $type,
            )+
        }

        impl Config {
            /// Reads every key's text; `chosen` gives the text that won and where it is from.
            pub(super) fn read(
                mut chosen: impl FnMut(&'static str) -> (String, Origin),
            ) -> Result<Self, ConfigError> {
                Ok(Self {$(
                    $name: {
                        let (text, origin) = chosen(stringify!($name));
                        let parse: fn(&str) -> Option<$type> = $parse;
                        match parse(text.trim()) {
                            Some(value) => value,
                            None => return Err(ConfigError::invalid(stringify!($name), &text, origin)),
                        }
                    },
                )+})
            }

            /// The value of every key as one would write it, in the order of [`KEYS`]; secrets
            /// are not masked.
            pub(super) fn texts(&self) -> Vec<(&'static Key, String)> {
                let texts = [$({
                    let show: fn(&$type) -> String = $show;
                    show(&self.$name)
                }),+];
                KEYS.iter().zip(texts).collect()
            }
        }
    };
    (@secrecy) => { Secrecy::Open };
    (@secrecy $secrecy:expr) => { $secrecy };
}

keys! {
    /// Address and port HTTP listens on; port 0 takes any free one.
    listen: SocketAddr = "127.0.0.1:8080", HTTP,
        "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
        values::address, SocketAddr::to_string;

    /// Directory of the embedded store; made if it is not there.
    data_dir: PathBuf = "./kindred-data", &[Standalone],
        "a path",
        values::path, |path| path.display().to_string();

    /// Address of the RabbitMQ broker. Its user and what it may do are described in deploy/.
    amqp_url: Secret = "amqp://guest:guest@127.0.0.1:5672/%2f", CLUSTERED,
        "a URL such as amqp://user:password@host:5672/%2f, or amqps://… for TLS",
        values::amqp_url, values::show_secret, Secrecy::Url;

    /// Nodes of Cassandra or ScyllaDB through which the cluster is found.
    cql_nodes: Vec<String> = "127.0.0.1:9042", CLUSTERED,
        "host:port pairs separated by commas, such as db1:9042,[::1]:9042; the port may be left out",
        values::cql_nodes, |list| list.join(",");

    /// Keyspace of the tables; made if it is not there.
    cql_keyspace: String = "kindred", CLUSTERED,
        "1 to 48 lower case letters, digits and underscores, a letter first",
        values::keyspace, String::clone;

    /// Replication factor of a keyspace that is made; 3 or more keeps what is acknowledged when a
    /// node is lost.
    cql_replication: usize = "1", OWNING,
        "a whole number of 1 to 99",
        |text| values::count(text, 1, 99), usize::to_string;

    /// Role to log in to the database with; empty: none.
    cql_user: String = "", CLUSTERED,
        "a name, together with cql_password",
        |text| Some(text.to_owned()), String::clone;

    /// Password of cql_user.
    cql_password: Secret = "", CLUSTERED,
        "a password, together with cql_user",
        |text| Some(Secret::new(text)), values::show_secret, Secrecy::Whole;

    /// Accept a database whose commit log is synced periodically, which loses acknowledged writes
    /// when a node is killed.
    cql_allow_periodic: bool = "false", OWNING,
        "true or false",
        values::truth, bool::to_string;

    /// Address and port on which other instances reach this one's HTTP; empty: as in listen, with
    /// the host's name where listen takes every address.
    advertise: Option<String> = "", &[ModelService],
        "a host and a port, such as kindred-1.internal:8080, or nothing",
        values::advertise, |address| address.clone().unwrap_or_default();

    /// Address and port on which the compute worker answers /healthz, /readyz and /metrics;
    /// empty: it listens nowhere.
    worker_listen: Option<SocketAddr> = "", &[ComputeWorker],
        "an IP address and a port, such as 127.0.0.1:8081, or nothing",
        values::optional_address, |address| address.map(|a| a.to_string()).unwrap_or_default();

    /// How long a domain's upserts before they are worked on together.
    window: Duration = "250ms", DECIDING,
        "a duration of 1ms to 1m, such as 250ms",
        |text| values::duration(text, Duration::from_millis(1), Duration::from_secs(60)),
        values::show_duration;

    /// Most upserts of one window; a full window closes at once.
    window_events: usize = "1000", DECIDING,
        "a whole number of 1 to 100000",
        |text| values::count(text, 1, 100_000), usize::to_string;

    /// Threads that extract and compare; 0 takes every core.
    threads: usize = "0", COMPARING,
        "a whole number of 0 to 1024",
        |text| values::count(text, 0, 1024), usize::to_string;

    /// Which implementation compares features; auto takes the fastest this machine can run.
    kernel: Kernel = "auto", COMPARING,
        "one of auto, scalar, avx2, avx512, avx512vnni",
        |name| name.parse().ok(), Kernel::to_string;

    /// Languages that are told apart.
    languages: Vec<String> = "en,de,fr,es,it,pt,nl,sv", DECIDING,
        "language codes of two letters separated by commas, each once, such as en,de",
        values::languages, |list| list.join(",");

    /// Language of a text whose language is neither given nor recognised; one of languages.
    default_language: String = "en", DECIDING,
        "a language code of two letters, such as en",
        values::language, String::clone;

    /// Whether an event of an unknown domain registers the domain.
    auto_register: bool = "true", DECIDING,
        "true or false",
        values::truth, bool::to_string;

    /// Number of partitions, fixed at the first start; standalone has 1.
    partitions: u16 = "1", DECIDING,
        "a whole number of 1 to 1024",
        |text| values::count(text, 1, 1024).and_then(|n| u16::try_from(n).ok()), u16::to_string;

    /// Word vectors of more languages, as made by `kindred vectors prepare`.
    vectors: Vec<LanguageVectors> = "", WORKING,
        "language=path pairs separated by commas, each language once, such as de=de.fifu",
        values::vectors, |list| values::show_vectors(list);

    /// Most bytes of an item's text.
    max_text: usize = "256KiB", DECIDING,
        "a size of 1B to 8MiB, such as 256KiB",
        |text| values::size(text, 1, 8 << 20), values::show_size;

    /// Most bytes of a whole event.
    max_message: usize = "1MiB", DECIDING,
        "a size of 1KiB to 8MiB, such as 1MiB",
        |text| values::size(text, 1 << 10, 8 << 20), values::show_size;

    /// Most attributes of an item.
    max_attributes: usize = "64", DECIDING,
        "a whole number of 0 to 10000",
        |text| values::count(text, 0, 10_000), usize::to_string;

    /// How long a quiet domain stays in memory after its last event or query.
    idle_after: Duration = "10m", DECIDING,
        "a duration of 1s to 365days, such as 10m",
        |text| values::duration(text, Duration::from_secs(1), Duration::from_secs(365 * 86_400)),
        values::show_duration;

    /// How long a job may take before it is dispatched again.
    job_deadline: Duration = "30s", DECIDING,
        "a duration of 100ms to 1h, such as 30s",
        |text| values::duration(text, Duration::from_millis(100), Duration::from_secs(3600)),
        values::show_duration;

    /// What is logged to standard error: a level, or levels by module.
    log: String = "info", EVERYONE,
        "a tracing filter such as info or warn,model_service=debug",
        |text| (!text.is_empty()).then(|| text.to_owned()), String::clone;

    /// How log lines are written.
    log_format: LogFormat = "text", EVERYONE,
        "text or json",
        values::log_format, values::show_log_format;
}

impl Config {
    /// What an event may measure.
    pub fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.max_message,
            text_bytes: self.max_text,
            attributes: self.max_attributes,
        }
    }

    /// Role and password for the database, if it asks for them.
    pub fn cql_login(&self) -> Option<(&str, &str)> {
        (!self.cql_user.is_empty()).then(|| (self.cql_user.as_str(), self.cql_password.expose()))
    }

    /// The address on which other instances reach this one: `advertise`, else where HTTP is
    /// `bound`; an address that means "every one" is useless to others, so `host`, the machine's
    /// name, stands in for it.
    pub fn advertised(&self, bound: SocketAddr, host: &str) -> String {
        match &self.advertise {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
