//! What both Kindred programs speak: names, events, features, blocks, jobs and replies.
//!
//! This crate does no I/O and knows neither the model service nor the compute worker.

pub mod block;
pub mod config;
pub mod event;
pub mod feature;
pub mod host;
pub mod job;
pub mod name;
pub mod telemetry;
pub mod worker;

pub use block::{Block, BlockBuilder, RowMask};
pub use feature::{Feature, FeatureError};
pub use name::{DomainName, ItemId, NameError, Space};
