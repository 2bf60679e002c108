//! A comparison of all rows with each other, which runs beside the cycle of windows.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::comparison::Comparison;
use crate::effect::Ticket;
use crate::slot::{Slot, SlotSet};

/// All rows of a domain are being compared with each other: because it was loaded, or because many rows are new.
///
/// Windows continue meanwhile. Each compares its rows with all others, so every pair of rows that stay is compared: by
/// this comparison if both existed when it began, otherwise by the window of the later one.
#[derive(Debug)]
pub(crate) struct Rebuild {
    pub(crate) ticket: Ticket,
    /// Its fresh items are those whose first list it computes.
    pub(crate) comparison: Comparison,
    /// Whether all lists must be stored, because the stored ones may not match the stored items.
    pub(crate) rewrite: bool,
    /// Items whose row took part but is no longer their feature: results for it do not count.
    outdated: SlotSet,
    /// Lists that are not served yet and have received candidates from windows meanwhile.
    touched: BTreeSet<Slot>,
}

impl Rebuild {
    /// Starts now.
    pub(crate) fn new(ticket: Ticket, comparison: Comparison, rewrite: bool) -> Self {
        Self {
            ticket,
            comparison,
            rewrite,
            outdated: SlotSet::default(),
            touched: BTreeSet::new(),
        }
    }

    /// The item's row is no longer its feature.
    pub(crate) fn outdate(&mut self, slot: Slot) {
        self.outdated.insert(slot);
    }

    /// A window changed a list that is still to be computed.
    pub(crate) fn touch(&mut self, slot: Slot) {
        self.touched.insert(slot);
    }

    /// Items whose rows took part and do not count.
    pub(crate) fn outdated(&self) -> &SlotSet {
        &self.outdated
    }

    /// Whether a window changed the list before it was computed.
    pub(crate) fn is_touched(&self, slot: Slot) -> bool {
        self.touched.contains(&slot)
    }

    /// When failed tasks are requested again, if there are any.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.comparison.retry_at()
    }
}
