//! Serving: what readers get, and the way in, over HTTP.
//!
//! One function answers every request ([`api`]): it reads the address itself ([`address`]),
//! because an item's id may hold any character, a percent-encoded slash too, and a router that
//! decodes before it splits cannot tell those apart.
//!
//! A write only validates, publishes and waits for the confirmation: the store and the views are
//! read here, never written.

mod address;
mod api;
mod batch;
mod body;
mod domains;
mod health;
mod items;
mod lines;
mod openapi;
pub mod owners;
mod problem;
mod server;
mod similar;
mod status;
pub(crate) mod waiting;
mod workers;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub use api::{Api, routes};
pub use health::Readiness;
pub use openapi::document;
pub use server::serve;
