//! What of a title or text is markup, and what readers see.

mod elements;
mod tags;
mod text;

pub use text::plain_text;
