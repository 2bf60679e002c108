//! The view of an active domain: its newest snapshot, and its status.
//!
//! The domain's machine sends changes ([`ViewChange`]); a change becomes visible as a whole. Readers never wait for a
//! change, a job or the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use kindred_shared::ItemId;

use crate::recent::{Recent, Summary};
use crate::snapshot::{Served, Snapshot};
use crate::term::Term;
use kindred_domain::status::DomainStatus;
use kindred_domain::view_change::ViewChange;

/// What readers of one active domain see.
#[derive(Debug)]
pub struct DomainView {
    term: Arc<Term>,
    /// `None`: not loaded yet.
    snapshot: ArcSwapOption<Snapshot>,
    /// Locked while the next snapshot is being made.
    changing: Mutex<()>,
    status: ArcSwap<DomainStatus>,
    /// When it was last used, on the monotonic clock, in ms.
    used_at: AtomicU64,
    /// `None` until the first event.
    recent: Mutex<Option<Box<Recent>>>,
}

/// Resolution of the time of last use: a write for every query would make readers wait for each other's caches.
const USED_WITHIN_MS: u64 = 1_000;

impl Default for DomainView {
    /// A view that cannot become outdated because of another instance.
    fn default() -> Self {
        Self::new(Arc::new(Term::endless()))
    }
}

impl DomainView {
    /// An empty view, which may be used within this term.
    pub fn new(term: Arc<Term>) -> Self {
        Self {
            term,
            snapshot: ArcSwapOption::default(),
            changing: Mutex::default(),
            status: ArcSwap::default(),
            used_at: AtomicU64::default(),
            recent: Mutex::default(),
        }
    }

    /// An event arrived or a query was made, at this moment of the monotonic clock.
    pub fn used(&self, now: Duration) {
        let now = in_ms(now);
        if now > self.used_at.load(Ordering::Relaxed) + USED_WITHIN_MS {
            self.used_at.store(now, Ordering::Relaxed);
        }
    }

    /// How long no event has arrived and no query was made, to within a second.
    pub fn unused_for(&self, now: Duration) -> Duration {
        let used_at = self.used_at.load(Ordering::Relaxed);
        Duration::from_millis(in_ms(now).saturating_sub(used_at))
    }

    /// The term within which it may be used.
    pub fn term(&self) -> &Arc<Term> {
        &self.term
    }

    /// Applies a change; `now` in ms since 1970.
    pub fn apply(&self, change: ViewChange, now: i64) {
        // The snapshot is replaced as a whole, so a panic elsewhere is no reason to stop serving.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if change.replace {
            Snapshot::loaded(change, now)
        } else {
            // Not loaded yet: readers are answered from the store, which has the change already.
            let Some(snapshot) = self.snapshot.load_full() else {
                return;
            };
            snapshot.changed(change, now)
        };
        self.snapshot.store(Some(Arc::new(next)));
    }

    /// From now on readers see what another view showed; `None`: nothing is known.
    pub fn take_over(&self, snapshot: Option<Arc<Snapshot>>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.snapshot.store(snapshot);
    }

    /// What readers see now; `None`: the view has not been filled yet, and readers are answered from the store.
    pub fn snapshot(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.snapshot.load()
    }

    /// An event of the domain was settled, at a moment of the clock that never goes back.
    pub fn decided(&self, now: Duration) {
        self.recent().get_or_insert_default().decided(now);
    }

    /// An upsert's list is served, this long after the upsert arrived.
    pub fn served_after(&self, now: Duration, after: Duration) {
        self.recent().get_or_insert_default().served(now, after);
    }

    /// What the domain did in the last [`OVER`](crate::recent::OVER).
    pub fn recently(&self, now: Duration) -> Summary {
        let recent = self.recent();
        recent
            .as_ref()
            .map_or_else(Summary::default, |recent| recent.summary(now))
    }

    fn recent(&self) -> MutexGuard<'_, Option<Box<Recent>>> {
        // Counts are whole after every change.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state in which an item is served; `None`: it is not visible, or has no list yet.
    pub fn served(&self, id: &ItemId, now: i64) -> Option<Served> {
        let snapshot = self.snapshot();
        snapshot.as_ref()?.item(id.as_str(), now)?.served()
    }

    /// The domain's status.
    pub fn status(&self) -> DomainStatus {
        DomainStatus::clone(&self.status.load())
    }

    /// Sets the domain's status, to which the snapshot's memory is added; returns the total memory in bytes.
    pub fn set_status(&self, mut status: DomainStatus) -> u64 {
        let snapshot = self.snapshot();
        status.memory.snapshot = snapshot.as_ref().map_or(0, |snapshot| snapshot.memory());
        let bytes = status.memory.total();
        self.status.store(Arc::new(status));
        bytes
    }
}

fn in_ms(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_for_how_long_nobody_has_used_it() {
        let (view, at) = (DomainView::default(), Duration::from_millis);
        assert_eq!(view.unused_for(at(7_000)), at(7_000), "never");
        view.used(at(7_000));
        view.used(at(7_999));
        assert_eq!(
            view.unused_for(at(9_000)),
            at(2_000),
            "give or take a second"
        );
        view.used(at(8_001));
        assert_eq!(view.unused_for(at(9_000)), at(999));
    }
}
