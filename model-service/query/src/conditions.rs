//! The conditions of a query: which items count, and in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::filter::Filter;

/// Most answers of a query.
pub const MOST_ANSWERS: usize = 1_000;
/// Most answers if each is explained, or if they are diversified.
pub const MOST_CAREFUL: usize = 100;
/// Default number of answers.
pub const USUAL_ANSWERS: usize = 10;
/// Most ids that a query excludes.
pub const MOST_EXCLUDED: usize = 1_000;
/// Most items in a question.
pub const MOST_ITEMS: usize = 100;
/// Most ids that an answer lists as having joined it.
pub const MOST_ALSO: usize = 20;

/// Which items count, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Most answers.
    pub limit: usize,
    /// Lower scores are left out.
    pub min_score: Option<f32>,
    /// Ids that are never answered.
    pub exclude: BTreeSet<Box<str>>,
    /// What answered items must be like.
    pub filter: Filter,
    /// The time after which half of a score is left. Not zero.
    pub half_life: Option<Duration>,
    /// Whether to rank items lower that are close to everything.
    pub balance: bool,
    /// What to collapse.
    pub collapse: Option<Collapse>,
    /// How much answers should differ from each other: 0 to 1.
    pub diversity: Option<f64>,
    /// Whether to explain each answer.
    pub explain: bool,
    /// What to fill up the answer with.
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

/// What is answered only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collapse {
    /// Near-duplicates.
    Near,
    /// Items of one group.
    Group,
}

/// What an answer is filled up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The newest items.
    Newest,
    /// Any items.
    Random {
        /// Seed: another one gives other items.
        seed: u64,
    },
}

impl Conditions {
    /// Whether the answer is the stored list, cut at `limit`.
    pub fn is_plain(&self) -> bool {
        let Self { limit, .. } = *self;
        *self
            == Self {
                limit,
                ..Self::default()
            }
    }
}
