//! The muscle: turns terms into features and compares all with all, exactly.
//!
//! A library that knows nothing of the model service: jobs in, replies out. It keeps no state
//! between jobs but the word vectors, does no I/O but reading those, and the same job gets the
//! same bits on every machine and with any number of threads.

pub mod features;
pub mod similarity;
mod worker;

pub use worker::{Worker, pool};
