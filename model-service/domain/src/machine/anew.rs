//! Making features and lists anew, though the machine knows nothing wrong with them: the rows that they are stored in
//! may be damaged, which it does not see.

use kindred_shared::ItemId;

use super::Domain;
use crate::flush::Urgency;
use crate::slot::Slot;
use crate::time::Now;

impl Domain {
    /// Makes what is stored of these items anew, or of all of them, of their texts: features, and lists of them.
    /// Readers see what there is until then. Nothing is done while the domain is not loaded.
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
            // Its list is stored whether it is another or not, and deleted where there is none.
            self.flush.add(slot, now.monotonic, Urgency::Later);
        }
    }
}
