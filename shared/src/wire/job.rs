//! The message format of jobs.
//!
//! An extract job is JSON. A compare job is tensors. Each side has its block inline (`block.0`, the bytes of
//! [`encode_block`]) or by hash in the metadata; `live.0` (a bit per row; absent: all rows); and its floors
//! (`floor_kinds.0`, `floor_scores.0`, `floor_ids.0`; absent: none). Side 0 is the left one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::decode_block_within;
use super::tensors::{TensorReader, Writer};
use super::{
    BlockHash, JSON, JobKind, MAX_INLINE_BYTES, MAX_MESSAGE_BYTES, SAFETENSORS, WireError, damaged,
    encode_block, from_hex, hash_of, hex, rows_per_reply,
};
use crate::block::{Block, MAX_ROWS};
use crate::effort;
use crate::job::{CompareTask, ExtractTask, Floor, Job, KEEP, Side, Task, TermCounts};
use crate::name::{DomainName, ItemId, Space};
use kindred_similarity::RowMask;

/// Most sides of a comparison, including the left one. Real jobs have far fewer; each side may name a block that the
/// worker then reads.
pub const MAX_SIDES: usize = 1_024;

/// Most bytes that the values of a job's inline blocks take in memory: 16 MiB. The messages are smaller if few of the
/// rows have dense parts.
const MAX_INLINE_VALUES: usize = 16 << 20;

/// A block that must be stored before the job is sent.
#[derive(Debug, Clone)]
pub struct BlockToStore {
    /// The block.
    pub block: Arc<Block>,
    /// The name under which the job refers to it.
    pub hash: BlockHash,
    /// The bytes to store.
    pub bytes: Vec<u8>,
}

/// A job ready to be sent.
#[derive(Debug, Clone)]
pub struct EncodedJob {
    /// The queue it is for; also the message's type.
    pub kind: JobKind,
    /// Content type of the body.
    pub content_type: &'static str,
    /// At most [`MAX_MESSAGE_BYTES`].
    pub body: Vec<u8>,
    /// Information for people, sent as headers of the message.
    pub headers: Vec<(&'static str, String)>,
    /// Blocks that must be stored before it is sent.
    pub to_store: Vec<BlockToStore>,
}

/// Encodes a job. `stored` returns the hash of blocks that are already stored; those are named, not encoded. Of the
/// others, the largest are named too, until the rest and the job fit [`MAX_INLINE_BYTES`], and their values 16 MiB.
/// Takes time in proportion to its size: do not call it on an async thread.
///
/// # Errors
/// [`WireError::TooLarge`] if it still exceeds [`MAX_MESSAGE_BYTES`].
pub fn encode_job(
    job: &Job,
    stored: &dyn Fn(&Arc<Block>) -> Option<BlockHash>,
) -> Result<EncodedJob, WireError> {
    let encoded = match &job.task {
        Task::Extract(task) => encode_extract(&job.domain, task),
        Task::Compare(task) => encode_compare(&job.domain, task, stored),
    };
    if encoded.body.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge(encoded.body.len()));
    }
    Ok(encoded)
}

#[derive(Serialize, Deserialize)]
struct ExtractBody {
    domain: DomainName,
    space: Space,
    rows: Vec<ExtractRow>,
}

#[derive(Serialize, Deserialize)]
struct ExtractRow {
    id: ItemId,
    terms: Vec<(Box<str>, u32)>,
}

fn encode_extract(domain: &DomainName, task: &ExtractTask) -> EncodedJob {
    let body = ExtractBody {
        domain: domain.clone(),
        space: task.space.clone(),
        rows: task
            .rows
            .iter()
            .map(|row| ExtractRow {
                id: row.id.clone(),
                terms: row.terms.clone(),
            })
            .collect(),
    };
    EncodedJob {
        kind: JobKind::Extract,
        content_type: JSON,
        body: serde_json::to_vec(&body).expect("string keys only, written to memory"),
        headers: vec![
            ("x-kindred-domain", domain.to_string()),
            ("x-kindred-space", task.space.to_string()),
            ("x-kindred-rows", task.rows.len().to_string()),
        ],
        to_store: vec![],
    }
}

#[derive(Serialize, Deserialize)]
struct CompareMeta {
    domain: DomainName,
    within_left: bool,
    keep: usize,
    sides: Vec<SideMeta>,
}

#[derive(Serialize, Deserialize)]
struct SideMeta {
    rows: usize,
    /// Hash of a stored block, in hexadecimal; absent: the block is inline.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hash: Option<String>,
}

enum Carried {
    Named(BlockHash),
    Inline(Vec<u8>),
}

