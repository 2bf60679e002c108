//! The wire format of jobs, replies and blocks.
//!
//! Small structured data is JSON; numbers are tensors in the safetensors format with one metadata entry `kindred`
//! (JSON). Readers validate everything: damaged bytes give a [`WireError`], never a panic.
//!
//! Every job and reply names its [`PROTOCOL`]. Without a new protocol, a message may only gain fields and columns that
//! a reader may safely ignore: readers ignore those they do not know. A message that would mean something else to such
//! a reader needs a new protocol, and programs that do not speak it say so explicitly.

mod block;
mod job;
mod message;
mod reply;
mod tensors;

pub use block::{decode_block, encode_block, hash_of};
pub use job::{BlockToStore, EncodedJob, JobParts, MAX_SIDES, encode_job, parse_job};
pub use message::{JobAddress, JobKind};
pub use reply::{
    DecodedReply, EncodedReply, decode_reply, encode_reply, missing_blocks, rows_per_reply,
};

/// Largest body of a message: 8 MiB.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// Largest job that carries its blocks inline: 1 MiB.
pub const MAX_INLINE_BYTES: usize = 1 << 20;

/// The newest protocol of jobs and replies that this program speaks; it also speaks all earlier ones.
pub const PROTOCOL: u32 = 1;
/// The header that names the protocol of a job or reply. A message without it is of protocol 1.
pub const PROTOCOL_HEADER: &str = "x-kindred-protocol";

/// Whether this program can read a message with this value of [`PROTOCOL_HEADER`].
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

/// Reason of a [`JobRefusal`](crate::job::JobRefusal): the message is not a valid job.
pub const MALFORMED_JOB: &str = "malformed-job";
/// Reason of a [`JobRefusal`](crate::job::JobRefusal): the worker does not speak the job's protocol.
pub const UNKNOWN_PROTOCOL: &str = "unknown-protocol";

/// Reason of a [`JobRefusal`](crate::job::JobRefusal) that stands for an unreadable reply. No worker sends it.
pub const UNREADABLE_REPLY: &str = "unreadable-reply";

/// The name of a block: XXH3-128 of its encoded bytes, big-endian.
pub type BlockHash = [u8; 16];

/// Why bytes cannot be decoded or a message cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The body would exceed [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes; at most {MAX_MESSAGE_BYTES} are sent")]
    TooLarge(usize),
    /// The bytes break a rule of the format.
    #[error("damaged: {0}")]
    Damaged(String),
    /// This program does not speak the message's protocol.
    #[error("it has protocol {0:?}; this program speaks protocols 1 to {PROTOCOL}")]
    UnknownProtocol(String),
    /// A block that the job names is not available.
    #[error("block {} is missing", hex(.0))]
    MissingBlock(BlockHash),
}

/// A hash as 32 hexadecimal digits.
pub fn hex(hash: &BlockHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A summary of blocks: their number, and the names of the first few.
pub fn some_of(hashes: &[BlockHash]) -> String {
    const SHOWN: usize = 4;
    let names: Vec<String> = hashes.iter().take(SHOWN).map(hex).collect();
    let more = if hashes.len() > SHOWN { ", …" } else { "" };
    let blocks = if hashes.len() == 1 { "block" } else { "blocks" };
    format!("{} {blocks} ({}{more})", hashes.len(), names.join(", "))
}

/// Parses the output of [`hex`].
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
