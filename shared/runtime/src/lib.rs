//! What a Kindred program needs to run: configuration, logging, and connections to RabbitMQ and the
//! database.
//!
//! It uses the types of `kindred-shared`, and knows neither the model service nor the compute
//! worker.

pub mod amqp;
pub mod config;
pub mod cql;
pub mod cql_blocks;
pub mod host;
pub mod memory;
pub mod telemetry;
pub mod tls;
pub mod watched;
