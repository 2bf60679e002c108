//! Tests of `kindred model-service` and `compute-worker` against a real RabbitMQ and Cassandra,
//! which `tests/run` starts for them; `tests/services/up` does so for a single test. Each test has
//! a virtual host and a keyspace of its own.
//!
//! `tests/lib/rust.sh` says which tests need more: services that were started for the tests and may be killed, pika,
//! Debian's package lists.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used)]

// Each program of tests uses its own part of these three.
#[allow(dead_code)]
#[path = "../corpus/mod.rs"]
mod corpus;
#[allow(dead_code)]
#[path = "../exactness/mod.rs"]
mod exactness;
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod any_order;
mod asking;
mod away;
mod bad_events;
mod broker;
mod cluster;
mod database;
mod doctor;
mod documents;
mod encoders;
mod experiments;
mod fresh;
mod ground;
mod keys;
mod kills;
mod log;
mod models;
mod no_worker;
mod notifications;
mod partitions;
mod pika;
mod poison;
mod privileges;
mod publish;
mod publisher;
mod queries;
mod quotas;
mod repartition;
mod replay;
mod services;
mod settings;
mod stopped_worker;
mod take_over;
mod tls;
mod whole_import;
mod workers_away;
