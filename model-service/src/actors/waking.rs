//! Waking domains that sleep because somebody asks what only a loaded domain can answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use kindred_shared::DomainName;

use kindred_domain::store::Partition;

/// Load the domain, unless it is loaded. It must be registered, and of the partition.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake(pub DomainName);

/// Who wakes the domains of each partition that is hosted here.
#[derive(Default)]
pub struct Waking(Mutex<HashMap<Partition, Recipient<Wake>>>);

impl Waking {
    /// This one wakes the partition's domains from now on.
    pub(crate) fn host(&self, partition: Partition, registry: Recipient<Wake>) {
        self.registries().insert(partition, registry);
    }

    /// Nobody does any more.
    pub(crate) fn let_go(&self, partition: Partition) {
        self.registries().remove(&partition);
    }

    /// Has a domain of a partition loaded. Whether the partition is hosted here.
    pub fn wake(&self, partition: Partition, domain: &DomainName) -> bool {
        let Some(registry) = self.registries().get(&partition).cloned() else {
            return false;
        };
        // Who asks looks until it is there, and asks again.
        registry.do_send(Wake(domain.clone()));
        true
    }

    /// Every write leaves the map whole.
    fn registries(&self) -> MutexGuard<'_, HashMap<Partition, Recipient<Wake>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Waking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} partitions", self.registries().len())
    }
}
