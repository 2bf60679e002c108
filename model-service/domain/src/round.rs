//! A round: accepted events, written to the store together and then acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::backlog::Pending;
use crate::effect::Passed;
use crate::material::Material;
use crate::shown::Shown;
use crate::slot::Slot;
use crate::store::{FeatureRow, ItemRow, Write};

/// What a round writes for one item, according to its last accepted event.
#[derive(Debug)]
pub(crate) struct ItemWrites {
    /// The item's row.
    pub(crate) row: ItemRow,
    /// The item's text or vector; `None`: it no longer has one.
    pub(crate) content: Option<Arc<Material>>,
    pub(crate) feature: FeatureWrite,
}

/// The fate of an item's feature row.
#[derive(Debug)]
pub(crate) enum FeatureWrite {
    /// It stays; a newer one will follow.
    Keep,
    /// The same feature under the new version.
    Put(Box<FeatureRow>),
    /// It is deleted.
    Delete,
}

/// Accepted events that are being stored, or are waiting to be stored.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// By item.
    writes: BTreeMap<Slot, ItemWrites>,
    /// Items whose writes were taken and are on their way to the store.
    taken: BTreeSet<Slot>,
    /// What was taken, for the machines of other models.
    pub(crate) passed: Vec<Passed>,
    /// Items that leave all lists with this round.
    pub(crate) departed: BTreeSet<Slot>,
    /// Items whose feature must be made once this round is stored.
    pub(crate) arrivals: BTreeMap<Slot, Pending>,
    /// Items that are visible from this round on, and what readers are shown of them.
    pub(crate) renewed: BTreeMap<Slot, Renewal>,
    /// Arrival of the first item whose feature must be made.
    pub(crate) oldest: Option<Duration>,
}

/// What readers are shown of an item, and the version it belongs to.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) version: u64,
    pub(crate) shown: Arc<Shown>,
}

impl Round {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether something is being written for the item.
    pub(crate) fn is_writing(&self, slot: Slot) -> bool {
        self.writes.contains_key(&slot) || self.taken.contains(&slot)
    }

    /// Arrival of the first item whose feature must be made.
    pub(crate) fn first_arrival(&self) -> Option<Duration> {
        self.arrivals.values().map(|pending| pending.since).min()
    }

    /// Replaces what an earlier event of the item in this round would have written.
    pub(crate) fn write(&mut self, slot: Slot, mut writes: ItemWrites) {
        self.arrivals.remove(&slot);
        self.renewed.remove(&slot);
        let earlier = self.writes.remove(&slot);
        if matches!(writes.feature, FeatureWrite::Keep)
            && earlier.is_some_and(|earlier| matches!(earlier.feature, FeatureWrite::Delete))
        {
            writes.feature = FeatureWrite::Delete;
        }
        self.writes.insert(slot, writes);
    }

    /// The rows to write. A text is written with every version, even if it is unchanged: otherwise
    /// a late write by a former owner could replace it, since the existing row would have an older
    /// stamp.
    pub(crate) fn take_rows(&mut self) -> Vec<Write> {
        let mut rows = Vec::with_capacity(3 * self.writes.len());
        self.taken.extend(self.writes.keys());
        for ItemWrites {
            row,
            content,
            feature,
        } in std::mem::take(&mut self.writes).into_values()
        {
            let id = row.id.clone();
            rows.push(match &content {
                Some(material) => Write::Content(id.clone(), material.content.clone()),
                None => Write::DeleteContent(id.clone()),
            });
            self.passed.push(match content {
                Some(material) => Passed::Live(material),
                None => Passed::Gone(Box::new(row.clone())),
            });
            match feature {
                FeatureWrite::Keep => {}
                FeatureWrite::Put(row) => rows.push(Write::Feature(*row)),
                FeatureWrite::Delete => rows.push(Write::DeleteFeatures(id)),
            }
            rows.push(Write::Item(row));
        }
        rows
    }
}
