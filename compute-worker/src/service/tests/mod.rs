//! The program around the worker, with a broker and a store that do as they are told.
#![allow(clippy::unwrap_used)] // a test may panic

mod edges;
mod jobs;
mod start;
