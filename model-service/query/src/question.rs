//! Questions: what a snapshot is asked, and what it has for that.

use std::collections::HashSet;

use kindred_domain::slot::Slot;
use kindred_shared::{Feature, ItemId, Space};
use kindred_similarity::{Kernel, Probe};

use crate::conditions::Conditions;
use crate::snapshot::{Item, Snapshot};

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// What answers should be similar to.
    pub subject: Subject,
    /// Which items count, and in which order.
    pub conditions: Conditions,
    /// Score from which on two items are near-duplicates.
    pub near_duplicate: f32,
    /// The kernel that computes scores; it does not affect them.
    pub kernel: Kernel,
    /// Now, in ms since 1970.
    pub now: i64,
}

/// What answers should be similar to.
#[derive(Debug, Clone)]
pub enum Subject {
    /// These items, each with a weight (finite, not all 0): the score is Σ w·score / Σ|w|.
    Items(Vec<(ItemId, f64)>),
    /// The text or vector from which this feature was made.
    Feature {
        /// The space in which it is compared.
        space: Space,
        /// Zero: it is compared with nothing.
        feature: Feature,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Readers see none of the items in the question.
    #[error("readers see none of the items")]
    NoneKnown,
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Cancelled,
    /// The kernel cannot run here, or a feature is invalid.
    #[error("{0}")]
    Kernel(kindred_similarity::Error),
}

impl From<kindred_similarity::Error> for AskError {
    fn from(error: kindred_similarity::Error) -> Self {
        Self::Kernel(error)
    }
}

/// A subject, resolved in a snapshot.
pub(crate) struct ResolvedSubject<'s> {
    /// The features with which candidates are compared.
    pub(crate) parts: Vec<Part>,
    /// Σ|w| of the parts, and of items that have nothing to compare.
    pub(crate) weight: f64,
    /// The items of the question, which are never answered.
    pub(crate) items: HashSet<Slot>,
    /// The single item of the question, if its weight is above 0: then its list may answer it.
    pub(crate) one: Option<Item<'s>>,
    /// Its hubness.
    pub(crate) hub: f64,
    /// Ids that readers do not know.
    pub(crate) unknown: Vec<ItemId>,
    /// Whether no item of the question has a feature or a list yet.
    pub(crate) is_pending: bool,
}

/// A feature with which candidates are compared.
pub(crate) struct Part {
    pub(crate) space: Space,
    pub(crate) weight: f64,
    pub(crate) feature: Feature,
    pub(crate) probe: Probe,
}

impl Part {
    pub(crate) fn new(
        kernel: Kernel,
        space: Space,
        feature: Feature,
        weight: f64,
    ) -> Result<Self, AskError> {
        Ok(Self {
            space,
            weight,
            probe: Probe::new(
                kernel,
                feature.dense(),
                feature.term_ids(),
                feature.term_weights(),
            )?,
            feature,
        })
    }
}

impl<'s> ResolvedSubject<'s> {
    pub(crate) fn of(snapshot: &'s Snapshot, question: &Question) -> Result<Self, AskError> {
        let Question { kernel, now, .. } = *question;
        let mut asked = Self {
            parts: Vec::new(),
            weight: 0.0,
            items: HashSet::new(),
            one: None,
            hub: 0.0,
            unknown: Vec::new(),
            is_pending: false,
        };
        let items = match &question.subject {
            Subject::Feature { space, feature } => {
                asked.weight = 1.0;
                if !feature.is_zero() {
                    let part = Part::new(kernel, space.clone(), feature.clone(), 1.0)?;
                    asked.parts.push(part);
                }
                return Ok(asked);
            }
            Subject::Items(items) => items,
        };
        let (mut hubs, mut are_pending) = (0.0, true);
        for (id, weight) in items {
            let Some(item) = snapshot.item(id.as_str(), now) else {
                asked.unknown.push(id.clone());
                continue;
            };
            asked.items.insert(item.slot());
            asked.weight += weight.abs();
            hubs += weight * item.hub();
            let feature = item.feature();
            are_pending &= feature.is_none() && item.served().is_none();
            if let Some((space, live, row)) = feature {
                let feature = live.rows.block.feature(row as usize);
                let part = Part::new(kernel, space.clone(), feature, *weight)?;
                asked.parts.push(part);
            }
            if let [(_, weight)] = items[..]
                && weight > 0.0
            {
                asked.one = Some(item);
            }
        }
        if asked.items.is_empty() {
            return Err(AskError::NoneKnown);
        }
        asked.is_pending = are_pending;
        if asked.weight > 0.0 {
            asked.hub = hubs / asked.weight;
        }
        Ok(asked)
    }

    /// The score for a sum of weighted scores.
    pub(crate) fn score(&self, sum: f64) -> f32 {
        // For a single item this is its own score: the sum is a product with at most the bits of two `f32`, which `f64`
        // holds exactly.
        (sum / self.weight) as f32
    }
}
