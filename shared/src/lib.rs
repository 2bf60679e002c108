//! What both Kindred programs speak: names, events, features, blocks, jobs and replies, their
//! form on the wire, configuration, and RabbitMQ.
//!
//! This crate knows neither the model service nor the compute worker. Only [`amqp`] does I/O on a
//! network.

pub mod amqp;
pub mod block;
pub mod block_store;
pub mod config;
pub mod event;
pub mod feature;
pub mod host;
pub mod job;
pub mod name;
pub mod telemetry;
pub mod wire;
pub mod worker;

pub use block::{Block, BlockBuilder, RowMask};
pub use feature::{Feature, FeatureError};
pub use name::{DomainName, ItemId, NameError, Space};
