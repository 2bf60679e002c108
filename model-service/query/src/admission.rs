//! Which items a query may answer.

use std::collections::HashSet;

use kindred_domain::slot::Slot;

use crate::conditions::Conditions;
use crate::filter::Filter;
use crate::signature::Screen;
use crate::snapshot::{Item, Snapshot};

/// Decides which items may be answered: they are visible, not excluded, and pass the filter.
pub(crate) struct Admission<'a> {
    snapshot: &'a Snapshot,
    filter: &'a Filter,
    screen: Screen,
    excluded: HashSet<Slot>,
    min_score: Option<f32>,
    now: i64,
}

impl<'a> Admission<'a> {
    /// `asked`: the items of the question.
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
            screen: Screen::of(&conditions.filter),
            excluded: excluded.chain(asked.iter().copied()).collect(),
            min_score: conditions.min_score,
            now,
        }
    }

    /// Whether the item of a slot may be answered. Looks at the item itself only if its signature does not tell.
    pub(crate) fn admits_slot(&self, slot: Slot) -> bool {
        let Some(signature) = self.snapshot.signature(slot, self.now) else {
            return false;
        };
        if self.excluded.contains(&slot) || !self.screen.lets_through(signature) {
            return false;
        }
        let item = || self.snapshot.visible(slot, self.now);
        self.filter.is_empty() || item().is_some_and(|item| self.filter.passes(&item.facts()))
    }

    /// The item of a slot, if it may be answered.
    pub(crate) fn item(&self, slot: Slot) -> Option<Item<'a>> {
        self.snapshot.visible(slot, self.now)
    }

    /// The lowest score that counts.
    pub(crate) fn least(&self) -> f32 {
        const LEAST: f32 = f32::from_bits(1);
        self.min_score.map_or(LEAST, |least| least.max(LEAST))
    }

    /// Whether a visible item may be answered.
    pub(crate) fn admits(&self, item: &Item<'_>) -> bool {
        let is_excluded = !self.excluded.is_empty() && self.excluded.contains(&item.slot());
        !is_excluded && (self.filter.is_empty() || self.filter.passes(&item.facts()))
    }

    /// Whether a score counts.
    pub(crate) fn counts(&self, score: f32) -> bool {
        score > 0.0 && self.min_score.is_none_or(|least| score >= least)
    }

    /// Whether no score up to this one counts.
    pub(crate) fn is_below(&self, score: f32) -> bool {
        self.min_score.is_some_and(|least| score < least)
    }

    /// Every item that may be answered, in any order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'a>> {
        let all = self.snapshot.items(self.now);
        all.filter(|item| self.admits(item))
    }
}
