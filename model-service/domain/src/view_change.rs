//! A change of what readers see.

use std::sync::Arc;

use kindred_shared::{ItemId, ModelName, Space};

use crate::features::Features;
use crate::habits::Habits;
use crate::list::ListEntry;
use crate::settings::DomainSettings;
use crate::shown::Shown;
use crate::slot::Slot;

/// A change of what readers see, applied as a whole.
#[derive(Debug, Default)]
pub struct ViewChange {
    /// Forget everything that was shown before: the domain was loaded again.
    pub replace: bool,
    /// The domain's model, which items without a feature have; `None`: unchanged, or not registered yet.
    pub model: Option<ModelName>,
    /// The model's name in the domain; set together with the model.
    pub name: Option<ModelName>,
    /// Items that are visible from now on, with their lists.
    pub listed: Vec<Listed>,
    /// Items that are visible from now on, by id: while lists are being computed on loading, readers may see an older
    /// view in which slots differ. Lists in that view stay.
    pub renewed: Vec<Renewed>,
    /// Items that are gone from now on; removed before any other change is applied.
    pub gone: Vec<ItemId>,
    /// All current features; `None`: unchanged.
    pub features: Option<Features>,
    /// The domain's settings; `None`: unchanged.
    pub settings: Option<Arc<DomainSettings>>,
    /// The habits of the domain's texts; `None`: unchanged.
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
    /// When it expires, in ms since 1970.
    pub expires_at: Option<i64>,
    /// What readers see of it.
    pub shown: Arc<Shown>,
    /// The space of its feature; `None`: it has none yet.
    pub space: Option<Space>,
    /// `None`: its first list is being computed.
    pub list: Option<ServedList>,
}

/// An item's list.
#[derive(Debug, Clone)]
pub struct ServedList {
    /// Version of the feature from which it was computed.
    pub version: u64,
    /// Best first; more than an item is entitled to, as a reserve for items that disappear.
    pub entries: Arc<[ListEntry]>,
    /// No absent row has a higher score; `None`: no absent row has a score above 0.
    pub bound: Option<f32>,
    /// Whether there is nothing to compare.
    pub zero: bool,
}

/// A visible item, identified only by its id.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// Its id.
    pub id: ItemId,
    /// When it expires, in ms since 1970.
    pub expires_at: Option<i64>,
    /// What readers see of it.
    pub shown: Arc<Shown>,
}
