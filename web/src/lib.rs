//! Kindred's page: renders the interface's answers as HTML, and holds the files that belong to it.
//!
//! Pure: an answer goes in, a view comes out. Identity and permissions are decided where the answers come from: a view
//! shows no more than they contain. Everything is readable without a script; `page.js` keeps views up to date, copies
//! texts, and moves the map.

pub mod activity;
pub mod assets;
pub mod compare;
mod conditions;
pub mod domains;
pub mod experiments;
mod figures;
pub mod frame;
pub mod item;
pub mod items;
pub mod keys;
mod links;
pub mod map;
mod neighbours;
pub mod problem;
pub mod settings;
pub mod sign_in;
pub mod text;
mod words;

pub use conditions::ConditionsForm;
pub use frame::{Frame, Theme, Who};
pub use links::encoded;
