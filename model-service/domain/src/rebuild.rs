//! A comparison of all rows with all, which goes on beside the cycle of windows.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::comparison::Comparison;
use crate::effect::Ticket;
use crate::slot::{Slot, SlotSet};

/// All rows of a domain are being compared with all: when it was loaded, or when at least as many rows are
/// new as were there.
///
/// Windows go on meanwhile. Each compares its rows with all others, so every pair of rows that stay is
/// compared: by this if both were there when it began, else by the window of the later one.
#[derive(Debug)]
pub(crate) struct Rebuild {
    pub(crate) ticket: Ticket,
    /// Its fresh items are those whose first list this makes.
    pub(crate) comparison: Comparison,
    /// Whether the stored lists may be others than those of the stored items, so that all are to be stored.
    pub(crate) rewrite: bool,
    /// Items whose row took part and is their feature no more: what was found of it does not count.
    outdated: SlotSet,
    /// Lists nobody is served yet, into which windows have put candidates meanwhile.
    touched: BTreeSet<Slot>,
}

impl Rebuild {
    /// One that begins now.
    pub(crate) fn new(ticket: Ticket, comparison: Comparison, rewrite: bool) -> Self {
        Self {
            ticket,
            comparison,
            rewrite,
            outdated: SlotSet::default(),
            touched: BTreeSet::new(),
        }
    }

    /// The item's row is its feature no more.
    pub(crate) fn outdate(&mut self, slot: Slot) {
        self.outdated.insert(slot);
    }

    /// A window changed a list that is still to be made.
    pub(crate) fn touch(&mut self, slot: Slot) {
        self.touched.insert(slot);
    }

    /// Whose rows took part and do not count.
    pub(crate) fn outdated(&self) -> &SlotSet {
        &self.outdated
    }

    /// Whether a window changed the list while it was to be made.
    pub(crate) fn is_touched(&self, slot: Slot) -> bool {
        self.touched.contains(&slot)
    }

    /// When failed tasks are asked for again, if there are any.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.comparison.retry_at()
    }
}
