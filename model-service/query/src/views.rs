//! The views of all active domains.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kindred_shared::DomainName;

use crate::term::Term;
use crate::view::DomainView;

type ByDomain = HashMap<DomainName, Arc<DomainView>>;

/// The views of all active domains. A domain without one sleeps: it is clean, and readers are
/// answered from the store.
#[derive(Debug, Default)]
pub struct Views {
    /// Locked for as long as it takes to find a view.
    by_domain: RwLock<ByDomain>,
}

impl Views {
    /// The view of an active domain.
    pub fn get(&self, domain: &DomainName) -> Option<Arc<DomainView>> {
        self.read().get(domain).cloned()
    }

    /// The view of a domain, made now if there is none of this term.
    pub fn open(&self, domain: &DomainName, term: &Arc<Term>) -> Arc<DomainView> {
        let new = || Arc::new(DomainView::new(Arc::clone(term)));
        let mut views = self.write();
        let view = views.entry(domain.clone()).or_insert_with(new);
        if !Arc::ptr_eq(view.term(), term) {
            *view = new();
        }
        Arc::clone(view)
    }

    /// The domain went to sleep.
    pub fn close(&self, domain: &DomainName) {
        self.write().remove(domain);
    }

    /// Every active domain and its view.
    pub fn all(&self) -> Vec<(DomainName, Arc<DomainView>)> {
        self.read()
            .iter()
            .map(|(name, view)| (name.clone(), Arc::clone(view)))
            .collect()
    }

    /// Every write leaves the map whole, so a panic elsewhere is no reason to stop serving.
    fn read(&self) -> RwLockReadGuard<'_, ByDomain> {
        self.by_domain
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ByDomain> {
        let lock = self.by_domain.write();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}
