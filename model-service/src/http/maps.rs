//! Cache of recently computed maps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kindred_query::{Map, Snapshot};
use kindred_shared::DomainName;

/// Domains whose map is cached; beyond it the oldest is dropped. Each takes some 200 KiB at most.
const KEPT: usize = 16;
/// How long a map is used while its domain changes.
const COUNTS: Duration = Duration::from_secs(30);

/// The maps of an instance. They only hold positions: everything shown is read again each time, so
/// deleted items never appear.
#[derive(Debug, Default)]
pub(crate) struct Maps(Mutex<HashMap<DomainName, Made>>);

#[derive(Debug, Clone)]
struct Made {
    at: Instant,
    of: Weak<Snapshot>,
    map: Arc<Map>,
}

impl Maps {
    /// A domain's map, if it may still be used.
    pub(super) fn find(
        &self,
        domain: &DomainName,
        snapshot: &Arc<Snapshot>,
        now: Instant,
    ) -> Option<Arc<Map>> {
        let made = self.maps().get(domain).cloned()?;
        let is_same = made.of.as_ptr() == Arc::as_ptr(snapshot);
        let counts = is_same || now.saturating_duration_since(made.at) < COUNTS;
        counts.then_some(made.map)
    }

    /// Caches a map.
    pub(super) fn keep(
        &self,
        domain: DomainName,
        snapshot: &Arc<Snapshot>,
        map: Arc<Map>,
        now: Instant,
    ) {
        let mut maps = self.maps();
        if maps.len() >= KEPT && !maps.contains_key(&domain) {
            let oldest = maps.iter().min_by_key(|(_, made)| made.at);
            if let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) {
                maps.remove(&oldest);
            }
        }
        let of = Arc::downgrade(snapshot);
        maps.insert(domain, Made { at: now, of, map });
    }

    fn maps(&self) -> MutexGuard<'_, HashMap<DomainName, Made>> {
        // Every change leaves the map consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
