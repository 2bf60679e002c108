//! What Kindred says and hears over HTTP, as data: requests, answers and problems, each defined
//! once, for the server, for clients, and for the description of the interface.
//!
//! Fields are written in the order they are declared in; points in time are RFC 3339 in UTC with
//! milliseconds.

pub mod activity;
pub mod batch;
pub mod domain;
pub mod experiment;
pub mod item;
pub mod key;
pub mod map;
pub mod model;
pub mod path;
pub mod problem;
pub mod service;
pub mod similar;
pub mod worker;
