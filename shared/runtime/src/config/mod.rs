//! Configuration: every key has a default; a file, then the environment, then flags may say
//! otherwise. What is unknown or unfit is refused by name, before anything starts.
//!
//! A key `data_dir` is `data_dir` in `kindred.toml`, `KINDRED_DATA_DIR` in the environment and
//! `--data-dir` on the command line. The file is the one named by `--config` or `KINDRED_CONFIG`
//! (which must be there), else `kindred.toml` in the current directory, if it is there. Relative
//! paths are relative to the current directory, wherever they were written.
//!
//! `kindred` and `compute-worker` share this one table of keys, so that one file or environment
//! serves both: each accepts every key and ignores the other's.

mod error;
mod flags;
mod keys;
mod resolve;
mod secret;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

pub use error::ConfigError;
pub use flags::{Flags, augment, read};
pub use keys::{Config, KEYS, Key, Role, key};
pub use secret::{Secrecy, Secret};
pub use values::LanguageVectors;

/// What the name of every variable begins with.
pub const PREFIX: &str = "KINDRED_";
/// Names the configuration file; not a key.
pub const FILE_VARIABLE: &str = "KINDRED_CONFIG";
/// The configuration file that is read when none is named.
pub const FILE_NAME: &str = "kindred.toml";
/// Variables that begin like this are not configuration.
pub const TEST_PREFIX: &str = "KINDRED_TEST_";

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// A key of a file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// This flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Where the value of every key is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// Where the value of this key is from.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }
}

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
    /// Every key with its effective value, secrets masked, and where the value is from.
    pub fn entries(&self, origins: &Origins) -> Vec<Entry> {
        self.texts()
            .into_iter()
            .map(|(key, value)| Entry {
                key: key.name,
                value: key.secrecy.shown(&value),
                origin: origins.of(key.name).to_string(),
                help: key.help,
            })
            .collect()
    }

    /// What standalone asks of the configuration, beyond what every program does.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when `partitions` is not 1.
    pub fn check_standalone(&self, origins: &Origins) -> Result<(), ConfigError> {
        if self.partitions == 1 {
            return Ok(());
        }
        Err(ConfigError::unsuitable(
            "partitions",
            &self.partitions.to_string(),
            origins.of("partitions"),
            "1: everything in one process is one partition".to_owned(),
        ))
    }

    /// The refusal of a log filter, which only the logging itself can read; `detail` is its
    /// complaint.
    pub fn refuse_log(&self, origins: &Origins, detail: &str) -> ConfigError {
        let expects = key("log").map_or("", |key| key.expects);
        ConfigError::unsuitable(
            "log",
            &self.log,
            origins.of("log"),
            format!("{expects} ({detail})"),
        )
    }
}
