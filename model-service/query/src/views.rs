//! The views of all active domains.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kindred_shared::{DomainName, ModelName};

use crate::term::Term;
use crate::view::DomainView;

type ByDomain = HashMap<DomainName, OfDomain>;

/// The views of all active domains. A domain without a view sleeps: it is clean, and readers are answered from the
/// store.
#[derive(Debug, Default)]
pub struct Views {
    /// Locked only to find a view.
    by_domain: RwLock<ByDomain>,
}

/// The views of one domain.
#[derive(Debug)]
struct OfDomain {
    served: Arc<DomainView>,
    beside: BTreeMap<ModelName, BesideView>,
}

/// What readers see of a model beside the served one.
#[derive(Debug, Clone)]
pub struct BesideView {
    /// Its view.
    pub view: Arc<DomainView>,
    /// Whether queries may use it: while it is being built, lists are missing.
    pub is_ready: bool,
}

impl Views {
    /// The view of an active domain, for its served model.
    pub fn get(&self, domain: &DomainName) -> Option<Arc<DomainView>> {
        self.read().get(domain).map(|one| Arc::clone(&one.served))
    }

    /// The view of a domain; creates one if there is none for this term.
    pub fn open(&self, domain: &DomainName, term: &Arc<Term>) -> Arc<DomainView> {
        let new = || OfDomain {
            served: Arc::new(DomainView::new(Arc::clone(term))),
            beside: BTreeMap::new(),
        };
        let mut views = self.write();
        let of_domain = views.entry(domain.clone()).or_insert_with(new);
        if !Arc::ptr_eq(of_domain.served.term(), term) {
            *of_domain = new();
        }
        Arc::clone(&of_domain.served)
    }

    /// The domain went to sleep.
    pub fn close(&self, domain: &DomainName) {
        self.write().remove(domain);
    }

    /// Every active domain with its view.
    pub fn all(&self) -> Vec<(DomainName, Arc<DomainView>)> {
        self.read()
            .iter()
            .map(|(name, one)| (name.clone(), Arc::clone(&one.served)))
            .collect()
    }

    /// The view of a model beside the served one of an active domain, if there is one.
    pub fn beside(&self, domain: &DomainName, model: &ModelName) -> Option<BesideView> {
        self.read().get(domain)?.beside.get(model).cloned()
    }

    /// The views of all models beside the served one of a domain.
    pub fn all_beside(&self, domain: &DomainName) -> Vec<(ModelName, BesideView)> {
        let views = self.read();
        let beside = views.get(domain).map(|one| &one.beside).into_iter();
        beside
            .flatten()
            .map(|(name, view)| (name.clone(), view.clone()))
            .collect()
    }

    /// Makes the view of a model beside the served one available to readers.
    pub fn show(&self, domain: &DomainName, model: &ModelName, view: BesideView) {
        if let Some(of_domain) = self.write().get_mut(domain) {
            of_domain.beside.insert(model.clone(), view);
        }
    }

    /// Removes it.
    pub fn hide(&self, domain: &DomainName, model: &ModelName) {
        if let Some(of_domain) = self.write().get_mut(domain) {
            of_domain.beside.remove(model);
        }
    }

    /// Every write leaves the map consistent, so a panic elsewhere is no reason to stop serving.
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
