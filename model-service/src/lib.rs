//! The brain.

pub mod preprocessing;
