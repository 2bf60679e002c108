//! Jobs, replies and blocks as bytes.
//!
//! Small structured things are JSON, numbers are tensors in the safetensors format with one
//! metadata entry `kindred` (JSON). Every reader checks all it reads: damaged bytes give a
//! [`WireError`], never a panic.

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
