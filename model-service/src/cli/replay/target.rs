//! What a log is replayed into, if that is not a running Kindred.

use std::fmt;
use std::path::{MAIN_SEPARATOR, PathBuf};

use crate::cli::import::beside;
use crate::store::cassandra::schema::Keyspace;

/// Something that no other process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A keyspace of the configured database.
    Keyspace(String),
    /// The data directory of a standalone.
    DataDir(PathBuf),
}

impl Target {
    /// Parses a value of the command line: what has a slash is a directory.
    ///
    /// # Errors
    /// In words, what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains(MAIN_SEPARATOR) || text == "." || text == ".." {
            return Ok(Self::DataDir(text.into()));
        }
        match Keyspace::new(text) {
            Some(_) => Ok(Self::Keyspace(text.to_owned())),
            None => Err(format!(
                "{text:?} is no name of a keyspace, which is 1 to 48 lower case letters, digits \
                and underscores; a directory has a slash in its name: ./{text}"
            )),
        }
    }

    /// The file that stores the position of a replay into it.
    pub(super) fn state_file(&self) -> PathBuf {
        /// How its name ends.
        const STATE: &str = ".replay.json";
        match self {
            Self::Keyspace(name) => format!("{name}{STATE}").into(),
            // Without a slash at its end.
            Self::DataDir(path) => beside(&path.components().collect::<PathBuf>(), STATE),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyspace(name) => write!(f, "keyspace {name}"),
            Self::DataDir(path) => write!(f, "{}", path.display()),
        }
    }
}
