//! The comparisons of `compute-worker`, without features and service.

#[path = "../../../compute-worker/src/pool.rs"]
mod pool;
#[path = "../../../compute-worker/src/similarity/mod.rs"]
pub mod similarity;

pub use pool::pool;
