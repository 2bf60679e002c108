//! Computing features and lists again although the machine sees nothing wrong with them: the rows in which they are
//! stored may be damaged, which it cannot see.

use kindred_shared::ItemId;

use super::Domain;
use crate::flush::Urgency;
use crate::slot::Slot;
use crate::time::Now;

impl Domain {
    /// Computes what is stored of these items, or of all items, again from their texts: features and lists. Readers
    /// keep the present lists until then. Does nothing while the domain is not loaded.
    pub(super) fn make_anew(&mut self, now: Now, ids: &[ItemId]) {
        if !self.is_loaded() || self.row.is_none() {
            return;
        }
        let slots: Vec<Slot> = if ids.is_empty() {
            self.catalogue.slots().collect()
        } else {
            let known = ids.iter().filter_map(|id| self.catalogue.known(id));
            known.collect()
        };
        for slot in slots {
            let item = self.catalogue.item(slot).clone();
            if item.live && !self.backlog.contains(slot) {
                self.make_feature(now, slot, &item);
            }
            // The list is stored even if it is unchanged, and deleted if there is none.
            self.flush.add(slot, now.monotonic, Urgency::Later);
        }
    }
}
