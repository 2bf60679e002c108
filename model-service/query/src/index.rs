//! The index from ids to slots, shared by all snapshots since a domain was loaded.
//!
//! An open-addressing table of slots; one writer appends, and nothing is ever removed. It does not store ids: a slot
//! counts if the row that the reader's snapshot has in it has the requested id. So readers need no lock, and slots
//! newer than their snapshot do no harm.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kindred_domain::memory;
use kindred_domain::slot::Slot;

/// An empty place. No domain has that many ids.
const EMPTY: u32 = u32::MAX;
/// Fewest places in a table.
const FEWEST: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// Their number is a power of two; at most half of them are used.
    places: Arc<[AtomicU32]>,
    /// With its own random keys, because ids come from outside.
    hasher: RandomState,
}

impl Index {
    /// An index with room for this many ids.
    pub(crate) fn with_room_for(ids: usize) -> Self {
        let places = (2 * ids).next_power_of_two().max(FEWEST);
        Self {
            places: (0..places).map(|_| AtomicU32::new(EMPTY)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Number of slots for which there is room.
    pub(crate) fn room(&self) -> usize {
        self.places.len() / 2
    }

    /// An estimate of the bytes held.
    pub(crate) fn memory(&self) -> u64 {
        memory::shared(size_of_val(&*self.places))
    }

    /// The first slot that may belong to the id and for which `is_id` returns true.
    pub(crate) fn find(&self, id: &str, is_id: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.probe(id)
            // A snapshot is published after its slots, so whoever sees it sees them.
            .map(|place| place.load(Ordering::Relaxed))
            .take_while(|&slot| slot != EMPTY)
            .map(Slot)
            .find(|&slot| is_id(slot))
    }

    /// Appends the slot of an id; returns whether it was new. There must be room, and only one writer at a time.
    pub(crate) fn append(&self, id: &str, slot: Slot) -> bool {
        for place in self.probe(id) {
            match place.compare_exchange(EMPTY, slot.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(known) if known == slot.0 => return false,
                Err(_) => {}
            }
        }
        unreachable!("half of the places are empty")
    }

    /// The places of an id, each once, in the order in which they are used.
    fn probe(&self, id: &str) -> impl Iterator<Item = &AtomicU32> {
        let mask = self.places.len() - 1;
        let first = self.hasher.hash_one(id) as usize & mask;
        (0..self.places.len()).map(move |step| &self.places[(first + step) & mask])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_was_appended_and_nothing_else(
            ids in prop::collection::btree_map("[a-e]{1,4}", any::<u16>(), 0..300),
            absent in "[f-h]{1,3}",
        ) {
            // Each slot only once.
            let slots: BTreeMap<u16, &String> = ids.iter().map(|(id, slot)| (*slot, id)).collect();
            let index = Index::with_room_for(slots.len());
            for (slot, id) in &slots {
                prop_assert!(index.append(id, Slot((*slot).into())));
                prop_assert!(!index.append(id, Slot((*slot).into())));
            }
            let is = |id: &str, slot: Slot| slots[&u16::try_from(slot.0).unwrap_or(0)] == id;
            for (slot, id) in &slots {
                let found = index.find(id, |slot| is(id, slot));
                prop_assert_eq!(found, Some(Slot((*slot).into())));
            }
            prop_assert_eq!(index.find(&absent, |slot| is(&absent, slot)), None);
        }
    }
}
