//! The pure core of the model service: decisions about domains, leases, shares and jobs, without
//! clock, I/O, threads or locks; and the traits of its edges.
//!
//! [`machine::Domain`] is `handle(now, input) -> effects`. Its state is split into parts with private fields: the
//! catalogue (items, and where their features are), the lists, acceptance (rounds and deliveries), the backlog (items
//! whose features are to be made, and the window), the flush and the outbox.
//!
//! The edges are [`store`], [`intake`] and [`dispatch`]: each a narrow trait with the semantics of a real database or
//! broker. [`lease`], [`hosting`], [`sharing`], [`extraction`] and [`dispatch_table`] are state machines of their own.
//! [`budget`] decides which domains are loaded and which sleep, from an estimate of the memory that each takes
//! ([`memory`]). [`markup`] finds the markup in titles and texts.

mod acceptance;
pub mod backlog;
pub mod blocks;
pub mod budget;
mod catalogue;
mod comparison;
pub mod dispatch;
pub mod dispatch_table;
pub mod effect;
pub mod experiment;
pub mod extraction;
pub mod features;
mod flush;
pub mod habits;
pub mod hosting;
pub mod intake;
pub mod item;
pub mod keys;
pub mod lease;
mod ledger;
pub mod list;
mod lists;
pub mod loaded;
pub mod log;
pub mod machine;
pub mod markup;
pub mod material;
pub mod memory;
pub mod mix;
pub mod models;
mod outbox;
mod outdated;
mod planning;
pub mod quota;
mod rebuild;
pub mod registry;
mod round;
mod rows;
pub mod settings;
pub mod sharing;
pub mod shown;
pub mod slot;
mod stamp;
pub mod status;
pub mod store;
pub mod time;
mod uncompared;
mod unread;
pub mod view_change;
pub mod window;
