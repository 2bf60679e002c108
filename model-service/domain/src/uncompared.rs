//! Items that have a feature but have not been compared yet.
//!
//! While far more items wait than one cycle takes, as in the import of a whole domain, features are made batch by
//! batch, and all are compared together in the end: comparing each batch alone would change the lists of all others
//! again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backlog::Pending;
use crate::catalogue::Catalogue;
use crate::comparison::FeatureBatch;
use crate::effect::Made;
use crate::slot::Slot;
use crate::time::earlier;

/// Features that are stored but not in a block yet.
#[derive(Debug, Default)]
pub(crate) struct Uncompared {
    items: BTreeMap<Slot, (Pending, Made)>,
    /// Arrival of the first of them, or of one that was withdrawn since some were taken.
    oldest: Option<Duration>,
}

fn is_new(catalogue: &Catalogue, slot: Slot) -> bool {
    catalogue.item(slot).placement.is_none()
}

impl Uncompared {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Arrival of the first of them; may be earlier if that one was withdrawn.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.oldest
    }

    fn look_for_oldest(&mut self) {
        self.oldest = self.items.values().map(|(pending, _)| pending.since).min();
    }

    /// Adds an item whose feature was made; replaces an earlier one.
    pub(crate) fn add(&mut self, pending: Pending, made: Made) {
        self.oldest = earlier(self.oldest, Some(pending.since));
        self.items.insert(made.slot, (pending, made));
    }

    /// The item's feature is no longer wanted.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.items.remove(&slot);
        if self.items.is_empty() {
            self.oldest = None;
        }
    }

    /// Number of items that have no row yet.
    pub(crate) fn count_new(&self, catalogue: &Catalogue) -> usize {
        let slots = self.items.keys();
        slots.filter(|slot| is_new(catalogue, **slot)).count()
    }

    /// Takes out those that have no row yet.
    pub(crate) fn take_new(&mut self, catalogue: &Catalogue) -> FeatureBatch {
        let mut batch = FeatureBatch::default();
        let items = std::mem::take(&mut self.items);
        for (slot, (pending, made)) in items {
            if is_new(catalogue, slot) {
                batch.asked.insert(slot, pending);
                batch.made.push(made);
            } else {
                self.items.insert(slot, (pending, made));
            }
        }
        self.look_for_oldest();
        batch
    }

    /// Moves items into a batch until it has `most`; drops those that want another feature now.
    pub(crate) fn take(&mut self, most: usize, catalogue: &Catalogue, batch: &mut FeatureBatch) {
        while batch.made.len() < most
            && let Some((slot, (pending, made))) = self.items.pop_first()
        {
            let item = catalogue.item(slot);
            if item.wants_feature_of(pending.version, pending.content_hash) {
                batch.asked.insert(slot, pending);
                batch.made.push(made);
            }
        }
        self.look_for_oldest();
    }
}
