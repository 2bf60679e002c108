//! Collapsing: near-duplicates or items of one group are answered only once.

use std::collections::HashMap;

use kindred_domain::slot::Slot;
use kindred_similarity::Kernel;

use crate::conditions::{Collapse, MOST_ALSO};
use crate::peers::Peers;
use crate::question::AskError;
use crate::ranking::Candidate;
use crate::snapshot::Item;

/// A candidate that is answered, and those left out because of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Representative {
    pub(crate) candidate: Candidate,
    /// The first of those that joined it, in order.
    pub(crate) also: Vec<Slot>,
}

impl From<Candidate> for Representative {
    fn from(candidate: Candidate) -> Self {
        Self {
            candidate,
            also: Vec::new(),
        }
    }
}

/// Processes candidates one after the other: a near-duplicate of a representative, or a member of its group, joins the
/// best such representative; any other candidate becomes a representative.
pub(crate) struct Collapsing<'s> {
    by: Collapse,
    near_duplicate: f32,
    chosen: Vec<Representative>,
    /// The representative of each group.
    groups: HashMap<&'s str, usize>,
    peers: Peers<'s>,
    /// All candidates that joined one.
    joined: Vec<Slot>,
}

impl<'s> Collapsing<'s> {
    pub(crate) fn new(by: Collapse, near_duplicate: f32, kernel: Kernel) -> Self {
        Self {
            by,
            near_duplicate,
            chosen: Vec::new(),
            groups: HashMap::new(),
            peers: Peers::new(kernel),
            joined: Vec::new(),
        }
    }

    /// Number of representatives.
    pub(crate) fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Processes the next best candidate and its item.
    pub(crate) fn take(&mut self, candidate: Candidate, item: &Item<'s>) -> Result<(), AskError> {
        let (place, best) = match self.by {
            Collapse::Group => (None, self.of_group(item)),
            Collapse::Near => (Some(item), self.nearly(item)?),
        };
        if let Some(best) = best {
            self.joined.push(candidate.slot);
            let also = &mut self.chosen[best].also;
            if also.len() < MOST_ALSO {
                also.push(candidate.slot);
            }
            return Ok(());
        }
        if let Some(item) = place {
            self.peers.add(self.chosen.len(), item);
        }
        self.chosen.push(candidate.into());
        Ok(())
    }

    /// The representative of the item's group; if there is none, the item becomes it.
    fn of_group(&mut self, item: &Item<'s>) -> Option<usize> {
        let group = item.shown().group.as_deref()?;
        let next = self.chosen.len();
        let known = *self.groups.entry(group).or_insert(next);
        (known < next).then_some(known)
    }

    /// The best representative of which the item is a near-duplicate.
    fn nearly(&mut self, item: &Item<'s>) -> Result<Option<usize>, AskError> {
        let mut best: Option<usize> = None;
        let near = self.near_duplicate;
        self.peers.scores(item, |representative, score| {
            if score >= near {
                best = Some(best.map_or(representative, |best| best.min(representative)));
            }
        })?;
        Ok(best)
    }

    /// The representatives, best first, and all candidates that joined one.
    pub(crate) fn finish(self) -> (Vec<Representative>, Vec<Slot>) {
        (self.chosen, self.joined)
    }
}
