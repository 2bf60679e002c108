//! Word pieces: one table of vectors for the words of all languages, and how words are cut into pieces.

mod segment;
mod table;

#[cfg(test)]
pub(crate) use table::tests::table_of;
pub(crate) use segment::Segmenter;
pub use table::{TableError, WordPieces};
