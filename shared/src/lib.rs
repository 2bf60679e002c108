//! What both Kindred programs share: names, events, features, blocks, jobs and replies, and their
//! wire format.
//!
//! This crate knows neither program and does no I/O; `kindred-runtime` has what both need to run.

pub mod backoff;
pub mod block;
pub mod block_store;
mod compare;
pub mod effort;
pub mod event;
mod fair;
pub mod feature;
mod folding;
pub mod job;
pub mod language;
mod log_limiter;
pub mod model;
pub mod name;
pub mod wire;
pub mod worker;

pub use backoff::Backoff;
pub use block::{Block, BlockBuilder};
pub use block_store::{BlockStore, BlockStoreError};
pub use compare::compare_all;
pub use fair::FairQueue;
pub use feature::{Feature, FeatureError};
pub use folding::Folding;
pub use log_limiter::LogLimiter;
pub use model::ModelInputs;
pub use name::{DomainName, ItemId, ModelName, NameError, Space, VectorName};
