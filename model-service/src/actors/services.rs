//! What domains work with.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;

use super::clock::Clock;
use super::comparer::Comparer;
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
}

impl Services {
    /// The services of one ownership.
    pub fn new(parts: Arc<ServiceParts>, owner: Arc<Owner>, settle: Arc<dyn Settle>) -> Self {
        Self {
            parts,
            owner,
            settle,
        }
    }
}

impl std::ops::Deref for Services {
    type Target = ServiceParts;

    fn deref(&self) -> &ServiceParts {
        &self.parts
    }
}