fn encode_compare(
    domain: &DomainName,
    task: &CompareTask,
    stored: &dyn Fn(&Arc<Block>) -> Option<BlockHash>,
) -> EncodedJob {
    let sides: Vec<&Side> = std::iter::once(&task.left).chain(&task.rights).collect();
    let mut columns = Writer::default();
    let mut rest = 0;
    for (at, side) in sides.iter().enumerate() {
        rest += write_side(&mut columns, at, side);
    }
    let mut carried = Vec::with_capacity(sides.len());
    for (at, side) in sides.iter().enumerate() {
        // A block on several sides is carried in the same way on all. `stored` is asked only once, because another job
        // may store the block a moment later.
        let before = (0..at).find(|at| Arc::ptr_eq(&sides[*at].block, &side.block));
        carried.push(match before.map(|at| &carried[at]) {
            Some(Carried::Named(hash)) => Carried::Named(*hash),
            Some(Carried::Inline(bytes)) => Carried::Inline(Vec::clone(bytes)),
            None => match stored(&side.block) {
                Some(hash) => Carried::Named(hash),
                None => Carried::Inline(encode_block(&side.block)),
            },
        });
    }
    let to_store = name_the_largest(&sides, &mut carried, rest);
    let mut metas = Vec::with_capacity(sides.len());
    for (at, (side, carried)) in sides.iter().zip(carried).enumerate() {
        let hash = match carried {
            Carried::Named(hash) => Some(hex(&hash)),
            Carried::Inline(bytes) => {
                columns.bytes(format!("block.{at}"), bytes);
                None
            }
        };
        metas.push(SideMeta {
            rows: side.block.rows(),
            hash,
        });
    }
    let rights: usize = task.rights.iter().map(|side| side.live.count()).sum();
    let left = task.left.live.count();
    let within = if task.within_left {
        left * left.saturating_sub(1) / 2
    } else {
        0
    };
    let meta = CompareMeta {
        domain: domain.clone(),
        within_left: task.within_left,
        keep: task.keep,
        sides: metas,
    };
    EncodedJob {
        kind: JobKind::Compare,
        content_type: SAFETENSORS,
        body: columns.finish(serde_json::to_string(&meta).expect("plain fields write to memory")),
        headers: vec![
            ("x-kindred-domain", domain.to_string()),
            ("x-kindred-space", task.left.block.space().to_string()),
            ("x-kindred-rows", left.to_string()),
            ("x-kindred-pairs", (left * rights + within).to_string()),
        ],
        to_store,
    }
}

/// Turns inline blocks into named ones, largest first, until the job fits [`MAX_INLINE_BYTES`].
fn name_the_largest(sides: &[&Side], carried: &mut [Carried], rest: usize) -> Vec<BlockToStore> {
    let size = |carried: &Carried| match carried {
        Carried::Named(_) => 0,
        Carried::Inline(bytes) => bytes.len(),
    };
    let mut total = rest + carried.iter().map(size).sum::<usize>();
    let is_inline = |carried: &Carried| matches!(carried, Carried::Inline(_));
    let inline = sides.iter().zip(carried.iter());
    let inline = inline.filter(|(_, carried)| is_inline(carried));
    let mut values: usize = inline.map(|(side, _)| side.block.bytes()).sum();
    let mut to_store = Vec::new();
    while total > MAX_INLINE_BYTES || values > MAX_INLINE_VALUES {
        let largest = (0..carried.len()).max_by_key(|at| size(&carried[*at]));
        let Some(at) = largest.filter(|at| size(&carried[*at]) > 0) else {
            break;
        };
        if let Carried::Inline(bytes) = &mut carried[at] {
            let bytes = std::mem::take(bytes);
            let hash = hash_of(&bytes);
            // A block may be on several sides, each time with different rows.
            for (side, carried) in sides.iter().zip(carried.iter_mut()) {
                if Arc::ptr_eq(&side.block, &sides[at].block) {
                    total -= bytes.len();
                    values -= side.block.bytes();
                    *carried = Carried::Named(hash);
                }
            }
            to_store.push(BlockToStore {
                block: Arc::clone(&sides[at].block),
                hash,
                bytes,
            });
        }
    }
    to_store
}

/// Writes a side's mask and floors; returns their size in bytes.
fn write_side(columns: &mut Writer, at: usize, side: &Side) -> usize {
    let mut bytes = 0;
    if side.live.count() < side.live.rows() {
        let mut bits = vec![0_u8; side.live.rows().div_ceil(8)];
        for row in side.live.iter() {
            bits[row / 8] |= 1 << (row % 8);
        }
        bytes += bits.len();
        columns.bytes(format!("live.{at}"), bits);
    }
    if !side.floors.is_empty() {
        let kinds = side.floors.iter().map(|floor| match floor {
            Floor::Open => 0,
            Floor::At(..) => 1,
            Floor::Closed => 2,
        });
        columns.bytes(format!("floor_kinds.{at}"), kinds.collect());
        let given = || {
            side.floors.iter().filter_map(|floor| match floor {
                Floor::At(score, id) => Some((*score, id)),
                Floor::Open | Floor::Closed => None,
            })
        };
        columns.f32s(
            &format!("floor_scores.{at}"),
            given().map(|(score, _)| score),
        );
        columns.texts(
            &format!("floor_ids.{at}"),
            given().map(|(_, id)| id.as_str()),
        );
        bytes += side.floors.len() + given().map(|(_, id)| 8 + id.as_str().len()).sum::<usize>();
    }
    bytes
}

