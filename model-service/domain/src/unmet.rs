//! Items that have a feature and were compared with nobody yet.
//!
//! While far more items wait than one cycle takes, as in the import of a whole domain, features are made
//! one batch after the other, and all is compared together in the end: each batch alone would change the
//! lists of all others again.

use std::collections::BTreeMap;

use crate::backlog::Pending;
use crate::catalogue::Catalogue;
use crate::comparison::Batch;
use crate::effect::Made;
use crate::slot::Slot;

/// Features that are stored and in no block yet.
#[derive(Debug, Default)]
pub(crate) struct Unmet {
    items: BTreeMap<Slot, (Pending, Made)>,
}

impl Unmet {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// What was asked for is made; what was made of the item before does not count.
    pub(crate) fn add(&mut self, pending: Pending, made: Made) {
        self.items.insert(made.slot, (pending, made));
    }

    /// The item's feature is not wanted any more.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.items.remove(&slot);
    }

    /// Moves items into a batch, up to `most` there; those that want another feature now are dropped.
    pub(crate) fn take(&mut self, most: usize, catalogue: &Catalogue, batch: &mut Batch) {
        while batch.made.len() < most
            && let Some((slot, (pending, made))) = self.items.pop_first()
        {
            let item = catalogue.item(slot);
            if item.wants_feature_of(pending.version, pending.content_hash) {
                batch.asked.insert(slot, pending);
                batch.made.push(made);
            }
        }
    }
}
