//! Serving: what readers get, over HTTP.

pub mod view;
