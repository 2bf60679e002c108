//! Configuration. Every key has a default; flags override the environment, which overrides the file. Unknown keys and
//! unsuitable values are refused by name before anything starts.
//!
//! The key `data_dir` is `data_dir` in `kindred.toml`, `KINDRED_DATA_DIR` in the environment and `--data-dir` on the
//! command line. The file is the one named by `--config` or `KINDRED_CONFIG` (which must exist), else `kindred.toml` in
//! the current directory, if it exists. Relative paths are relative to the current directory, wherever they were
//! written.
//!
//! Each component has a section: a file with its keys and the rules between them. `kindred` and `compute-worker` share
//! all sections, so that one file or environment can serve both: each accepts every key and ignores those of the other.

mod access;
mod broker;
mod compute;
mod database;
mod domains;
mod error;
mod event_log;
mod events;
mod flags;
mod http;
mod lease;
mod logging;
mod origin;
mod resolve;
mod secret;
mod section;
mod store;
mod texts;
mod tls;
mod values;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use access::{Access, SecretError};
pub use broker::Broker;
pub use compute::Compute;
pub use database::Database;
pub use domains::Domains;
pub use error::ConfigError;
pub use event_log::EventLog;
pub use events::Events;
pub use flags::{Flags, augment, read};
pub use http::Http;
pub use lease::Lease;
pub use logging::{LOG, Logging};
pub use origin::{Origin, Origins};
pub use secret::{Secrecy, Secret};
pub use section::{Key, Role};
pub use store::Store;
pub use texts::Texts;
pub use tls::Tls;
pub use values::{LanguageVectors, MemorySize, Network};

use section::{Section, Validate};

/// The prefix of every variable.
pub const PREFIX: &str = "KINDRED_";
/// The variable that names the configuration file; not a key.
pub const FILE_VARIABLE: &str = "KINDRED_CONFIG";
/// The configuration file that is read if none is named.
pub const FILE_NAME: &str = "kindred.toml";
/// Variables with this prefix are not configuration.
pub const TEST_PREFIX: &str = "KINDRED_TEST_";

macro_rules! sections {
    ($($name:ident: $section:ty,)+) => {
        /// All configuration of a Kindred program. Sections group the keys in this struct and wherever they are shown;
        /// in files, variables and flags keys have no section.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {$(
            #[doc = concat!("The section [`", stringify!($section), "`].")]
            pub $name: $section,
        )+}

        /// The keys of every section, in display order.
        const SECTIONS: &[&[Key]] = &[$(<$section>::KEYS),+];

        impl Config {
            /// Reads every section; `chosen` returns the text that won and where it comes from.
            fn read(chosen: impl Fn(&'static str) -> (String, Origin)) -> Result<Self, ConfigError> {
                Ok(Self {$($name: <$section>::read(&chosen)?,)+})
            }

            /// Checks the rules between the keys of each section.
            fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
                $(self.$name.validate(origins)?;)+
                Ok(())
            }

            /// The texts of every section's values.
            fn texts(&self) -> impl Iterator<Item = Vec<String>> {
                [$(self.$name.texts()),+].into_iter()
            }
        }
    };
}

sections! {
    http: Http,
    access: Access,
    tls: Tls,
    store: Store,
    broker: Broker,
    database: Database,
    domains: Domains,
    lease: Lease,
    texts: Texts,
    events: Events,
    event_log: EventLog,
    compute: Compute,
    logging: Logging,
}

/// Every key, in display order.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().copied().flatten()
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// When a setting that all instances must share may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// In a rolling restart: instances may differ until the last one has restarted.
    Running,
    /// Only while no instance runs.
    Stopped,
}

/// The keys that all instances of a cluster must set alike, and when each may be changed. The store itself checks the
/// number of partitions and the inputs of features.
const AGREED: &[(&str, Change)] = &[
    ("window", Change::Running),
    ("window_events", Change::Running),
    ("auto_register", Change::Running),
    ("lease_beat", Change::Stopped),
    ("lease_stop", Change::Stopped),
    ("lease_take", Change::Stopped),
    ("languages", Change::Stopped),
    ("default_language", Change::Stopped),
];

/// One key as `kindred config` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigEntry {
    /// The key.
    pub key: &'static str,
    /// Its effective value; a secret is masked.
    pub value: String,
    /// Where the value comes from.
    pub origin: String,
    /// What it is for.
    pub help: &'static str,
}

impl Config {
    /// The settings that all instances must share: keys, values in configuration syntax, and when each may be changed.
    pub fn agreed(&self) -> impl Iterator<Item = (&'static str, String, Change)> {
        let texts: Vec<String> = self.texts().flatten().collect();
        let with_texts = keys().zip(texts);
        with_texts.filter_map(|(key, text)| {
            let (_, change) = AGREED.iter().find(|(name, _)| *name == key.name)?;
            Some((key.name, text, *change))
        })
    }

    /// The keys that all instances must set alike.
    pub fn agreed_keys() -> Vec<&'static str> {
        AGREED.iter().map(|(name, _)| *name).collect()
    }

    /// Every key, by section, with its effective value (secrets masked) and where the value comes from.
    pub fn entries(&self, origins: &Origins) -> Vec<Vec<ConfigEntry>> {
        let entry = |(key, value): (&'static Key, String)| ConfigEntry {
            key: key.name,
            value: key.secrecy.shown(&value),
            origin: origins.of(key.name).to_string(),
            help: key.help,
        };
        SECTIONS
            .iter()
            .zip(self.texts())
            .map(|(keys, texts)| keys.iter().zip(texts).map(entry).collect())
            .collect()
    }
}
