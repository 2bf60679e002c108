//! An estimate of the memory that a domain takes.
//!
//! It is reported with every change of a domain's status, so it is computed from counts and sizes that are kept anyway,
//! without looking at items. It does not include what is in flight (events, texts of a window, features being made),
//! which windows and queues limit, nor memory that the allocator keeps for later.

use std::ops::AddAssign;

/// Bytes of any active domain, however small: its machine, its actor and its view.
pub(crate) const DOMAIN: u64 = 6 << 10;
/// Bytes of an allocation beyond its content: the allocator's own data and rounding.
const ALLOCATION: u64 = 12;
/// Bytes of the reference counts of a shared allocation.
const SHARED: u64 = 16;
/// Bytes that loading takes in addition to those per item: working memory of comparisons.
const LOADING: u64 = 64 << 10;
/// Most bytes per item while its domain is being loaded, with a text of some sixty terms.
const LOADING_ITEM: u64 = 6 << 10;
/// The part of that which does not depend on the feature: the row as read, candidates, the list, and what readers see.
const LOADING_ROW: u64 = 2_560;
/// Copies of a feature during loading: as read, in a block, and laid out for comparison.
const LOADING_FEATURES: u64 = 3;

/// An estimate of the bytes that an active domain takes, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Items and their ids, and the fixed costs of a domain.
    pub items: u64,
    /// What readers see of items.
    pub shown: u64,
    /// Features in the form in which they are compared.
    pub blocks: u64,
    /// Lists.
    pub lists: u64,
    /// What readers' snapshot has of its own; it shares items, lists and what readers see with the machine.
    pub snapshot: u64,
}

impl Memory {
    /// The sum of all parts.
    pub fn total(self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// All parts with their names.
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

/// Bytes of a value in an allocation of its own; an empty one takes none.
pub fn boxed(bytes: usize) -> u64 {
    if bytes == 0 {
        return 0;
    }
    bytes as u64 + ALLOCATION
}

/// Bytes of a value in a shared allocation.
pub fn shared(bytes: usize) -> u64 {
    SHARED + bytes as u64 + ALLOCATION
}

/// Bytes of a vector of this capacity.
pub fn vector<T>(capacity: usize) -> u64 {
    boxed(capacity * size_of::<T>())
}

/// Bytes of a hash table of this capacity: one place in eight stays free, and each has a control byte.
pub fn table<T>(capacity: usize) -> u64 {
    boxed(capacity * 8 / 7 * (size_of::<T>() + 1))
}

/// Bytes that loading a domain with this many items takes until its lists are computed, before any item is read.
pub fn of_loading(items: u64) -> u64 {
    LOADING + items * LOADING_ITEM
}

/// The same once items, and features of this many bytes, are read.
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
