//! The muscle.
