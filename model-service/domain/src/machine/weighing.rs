//! Weighing: how much memory the domain takes.

use super::Domain;
use crate::list::{KEEP, List, ListEntry};
use crate::memory::{self, Memory};

impl Domain {
    /// Whether readers see lists that were computed since the store was read. Before that the domain also holds what
    /// was read and what comparisons found, which its status does not include.
    pub fn is_served(&self) -> bool {
        self.lists.are_served()
    }

    /// The memory the domain takes, without what readers' snapshots have of their own.
    pub(super) fn memory(&self) -> Memory {
        let lists = if self.is_served() {
            lists(self.catalogue.ids(), self.catalogue.visible())
        } else {
            0
        };
        Memory {
            items: memory::DOMAIN + self.catalogue.items_memory(),
            shown: self.catalogue.shown_memory() + self.words.memory(),
            blocks: self.catalogue.blocks().memory(),
            lists,
            snapshot: 0,
        }
    }
}

/// The lists of `slots` ids, of which `listed` have one, at full length if there are enough others.
fn lists(slots: u64, listed: u64) -> u64 {
    let entries = listed.saturating_sub(1).min(KEEP as u64) as usize;
    let list = memory::shared(entries * size_of::<ListEntry>());
    slots * size_of::<List>() as u64 + listed * list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_long_as_there_are_others_and_no_longer_than_they_may_be() {
        assert_eq!(lists(0, 0), 0);
        let one =
            |entries| size_of::<List>() as u64 + memory::shared(entries * size_of::<ListEntry>());
        assert_eq!(lists(1, 1), one(0));
        assert_eq!(lists(20, 20), 20 * one(19));
        assert_eq!(lists(1_000, 1_000), 1_000 * one(KEEP));
        assert!(lists(1_000, 500) < lists(1_000, 1_000));
    }
}
