//! Requests, answers and problems of the HTTP interface as data, each defined once for the server, for clients and for
//! the OpenAPI description.
//!
//! Fields are written in the order of their declaration. Points in time are RFC 3339 in UTC, with milliseconds.

pub mod activity;
pub mod batch;
pub mod domain;
pub mod experiment;
pub mod item;
pub mod key;
pub mod log;
pub mod map;
pub mod model;
pub mod path;
pub mod problem;
pub mod service;
pub mod similar;
pub mod worker;
