//! What both Kindred programs speak: names, events, features, blocks, jobs and replies, their
//! form on the wire, configuration, RabbitMQ and the database.
//!
//! This crate knows neither the model service nor the compute worker. Its only I/O on a network is
//! what both do in the same way: [`amqp`], [`cql`] and [`cql_blocks`].

pub mod amqp;
pub mod block;
pub mod block_store;
pub mod config;
pub mod cql;
pub mod cql_blocks;
pub mod event;
pub mod feature;
pub mod host;
pub mod job;
pub mod name;
pub mod telemetry;
pub mod wire;
pub mod worker;

pub use block::{Block, BlockBuilder, RowMask};
pub use block_store::{BlockStore, BlockStoreError};
pub use feature::{Feature, FeatureError};
pub use name::{DomainName, ItemId, NameError, Space};
