//! The neighbours of one item, kept exact while rows come and go.
//!
//! A list has its best entries and a *bound*: every visible row of the space that is not in the list ranks at or below
//! the bound. An open bound means that no absent row has a score above 0. Entries are ranked by score, descending, then
//! by id, ascending in byte order.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::slot::{IdOrder, Slot};

/// Neighbours that an item is entitled to.
pub const NEIGHBOURS: usize = 50;
/// Entries that a list keeps, so that a few deletions need no recomputation.
pub const KEEP: usize = kindred_shared::job::KEEP;

/// Another row and the pair's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListEntry {
    /// The other item.
    pub slot: Slot,
    /// The canonical score, > 0.
    pub score: f32,
}

/// Compares ranks; `Less` ranks first: score descending, then id ascending.
pub fn rank(ids: &impl IdOrder, a: ListEntry, b: ListEntry) -> Ordering {
    b.score
        .total_cmp(&a.score)
        .then_with(|| ids.cmp_ids(a.slot, b.slot))
}

/// An item's best entries, and a bound that no absent row outranks.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Best first; at most [`KEEP`].
    entries: Arc<[ListEntry]>,
    /// `None`: open.
    bound: Option<ListEntry>,
}

impl List {
    /// Best first.
    pub fn entries(&self) -> &Arc<[ListEntry]> {
        &self.entries
    }

    /// Every absent row ranks at or below this; `None`: no absent row has a score above 0.
    pub fn bound(&self) -> Option<ListEntry> {
        self.bound
    }

    /// Whether the list may hold fewer entries than its item is entitled to although more exist.
    pub fn needs_recomputation(&self) -> bool {
        self.bound.is_some() && self.entries.len() < NEIGHBOURS
    }

    /// Inserts candidates. `dropped` is the best candidate that the comparison left out. Returns whether the entries
    /// changed.
    ///
    /// Candidates at or below the bound are not inserted, because a better row may be absent. A candidate whose slot is
    /// already listed replaces that entry.
    pub fn insert(
        &mut self,
        ids: &impl IdOrder,
        candidates: impl IntoIterator<Item = ListEntry>,
        dropped: Option<ListEntry>,
    ) -> bool {
        self.raise(ids, dropped);
        let mut merged: Vec<ListEntry> = Vec::with_capacity(self.entries.len() + 8);
        for candidate in candidates {
            if self.is_above_bound(ids, candidate) {
                merged.push(candidate);
            }
        }
        merged.sort_unstable_by(|a, b| a.slot.cmp(&b.slot).then(rank(ids, *a, *b)));
        merged.dedup_by_key(|entry| entry.slot);
        let fresh = merged.len();
        for &entry in &*self.entries {
            let replaced = merged[..fresh]
                .binary_search_by(|probe| probe.slot.cmp(&entry.slot))
                .is_ok();
            if !replaced && self.is_above_bound(ids, entry) {
                merged.push(entry);
            }
        }
        merged.sort_unstable_by(|a, b| rank(ids, *a, *b));
        if merged.len() > KEEP {
            let best_cut = merged[KEEP];
            merged.truncate(KEEP);
            self.raise(ids, Some(best_cut));
        }
        let changed = *merged != *self.entries;
        if changed {
            self.entries = merged.into();
        }
        changed
    }

    /// Removes rows; the bound stays. Returns whether the entries changed.
    pub fn remove(&mut self, is_gone: impl Fn(Slot) -> bool) -> bool {
        if !self.entries.iter().any(|entry| is_gone(entry.slot)) {
            return false;
        }
        self.entries = self
            .entries
            .iter()
            .filter(|e| !is_gone(e.slot))
            .copied()
            .collect();
        true
    }

    fn is_above_bound(&self, ids: &impl IdOrder, entry: ListEntry) -> bool {
        entry.score > 0.0
            && self
                .bound
                .is_none_or(|bound| rank(ids, entry, bound) == Ordering::Less)
    }

