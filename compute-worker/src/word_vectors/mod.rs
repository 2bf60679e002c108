//! Word vectors that models look words up in, and how to make their files.

mod components;
mod format;
pub mod prepare;
mod source;
mod stored;
mod vectors;
mod zipf;

pub use format::Format;
pub use source::{Filter, SourceError};
pub use stored::ReadError;
#[cfg(test)]
pub(crate) use vectors::tests::file_of;
pub use vectors::{Vectors, VectorsError, WordVectors};
pub(crate) use zipf::Zipf;
