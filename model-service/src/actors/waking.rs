//! Waking domains that sleep because somebody asks what only a loaded domain can answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use kindred_shared::{DomainName, ItemId};

use kindred_domain::store::Partition;

/// Load the domain, unless it is loaded. It must be registered, and of the partition.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake {
    /// The domain.
    pub domain: DomainName,
    /// Items of which what is stored is to be made anew, of all if there are none; `None`: that of nobody is.
    pub make_anew: Option<Vec<ItemId>>,
}

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
        self.tell(partition, domain, None)
    }

    /// Has what is stored of some items of a loaded domain made anew, or of all if none are named. Whether the
    /// partition is hosted here.
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
        // Who asks looks until it is there, and asks again.
        registry.do_send(Wake { domain, make_anew });
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