/// A job parsed from a message, without the blocks that it only names.
#[derive(Debug)]
pub struct JobParts {
    domain: DomainName,
    task: TaskParts,
}

#[derive(Debug)]
enum TaskParts {
    Extract(ExtractTask),
    Compare {
        within_left: bool,
        keep: usize,
        sides: Vec<SideParts>,
    },
}

#[derive(Debug)]
struct SideParts {
    rows: usize,
    block: BlockPart,
    live: RowMask,
    floors: Vec<Floor>,
}

#[derive(Debug)]
enum BlockPart {
    Named(BlockHash),
    Inline(Arc<Block>),
}

/// Parses the body of a job.
///
/// # Errors
/// [`WireError`] when it is over [`MAX_MESSAGE_BYTES`] or breaks a rule of the format.
pub fn parse_job(kind: JobKind, body: &[u8]) -> Result<JobParts, WireError> {
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge(body.len()));
    }
    match kind {
        JobKind::Extract => parse_extract(body),
        JobKind::Compare => parse_compare(body),
    }
}

fn parse_extract(body: &[u8]) -> Result<JobParts, WireError> {
    let body: ExtractBody =
        serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
    let row = |row: ExtractRow| TermCounts {
        id: row.id,
        terms: row.terms,
    };
    let rows: Vec<TermCounts> = body.rows.into_iter().map(row).collect();
    let ascending = |row: &TermCounts| row.terms.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !rows.iter().all(ascending) {
        return Err(damaged("terms that do not ascend"));
    }
    if rows
        .iter()
        .flat_map(|row| &row.terms)
        .any(|term| term.1 == 0)
    {
        return Err(damaged("a reference to a missing term"));
    }
    Ok(JobParts {
        domain: body.domain,
        task: TaskParts::Extract(ExtractTask {
            space: body.space,
            rows,
        }),
    })
}

fn parse_compare(body: &[u8]) -> Result<JobParts, WireError> {
    let columns = TensorReader::open(body)?;
    let meta: CompareMeta = columns.meta()?;
    if meta.sides.is_empty() || meta.sides.len() > MAX_SIDES {
        let sides = meta.sides.len();
        return Err(damaged(format!("{sides} sides, of 1 to {MAX_SIDES}")));
    }
    if meta.keep > KEEP {
        let keep = meta.keep;
        return Err(damaged(format!(
            "{keep} candidates per row; at most {KEEP} are allowed"
        )));
    }
    let mut values = MAX_INLINE_VALUES;
    let sides = meta
        .sides
        .iter()
        .enumerate()
        .map(|(at, side)| read_side(&columns, at, side, &mut values))
        .collect::<Result<Vec<_>, _>>()?;
    let (wanted, most) = (
        sides.iter().map(SideParts::wanted).sum::<usize>(),
        rows_per_reply(meta.keep),
    );
    if wanted > most {
        return Err(damaged(format!(
            "{wanted} rows want candidates; one reply has room for {most}"
        )));
    }
    Ok(JobParts {
        domain: meta.domain,
        task: TaskParts::Compare {
            within_left: meta.within_left,
            keep: meta.keep,
            sides,
        },
    })
}

/// `values` is the remaining budget for those of inline blocks.
fn read_side(
    columns: &TensorReader<'_>,
    at: usize,
    meta: &SideMeta,
    values: &mut usize,
) -> Result<SideParts, WireError> {
    if meta.rows > MAX_ROWS {
        let rows = meta.rows;
        return Err(damaged(format!(
            "side {at} has {rows} rows; at most {MAX_ROWS} are allowed"
        )));
    }
    let block = match &meta.hash {
        Some(hash) => BlockPart::Named(from_hex(hash).ok_or_else(|| damaged("not a hash"))?),
        None => {
            let bytes = columns.bytes(&format!("block.{at}"))?;
            BlockPart::Inline(Arc::new(decode_block_within(bytes, values)?))
        }
    };
    let name = format!("live.{at}");
    let live = if columns.has(&name) {
        read_mask(columns.bytes(&name)?, meta.rows)?
    } else {
        RowMask::all(meta.rows)
    };
    let floors = if columns.has(&format!("floor_kinds.{at}")) {
        read_floors(columns, at)?
    } else {
        vec![]
    };
    if !floors.is_empty() && floors.len() != meta.rows {
        return Err(damaged(format!("side {at} has {} floors", floors.len())));
    }
    Ok(SideParts {
        rows: meta.rows,
        block,
        live,
        floors,
    })
}

