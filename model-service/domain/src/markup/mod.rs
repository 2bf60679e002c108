//! Separates the markup of a title or text from what readers see.

mod elements;
mod tags;
mod text;

pub use text::plain_text;
