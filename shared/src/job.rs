//! Jobs that the model service sends to compute workers, and the replies.

use std::fmt;
use std::sync::Arc;

use kindred_similarity::{Found, RowMask};

use crate::block::Block;
use crate::feature::Feature;
use crate::name::{DomainName, ItemId, Space};

/// Candidates kept per row; also the most entries of a list.
pub const KEEP: usize = 64;

/// One piece of work for a compute worker.
#[derive(Debug, Clone)]
pub struct Job {
    /// The domain it is for.
    pub domain: DomainName,
    /// What to do.
    pub task: Task,
}

/// What a job asks for.
#[derive(Debug, Clone)]
pub enum Task {
    /// Terms in, features out.
    Extract(Arc<ExtractTask>),
    /// Rows in, candidates out.
    Compare(Arc<CompareTask>),
}

/// Turns the terms of texts of one space into features.
#[derive(Clone)]
pub struct ExtractTask {
    /// The space of all rows; its language selects the word vectors, and its model may name a sentence encoder.
    pub space: Space,
    /// One row per item.
    pub rows: Vec<TermCounts>,
}

impl fmt::Debug for ExtractTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractTask")
            .field("space", &self.space)
            .field("rows", &self.rows.len())
            .finish()
    }
}

/// The terms of one item with their frequencies, sorted by term, without duplicates.
#[derive(Clone, PartialEq, Eq)]
pub struct TermCounts {
    /// The item.
    pub id: ItemId,
    /// Term and frequency (≥ 1), strictly ascending by term. For a sentence encoder the only term is the text itself.
    pub terms: Vec<(Box<str>, u32)>,
}

impl fmt::Debug for TermCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} terms", self.id, self.terms.len())
    }
}

/// Compares every left row with every right row, and the left rows among themselves.
#[derive(Debug, Clone)]
pub struct CompareTask {
    /// The left rows.
    pub left: Side,
    /// Whether pairs of two left rows are compared too (each once, feeding both).
    pub within_left: bool,
    /// The right rows, in strips.
    pub rights: Vec<Side>,
    /// Candidates kept per row.
    pub keep: usize,
}

/// Rows of one block that take part in a comparison.
#[derive(Debug, Clone)]
pub struct Side {
    /// The block.
    pub block: Arc<Block>,
    /// Which of its rows take part.
    pub live: RowMask,
    /// The floor of each row of the block (by row, live or not): no candidates below it are wanted. Empty: no row of
    /// this side wants any.
    pub floors: Vec<Floor>,
}

/// The lowest candidate that a row wants. A candidate that ranks exactly at the floor is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Floor {
    /// Every score above 0 is wanted.
    Open,
    /// Candidates that rank at or above (score, id) are wanted.
    At(f32, ItemId),
    /// Nothing is wanted.
    Closed,
}

/// A worker's answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Task::Extract`].
    Extracted(Vec<Feature>),
    /// To [`Task::Compare`].
    Compared(CompareReply),
    /// The job failed, with the reason; the worker continues.
    Failed(String),
    /// This worker does not know the requested model. That says nothing about the job.
    UnknownModel(String),
    /// This worker refused the job. That says nothing about the job's items.
    Refused(JobRefusal),
}

/// Why a worker refuses a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRefusal {
    /// The reason as a word: [`crate::wire::MALFORMED_JOB`], [`crate::wire::UNKNOWN_PROTOCOL`], or a word of a newer
    /// program.
    pub reason: String,
    /// Details.
    pub detail: String,
}

impl fmt::Display for JobRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

/// The result of a comparison.
#[derive(Clone, Default)]
pub struct CompareReply {
    /// Pairs of rows whose score was computed.
    pub pairs: u64,
    /// Rows that got candidates; at most one entry per row.
    pub found: Vec<Found>,
}

impl fmt::Debug for CompareReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompareReply")
            .field("pairs", &self.pairs)
            .field("rows", &self.found.len())
            .finish()
    }
}
