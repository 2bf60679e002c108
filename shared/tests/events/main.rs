//! Events: golden files and properties.
#![allow(clippy::unwrap_used, missing_docs)] // tests may panic and need no docs

mod golden;
mod properties;
