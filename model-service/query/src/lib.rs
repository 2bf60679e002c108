//! The read path: what readers of a domain see, and how queries are answered. It knows the pure core, but neither
//! actors nor HTTP.
//!
//! A [`DomainView`] holds one immutable [`Snapshot`]. A change makes the next snapshot, which shares everything
//! unchanged with the previous one; a reader takes the newest once and answers from it, whatever changes meanwhile.
//!
//! A [`Question`] is answered from an item's stored list where that is exact, otherwise by a scan of the features that
//! the snapshot shares with its machine. Candidates of both take the same way: `admission`, `ranking`, `collapse`,
//! `diversity`, `fallback`. A scan first excludes items by their `signature`. It then scores the others one by one, or
//! with the comparison that also makes lists, whichever is faster.

mod admission;
mod answer;
mod collapse;
pub mod conditions;
mod diversity;
mod fallback;
pub mod filter;
mod index;
mod layout;
mod listed;
mod map;
mod pairs;
mod peers;
mod question;
mod ranking;
pub mod recent;
mod scan;
mod signature;
mod snapshot;
mod term;
mod view;
mod views;
mod why;

pub use answer::{Computed, Found, Match};
pub use conditions::{Collapse, Conditions, Fallback};
pub use filter::Filter;
pub use map::{MOST_PLACED, Map};
pub use question::{AskError, Question, Subject};
pub use snapshot::{Item, Served, Snapshot};
pub use term::Term;
pub use view::DomainView;
pub use views::{BesideView, Views};
pub use why::Why;
