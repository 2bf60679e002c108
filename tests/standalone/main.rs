//! Tests of the program `kindred standalone`: started, fed over HTTP, killed, and its store read
//! afterwards. `tests/run` runs all of them; those that read Debian's package lists need the lists that it
//! fetches.

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

mod bad_input;
mod crash;
mod damaged;
mod documents;
mod encoders;
mod evaluate;
mod exact_can_fail;
mod experiments;
mod fresh;
mod habits;
mod imports;
mod keys;
mod lifecycle;
mod log;
mod long_answers;
mod many_domains;
mod memory;
mod mixes;
mod models;
mod named_vectors;
mod neighbours;
mod pairs;
mod patches;
mod ports;
mod queries;
mod related_posts;
mod removal;
mod replay;
mod scheduled;
mod settings;
mod sites;
mod starting;
mod store_refusals;
mod tls;
mod whole_import;
