//! The read path: what readers of a domain see, and the answers to what they ask. It knows the pure
//! core and neither actors nor HTTP.

mod view;

pub use view::{DomainView, Served, Similar, Views};
