//! Questions: what is asked of a snapshot, and what the snapshot has for it.

use std::collections::HashSet;

use kindred_domain::slot::Slot;
use kindred_shared::{Feature, ItemId, Space};
use kindred_similarity::{Kernel, Probe};

use crate::conditions::Conditions;
use crate::snapshot::{Item, Snapshot};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// What answers are to be like.
    pub subject: Subject,
    /// Which items count, and in which order.
    pub conditions: Conditions,
    /// Score from which on two items are near-duplicates.
    pub near_duplicate: f32,
    /// What scores are computed with; they do not depend on it.
    pub kernel: Kernel,
    /// Now, in ms since 1970.
    pub now: i64,
}

/// What answers are to be like.
#[derive(Debug, Clone)]
pub enum Subject {
    /// These items, each by its weight (finite, not all 0): the score is Σ w·score / Σ|w|.
    Items(Vec<(ItemId, f64)>),
    /// What this feature was made of.
    Feature {
        /// What it is compared with.
        space: Space,
        /// Zero: with nothing.
        feature: Feature,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// None of the items asked of is there for readers.
    #[error("none of the items is there for readers")]
    NoneKnown,
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Cancelled,
    /// The kernel cannot run here, or a feature is none.
    #[error("{0}")]
    Kernel(kindred_similarity::Error),
}

impl From<kindred_similarity::Error> for AskError {
    fn from(error: kindred_similarity::Error) -> Self {
        Self::Kernel(error)
    }
}

/// A subject as a snapshot has it.
pub(crate) struct Asked<'s> {
    /// What candidates are compared with.
    pub(crate) parts: Vec<Part>,
    /// Σ|w| of the parts and of what has nothing to compare.
    pub(crate) weight: f64,
    /// The items asked of: they are never answered.
    pub(crate) items: HashSet<Slot>,
    /// The one item that is asked of, if its weight is above 0: its list answers, too.
    pub(crate) one: Option<Item<'s>>,
    /// Its hubness.
    pub(crate) hub: f64,
    /// Ids that readers do not know.
    pub(crate) unknown: Vec<ItemId>,
    /// Whether none of the items asked of has a feature, or a list, yet.
    pub(crate) is_pending: bool,
}

/// One feature that candidates are compared with.
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

impl<'s> Asked<'s> {
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

    /// A sum of weighted scores as the score.
    pub(crate) fn score(&self, sum: f64) -> f32 {
        // Of one item that is its own score: what is rounded here has at most the bits of two `f32`.
        (sum / self.weight) as f32
    }
}
