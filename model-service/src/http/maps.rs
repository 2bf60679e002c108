//! Maps that were made lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kindred_query::{Map, Snapshot};
use kindred_shared::DomainName;

/// Domains whose map is kept; past it the oldest goes. Each holds some 200 KiB at most.
const KEPT: usize = 16;
/// How long a map counts while its domain changes.
const COUNTS: Duration = Duration::from_secs(30);

/// The maps of an instance. They hold where items are and nothing else of them: what is shown is read anew each time, so
/// that what is gone is in no answer.
#[derive(Debug, Default)]
pub(crate) struct Maps(Mutex<HashMap<DomainName, Made>>);

#[derive(Debug, Clone)]
struct Made {
    at: Instant,
    of: Weak<Snapshot>,
    map: Arc<Map>,
}

impl Maps {
    /// That of a domain, if it still counts.
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

    /// Keeps one.
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
        // Every change leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
