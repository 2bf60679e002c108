//! Weighing: what the domain holds in memory.

use super::Domain;
use crate::memory::{self, Memory};

impl Domain {
    /// Whether readers see lists that were made since the store was read. Before that the domain holds, besides
    /// what its status says, what was read and what is found.
    pub fn is_served(&self) -> bool {
        self.lists.are_served()
    }

    /// What is held, but for what readers' snapshot has of its own.
    pub(super) fn memory(&self) -> Memory {
        let lists = if self.is_served() {
            memory::lists(self.catalogue.ids(), self.catalogue.visible())
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
