//! What readers are to see from now on.

use std::sync::Arc;

use kindred_shared::{ItemId, ModelName, Space};

use crate::features::Features;
use crate::habits::Habits;
use crate::list::ListEntry;
use crate::settings::DomainSettings;
use crate::shown::Shown;
use crate::slot::Slot;

/// What changes for readers, all of it at once.
#[derive(Debug, Default)]
pub struct ViewChange {
    /// Forget everything seen before: the domain was loaded anew.
    pub replace: bool,
    /// The domain's model, that of items without a feature; `None`: as before, or not registered yet.
    pub model: Option<ModelName>,
    /// The name that this model has in the domain; it comes with the model.
    pub name: Option<ModelName>,
    /// Items that are visible from now on, with their lists.
    pub listed: Vec<Listed>,
    /// Items that are visible from now on, where slots do not say what they said before: lists are
    /// being made, and readers may see a view of before. A list seen there stays.
    pub renewed: Vec<Renewed>,
    /// Items that are gone from now on, before any other change.
    pub gone: Vec<ItemId>,
    /// All features as they are now; `None`: as before.
    pub features: Option<Features>,
    /// What is set for the domain; `None`: as before.
    pub settings: Option<Arc<DomainSettings>>,
    /// What is usual in the domain's texts; `None`: as before.
    pub habits: Option<Arc<Habits>>,
}

impl ViewChange {
    /// Whether no item changes.
    pub fn is_empty(&self) -> bool {
        !self.replace && self.listed.is_empty() && self.renewed.is_empty() && self.gone.is_empty()
    }
}

/// A visible item.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub id: ItemId,
    /// From when on it is not visible, in ms since 1970.
    pub expires_at: Option<i64>,
    /// What readers are shown of it.
    pub shown: Arc<Shown>,
    /// Of its feature; `None`: it has none yet.
    pub space: Option<Space>,
    /// `None`: its first list is being made.
    pub list: Option<ServedList>,
}

/// An item's list.
#[derive(Debug, Clone)]
pub struct ServedList {
    /// Version of the feature it was made with.
    pub version: u64,
    /// Best first; more than an item is entitled to, so that some may vanish.
    pub entries: Arc<[ListEntry]>,
    /// No row that is absent has a higher score; `None`: none that is absent has one above 0.
    pub bound: Option<f32>,
    /// Whether there is nothing to compare.
    pub zero: bool,
}

/// A visible item, by its id alone.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// Its id.
    pub id: ItemId,
    /// From when on it is not visible, in ms since 1970.
    pub expires_at: Option<i64>,
    /// What readers are shown of it.
    pub shown: Arc<Shown>,
}
