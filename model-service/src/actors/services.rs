//! Services shared by domains.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clock::Clock;
use super::comparer::Comparer;
use super::experiments::Experiments;
use super::memory::MemoryAccount;
use super::owner::Owner;
use super::supervisor::DurationSupervisor;
use super::waking::Waking;
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessors;
use kindred_domain::intake::{Notify, Settle};
use kindred_domain::lease::LeaseTimes;
use kindred_domain::settings::ProcessSettings;
use kindred_domain::store::Store;
use kindred_query::Views;

/// Services shared by the domains of all partitions.
pub struct ServiceParts {
    /// Durable storage.
    pub store: Arc<dyn Store>,
    /// The views that readers use.
    pub views: Arc<Views>,
    /// Notified about changed lists.
    pub watchers: Arc<dyn Notify>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Turns texts into terms.
    pub preprocessors: Arc<Preprocessors>,
    /// Runs the service's own CPU work.
    pub pool: Arc<rayon::ThreadPool>,
    /// Compares all rows of a domain when it is loaded.
    pub comparer: Comparer,
    /// Sends and supervises jobs.
    pub supervisor: Addr<DurationSupervisor>,
    /// Settings passed to every domain's machine.
    pub settings: Arc<ProcessSettings>,
    /// How long an idle domain stays in memory.
    pub idle_after: Duration,
    /// Timing of leases.
    pub lease: LeaseTimes,
    /// Accounts for the memory of active domains.
    pub memory: Arc<MemoryAccount>,
    /// Wakes domains for queries.
    pub waking: Arc<Waking>,
    /// Experiments, and what readers did.
    pub experiments: Arc<Experiments>,
    /// The clocks.
    pub clock: Clock,
}

/// Services of the domains of one partition while it is owned.
pub struct Services {
    parts: Arc<ServiceParts>,
    /// Stamps writes.
    pub owner: Arc<Owner>,
    /// Settles deliveries.
    pub settle: Arc<dyn Settle>,
    /// Holds events until their domain's turn.
    pub backlog: Backlog,
}

/// Events of one partition that may wait for their domains' turns.
pub const PACED_EVENTS: usize = 1_000;
/// Their bytes.
pub const PACED_BYTES: usize = 16 << 20;

/// Holds events until their domains' turn ([`kindred_domain::intake::pacing`]). It is shared by all
/// domains of a partition, and leaves their intake room for events that need not wait.
#[derive(Debug)]
pub struct Backlog {
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The place of a waiting event. Dropping it frees it.
#[derive(Debug)]
pub struct Waiting {
    _event: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            events: Arc::new(Semaphore::new(PACED_EVENTS)),
            bytes: Arc::new(Semaphore::new(PACED_BYTES)),
        }
    }
}

impl Backlog {
    /// Takes a place for an event of this many bytes, if there is room.
    pub fn take(&self, bytes: usize) -> Option<Waiting> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Waiting {
            _event: Arc::clone(&self.events).try_acquire_owned().ok()?,
            _bytes: Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?,
        })
    }
}

impl Services {
    /// The services of one ownership.
    pub fn new(parts: Arc<ServiceParts>, owner: Arc<Owner>, settle: Arc<dyn Settle>) -> Self {
        Self {
            parts,
            owner,
            settle,
            backlog: Backlog::default(),
        }
    }
}

impl std::ops::Deref for Services {
    type Target = ServiceParts;

    fn deref(&self) -> &ServiceParts {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_wait_have_the_room_of_all_and_give_it_back() {
        let backlog = Backlog::default();
        let large = backlog.take(PACED_BYTES - 10);
        assert!(large.is_some());
        assert!(backlog.take(11).is_none());
        drop(large);
        let all: Vec<_> = (0..=PACED_EVENTS).map(|_| backlog.take(1)).collect();
        assert_eq!(all.iter().flatten().count(), PACED_EVENTS);
        drop(all);
        assert!(backlog.take(PACED_BYTES).is_some());
    }
}
