//! Wakes sleeping domains for queries that only a loaded domain can answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use kindred_shared::{DomainName, ItemId};

use kindred_domain::store::Partition;

/// Load the domain unless it is loaded. It must be registered, and belong to the partition.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake {
    /// The domain.
    pub domain: DomainName,
    /// Items to recompute, or all if there are none; `None`: recompute nothing.
    pub make_anew: Option<Vec<ItemId>>,
}

/// The registries that wake the domains of each partition hosted here.
#[derive(Default)]
pub struct Waking(Mutex<HashMap<Partition, Recipient<Wake>>>);

impl Waking {
    /// From now on this registry wakes the partition's domains.
    pub(crate) fn host(&self, partition: Partition, registry: Recipient<Wake>) {
        self.registries().insert(partition, registry);
    }

    /// The partition is no longer hosted here.
    pub(crate) fn let_go(&self, partition: Partition) {
        self.registries().remove(&partition);
    }

    /// Loads a domain of a partition; returns whether the partition is hosted here.
    pub fn wake(&self, partition: Partition, domain: &DomainName) -> bool {
        self.tell(partition, domain, None)
    }

    /// Recomputes some items of a domain, or all if none are named; returns whether the partition
    /// is hosted here.
    pub fn make_anew(&self, partition: Partition, domain: &DomainName, ids: Vec<ItemId>) -> bool {
        self.tell(partition, domain, Some(ids))
    }

    fn tell(
        &self,
        partition: Partition,
        domain: &DomainName,
        make_anew: Option<Vec<ItemId>>,
    ) -> bool {
        let Some(registry) = self.registries().get(&partition).cloned() else {
            return false;
        };
        let domain = domain.clone();
        // The caller checks whether it is loaded, and asks again.
        registry.do_send(Wake { domain, make_anew });
        true
    }

    /// Every write leaves the map consistent.
    fn registries(&self) -> MutexGuard<'_, HashMap<Partition, Recipient<Wake>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Waking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} partitions", self.registries().len())
    }
}
