//! The read path: what readers of a domain see, and the answers to what they ask. It knows the pure
//! core and neither actors nor HTTP.
//!
//! A [`DomainView`] holds one immutable [`Snapshot`]. A change makes the next one, which shares with it
//! all that stayed; a reader takes the newest once and answers from it, whatever is changed meanwhile.
//!
//! A [`Question`] is answered from an item's stored list where that is exact, else by a scan of the features that
//! the snapshot shares with its machine. Candidates of both go one way: `admission`, `ranking`, `collapse`,
//! `diversity`, `fallback`. A scan finds who may be answered by `signature` first, and scores them one by one, or by
//! comparing as a domain's own comparisons do where that finds the same sooner.

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
