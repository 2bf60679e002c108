//! Items whose features were made with habits other than the domain's current ones.

use std::collections::BTreeSet;

use crate::item::Item;
use crate::slot::Slot;

/// Live items whose feature records other habits than the domain's: it must be made again.
#[derive(Debug, Default)]
pub(crate) struct Outdated {
    /// Fingerprint of the domain's habits.
    habits: u64,
    slots: BTreeSet<Slot>,
    /// Those whose feature was made again in the store, but not here yet.
    stored: BTreeSet<Slot>,
}

impl Outdated {
    /// Changes the domain's habits. `items` are all items.
    pub(crate) fn use_habits<'a>(
        &mut self,
        habits: u64,
        items: impl Iterator<Item = (Slot, &'a Item)>,
    ) {
        self.habits = habits;
        let outdated = items.filter(|(_, item)| is_outdated(item, habits));
        self.slots = outdated.map(|(slot, _)| slot).collect();
        self.stored.clear();
    }

    /// Records that the item or its feature may have changed.
    pub(crate) fn changed(&mut self, slot: Slot, item: &Item) {
        // The feature held here may have overwritten the stored one.
        self.stored.remove(&slot);
        if is_outdated(item, self.habits) {
            self.slots.insert(slot);
        } else {
            self.slots.remove(&slot);
        }
    }

    /// Records that the item's feature was made again, only in the store.
    pub(crate) fn is_stored(&mut self, slot: Slot) {
        if self.slots.remove(&slot) {
            self.stored.insert(slot);
        }
    }

    /// Whether any were made again only in the store.
    pub(crate) fn is_store_ahead(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Whether all were made again, and the store is ahead of this process.
    pub(crate) fn are_all_stored(&self) -> bool {
        self.slots.is_empty() && !self.stored.is_empty()
    }

    /// The slots whose feature must be made again.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().copied()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.stored.is_empty()
    }

    /// Number of such items.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() + self.stored.len()
    }
}

fn is_outdated(item: &Item, habits: u64) -> bool {
    item.live && item.habits.is_some_and(|of| of != habits)
}
