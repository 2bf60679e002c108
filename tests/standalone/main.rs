//! Tests of the program `kindred standalone`: started, fed over HTTP, killed, and its store read
//! afterwards. `tests/run` runs all of them; those that read Debian's package lists are ignored
//! without it, since it fetches the lists.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used)]

#[path = "../corpus/mod.rs"]
mod corpus;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod crash;
mod exact;
mod exact_can_fail;
mod expected;
mod feed;
mod fresh;
mod lifecycle;
mod many_domains;
mod pairs;
mod readme;
mod reference;
mod store_refusals;
mod stored;
mod whole_import;
