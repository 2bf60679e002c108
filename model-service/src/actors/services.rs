//! What domains work with.

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

/// What the domains of all partitions work with.
pub struct ServiceParts {
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// What readers see.
    pub views: Arc<Views>,
    /// Who wants to know about changed lists.
    pub watchers: Arc<dyn Notify>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Texts to terms.
    pub preprocessors: Arc<Preprocessors>,
    /// Where CPU work of the service itself runs.
    pub pool: Arc<rayon::ThreadPool>,
    /// Compares all rows of a domain that is loaded.
    pub comparer: Comparer,
    /// Who has jobs done.
    pub supervisor: Addr<DurationSupervisor>,
    /// What every domain's machine is told.
    pub settings: Arc<ProcessSettings>,
    /// How long an idle domain stays in memory.
    pub idle_after: Duration,
    /// How leases are kept and taken.
    pub lease: LeaseTimes,
    /// What active domains hold in memory, and may.
    pub memory: Arc<MemoryAccount>,
    /// Who wakes domains that somebody asks.
    pub waking: Arc<Waking>,
    /// Experiments, and what readers did.
    pub experiments: Arc<Experiments>,
    /// The clocks.
    pub clock: Clock,
}

/// What the domains of one partition work with while it is ours.
pub struct Services {
    parts: Arc<ServiceParts>,
    /// Stamps for writes.
    pub owner: Arc<Owner>,
    /// Where deliveries are settled.
    pub settle: Arc<dyn Settle>,
    /// Where events wait for their domain's turn.
    pub backlog: Backlog,
}

/// Events that may wait for their domains' turns, of all domains of a partition.
pub const PACED_EVENTS: usize = 1_000;
/// Bytes of them.
pub const PACED_BYTES: usize = 16 << 20;

/// Where events wait for their domains' turns ([`kindred_domain::intake::pacing`]): it is shared by all domains of a
/// partition, and leaves their intake room for those that do not wait.
#[derive(Debug)]
pub struct Backlog {
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The place of an event that waits. Dropping it gives it back.
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
    /// A place for an event of so many bytes, if there is one.
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
