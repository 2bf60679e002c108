//! What both Kindred programs speak: names, events, features, blocks, jobs and replies.
//!
//! It knows neither the model service nor the compute worker. Its only I/O is what both do in
//! the same way: [`cql`] and [`cql_blocks`] talk to the database.

pub mod block;
pub mod block_store;
pub mod cql;
pub mod cql_blocks;
pub mod event;
pub mod feature;
pub mod job;
pub mod name;
pub mod telemetry;

pub use block::{Block, BlockBuilder, RowMask};
pub use block_store::{BlockStore, BlockStoreError};
pub use feature::{Feature, FeatureError};
pub use name::{DomainName, ItemId, NameError, Space};
