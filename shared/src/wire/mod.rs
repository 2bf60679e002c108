//! Jobs, replies and blocks as bytes.
//!
//! Small structured things are JSON, numbers are tensors in the safetensors format with one
//! metadata entry `kindred` (JSON). Every reader checks all it reads: damaged bytes give a
//! [`WireError`], never a panic.
//!
//! Every job and reply names its [`PROTOCOL`]. What is added to a message without a new protocol must be such that
//! who does not know it may ignore it: readers ignore fields and columns they do not know. A message that would mean
//! something else to such a reader is of a new protocol, and who does not speak that says so by name.

mod block;
mod job;
mod message;
mod reply;
mod tensors;

pub use block::{decode_block, encode_block, hash_of};
pub use job::{BlockToStore, EncodedJob, JobParts, encode_job, parse_job};
pub use message::{JobAddress, JobKind};
pub use reply::{Answer, EncodedReply, decode_reply, encode_reply, missing_blocks, rows_per_reply};

/// Most bytes of a message's body: 8 MiB.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// Most bytes of a job that carries its blocks with it: 1 MiB.
pub const MAX_INLINE_BYTES: usize = 1 << 20;

/// The newest protocol of jobs and replies that this program speaks; it speaks those before it, too.
pub const PROTOCOL: u32 = 1;
/// The header of every job and reply that names its protocol. Without it a message is of protocol 1.
pub const PROTOCOL_HEADER: &str = "x-kindred-protocol";

/// Whether a message whose header [`PROTOCOL_HEADER`] says this can be read here.
///
/// # Errors
/// [`WireError::UnknownProtocol`].
pub fn check_protocol(said: &str) -> Result<(), WireError> {
    match said.parse() {
        Ok(1..=PROTOCOL) => Ok(()),
        _ => Err(WireError::UnknownProtocol(said.chars().take(16).collect())),
    }
}

/// Content type of JSON bodies.
pub const JSON: &str = "application/json";
/// Content type of tensors.
pub const SAFETENSORS: &str = "application/vnd.safetensors";

/// Reason of a [`JobRefusal`](crate::job::JobRefusal): the message is no job.
pub const MALFORMED_JOB: &str = "malformed-job";
/// Reason of a [`JobRefusal`](crate::job::JobRefusal): the job is of a protocol that the worker does not speak.
pub const UNKNOWN_PROTOCOL: &str = "unknown-protocol";

/// Names a block: XXH3-128 of its encoded bytes, big-endian.
pub type BlockHash = [u8; 16];

/// Why bytes are not what they should be, or cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The body would be over [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes; at most {MAX_MESSAGE_BYTES} are sent")]
    TooLarge(usize),
    /// The bytes break a rule of the format.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The message is of a protocol that this program does not speak.
    #[error("it is of protocol {0:?}; protocols 1 to {PROTOCOL} are spoken here")]
    UnknownProtocol(String),
    /// A block that the job names is not at hand.
    #[error("block {} is not there", hex(.0))]
    MissingBlock(BlockHash),
}

/// A hash as 32 hexadecimal digits.
pub fn hex(hash: &BlockHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote.
pub fn from_hex(text: &str) -> Option<BlockHash> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 16];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn damaged(what: impl Into<String>) -> WireError {
    WireError::Damaged(what.into())
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
