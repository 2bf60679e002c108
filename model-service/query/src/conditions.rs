//! The conditions of a query: which items count, and in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::filter::Filter;

/// Answers of a query at most.
pub const MOST_ANSWERS: usize = 1_000;
/// Answers at most where each is explained, or all are to differ.
pub const MOST_CAREFUL: usize = 100;
/// Answers unless asked for otherwise.
pub const USUAL_ANSWERS: usize = 10;
/// Ids that a query excludes at most.
pub const MOST_EXCLUDED: usize = 1_000;
/// Items that a query asks of at most.
pub const MOST_ITEMS: usize = 100;
/// Ids that an answer says have joined it, at most.
pub const MOST_ALSO: usize = 20;
/// Score from which on two items are near-duplicates, unless their domain says otherwise.
pub const NEAR_DUPLICATE: f32 = 0.9;

/// Which items count, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Answers at most.
    pub limit: usize,
    /// Lower scores are left out.
    pub min_score: Option<f32>,
    /// Ids that are never answered.
    pub exclude: BTreeSet<Box<str>>,
    /// What an answered item is like.
    pub filter: Filter,
    /// After so long half of a score is left. Not zero.
    pub half_life: Option<Duration>,
    /// Whether items that are close to everything come later.
    pub balance: bool,
    /// What is answered once only.
    pub collapse: Option<Collapse>,
    /// How much answers are to differ from each other: 0 to 1.
    pub diversity: Option<f64>,
    /// Whether each answer says why.
    pub explain: bool,
    /// What fills the answer up.
    pub fallback: Option<Fallback>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            limit: USUAL_ANSWERS,
            min_score: None,
            exclude: BTreeSet::new(),
            filter: Filter::default(),
            half_life: None,
            balance: false,
            collapse: None,
            diversity: None,
            explain: false,
            fallback: None,
        }
    }
}

/// What is answered once only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collapse {
    /// Near-duplicates.
    Near,
    /// Items of one group.
    Group,
}

/// What fills an answer up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The newest items.
    Newest,
    /// Any items.
    Random {
        /// Which: another seed, other items.
        seed: u64,
    },
}

impl Conditions {
    /// Whether the stored list, cut at `limit`, is the answer.
    pub fn is_plain(&self) -> bool {
        let Self { limit, .. } = *self;
        *self
            == Self {
                limit,
                ..Self::default()
            }
    }
}
