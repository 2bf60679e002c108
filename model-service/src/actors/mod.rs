//! Actors: thin shells around the pure machines. Only this module and HTTP use actix.
//!
//! [`partitions`] is the entry point: for each partition, [`lease`] keeps the ownership and
//! [`partition`] hosts what is owned, while [`sharing`] aims for an even share among instances.
//! Events come from a partition's intake; its [`registry`] starts a [`domain`] actor for each
//! active domain and puts idle ones to sleep. Effects that take several steps are in [`loading`]
//! and [`extraction`]; [`supervisor`] watches every job in flight; [`owner`] stamps every write;
//! [`memory`] accounts for the memory of all domains; [`watchdog`] ends a process that stalls.
//! Queries are computed by [`scans`], their texts are read by [`texts`], and [`waking`] wakes
//! sleeping domains for them. All of them use [`services`] and one [`clock`].

pub mod clock;
pub mod comparer;
pub mod domain;
pub mod experiments;
pub mod extraction;
pub mod lease;
pub mod loading;
pub mod memory;
pub mod owner;
pub mod partition;
pub mod partitions;
mod pending;
pub mod registry;
pub mod scans;
pub mod services;
pub mod sharing;
pub mod supervisor;
pub mod texts;
pub mod waking;
pub mod watchdog;