    fn raise(&mut self, ids: &impl IdOrder, to: Option<ListEntry>) {
        if let Some(to) = to
            && self.is_above_bound(ids, to)
        {
            self.bound = Some(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Orders ids by slot number.
    struct BySlot;

    impl IdOrder for BySlot {
        fn cmp_ids(&self, a: Slot, b: Slot) -> Ordering {
            a.cmp(&b)
        }
    }

    fn entry(slot: u32, score: f32) -> ListEntry {
        ListEntry {
            slot: Slot(slot),
            score,
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Vec<(u32, u8)>),
        Remove(Vec<u32>),
        Recompute,
    }

    fn step() -> impl Strategy<Value = Step> {
        let row = 0..160u32;
        prop_oneof![
            3 => prop::collection::vec((row.clone(), 0..40u8), 1..60).prop_map(Step::Insert),
            2 => prop::collection::vec(row, 1..40).prop_map(Step::Remove),
            1 => Just(Step::Recompute),
        ]
    }

    proptest! {
        /// Compared with a plain map of all rows: unless a recomputation is due, the first 50
        /// entries are the 50 best, and no absent row ranks above the bound.
        #[test]
        fn is_the_best_of_all_rows(steps in prop::collection::vec(step(), 1..30)) {
            let mut rows: BTreeMap<u32, f32> = BTreeMap::new();
            let mut list = List::default();
            for step in steps {
                match step {
                    Step::Insert(new) => {
                        // An update is a removal followed by an insertion; a row keeps one score.
                        let new: BTreeMap<u32, f32> =
                            new.into_iter().map(|(slot, score)| (slot, f32::from(score) / 40.0)).collect();
                        list.remove(|slot| new.contains_key(&slot.0));
                        rows.extend(&new);
                        list.insert(&BySlot, new.iter().map(|(&s, &score)| entry(s, score)), None);
                    }
                    Step::Remove(gone) => {
                        list.remove(|slot| gone.contains(&slot.0));
                        rows.retain(|slot, _| !gone.contains(slot));
                    }
                    Step::Recompute => {
                        list = List::default();
                        list.insert(&BySlot, rows.iter().map(|(&s, &score)| entry(s, score)), None);
                        prop_assert!(!list.needs_recomputation());
                    }
                }
                let mut best: Vec<ListEntry> =
                    rows.iter().filter(|(_, s)| **s > 0.0).map(|(&s, &score)| entry(s, score)).collect();
                best.sort_by(|a, b| rank(&BySlot, *a, *b));
                prop_assert!(list.entries().len() <= KEEP);
                prop_assert!(best.starts_with(list.entries()), "a list is the best rows, without a gap");
                if !list.needs_recomputation() {
                    prop_assert!(list.entries().len() >= best.len().min(NEIGHBOURS));
                }
                if let (Some(bound), Some(absent)) = (list.bound(), best.get(list.entries().len())) {
                    prop_assert!(rank(&BySlot, *absent, bound) != Ordering::Less);
                }
            }
        }
    }

    #[test]
    fn a_dropped_candidate_raises_the_bound_and_hides_what_ranks_below_it() {
        let mut list = List::default();
        list.insert(&BySlot, [entry(1, 0.9), entry(2, 0.2)], Some(entry(3, 0.5)));
        assert_eq!(&**list.entries(), &[entry(1, 0.9)]);
        assert_eq!(list.bound(), Some(entry(3, 0.5)));
        assert!(list.needs_recomputation());
    }

    #[test]
    fn equal_scores_rank_by_id() {
        let mut list = List::default();
        list.insert(&BySlot, (0..70).rev().map(|slot| entry(slot, 0.5)), None);
        let slots: Vec<u32> = list.entries().iter().map(|e| e.slot.0).collect();
        assert_eq!(slots, (0..64).collect::<Vec<_>>());
        assert_eq!(list.bound(), Some(entry(64, 0.5)));
        assert!(
            !list.insert(&BySlot, [entry(65, 0.5)], None),
            "at or below the bound"
        );
    }
}
