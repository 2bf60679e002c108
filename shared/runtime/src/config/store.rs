//! Configuration of the embedded store.

use std::path::PathBuf;

use super::section::Role::Standalone;
use super::section::{Validate, section};
use super::values;

section! {
    /// The embedded store.
    struct Store;

    /// Directory of the embedded store; created if it does not exist.
    data_dir: PathBuf = "./kindred-data" {
        roles: &[Standalone],
        expects: "a path",
        read: values::path,
        show: |path| path.display().to_string(),
    }
}

impl Validate for Store {}
