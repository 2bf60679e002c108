//! Configuration: every key has a default; a file, then the environment, then flags may say
//! otherwise. What is unknown or unfit is refused by name, before anything starts.
//!
//! A key `data_dir` is `data_dir` in `kindred.toml`, `KINDRED_DATA_DIR` in the environment and
//! `--data-dir` on the command line. The file is the one named by `--config` or `KINDRED_CONFIG`
//! (which must be there), else `kindred.toml` in the current directory, if it is there. Relative
//! paths are relative to the current directory, wherever they were written.
//!
//! A section a component: a file with its keys and what they ask of one another. `kindred` and
//! `compute-worker` share them, so that one file or environment
//! serves both: each accepts every key and ignores the other's.

mod broker;
mod compute;
mod database;
mod domains;
mod error;
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
mod values;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use broker::Broker;
pub use compute::Compute;
pub use database::Database;
pub use domains::Domains;
pub use error::ConfigError;
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
pub use values::{LanguageVectors, MemorySize};

use section::{Section, Validate};

/// What the name of every variable begins with.
pub const PREFIX: &str = "KINDRED_";
/// Names the configuration file; not a key.
pub const FILE_VARIABLE: &str = "KINDRED_CONFIG";
/// The configuration file that is read when none is named.
pub const FILE_NAME: &str = "kindred.toml";
/// Variables that begin like this are not configuration.
pub const TEST_PREFIX: &str = "KINDRED_TEST_";

macro_rules! sections {
    ($($name:ident: $section:ty,)+) => {
        /// Everything a Kindred program can be told before it starts. Sections order the keys here and
        /// where they are shown; in files, variables and flags a key has no section.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {$(
            #[doc = concat!("The section [`", stringify!($section), "`].")]
            pub $name: $section,
        )+}

        /// The keys of every section, in the order in which they are shown.
        const SECTIONS: &[&[Key]] = &[$(<$section>::KEYS),+];

        impl Config {
            /// Reads every section; `chosen` gives the text that won and where it is from.
            fn read(chosen: impl Fn(&'static str) -> (String, Origin)) -> Result<Self, ConfigError> {
                Ok(Self {$($name: <$section>::read(&chosen)?,)+})
            }

            /// What the keys of each section ask of one another.
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
    store: Store,
    broker: Broker,
    database: Database,
    domains: Domains,
    lease: Lease,
    texts: Texts,
    events: Events,
    compute: Compute,
    logging: Logging,
}

/// Every key, in the order in which they are shown.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().copied().flatten()
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// When a setting may be changed that all instances must have alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// While instances run: they may differ until the last of them was started again.
    Running,
    /// Only while none runs.
    Stopped,
}

/// The keys that all instances of a cluster must have alike, and when each may be changed. The number of
/// partitions and what features are made of are looked after by the store itself.
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
pub struct Entry {
    /// The key.
    pub key: &'static str,
    /// Its effective value; a secret is masked.
    pub value: String,
    /// Where it is from.
    pub origin: String,
    /// What it is for.
    pub help: &'static str,
}

impl Config {
    /// What all instances must have alike: keys, values as one would write them, and when each may be changed.
    pub fn agreed(&self) -> impl Iterator<Item = (&'static str, String, Change)> {
        let texts: Vec<String> = self.texts().flatten().collect();
        let with_texts = keys().zip(texts);
        with_texts.filter_map(|(key, text)| {
            let (_, change) = AGREED.iter().find(|(name, _)| *name == key.name)?;
            Some((key.name, text, *change))
        })
    }

    /// The keys that all instances must have alike.
    pub fn agreed_keys() -> Vec<&'static str> {
        AGREED.iter().map(|(name, _)| *name).collect()
    }

    /// Every key, section by section, with its effective value, secrets masked, and where the value
    /// is from.
    pub fn entries(&self, origins: &Origins) -> Vec<Vec<Entry>> {
        let entry = |(key, value): (&'static Key, String)| Entry {
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
