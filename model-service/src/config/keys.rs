//! Every configuration key, declared once: name, help, default, what is expected, how it is read
//! and shown. Flags, variables, file keys, the documentation and `kindred config` come from here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kindred_shared::event::Limits;
use kindred_shared::telemetry::LogFormat;

use super::values::{self, Kernel, LanguageVectors};
use super::{ConfigError, Origin};

/// Which commands a key means something to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every command.
    Everywhere,
    /// Commands that start a service: `standalone`, `demo`, `bench pipeline`.
    Service,
    /// Only `standalone`: the others choose for themselves.
    Standalone,
}

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
    /// The commands that use it.
    pub scope: Scope,
    /// Whether its value is masked wherever it is shown.
    pub secret: bool,
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
        $name:ident: $type:ty = $default:literal, $scope:ident,
            $expects:literal, $parse:expr, $show:expr $(, $secret:ident)?;
    )+) => {
        /// Every key, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(
            Key {
                name: stringify!($name),
                help: concat!($($help),+).trim_ascii(),
                default: $default,
                expects: $expects,
                scope: Scope::$scope,
                secret: keys!(@secret $($secret)?),
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
    (@secret) => { false };
    (@secret secret) => { true };
}

keys! {
    /// Address and port HTTP listens on; port 0 takes any free one.
    listen: SocketAddr = "127.0.0.1:8080", Everywhere,
        "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
        values::address, SocketAddr::to_string;

    /// Directory of the embedded store; made if it is not there.
    data_dir: PathBuf = "./kindred-data", Standalone,
        "a path",
        values::path, |path| path.display().to_string();

    /// How long a domain's upserts are collected before they are worked on together.
    window: Duration = "250ms", Service,
        "a duration of 1ms to 1m, such as 250ms",
        |text| values::duration(text, Duration::from_millis(1), Duration::from_secs(60)),
        values::show_duration;

    /// Most upserts of one window; a full window closes at once.
    window_events: usize = "1000", Service,
        "a whole number of 1 to 100000",
        |text| values::count(text, 1, 100_000), usize::to_string;

    /// Threads that extract and compare; 0 takes every core.
    threads: usize = "0", Service,
        "a whole number of 0 to 1024",
        |text| values::count(text, 0, 1024), usize::to_string;

    /// Which implementation compares features; auto takes the fastest this machine can run.
    kernel: Kernel = "auto", Service,
        "one of auto, scalar",
        Kernel::parse, |kernel| kernel.word().to_owned();

    /// Languages that are told apart.
    languages: Vec<String> = "en,de,fr,es,it,pt,nl,sv", Service,
        "language codes of two letters separated by commas, each once, such as en,de",
        values::languages, |list| list.join(",");

    /// Language of a text whose language is neither given nor recognised; one of languages.
    default_language: String = "en", Service,
        "a language code of two letters, such as en",
        values::language, String::clone;

    /// Whether an event of an unknown domain registers the domain.
    auto_register: bool = "true", Service,
        "true or false",
        values::truth, bool::to_string;

    /// Number of partitions, fixed at the first start; standalone has 1.
    partitions: u16 = "1", Service,
        "a whole number of 1 to 1024",
        |text| values::count(text, 1, 1024).and_then(|n| u16::try_from(n).ok()), u16::to_string;

    /// Word vectors of more languages, as made by `kindred vectors prepare`.
    vectors: Vec<LanguageVectors> = "", Service,
        "language=path pairs separated by commas, each language once, such as de=de.fifu",
        values::vectors, values::show_vectors;

    /// Most bytes of an item's text.
    max_text: usize = "256KiB", Service,
        "a size of 1B to 8MiB, such as 256KiB",
        |text| values::size(text, 1, 8 << 20), values::show_size;

    /// Most bytes of a whole event.
    max_message: usize = "1MiB", Service,
        "a size of 1KiB to 8MiB, such as 1MiB",
        |text| values::size(text, 1 << 10, 8 << 20), values::show_size;

    /// Most attributes of an item.
    max_attributes: usize = "64", Service,
        "a whole number of 0 to 10000",
        |text| values::count(text, 0, 10_000), usize::to_string;

    /// How long a quiet domain stays in memory after its last event or query.
    idle_after: Duration = "10m", Service,
        "a duration of 1s to 365days, such as 10m",
        |text| values::duration(text, Duration::from_secs(1), Duration::from_secs(365 * 86_400)),
        values::show_duration;

    /// How long a job may take before it is dispatched again.
    job_deadline: Duration = "30s", Service,
        "a duration of 100ms to 1h, such as 30s",
        |text| values::duration(text, Duration::from_millis(100), Duration::from_secs(3600)),
        values::show_duration;

    /// What is logged to standard error: a level, or levels by module.
    log: String = "info", Everywhere,
        "a tracing filter such as info or warn,model_service=debug",
        |text| (!text.is_empty()).then(|| text.to_owned()), String::clone;

    /// How log lines are written.
    log_format: LogFormat = "text", Everywhere,
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
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
