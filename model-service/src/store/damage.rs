//! Records damaged rows that were read, until they are rewritten.
//!
//! A row that Kindred cannot have written is treated as missing, so that it does not block access
//! to the others. It is recomputed if other rows allow it, such as a feature from its text. The
//! remaining ones are reported here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_shared::{DomainName, ItemId, LogLimiter};

use kindred_domain::store::{Damaged, DamagedRow, Write};

/// Damaged rows remembered by name; others are logged whenever they are read.
const REMEMBERED: usize = 10_000;
/// Rows named per domain.
const NAMED: usize = 5;
/// How often a damaged row is logged.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Longest reason, in characters: it may contain data of the row.
const REASON: usize = 200;

/// A domain's own rows have no item.
const OF_DOMAIN: &str = "";

/// The tables, as the contract names them.
pub(super) const DOMAINS: &str = "domains";
pub(super) const SETTINGS: &str = "domain_settings";
pub(super) const ITEMS: &str = "items";
pub(super) const CONTENTS: &str = "item_texts";
pub(super) const FEATURES: &str = "item_features";
pub(super) const LISTS: &str = "similar_items";
pub(super) const MODELS: &str = "domain_models";
/// In the embedded store; in the clustered store a column of that table.
pub(super) const MODEL_HABITS: &str = "domain_model_habits";
pub(super) const MODEL_LISTS: &str = "similar_items_by_model";
pub(super) const LOG: &str = "domain_log";

