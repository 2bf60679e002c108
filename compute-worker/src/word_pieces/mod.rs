//! Word pieces: one table of vectors for the words of all languages, and the segmentation of words into pieces.

mod segment;
mod table;

pub(crate) use segment::Segmenter;
#[cfg(test)]
pub(crate) use table::tests::table_of;
pub use table::{TableError, WordPieces};
