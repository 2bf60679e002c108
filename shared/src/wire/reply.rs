//! The message format of replies.

use serde::{Deserialize, Serialize};

use super::block::{read_features, write_features};
use super::tensors::{TensorReader, Writer};
use super::{
    BlockHash, JSON, MAX_MESSAGE_BYTES, MAX_SIDES, SAFETENSORS, WireError, damaged, from_hex, hex,
};
use crate::job::{CompareReply, JobRefusal, Reply};
use kindred_similarity::{Candidate, Found, RowRef};

/// Message type of [`Reply::Extracted`].
const EXTRACTED: &str = "extracted";
/// Message type of [`Reply::Compared`].
const COMPARED: &str = "compared";
/// Message type of [`Reply::Failed`], [`Reply::UnknownModel`] and [`Reply::Refused`].
const FAILED: &str = "failed";
/// Message type of an answer that names blocks missing from the store.
const MISSING_BLOCKS: &str = "missing-blocks";

/// Bytes of a candidate: side, row, score.
const CANDIDATE_BYTES: usize = 2 + 4 + 4;
/// Bytes of a row besides its candidates: side, row, their number, and the dropped candidate.
const ROW_BYTES: usize = 2 + 4 + 4 + 1 + CANDIDATE_BYTES;
/// Reserved for names, types and lengths of the columns: 16 KiB.
const HEADER_BYTES: usize = 16 << 10;

/// Most rows, over all sides, whose candidates fit one reply. A compare job must not have more rows that want
/// candidates (whose floor is not [`Closed`](crate::job::Floor::Closed)).
pub const fn rows_per_reply(keep: usize) -> usize {
    (MAX_MESSAGE_BYTES - HEADER_BYTES) / (ROW_BYTES + keep * CANDIDATE_BYTES)
}

/// A reply ready to be sent.
#[derive(Debug, Clone)]
pub struct EncodedReply {
    /// The message's type.
    pub kind: &'static str,
    /// Content type of the body.
    pub content_type: &'static str,
    /// At most [`MAX_MESSAGE_BYTES`].
    pub body: Vec<u8>,
}

/// What a worker answered.
#[derive(Debug)]
pub enum DecodedReply {
    /// A reply.
    Reply(Reply),
    /// These blocks are not stored; the job can be done once they are.
    MissingBlocks(Vec<BlockHash>),
}

#[derive(Serialize, Deserialize)]
struct FailedBody {
    error: String,
    /// The model that the worker does not know. Programs that do not know this field see a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown_model: Option<String>,
    /// The reason why the worker refused the job. Programs that do not know this field see a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl FailedBody {
    fn new(error: &str) -> Self {
        Self {
            error: cut(error.to_owned(), MAX_WORDS),
            unknown_model: None,
            refused: None,
        }
    }

