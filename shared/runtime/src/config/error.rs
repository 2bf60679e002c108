//! Why a configuration is refused. Errors name the key, where its value comes from, and what is
//! expected.

use std::path::PathBuf;

use super::origin::Origin;
use super::{PREFIX, key, keys};

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file has an unknown key.
    #[error("{}: there is no key `{key}`{}", file.display(), hint(closest.as_deref()))]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key in it.
        key: String,
        /// The most similar known key, if there is one.
        closest: Option<String>,
    },
    /// Unknown `KINDRED_*` variable.
    #[error("environment: there is no variable {variable}{}", hint(closest.as_deref()))]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// The most similar known variable, if there is one.
        closest: Option<String>,
    },
    /// A value is not what its key expects.
    #[error("{key} = {value:?} ({origin}): expected {expected}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The value; masked for a secret.
        value: String,
        /// Where the value comes from.
        origin: Origin,
        /// The expected value.
        expected: String,
    },
    /// The file cannot be used.
    #[error("{}: {detail}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl ConfigError {
    /// A value that the key's own reader refuses.
    pub(super) fn invalid(name: &'static str, value: &str, origin: Origin) -> Self {
        let expected = key(name).map_or("another value", |key| key.expects);
        Self::unsuitable(name, value, origin, expected.to_owned())
    }

    /// A value that is unsuitable for another reason.
    pub(super) fn unsuitable(
        name: &'static str,
        value: &str,
        origin: Origin,
        expected: String,
    ) -> Self {
        let value = key(name).map_or_else(|| value.to_owned(), |key| key.secrecy.shown(value));
        Self::Invalid {
            key: name,
            value,
            origin,
            expected,
        }
    }

    pub(super) fn unknown_key(file: PathBuf, name: &str) -> Self {
        Self::UnknownKey {
            file,
            key: name.to_owned(),
            closest: closest(name).map(str::to_owned),
        }
    }

    pub(super) fn unknown_variable(variable: &str) -> Self {
        let bare = variable[PREFIX.len()..].to_ascii_lowercase();
        Self::UnknownVariable {
            variable: variable.to_owned(),
            closest: closest(&bare).map(|name| format!("{PREFIX}{}", name.to_ascii_uppercase())),
        }
    }
}

fn hint(closest: Option<&str>) -> String {
    closest.map_or_else(
        || "; `kindred config` lists all".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

/// The key with the most similar name, if it is similar enough.
fn closest(name: &str) -> Option<&'static str> {
    keys()
        .map(|key| (distance(name, key.name), key.name))
        .filter(|(distance, known)| *distance <= 2.max(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

/// The Levenshtein distance, in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
