//! The read path: what readers of a domain see, and the answers to what they ask. It knows the pure
//! core and neither actors nor HTTP.
//!
//! A [`DomainView`] holds one immutable [`Snapshot`]. A change makes the next one, which shares with it
//! all that stayed; a reader takes the newest once and answers from it, whatever is changed meanwhile.

mod index;
mod snapshot;
mod term;
mod view;
mod views;

pub use snapshot::{Item, Served, Snapshot};
pub use term::Term;
pub use view::DomainView;
pub use views::Views;
