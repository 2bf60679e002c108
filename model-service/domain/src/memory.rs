//! What a domain holds in memory, as estimated.
//!
//! It is told with every change of a domain's status, so it follows from counts and sizes that are kept
//! anyway: no item is asked. Not in it is what is on its way (events, texts of a window, features that
//! are made), which windows and queues bound, nor what the allocator keeps for later.

use std::ops::AddAssign;

/// Bytes of any active domain, however small: its machine, its actor and its view.
pub(crate) const DOMAIN: u64 = 6 << 10;
/// Bytes of an allocation besides what was asked for: the allocator's own, and those it rounds up by.
const ALLOCATION: u64 = 12;
/// Bytes of the counts before what is shared.
const SHARED: u64 = 16;
/// Bytes that a load takes besides those of its items: what comparing works with.
const LOADING: u64 = 64 << 10;
/// Bytes that an item takes at most while its domain is loaded, with a text of some sixty terms.
const LOADING_ITEM: u64 = 6 << 10;
/// Of those, what does not depend on its feature: its row as it was read, candidates, list, and what
/// readers are shown.
const LOADING_ROW: u64 = 2_560;
/// How often its feature is there then: as it was read, in a block, and laid out to be compared.
const LOADING_FEATURES: u64 = 3;

/// Bytes that an active domain is estimated to hold, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Items and their ids, and what there is of every domain.
    pub items: u64,
    /// What readers are shown of items.
    pub shown: u64,
    /// Features, as they are compared.
    pub blocks: u64,
    /// Lists.
    pub lists: u64,
    /// What readers' snapshot has of its own; items, lists and what is shown are the machine's, too.
    pub snapshot: u64,
}

impl Memory {
    /// All of it.
    pub fn total(self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Each part by its name.
    pub fn parts(self) -> [(&'static str, u64); 5] {
        [
            ("items", self.items),
            ("shown", self.shown),
            ("blocks", self.blocks),
            ("lists", self.lists),
            ("snapshot", self.snapshot),
        ]
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.items += other.items;
        self.shown += other.shown;
        self.blocks += other.blocks;
        self.lists += other.lists;
        self.snapshot += other.snapshot;
    }
}

/// Something in an allocation of its own; nothing takes none.
pub fn boxed(bytes: usize) -> u64 {
    if bytes == 0 {
        return 0;
    }
    bytes as u64 + ALLOCATION
}

/// Something in an allocation that is shared.
pub fn shared(bytes: usize) -> u64 {
    SHARED + bytes as u64 + ALLOCATION
}

/// A vector with room for so many.
pub fn vector<T>(capacity: usize) -> u64 {
    boxed(capacity * size_of::<T>())
}

/// A hash table with room for so many: it keeps one place of eight free, and a byte for each.
pub fn table<T>(capacity: usize) -> u64 {
    boxed(capacity * 8 / 7 * (size_of::<T>() + 1))
}

/// What loading a domain of so many items takes until its lists are made, before any is read.
pub fn of_loading(items: u64) -> u64 {
    LOADING + items * LOADING_ITEM
}

/// The same once items and features of so many bytes are read.
pub fn of_loading_read(items: u64, feature_bytes: u64) -> u64 {
    LOADING + items * LOADING_ROW + LOADING_FEATURES * feature_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_that_of_all_parts() {
        let memory = Memory {
            items: 1,
            shown: 20,
            blocks: 300,
            lists: 4_000,
            snapshot: 50_000,
        };
        assert_eq!(memory.total(), 54_321);
    }

    #[test]
    fn what_was_read_counts_where_it_is_more_than_was_expected() {
        let text = 1_150;
        let expected = of_loading(1_000);
        assert!(of_loading_read(1_000, 1_000 * text) <= expected);
        let vector = 4 * 1_024;
        assert!(of_loading_read(1_000, 1_000 * vector) > expected);
    }
}
