//! The store: Kindred's data on disk. Two implementations of [`kindred_domain::store::Store`]:
//! [`embedded`] (redb, one process) and [`cassandra`] (Cassandra or ScyllaDB, clustered).

pub mod cassandra;
mod damage;
pub mod embedded;
pub(crate) mod materials;
mod sound;

use kindred_shared::{ModelInputs, ModelName};

#[cfg(test)]
mod contract;

/// The model of all features of a store of version 0.1 and its inputs, parsed from `words-1
/// (vectors en:…)`. `None`: it names none.
fn first_model(said: &str) -> Option<ModelInputs> {
    let (model, inputs) = said.strip_suffix(')')?.split_once(" (")?;
    Some(ModelInputs {
        model: ModelName::new(model).ok()?,
        inputs: inputs.to_owned(),
    })
}

/// Why a store is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses it.
    #[error("{place} is in use by another process; stop it or choose another data directory")]
    InUse {
        /// The data directory.
        place: String,
    },
    /// A newer Kindred wrote it.
    #[error(
        "{place} was written by a newer Kindred (store version {found}; this one reads up to {known}); start that version, or choose another data directory"
    )]
    Newer {
        /// The data directory.
        place: String,
        /// Version of the store.
        found: u32,
        /// Newest version this program reads.
        known: u32,
    },
    /// Its features were made by the same model with other inputs: other word vectors.
    #[error(
        "{place} holds features of {found}; this program makes {wanted}; start it with the same model and word vectors, or choose another data directory"
    )]
    OtherModel {
        /// The data directory.
        place: String,
        /// The model the store was made with.
        found: String,
        /// The model this program has.
        wanted: String,
    },
    /// Its number of partitions differs.
    #[error(
        "{place} has {found} partitions, not {wanted}; configure {found}, or see `kindred partitions set --help`"
    )]
    OtherPartitions {
        /// The data directory.
        place: String,
        /// Partitions of the store.
        found: u16,
        /// Partitions asked for.
        wanted: u16,
    },
    /// Shared settings of the running instances differ.
    #[error(
        "{place} is used with other settings by the instances that run: {differences}; start this one with theirs, or see docs/OPERATIONS.md, \"What instances agree on\""
    )]
    Disagrees {
        /// The keyspace.
        place: String,
        /// The keys, with both values of each.
        differences: String,
    },
    /// It cannot be read or written.
    #[error("{place} cannot be opened: {detail}")]
    Unusable {
        /// The data directory.
        place: String,
        /// What went wrong, with a remedy if one is known.
        detail: String,
    },
}
