//! The model service of Kindred: takes item events, groups them per domain into windows, has
//! features made and compared, keeps every item's neighbours exact, and answers readers.
//!
//! [`kindred_domain`] decides and does no I/O; the modules here carry out its effects.

pub mod actors;
pub mod cli;
pub mod client;
pub mod clustered;
pub mod crash;
pub mod dispatch;
mod event_log;
mod filling;
pub mod http;
pub mod intake;
mod keys;
pub mod metrics;
pub mod owners;
pub mod preprocessing;
pub mod service;
mod sites;
pub mod standalone;
pub mod store;

pub use kindred_runtime::config;

#[cfg(test)]
#[allow(dead_code)] // programs of tests use it too
#[path = "../../tests/support/documents.rs"]
mod documents;
#[cfg(test)]
mod test_broker;
