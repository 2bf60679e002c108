//! The pure core: decisions about one domain, without clock, I/O, threads or tokio.
//!
//! [`machine::Domain`] is `handle(now, input) -> effects`; the files beside it are its parts, in
//! the order of an event's way: [`accept`](machine) → [`round`] (store, acknowledge) → [`window`]
//! → [`cycle`] (extract, store features, compare) → [`merge`] (lists) → [`flush`] (store lists,
//! mark clean). [`load`] makes a machine's state from the store, at first and after any doubt.

mod accept;
pub mod blocks;
pub mod cycle;
pub mod effect;
pub mod flush;
pub mod item;
pub mod lease;
pub mod ledger;
pub mod list;
pub mod load;
pub mod machine;
pub mod merge;
pub mod round;
pub mod sharing;
pub mod slot;
pub mod time;
pub mod window;

#[cfg(test)]
mod simulation;