fn read_mask(bits: &[u8], rows: usize) -> Result<RowMask, WireError> {
    if bits.len() != rows.div_ceil(8) {
        return Err(damaged("a mask of another length"));
    }
    let mut mask = RowMask::none(rows);
    for row in 0..rows {
        if bits[row / 8] >> (row % 8) & 1 == 1 {
            mask.insert(row);
        }
    }
    Ok(mask)
}

fn read_floors(columns: &TensorReader<'_>, at: usize) -> Result<Vec<Floor>, WireError> {
    let scores = columns.f32s(&format!("floor_scores.{at}"))?;
    let ids = columns.texts(&format!("floor_ids.{at}"))?;
    if scores.len() != ids.len() || !scores.iter().all(|score| score.is_finite()) {
        return Err(damaged("floors without a score"));
    }
    let mut given = scores.into_iter().zip(ids);
    let floors = columns
        .bytes(&format!("floor_kinds.{at}"))?
        .iter()
        .map(|kind| match kind {
            0 => Ok(Floor::Open),
            1 => {
                let (score, id) = given.next().ok_or_else(|| damaged("too few floors"))?;
                let id = ItemId::new(id).map_err(|error| damaged(error.to_string()))?;
                Ok(Floor::At(score, id))
            }
            2 => Ok(Floor::Closed),
            other => Err(damaged(format!("floor kind {other}"))),
        })
        .collect::<Result<_, _>>()?;
    match given.next() {
        None => Ok(floors),
        Some(_) => Err(damaged("too many floors")),
    }
}

impl JobParts {
    /// The domain it is for.
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The blocks that it names but does not carry, without duplicates.
    pub fn wanted(&self) -> Vec<BlockHash> {
        let TaskParts::Compare { sides, .. } = &self.task else {
            return vec![];
        };
        let mut hashes: Vec<BlockHash> = sides
            .iter()
            .filter_map(|side| match side.block {
                BlockPart::Named(hash) => Some(hash),
                BlockPart::Inline(_) => None,
            })
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// The job, completed with the blocks it names.
    ///
    /// # Errors
    /// [`WireError::MissingBlock`] if `block` does not return one of them; [`WireError::Damaged`] if one does not fit
    /// its side or the others, or the job is larger than any that is sent.
    pub fn assemble(
        self,
        block: impl Fn(&BlockHash) -> Option<Arc<Block>>,
    ) -> Result<Job, WireError> {
        let task = match self.task {
            TaskParts::Extract(task) => Task::Extract(Arc::new(task)),
            TaskParts::Compare {
                within_left,
                keep,
                sides,
            } => {
                let mut sides = sides
                    .into_iter()
                    .map(|side| side.assemble(&block))
                    .collect::<Result<Vec<Side>, _>>()?
                    .into_iter();
                let left = sides.next().ok_or_else(|| damaged("no left side"))?;
                Task::Compare(Arc::new(CompareTask {
                    left,
                    within_left,
                    rights: sides.collect(),
                    keep,
                }))
            }
        };
        check_work(&task)?;
        Ok(Job {
            domain: self.domain,
            task,
        })
    }
}

/// Checks that the blocks fit each other, and that the job is no larger than those that are sent.
fn check_work(task: &Task) -> Result<(), WireError> {
    if let Task::Compare(task) = task {
        let left = task.left.block.table();
        let unlike = |side: &&Side| !left.is_comparable(side.block.table());
        if let Some(side) = task.rights.iter().find(unlike) {
            let (left, right) = (left.dimension(), side.block.dimension());
            return Err(damaged(format!(
                "dense parts of {left} values meet others of {right}"
            )));
        }
    }
    let effort = effort::of(task);
    if effort > effort::LONGEST {
        return Err(damaged(format!(
            "an estimated {effort:?} of work; a job may have at most {:?}",
            effort::LONGEST
        )));
    }
    Ok(())
}

impl SideParts {
    /// The number of rows that want candidates.
    fn wanted(&self) -> usize {
        let floors = self.floors.iter().enumerate();
        let wants = floors
            .filter(|(row, floor)| !matches!(floor, Floor::Closed) && self.live.contains(*row));
        wants.count()
    }

    fn assemble(self, block: impl Fn(&BlockHash) -> Option<Arc<Block>>) -> Result<Side, WireError> {
        let block = match self.block {
            BlockPart::Inline(block) => block,
            BlockPart::Named(hash) => block(&hash).ok_or(WireError::MissingBlock(hash))?,
        };
        if block.rows() != self.rows {
            return Err(damaged("a block of another length than its side"));
        }
        Ok(Side {
            block,
            live: self.live,
            floors: self.floors,
        })
    }
}
