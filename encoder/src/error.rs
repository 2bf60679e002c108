//! What can go wrong with an encoder.

use std::path::PathBuf;
use std::time::Duration;

/// Why there is no encoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file or folder cannot be read.
    #[error("{}: {why}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A folder is not named as an encoder may be.
    #[error(
        "{}: the name of an encoder is 1 to {} characters of a-z, 0-9 and '-'",
        .path.display(),
        crate::MOST_NAME_BYTES
    )]
    Name {
        /// The folder.
        path: PathBuf,
    },
    /// The tokenizer is damaged, or of a kind that is not known.
    #[error("{}: not a tokenizer: {why}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The model is damaged, or something in it is not known.
    #[error("{}: not a sentence encoder that can be run: {why}", .path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

/// Why a text has no feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It took longer than it may.
    #[error("the encoder did not finish the text within {0:?}")]
    Late(Duration),
    /// The tokenizer does not read it.
    #[error("the tokenizer does not read the text: {0}")]
    Unreadable(String),
    /// The model cannot be run on it.
    #[error("the encoder cannot be run on the text: {0}")]
    Failed(String),
}

/// Why something does not fit the rules of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

impl Unfit {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}
