//! What a Kindred program needs to run: its configuration, its log, and its connections to RabbitMQ
//! and to the database.
//!
//! It knows the words of `kindred-shared`, and neither the model service nor the compute worker.

pub mod amqp;
pub mod config;
pub mod cql;
pub mod cql_blocks;
pub mod host;
pub mod memory;
pub mod telemetry;
