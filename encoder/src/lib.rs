//! Sentence encoders that are stored as ONNX, run without any other program: a text in, a vector of length 1 out.
//!
//! A text's vector has the same bits on every machine. For that, every operator is a fixed sequence of IEEE operations
//! ([`kindred_similarity::Kernel::run`] compiles it for the vectors of a CPU, which changes no result), and each text is
//! run by itself on one thread: in models whose numbers have 8 bits, the scale of these numbers depends on all texts
//! that are run together.
//!
//! `onnx` and `protobuf` read a model, `graph` orders and runs it, `operators` has what ONNX defines, as far as sentence
//! encoders use it, over `tensor`, `product` (matrices) and `arithmetic` (single values and sums). `tokens` reads texts.

mod arithmetic;
mod encoder;
mod error;
mod graph;
mod onnx;
mod operators;
mod product;
mod protobuf;
mod tensor;
mod tokens;

pub use encoder::{
    Encoder, MODEL_FILE, MOST_NAME_BYTES, MOST_TEXT_BYTES, TOKENIZER_FILE, is_name, open_all,
};
pub use error::{EncodeError, OpenError};

#[cfg(test)]
mod tests;
