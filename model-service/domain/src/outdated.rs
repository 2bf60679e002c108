//! Items whose features were made with habits other than the domain's current ones.

use std::collections::BTreeSet;

use crate::item::Item;
use crate::slot::Slot;

/// Live items whose feature records other habits than the domain's, here or in the store: it must be made again.
#[derive(Debug, Default)]
pub(crate) struct Outdated {
    /// Fingerprint of the domain's habits.
    habits: u64,
    slots: BTreeSet<Slot>,
    /// Those whose feature was made again in the store, but not here yet.
    stored: BTreeSet<Slot>,
    /// Items of `slots` whose stored feature has other habits, even if the one here has the domain's: it was made again
    /// in the store, and then the habits changed back.
    differing: BTreeSet<Slot>,
}

impl Outdated {
    /// Changes the domain's habits. `items` are all items.
    pub(crate) fn use_habits<'a>(
        &mut self,
        habits: u64,
        items: impl Iterator<Item = (Slot, &'a Item)>,
    ) {
        self.habits = habits;
        self.differing.append(&mut self.stored);
        let outdated = items.filter(|(slot, item)| self.is_outdated(*slot, item));
        self.slots = outdated.map(|(slot, _)| slot).collect();
    }

    /// Records that the item or its feature may have changed.
    pub(crate) fn changed(&mut self, slot: Slot, item: &Item) {
        // The feature held here may have overwritten the stored one, or not.
        if self.stored.remove(&slot) {
            self.differing.insert(slot);
        }
        if !has_feature_of_habits(item) {
            self.differing.remove(&slot);
        }
        if self.is_outdated(slot, item) {
            self.slots.insert(slot);
        } else {
            self.slots.remove(&slot);
        }
    }

    /// Records that the feature here is the stored one.
    pub(crate) fn is_here(&mut self, slot: Slot, item: &Item) {
        self.stored.remove(&slot);
        self.differing.remove(&slot);
        self.changed(slot, item);
    }

    /// Records that the item's feature was made again with these habits, only in the store.
    pub(crate) fn is_stored(&mut self, slot: Slot, item: &Item, habits: u64) {
        self.is_here(slot, item);
        if !has_feature_of_habits(item) || item.habits == Some(habits) {
            return;
        }
        if habits == self.habits {
            self.slots.remove(&slot);
            self.stored.insert(slot);
        } else {
            self.slots.insert(slot);
            self.differing.insert(slot);
        }
    }

    /// Whether any were made again only in the store.
    pub(crate) fn is_store_ahead(&self) -> bool {
        !(self.stored.is_empty() && self.differing.is_empty())
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

    fn is_outdated(&self, slot: Slot, item: &Item) -> bool {
        let has_others = item.habits != Some(self.habits) || self.differing.contains(&slot);
        has_feature_of_habits(item) && has_others
    }
}

fn has_feature_of_habits(item: &Item) -> bool {
    item.live && item.habits.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Slot = Slot(0);

    fn item(habits: u64) -> Item {
        Item {
            live: true,
            habits: Some(habits),
            ..Item::default()
        }
    }

    fn outdated(outdated: &Outdated) -> Vec<Slot> {
        outdated.slots().collect()
    }

    #[test]
    fn what_is_made_again_in_the_store_alone_is_outdated_when_the_habits_change_back() {
        let mut both = Outdated::default();
        let of_1 = item(1);
        both.use_habits(2, [(A, &of_1)].into_iter());
        assert_eq!(outdated(&both), [A]);
        both.is_stored(A, &of_1, 2);
        assert!(both.are_all_stored());
        both.use_habits(1, [(A, &of_1)].into_iter());
        assert_eq!(outdated(&both), [A]);
        // Whatever else changes.
        both.changed(A, &of_1);
        assert_eq!(outdated(&both), [A]);
        both.is_stored(A, &of_1, 1);
        assert!(both.is_empty() && !both.is_store_ahead());
    }

    #[test]
    fn what_was_asked_for_before_the_habits_changed_back_is_outdated_in_the_store() {
        let mut both = Outdated::default();
        let of_1 = item(1);
        both.use_habits(1, [(A, &of_1)].into_iter());
        assert!(both.is_empty());
        both.is_stored(A, &of_1, 2);
        assert_eq!(outdated(&both), [A]);
        both.is_here(A, &of_1);
        assert!(both.is_empty() && !both.is_store_ahead());
    }

    #[test]
    fn an_item_that_is_gone_is_not_outdated() {
        let mut both = Outdated::default();
        let of_1 = item(1);
        both.use_habits(1, [(A, &of_1)].into_iter());
        both.is_stored(A, &of_1, 2);
        let gone = Item {
            live: false,
            ..of_1
        };
        both.changed(A, &gone);
        assert!(both.is_empty() && !both.is_store_ahead());
    }
}
