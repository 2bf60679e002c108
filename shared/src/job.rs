//! Jobs: what the model service asks of a compute worker, and the answers.

use std::fmt;
use std::sync::Arc;

use kindred_similarity::{Found, RowMask};

use crate::block::Block;
use crate::feature::Feature;
use crate::name::{DomainName, ItemId, Space};

/// Candidates kept for a row; also the most entries of a list.
pub const KEEP: usize = 64;

/// One piece of work for a compute worker.
#[derive(Debug, Clone)]
pub struct Job {
    /// The domain it is done for.
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

/// Turn the terms of texts of one space into features.
#[derive(Clone)]
pub struct ExtractTask {
    /// The space all rows belong to; its language chooses the word vectors.
    pub space: Space,
    /// One row an item.
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

/// The terms of one item with their frequencies, sorted by term, each term once.
#[derive(Clone, PartialEq, Eq)]
pub struct TermCounts {
    /// The item.
    pub id: ItemId,
    /// Term and frequency (≥ 1), strictly ascending by term.
    pub terms: Vec<(Box<str>, u32)>,
}

impl fmt::Debug for TermCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} terms", self.id, self.terms.len())
    }
}

/// Compare every left row with every right row, and the left rows among themselves.
#[derive(Debug, Clone)]
pub struct CompareTask {
    /// The left rows.
    pub left: Side,
    /// Whether pairs of two left rows are compared too (each once, feeding both).
    pub within_left: bool,
    /// The right rows, in strips.
    pub rights: Vec<Side>,
    /// Candidates kept a row.
    pub keep: usize,
}

/// Rows of one block that take part in a comparison.
#[derive(Debug, Clone)]
pub struct Side {
    /// The block.
    pub block: Arc<Block>,
    /// Which of its rows take part.
    pub live: RowMask,
    /// Below what each row of the block (by row, live or not) wants no candidates; empty: no row
    /// of this side wants any.
    pub floors: Vec<Floor>,
}

/// Where a row's interest ends. A candidate that ranks exactly at a floor is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Floor {
    /// Every score above 0 is wanted.
    Open,
    /// Scores that rank at or above (score, id) are wanted.
    At(f32, ItemId),
    /// Nothing is wanted.
    Closed,
}

/// What a worker answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Task::Extract`].
    Extracted(Vec<Feature>),
    /// To [`Task::Compare`].
    Compared(CompareReply),
    /// The job could not be done, and why (the worker lives on).
    Failed(String),
    /// This worker does not know the model whose features were asked for. That says nothing about
    /// the job.
    UnknownModel(String),
    /// This worker did not take the job up. That says nothing about the job's items.
    Refused(JobRefusal),
}

/// Why a worker does not take a job up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRefusal {
    /// The reason's word: one of [`crate::wire::MALFORMED_JOB`] and [`crate::wire::UNKNOWN_PROTOCOL`], or that of
    /// a newer program.
    pub reason: String,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for JobRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

/// Candidates found by a comparison.
#[derive(Clone, Default)]
pub struct CompareReply {
    /// Pairs of rows whose score was computed.
    pub pairs: u64,
    /// Rows that got candidates; at most one entry a row.
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
