//! The domains of one partition: which are active, which must be loaded, and when a sleeping one must wake. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kindred_shared::DomainName;

use crate::store::DomainRow;

/// Whether to put a domain to sleep: it has not been used for `idle_after`, and its machine has nothing to do.
pub fn is_idle(unused_for: Duration, idle_after: Duration, may_sleep: bool) -> bool {
    may_sleep && unused_for >= idle_after
}

/// Active domains, each with its driver, and those sleeping domains that must be woken at some time.
#[derive(Debug)]
pub struct Registry<A> {
    active: BTreeMap<DomainName, A>,
    /// Sleeping domains by the time when their next item expires, in ms since 1970.
    expiries: BTreeSet<(i64, DomainName)>,
    /// Dirty domains that must still be loaded.
    to_load: VecDeque<DomainName>,
    /// Most domains that are loaded at a time.
    most_loading: usize,
}

impl<A> Registry<A> {
    /// Starts without any domain; loads at most `most_loading` dirty domains at a time.
    pub fn new(most_loading: usize) -> Self {
        Self {
            active: BTreeMap::new(),
            expiries: BTreeSet::new(),
            to_load: VecDeque::new(),
            most_loading,
        }
    }

    /// The driver of a domain, if it is active.
    pub fn get(&self, domain: &DomainName) -> Option<&A> {
        self.active.get(domain)
    }

    /// The active domains.
    pub fn active(&self) -> impl Iterator<Item = (&DomainName, &A)> {
        self.active.iter()
    }

    /// The domain is active now: nothing else needs to wake it.
    pub fn woke(&mut self, domain: DomainName, driver: A) {
        self.expiries.retain(|(_, sleeping)| *sleeping != domain);
        self.active.insert(domain, driver);
    }

    /// The domain is not active any more; only events will wake it.
    pub fn ended(&mut self, domain: &DomainName) -> Option<A> {
        self.active.remove(domain)
    }

    /// The domain sleeps; its next item expires at this time, in ms since 1970, if any does.
    pub fn asleep(&mut self, domain: DomainName, next_expiry: Option<i64>) -> Option<A> {
        let driver = self.active.remove(&domain);
        if let Some(at) = next_expiry {
            self.expiries.insert((at, domain));
        }
        driver
    }

    /// Adds domains as the store has them: dirty ones must be loaded, those with expiring items are woken in time.
    /// Returns the number of dirty ones.
    pub fn resume(&mut self, rows: Vec<DomainRow>) -> usize {
        let mut dirty = 0;
        for row in rows {
            if row.dirty.is_some() {
                dirty += 1;
                self.to_load.push_back(row.domain);
            } else if let Some(at) = row.next_expiry {
                self.expiries.insert((at.timestamp_millis(), row.domain));
            }
        }
        dirty
    }

    /// Whether dirty domains must still be loaded.
    pub fn has_to_load(&self) -> bool {
        !self.to_load.is_empty()
    }

    /// The dirty domains to wake now.
    pub fn load_some(&mut self, is_loading: impl Fn(&A) -> bool) -> Vec<DomainName> {
        if self.to_load.is_empty() {
            return Vec::new();
        }
        let loading = self.active.values().filter(|driver| is_loading(driver));
        let room = self.most_loading.saturating_sub(loading.count());
        let some = self.to_load.len().min(room);
        self.to_load.drain(..some).collect()
    }

    /// The domains to wake because an item has expired by now, in ms since 1970.
    pub fn expired(&mut self, now: i64) -> Vec<DomainName> {
        let mut expired = Vec::new();
        while let Some((at, domain)) = self.expiries.pop_first() {
            if at > now {
                self.expiries.insert((at, domain));
                break;
            }
            expired.push(domain);
        }
        expired
    }

    /// Every domain will start again from the store, or belongs to another owner: returns the drivers of the active
    /// ones.
    pub fn drain(&mut self) -> Vec<(DomainName, A)> {
        std::mem::take(&mut self.active).into_iter().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use chrono::DateTime;
    use kindred_shared::ModelName;

    use super::*;

    fn name(name: &str) -> DomainName {
        DomainName::new(name).unwrap()
    }

    fn row(domain: &str, dirty: Option<u64>, next_expiry: Option<i64>) -> DomainRow {
        DomainRow {
            domain: name(domain),
            model: ModelName::new("words-1").unwrap(),
            partition: 0,
            registered_at: DateTime::UNIX_EPOCH,
            dirty,
            live: 1,
            visible: 1,
            next_expiry: next_expiry.and_then(DateTime::from_timestamp_millis),
            removal: None,
        }
    }

    #[test]
    fn dirty_domains_are_loaded_some_at_a_time() {
        let mut registry = Registry::new(2);
        let rows = ["a", "b", "c"].map(|domain| row(domain, Some(1), None));
        assert_eq!(registry.resume(rows.into()), 3);
        for domain in registry.load_some(|_| true) {
            registry.woke(domain, ());
        }
        assert_eq!(registry.active().count(), 2);
        assert!(registry.load_some(|()| true).is_empty());
        assert_eq!(registry.load_some(|()| false), [name("c")]);
        assert!(!registry.has_to_load());
    }

    #[test]
    fn sleeping_domains_wake_when_an_item_expires_unless_they_woke_before() {
        let mut registry = Registry::new(2);
        registry.resume(vec![row("a", None, Some(5)), row("b", None, Some(7))]);
        registry.woke(name("c"), ());
        assert_eq!(registry.asleep(name("c"), Some(6)), Some(()));
        registry.woke(name("b"), ());
        assert!(registry.expired(4).is_empty());
        assert_eq!(registry.expired(7), [name("a"), name("c")]);
        assert!(registry.expired(9).is_empty());
    }
}
