//! A round: accepted events, written to the store together and then acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::backlog::Pending;
use crate::material::Material;
use crate::shown::Shown;
use crate::slot::Slot;
use crate::store::{FeatureRow, ItemRow, Write};

/// What a round writes for one item: what its last accepted event says.
#[derive(Debug)]
pub(crate) struct ItemWrites {
    /// The item's row.
    pub(crate) row: ItemRow,
    /// The item's text or vector; `None`: it has none any more.
    pub(crate) content: Option<Arc<Material>>,
    /// Its feature.
    pub(crate) feature: FeatureWrite,
}

/// What becomes of an item's feature row.
#[derive(Debug)]
pub(crate) enum FeatureWrite {
    /// It stays; a later one is on its way.
    Keep,
    /// The same feature under the new version.
    Put(Box<FeatureRow>),
    /// It goes.
    Delete,
}

/// Accepted events that are being stored, or wait for that.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// By item.
    writes: BTreeMap<Slot, ItemWrites>,
    /// Items whose writes have been taken, and are on their way.
    taken: BTreeSet<Slot>,
    /// Items that leave all lists with this round.
    pub(crate) departed: BTreeSet<Slot>,
    /// Items whose feature is to be made once this round is stored.
    pub(crate) arrivals: BTreeMap<Slot, Pending>,
    /// Items that are visible with this round, and what readers are shown of them from then on.
    pub(crate) renewed: BTreeMap<Slot, Renewal>,
    /// When the first item came whose feature was to be made.
    pub(crate) oldest: Option<Duration>,
}

/// What readers are shown of an item, and of which version that is.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) version: u64,
    pub(crate) shown: Arc<Shown>,
}

impl Round {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether something is written for the item.
    pub(crate) fn is_writing(&self, slot: Slot) -> bool {
        self.writes.contains_key(&slot) || self.taken.contains(&slot)
    }

    /// When the first of those came.
    pub(crate) fn first_arrival(&self) -> Option<Duration> {
        self.arrivals.values().map(|pending| pending.since).min()
    }

    /// What the item's last event says replaces what an earlier one in this round said.
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

    /// The rows. A text is written with every version, also when it is the same: a write of a
    /// former owner that comes late could replace it under the older stamp.
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
            rows.push(match content {
                Some(material) => Write::Content(id.clone(), material.content.clone()),
                None => Write::DeleteContent(id.clone()),
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