/// The location of a row.
pub(super) type RowLocation = (&'static str, String);

/// The damaged rows of a store.
pub(super) struct Damage {
    known: Mutex<Known>,
    /// Number of remembered rows: nobody takes the lock while there are none.
    count: AtomicU64,
    begun: Instant,
}

struct Known {
    domains: BTreeMap<DomainName, BTreeMap<RowLocation, String>>,
    told: LogLimiter,
}

impl Default for Damage {
    fn default() -> Self {
        Self {
            known: Mutex::new(Known {
                domains: BTreeMap::new(),
                told: LogLimiter::new(TELL_EVERY),
            }),
            count: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }
}

impl Damage {
    /// Records a damaged row. `id`: its item, or empty.
    pub(super) fn found(
        &self,
        domain: &DomainName,
        table: &'static str,
        id: &str,
        reason: impl fmt::Display,
    ) {
        let reason: String = reason.to_string().chars().take(REASON).collect();
        let mut known = self.known();
        let place = (table, id.to_owned());
        let of_domain = known.domains.get(domain);
        let before = of_domain.and_then(|rows| rows.get(&place));
        if before == Some(&reason) {
            return;
        }
        let is_new = before.is_none();
        if let Some(more) = known.told.tell(self.begun.elapsed()) {
            tracing::error!(%domain, table, id, reason, more, "store.row_damaged");
        }
        if is_new && self.count.load(Ordering::Relaxed) >= REMEMBERED as u64 {
            return;
        }
        let rows = known.domains.entry(domain.clone()).or_default();
        rows.insert(place, reason);
        if is_new {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Which of these rows will replace damaged ones.
    pub(super) fn mended_by(&self, domain: &DomainName, writes: &[Write]) -> Vec<RowLocation> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let known = self.known();
        let Some(rows) = known.domains.get(domain) else {
            return Vec::new();
        };
        let places = writes.iter().map(|write| {
            let (table, id) = place_of(write);
            (table, id.to_owned())
        });
        places.filter(|place| rows.contains_key(place)).collect()
    }

    /// These rows have been written.
    pub(super) fn mended(&self, domain: &DomainName, places: &[RowLocation]) {
        if places.is_empty() {
            return;
        }
        let mut known = self.known();
        let Some(rows) = known.domains.get_mut(domain) else {
            return;
        };
        for place in places {
            if rows.remove(place).is_some() {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let left = rows.len();
        if rows.is_empty() {
            known.domains.remove(domain);
        }
        tracing::info!(%domain, rows = places.len(), left, "store.rows_mended");
    }

    /// All rows of a domain except its own are deleted.
    pub(super) fn swept(&self, domain: &DomainName) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut known = self.known();
        if let Some(rows) = known.domains.remove(domain) {
            self.count.fetch_sub(rows.len() as u64, Ordering::Relaxed);
        }
    }

    /// The damaged rows of a domain.
    pub(super) fn of(&self, domain: &DomainName) -> Damaged {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Damaged::default();
        }
        let known = self.known();
        let Some(rows) = known.domains.get(domain) else {
            return Damaged::default();
        };
        let named = rows.iter().take(NAMED);
        let named = named.map(|((table, id), reason)| DamagedRow {
            table,
            id: id.clone(),
            reason: reason.clone(),
        });
        Damaged {
            rows: named.collect(),
            count: rows.len() as u64,
        }
    }

    /// Number of damaged rows.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Every change leaves the state consistent, so a poisoned lock is harmless.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The location a write goes to.
fn place_of(write: &Write) -> (&'static str, &str) {
    match write {
        Write::Domain(_) | Write::PurgeDomain => (DOMAINS, OF_DOMAIN),
        Write::Settings(_) => (SETTINGS, OF_DOMAIN),
        Write::Item(row) => (ITEMS, row.id.as_str()),
        Write::PurgeItem(id) => (ITEMS, id.as_str()),
        Write::Content(id, _) | Write::DeleteContent(id) => (CONTENTS, id.as_str()),
        Write::Feature(row) => (FEATURES, row.id.as_str()),
        Write::DeleteFeatures(id) => (FEATURES, id.as_str()),
        Write::List(row) => (LISTS, row.id.as_str()),
        Write::DeleteList(id) => (LISTS, id.as_str()),
        Write::DeleteFeature(_, id) => (FEATURES, id.as_str()),
        Write::Beside(..) => (MODELS, OF_DOMAIN),
        Write::BesideHabits(..) => (MODEL_HABITS, OF_DOMAIN),
        Write::BesideList(_, row) => (MODEL_LISTS, row.id.as_str()),
        Write::DeleteBesideList(_, id) => (MODEL_LISTS, id.as_str()),
        Write::Log(_) | Write::TrimLog(_) => (LOG, OF_DOMAIN),
    }
}

/// A damaged row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsound {
    /// Its item.
    pub(super) id: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl Unsound {
    pub(super) fn new(id: &str, reason: impl fmt::Display) -> Self {
        Self {
            id: id.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The item of a row, as stored.
pub(super) fn item_id(id: &str) -> Result<ItemId, Unsound> {
    ItemId::new(id).map_err(|error| Unsound::new(id, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::contract::{all_rows, domain, feature, id};
    use super::*;

    #[test]
    fn a_damaged_row_is_reported_until_it_is_rewritten_or_deleted() {
        let (damage, d) = (Damage::default(), domain("d"));
        assert_eq!(damage.of(&d), Damaged::default());
        for _ in 0..3 {
            damage.found(&d, FEATURES, "a", "not a number");
        }
        damage.found(&d, ITEMS, "b", "x".repeat(10_000));
        damage.found(&domain("other"), LISTS, "a", "no");
        assert_eq!(damage.count(), 3);
        let told = damage.of(&d);
        assert_eq!(told.count, 2);
        let places = told.rows.iter().map(|row| (row.table, row.id.as_str()));
        assert_eq!(places.collect::<Vec<_>>(), [(FEATURES, "a"), (ITEMS, "b")]);
        assert_eq!(told.rows[1].reason.len(), REASON);
        let write = |domain: &DomainName, writes: &[Write]| {
            let places = damage.mended_by(domain, writes);
            damage.mended(domain, &places);
            places.len()
        };
        // Of another item, or of another domain.
        assert_eq!(write(&d, &[Write::Feature(feature("c", 1))]), 0);
        assert_eq!(write(&domain("nobody"), &all_rows("a", 1)), 0);
        assert_eq!(damage.count(), 3);
        assert_eq!(write(&d, &all_rows("a", 1)), 1);
        assert_eq!(write(&d, &[Write::PurgeItem(id("b"))]), 1);
        assert_eq!(damage.of(&d), Damaged::default());
        assert_eq!(damage.count(), 1);
        damage.swept(&domain("other"));
        assert_eq!(damage.count(), 0);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (damage, d) = (Damage::default(), domain("d"));
        for n in 0..REMEMBERED + 10 {
            damage.found(&d, FEATURES, &format!("{n}"), "not a number");
        }
        assert_eq!(damage.count(), REMEMBERED as u64);
        let told = damage.of(&d);
        assert_eq!((told.rows.len(), told.count), (NAMED, REMEMBERED as u64));
    }
}