    fn encode(&self) -> EncodedReply {
        EncodedReply {
            kind: FAILED,
            content_type: JSON,
            body: serde_json::to_vec(self).expect("plain fields write to memory"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct MissingBody {
    hashes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ComparedMeta {
    pairs: u64,
}

/// Encodes a reply. If it would be too large, sends a [`Reply::Failed`] that says so.
pub fn encode_reply(reply: &Reply) -> EncodedReply {
    let encoded = match reply {
        Reply::Extracted(features) => {
            let mut columns = Writer::default();
            write_features(&mut columns, features, true);
            EncodedReply {
                kind: EXTRACTED,
                content_type: SAFETENSORS,
                body: columns.finish("{}".to_owned()),
            }
        }
        Reply::Compared(reply) => EncodedReply {
            kind: COMPARED,
            content_type: SAFETENSORS,
            body: encode_compared(reply),
        },
        Reply::Failed(error) => return FailedBody::new(error).encode(),
        Reply::UnknownModel(model) => {
            let body = FailedBody {
                unknown_model: Some(model.clone()),
                ..FailedBody::new(&format!("model {model:?} is not known here"))
            };
            return body.encode();
        }
        Reply::Refused(JobRefusal { reason, detail }) => {
            let body = FailedBody {
                refused: Some(reason.clone()),
                ..FailedBody::new(detail)
            };
            return body.encode();
        }
    };
    if encoded.body.len() > MAX_MESSAGE_BYTES {
        return FailedBody::new(&WireError::TooLarge(encoded.body.len()).to_string()).encode();
    }
    encoded
}

/// The answer to a job that names blocks missing from the store.
pub fn missing_blocks(hashes: &[BlockHash]) -> EncodedReply {
    let body = MissingBody {
        hashes: hashes.iter().map(hex).collect(),
    };
    EncodedReply {
        kind: MISSING_BLOCKS,
        content_type: JSON,
        body: serde_json::to_vec(&body).expect("plain fields write to memory"),
    }
}

/// Longest message of a failure, in characters.
const MAX_WORDS: usize = 4096;
/// Longest name or reason, in characters.
const MAX_WORD: usize = 64;

/// Truncates a text, since failure messages go into logs and the list of troubles.
fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

fn encode_compared(reply: &CompareReply) -> Vec<u8> {
    let mut columns = Writer::default();
    let count = |found: &Found| u32::try_from(found.candidates.len()).unwrap_or(u32::MAX);
    columns.u16s("row_sides", reply.found.iter().map(|found| found.row.side));
    columns.u32s("rows", reply.found.iter().map(|found| found.row.row));
    columns.u32s("counts", reply.found.iter().map(count));
    let candidates = || reply.found.iter().flat_map(|found| &found.candidates);
    write_candidates(&mut columns, "candidate", candidates);
    let dropped = reply.found.iter().map(|found| found.dropped.is_some());
    columns.bytes("has_dropped", dropped.map(u8::from).collect());
    let dropped = || {
        reply
            .found
            .iter()
            .filter_map(|found| found.dropped.as_ref())
    };
    write_candidates(&mut columns, "dropped", dropped);
    let meta = ComparedMeta { pairs: reply.pairs };
    columns.finish(serde_json::to_string(&meta).expect("plain fields write to memory"))
}

fn write_candidates<'a, I: Iterator<Item = &'a Candidate>>(
    columns: &mut Writer,
    name: &str,
    candidates: impl Fn() -> I,
) {
    columns.u16s(
        &format!("{name}_sides"),
        candidates().map(|candidate| candidate.row.side),
    );
    columns.u32s(
        &format!("{name}_rows"),
        candidates().map(|candidate| candidate.row.row),
    );
    columns.f32s(
        &format!("{name}_scores"),
        candidates().map(|candidate| candidate.score),
    );
}

fn read_candidates(columns: &TensorReader<'_>, name: &str) -> Result<Vec<Candidate>, WireError> {
    let sides = columns.u16s(&format!("{name}_sides"))?;
    let rows = columns.u32s(&format!("{name}_rows"))?;
    let scores = columns.f32s(&format!("{name}_scores"))?;
    if rows.len() != sides.len() || scores.len() != sides.len() {
        return Err(damaged("columns of different length"));
    }
    if !scores.iter().all(|score| score.is_finite()) {
        return Err(damaged("a score that is not a number"));
    }
    Ok(sides
        .into_iter()
        .zip(rows)
        .zip(scores)
        .map(|((side, row), score)| Candidate {
            row: RowRef { side, row },
            score,
        })
        .collect())
}

/// Decodes the body of a reply of the given message type.
///
/// # Errors
/// [`WireError`] if it exceeds [`MAX_MESSAGE_BYTES`], has an unknown type, or breaks a rule of the format.
pub fn decode_reply(kind: &str, body: &[u8]) -> Result<DecodedReply, WireError> {
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge(body.len()));
    }
    let json = |error: serde_json::Error| damaged(error.to_string());
    match kind {
        EXTRACTED => {
            let features = read_features(&TensorReader::open(body)?, None)?;
            Ok(DecodedReply::Reply(Reply::Extracted(features)))
        }
        COMPARED => Ok(DecodedReply::Reply(Reply::Compared(decode_compared(body)?))),
        FAILED => {
            let body: FailedBody = serde_json::from_slice(body).map_err(json)?;
            Ok(DecodedReply::Reply(match body {
                FailedBody {
                    refused: Some(reason),
                    error: detail,
                    ..
                } => Reply::Refused(JobRefusal {
                    reason: cut(reason, MAX_WORD),
                    detail: cut(detail, MAX_WORDS),
                }),
                FailedBody {
                    unknown_model: Some(model),
                    ..
                } => Reply::UnknownModel(cut(model, MAX_WORD)),
                FailedBody { error, .. } => Reply::Failed(cut(error, MAX_WORDS)),
            }))
        }
        MISSING_BLOCKS => {
            let body: MissingBody = serde_json::from_slice(body).map_err(json)?;
            if body.hashes.len() > MAX_SIDES {
                return Err(damaged(format!(
                    "{} missing blocks; a job names at most {MAX_SIDES}",
                    body.hashes.len()
                )));
            }
            let hashes: Option<Vec<BlockHash>> =
                body.hashes.iter().map(|hash| from_hex(hash)).collect();
            hashes
                .map(DecodedReply::MissingBlocks)
                .ok_or_else(|| damaged("not a hash"))
        }
        other => {
            let other: String = other.chars().take(64).collect();
            Err(damaged(format!("a reply of type {other:?}")))
        }
    }
}

fn decode_compared(body: &[u8]) -> Result<CompareReply, WireError> {
    let columns = TensorReader::open(body)?;
    let meta: ComparedMeta = columns.meta()?;
    let (sides, rows) = (columns.u16s("row_sides")?, columns.u32s("rows")?);
    let counts = columns.u32s("counts")?;
    let has_dropped = columns.bytes("has_dropped")?;
    if [rows.len(), counts.len(), has_dropped.len()] != [sides.len(); 3] {
        return Err(damaged("columns of different length"));
    }
    let mut candidates = read_candidates(&columns, "candidate")?.into_iter();
    let mut dropped = read_candidates(&columns, "dropped")?.into_iter();
    let mut found = Vec::with_capacity(sides.len());
    for (at, side) in sides.into_iter().enumerate() {
        let count = counts[at] as usize;
        if count > candidates.len() {
            return Err(damaged("too few candidates"));
        }
        let dropped = match has_dropped[at] {
            0 => None,
            _ => Some(dropped.next().ok_or_else(|| damaged("too few dropped"))?),
        };
        found.push(Found {
            row: RowRef {
                side,
                row: rows[at],
            },
            candidates: candidates.by_ref().take(count).collect(),
            dropped,
        });
    }
    if candidates.len() + dropped.len() > 0 {
        return Err(damaged("more candidates than rows want"));
    }
    Ok(CompareReply {
        pairs: meta.pairs,
        found,
    })
}
