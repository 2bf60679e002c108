//! Terms to features: model `words-1`, its word vectors, and how their files are made.

mod components;
mod extract;
mod format;
pub mod prepare;
mod source;
mod stored;
mod vectors;
mod zipf;

pub use extract::{Extractor, own_vector, term_id};
pub use format::Format;
pub use source::{Filter, SourceError};
pub use stored::ReadError;
pub use vectors::{Vectors, VectorsError, WordVectors};
