//! The pure core of the model service: decisions about domains, leases, shares and jobs, without
//! clock, I/O, threads or locks; and the traits of its edges.
//!
//! [`machine::Domain`] is `handle(now, input) -> effects`; the files beside it are its parts, in
//! the order of an event's way: `accept` → [`round`] (store, acknowledge) → [`window`]
//! → [`cycle`] (extract, store features, compare) → [`merge`] (lists) → [`flush`] (store lists,
//! mark clean). [`load`] makes a machine's state from the store, at first and after any doubt.
//!
//! The edges are [`store`], [`intake`] and [`dispatch`]: each a narrow trait with the semantics of a
//! real database or broker.

mod accept;
pub mod blocks;
pub mod cycle;
pub mod dispatch;
pub mod dispatch_table;
pub mod effect;
pub mod flush;
pub mod intake;
pub mod item;
pub mod lease;
pub mod ledger;
pub mod list;
pub mod load;
pub mod machine;
pub mod merge;
pub mod round;
mod rows;
pub mod settings;
pub mod sharing;
pub mod slot;
pub mod status;
pub mod store;
pub mod time;
pub mod view_change;
pub mod window;
