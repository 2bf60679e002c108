//! HTTP: what readers get, and the way in.
//!
//! A file a resource: its routes with their documentation, its handlers, and `configure`, which
//! says that they are there ([`app`] lists the resources). What every request has to do with is
//! middleware ([`edge`]). A write only validates, publishes and waits for the confirmation: the
//! store and the views are read here, never written.

mod answers;
mod app;
mod asking;
mod batch;
mod body;
mod browsers;
mod choosing;
mod conditions;
mod domains;
mod edge;
mod error;
mod export;
mod filter;
mod filter_parameters;
mod health;
mod items;
mod lines;
mod listing;
mod metrics;
mod openapi;
mod parts;
mod patches;
mod path;
mod queries;
mod query;
mod question;
mod readiness;
mod relay;
mod removal;
mod request_name;
mod routes;
mod server;
mod settings;
mod settled;
mod similar;
mod standing;
mod time;
mod values;
mod workers;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub(crate) use parts::{Lobby, Parts, Queries, Reads, Workers, Writes};
pub use readiness::Readiness;
pub(crate) use readiness::Steady;
pub(crate) use server::serve;
