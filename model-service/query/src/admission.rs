//! Which items a query may answer.

use std::collections::HashSet;

use kindred_domain::slot::Slot;

use crate::conditions::Conditions;
use crate::filter::Filter;
use crate::snapshot::{Item, Snapshot};

/// Which items may be answered: they are visible, not excluded, and pass the filter.
pub(crate) struct Admission<'a> {
    snapshot: &'a Snapshot,
    filter: &'a Filter,
    excluded: HashSet<Slot>,
    min_score: Option<f32>,
    now: i64,
}

impl<'a> Admission<'a> {
    /// `asked`: the items that are asked of.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        conditions: &'a Conditions,
        asked: &HashSet<Slot>,
        now: i64,
    ) -> Self {
        let excluded = conditions.exclude.iter();
        let excluded = excluded.filter_map(|id| Some(snapshot.item(id, now)?.slot()));
        Self {
            snapshot,
            filter: &conditions.filter,
            excluded: excluded.chain(asked.iter().copied()).collect(),
            min_score: conditions.min_score,
            now,
        }
    }

    /// The item of a slot, if it may be answered.
    pub(crate) fn item(&self, slot: Slot) -> Option<Item<'a>> {
        let item = self.snapshot.visible(slot, self.now)?;
        self.admits(&item).then_some(item)
    }

    /// Whether a visible item may be answered.
    pub(crate) fn admits(&self, item: &Item<'_>) -> bool {
        let is_excluded = !self.excluded.is_empty() && self.excluded.contains(&item.slot());
        !is_excluded && (self.filter.is_empty() || self.filter.passes(&item.facts()))
    }

    /// Whether a score is one that counts.
    pub(crate) fn counts(&self, score: f32) -> bool {
        score > 0.0 && self.min_score.is_none_or(|least| score >= least)
    }

    /// Whether no score of at most so much counts.
    pub(crate) fn is_below(&self, score: f32) -> bool {
        self.min_score.is_some_and(|least| score < least)
    }

    /// Every item that may be answered, in no order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'a>> {
        let all = self.snapshot.items(self.now);
        all.filter(|item| self.admits(item))
    }
}
