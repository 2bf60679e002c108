//! Tests of the program around the worker, with a scripted broker and store.
#![allow(clippy::unwrap_used)] // a test may panic

mod edges;
mod jobs;
mod start;
