//! HTTP: answers for readers, and the entry point for events.
//!
//! One file per resource: its routes with their documentation, its handlers, and `configure`, which
//! registers them ([`app`] lists the resources). What concerns every request is middleware
//! ([`edge`]). A write only validates, publishes and waits for the confirmation: this module reads
//! the store and the views, and never writes them.

mod access;
mod activity;
mod admission;
mod answers;
mod app;
mod asking;
mod batch;
mod body;
mod browsers;
mod callers;
mod choosing;
mod conditions;
mod connection;
mod domains;
mod edge;
mod embed;
mod error;
mod experiments;
mod export;
mod feedback;
mod filter;
mod filter_parameters;
mod gate;
mod guard;
mod health;
mod hosts;
mod items;
mod keys;
mod lines;
mod listing;
mod log;
mod map;
mod maps;
mod metrics;
mod models;
mod openapi;
mod outgoing;
mod page;
mod parts;
mod patches;
mod path;
mod pulse;
mod queries;
mod query;
mod question;
mod quotas;
mod readiness;
mod relay;
mod removal;
mod repair;
mod request_name;
mod routes;
mod server;
mod settings;
mod settled;
mod similar;
mod standing;
mod taking_part;
mod time;
mod tls;
mod values;
mod workers;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub(crate) use activity::keep_sampling;
pub(crate) use callers::Callers;
pub(crate) use connection::Deadlines;
pub(crate) use feedback::FeedbackDoor;
pub(crate) use gate::Gate;
pub(crate) use guard::Guard;
pub(crate) use hosts::Hosts;
pub(crate) use parts::{Lobby, Parts, Queries, Reads, Workers, Writes};
pub use readiness::Readiness;
pub(crate) use readiness::Steady;
pub(crate) use relay::Others;
pub(crate) use server::{serve, serve_metrics};
pub(crate) use tls::Tls;
