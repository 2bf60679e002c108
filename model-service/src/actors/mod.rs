//! Actors: thin shells around the pure machines. actix appears here and in HTTP only.
//!
//! [`partitions`] begins it all: for each partition [`lease`] keeps the ownership and [`partition`]
//! hosts what is owned, while [`sharing`] wishes for as many as others have. Events come from a
//! partition's intake; its [`registry`] starts a [`domain`] actor for each active domain and puts idle
//! ones to sleep. What a domain's machine asks for that takes several steps is in [`loading`] and
//! [`extraction`]; [`supervisor`] watches every job that is out; [`owner`] stamps every write;
//! [`memory`] keeps account of what they all hold; [`watchdog`] ends a process that stalls. What queries ask is
//! computed by [`scans`], their texts are read by [`texts`], and domains that sleep are woken for them by
//! [`waking`]. All of it works with [`services`] and one [`clock`].

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
