//! Turns terms into features, and compares rows exactly.
//!
//! It knows nothing of the model service: jobs in, replies out. The only state between jobs is the word vectors. The
//! same job gets the same bits on every machine and with any number of threads. As a library it does no I/O except
//! reading the vectors; [`service`] is the program around it, with jobs from RabbitMQ and blocks from the database.

pub mod models;
mod pool;
pub mod service;
pub mod word_pieces;
pub mod word_vectors;
mod worker;

pub use pool::{pool, pool_behind};
pub use worker::Worker;
