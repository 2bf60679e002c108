//! Views: what readers of an active domain see.
//!
//! The domain's machine says what changes ([`ViewChange`]); a change becomes visible whole, under
//! one short lock. Readers never wait for a job or for the store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kindred_shared::{DomainName, ItemId};

use kindred_domain::list::Entry;
use kindred_domain::slot::Slot;
use kindred_domain::status::DomainStatus;
use kindred_domain::store::Neighbour;
use kindred_domain::view_change::ViewChange;

/// An answer to "what is similar to this item".
#[derive(Debug, Clone, PartialEq)]
pub struct Similar {
    /// Best first.
    pub neighbours: Vec<Neighbour>,
    /// When the item's list was made, in ms since 1970.
    pub as_of: i64,
}

/// How an item is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Version of the feature its list was made with.
    pub version: u64,
    /// Since when this version is served, in ms since 1970; 0: since before this domain was
    /// loaded.
    pub since: i64,
    /// Whether there is nothing to compare.
    pub zero: bool,
}

#[derive(Debug)]
struct Row {
    id: ItemId,
    expires_at: Option<i64>,
    entries: Arc<[Entry]>,
    version: u64,
    served_since: i64,
    as_of: i64,
    zero: bool,
}

#[derive(Debug, Default)]
struct Rows {
    by_id: HashMap<ItemId, Slot>,
    by_slot: Vec<Option<Row>>,
}

impl Rows {
    fn visible(&self, slot: Slot, now: i64) -> Option<&Row> {
        self.by_slot
            .get(slot.index())?
            .as_ref()
            .filter(|row| row.expires_at.is_none_or(|at| at > now))
    }
}

/// What readers of one active domain see.
#[derive(Debug, Default)]
pub struct DomainView {
    rows: RwLock<Option<Rows>>,
    status: RwLock<DomainStatus>,
}

impl DomainView {
    /// Applies a change; `now` in ms since 1970.
    pub fn apply(&self, change: ViewChange, now: i64) {
        let mut guard = write(&self.rows);
        if change.replace {
            *guard = Some(Rows::default());
        }
        // Not loaded yet: readers are answered from the store, which has the change already.
        let Some(rows) = guard.as_mut() else { return };
        for id in change.gone {
            if let Some(row) = rows.by_id.remove(&id)
                && let Some(row) = rows.by_slot.get_mut(row.index())
            {
                *row = None;
            }
        }
        for listed in change.listed {
            let at = listed.slot.index();
            if rows.by_slot.len() <= at {
                rows.by_slot.resize_with(at + 1, || None);
            }
            let served_since = match &rows.by_slot[at] {
                Some(row) if row.version == listed.version => row.served_since,
                _ if change.replace => 0,
                _ => now,
            };
            rows.by_id.insert(listed.id.clone(), listed.slot);
            rows.by_slot[at] = Some(Row {
                id: listed.id,
                expires_at: listed.expires_at,
                entries: listed.entries,
                version: listed.version,
                served_since,
                as_of: now,
                zero: listed.zero,
            });
        }
    }

    /// Whether the view has been filled; before, readers are answered from the store.
    pub fn is_loaded(&self) -> bool {
        read(&self.rows).is_some()
    }

    /// The neighbours of a visible item, at most `limit`; `None` when the item is not visible.
    pub fn similar(&self, id: &ItemId, limit: usize, now: i64) -> Option<Similar> {
        let guard = read(&self.rows);
        let rows = guard.as_ref()?;
        let row = rows.visible(*rows.by_id.get(id)?, now)?;
        let neighbours = row
            .entries
            .iter()
            .filter_map(|entry| {
                let other = rows.visible(entry.slot, now)?;
                Some(Neighbour {
                    id: other.id.clone(),
                    score: entry.score,
                })
            })
            .take(limit)
            .collect();
        Some(Similar {
            neighbours,
            as_of: row.as_of,
        })
    }

    /// How an item is served; `None` when it is not visible.
    pub fn served(&self, id: &ItemId, now: i64) -> Option<Served> {
        let guard = read(&self.rows);
        let rows = guard.as_ref()?;
        let row = rows.visible(*rows.by_id.get(id)?, now)?;
        Some(Served {
            version: row.version,
            since: row.served_since,
            zero: row.zero,
        })
    }

    /// How the domain fares.
    pub fn status(&self) -> DomainStatus {
        read(&self.status).clone()
    }

    /// Says how the domain fares.
    pub fn set_status(&self, status: DomainStatus) {
        *write(&self.status) = status;
    }
}

/// The views of all active domains. A domain without one sleeps: it is clean, and readers are
/// answered from the store.
#[derive(Debug, Default)]
pub struct Views {
    by_domain: RwLock<HashMap<DomainName, Arc<DomainView>>>,
}

impl Views {
    /// The view of an active domain.
    pub fn get(&self, domain: &DomainName) -> Option<Arc<DomainView>> {
        read(&self.by_domain).get(domain).cloned()
    }

    /// The view of a domain, made now if there is none.
    pub fn open(&self, domain: &DomainName) -> Arc<DomainView> {
        Arc::clone(write(&self.by_domain).entry(domain.clone()).or_default())
    }

    /// The domain went to sleep.
    pub fn close(&self, domain: &DomainName) {
        write(&self.by_domain).remove(domain);
    }

    /// Every active domain and its view.
    pub fn all(&self) -> Vec<(DomainName, Arc<DomainView>)> {
        read(&self.by_domain)
            .iter()
            .map(|(name, view)| (name.clone(), Arc::clone(view)))
            .collect()
    }
}

/// Every write leaves the value whole, so a panic elsewhere is no reason to stop serving.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
