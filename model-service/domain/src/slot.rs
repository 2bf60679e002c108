//! Slots: small numbers that replace ids within one loaded domain.

use std::cmp::Ordering;
use std::collections::HashMap;

use kindred_shared::ItemId;

use crate::memory;

/// The number of an id within one loaded domain. An id keeps its slot while the domain is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The index into vectors by slot.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Compares the ids of two slots in byte order.
pub trait IdOrder {
    /// The order of two ids.
    fn cmp_ids(&self, a: Slot, b: Slot) -> Ordering;
}

/// A two-way map between ids and slots.
#[derive(Debug, Default)]
pub struct Slots {
    ids: Vec<ItemId>,
    by_id: HashMap<ItemId, Slot>,
    /// Total bytes of the ids.
    bytes: u64,
}

impl Slots {
    /// The slot of an id, if it has one.
    pub fn get(&self, id: &ItemId) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    /// The slot of an id; assigns one if it has none.
    pub fn assign(&mut self, id: &ItemId) -> Slot {
        if let Some(slot) = self.get(id) {
            return slot;
        }
        let slot = Slot(u32::try_from(self.ids.len()).expect("a domain has fewer than 2^32 ids"));
        self.bytes += memory::shared(id.as_str().len());
        self.ids.push(id.clone());
        self.by_id.insert(id.clone(), slot);
        slot
    }

    /// The id of a slot.
    pub fn id(&self, slot: Slot) -> &ItemId {
        &self.ids[slot.index()]
    }

    /// Number of assigned slots.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// An estimate of the bytes held.
    pub(crate) fn memory(&self) -> u64 {
        let ids = memory::vector::<ItemId>(self.ids.capacity());
        let by_id = memory::table::<(ItemId, Slot)>(self.by_id.capacity());
        ids + by_id + self.bytes
    }

    /// Whether no slot is assigned.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A set of slots, one bit each.
#[derive(Debug, Clone, Default)]
pub struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        let (word, bit) = Self::place(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = Self::place(slot);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn place(slot: Slot) -> (usize, u64) {
        (slot.index() / 64, 1 << (slot.index() % 64))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl IdOrder for Slots {
    fn cmp_ids(&self, a: Slot, b: Slot) -> Ordering {
        self.id(a).cmp(self.id(b))
    }
}
