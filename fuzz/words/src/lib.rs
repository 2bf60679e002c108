//! The words of `kindred-shared`, without its connections.

#[path = "../../../shared/src/block.rs"]
pub mod block;
#[path = "../../../shared/src/event/mod.rs"]
pub mod event;
#[path = "../../../shared/src/feature.rs"]
pub mod feature;
#[path = "../../../shared/src/job.rs"]
pub mod job;
#[path = "../../../shared/src/name.rs"]
pub mod name;

pub use block::{Block, BlockBuilder, RowMask};
pub use feature::{Feature, FeatureError};
pub use name::{DomainName, ItemId, NameError, Space};
