//! What readers are to see from now on.

use std::sync::Arc;

use kindred_shared::ItemId;

use crate::list::Entry;
use crate::slot::Slot;

/// What changes for readers, all of it at once.
#[derive(Debug, Default)]
pub struct ViewChange {
    /// Forget everything seen before: the domain was loaded anew.
    pub replace: bool,
    /// Rows that are visible from now on, with their lists.
    pub listed: Vec<Listed>,
    /// Items that are gone from now on.
    pub gone: Vec<ItemId>,
}

impl ViewChange {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        !self.replace && self.listed.is_empty() && self.gone.is_empty()
    }
}

/// A visible row.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub id: ItemId,
    /// From when on it is not visible, in ms since 1970.
    pub expires_at: Option<i64>,
    /// Version of the feature its list was made with.
    pub version: u64,
    /// Best first; more than an item is entitled to, so that some may vanish.
    pub entries: Arc<[Entry]>,
    /// Whether there is nothing to compare.
    pub zero: bool,
}
