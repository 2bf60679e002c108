//! All partitions of a service: a lease keeper and a host for each, and the logic that decides
//! which are wanted.

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio::time::timeout;
use tracing::warn;

use super::lease::{self, Instance, KeeperChannels};
use super::partition::{OpenIntake, PartitionHost};
use super::services::ServiceParts;
use super::sharing::{KeeperHandle, announce, share_evenly};
use crate::owners::HostedPartitions;
use kindred_domain::lease::Wish;
use kindred_domain::store::{Partition, Store};

/// Longest time to hand partitions over when the service stops; the rest is left for others to
/// take.
const HAND_OVER: Duration = Duration::from_secs(3);

/// The partitions of a running service.
pub struct Partitions {
    store: Arc<dyn Store>,
    me: Instance,
    sharing: Sharing,
    keepers: Vec<JoinHandle<()>>,
    hosts: Vec<JoinHandle<()>>,
}

/// Decides which partitions are wanted. When it is dropped, they are handed over.
enum Sharing {
    /// All of them: no other instance can own any, or there is only one partition. This instance is still announced to
    /// others.
    All(Vec<KeeperHandle>, Option<JoinHandle<()>>),
    /// An even share.
    Even(JoinHandle<()>),
}

impl Sharing {
    fn end(self) {
        match self {
            Self::All(keepers, announcing) => {
                drop(keepers);
                announcing.iter().for_each(JoinHandle::abort);
            }
            Self::Even(sharing) => sharing.abort(),
        }
    }
}

impl Partitions {
    /// Takes whichever of `count` partitions `me` can own, and hosts them: domains run on `homes`,
    /// events come from `intake`, and `hosted` is told. Call inside an actix system.
    pub fn start(
        count: u16,
        me: Instance,
        parts: &Arc<ServiceParts>,
        intake: &Arc<dyn OpenIntake>,
        homes: &[ArbiterHandle],
        hosted: &Arc<HostedPartitions>,
    ) -> Self {
        let store = Arc::clone(&parts.store);
        let is_shared = count > 1 && !store.is_exclusive();
        let first_wish = if is_shared { Wish::Wait } else { Wish::Have };
        let (mut keepers, mut hosts, mut wishers) = (Vec::new(), Vec::new(), Vec::new());
        for partition in (0..count).map(Partition) {
            let (told, ownership) = mpsc::channel(1);
            let (wish, wishes) = watch::channel(first_wish);
            let (owner, known) = watch::channel(None);
            wishers.push(KeeperHandle { wish, owner: known });
            let channels = KeeperChannels {
                wishes,
                owner,
                ownership: told,
                exhausted: Arc::default(),
                clock: parts.clock,
                times: parts.lease,
            };
            let host = PartitionHost::new(
                partition,
                Arc::clone(parts),
                Arc::clone(intake),
                homes.to_vec(),
                Arc::clone(&channels.exhausted),
                Arc::clone(hosted),
            );
            let keeper = lease::keep(Arc::clone(&store), partition, me.clone(), channels);
            keepers.push(spawn_local(keeper));
            hosts.push(spawn_local(host.follow(ownership)));
        }
        let sharing = if is_shared {
            let sharing = share_evenly(Arc::clone(&store), me.clone(), parts.lease, wishers);
            Sharing::Even(spawn_local(sharing))
        } else {
            let is_alone = store.is_exclusive();
            let announcing = announce(Arc::clone(&store), me.clone(), parts.lease);
            Sharing::All(wishers, (!is_alone).then(|| spawn_local(announcing)))
        };
        Self {
            store,
            me,
            sharing,
            keepers,
            hosts,
        }
    }

    /// Hands over all partitions, if that is quick, and stops.
    pub async fn hand_over(self) {
        self.sharing.end();
        let abort: Vec<AbortHandle> = self.keepers.iter().map(JoinHandle::abort_handle).collect();
        let handing_over = async {
            for keeper in self.keepers {
                let _ = keeper.await;
            }
            self.store.withdraw(&self.me.owner).await
        };
        match timeout(HAND_OVER, handing_over).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "other services will notice late that this one has \
                stopped"),
            Err(_) => {
                warn!(
                    "partitions not handed over in time; other services take them within seconds"
                );
            }
        }
        abort.iter().for_each(AbortHandle::abort);
        // Hosts stop when the sender of their ownership is gone.
        for host in self.hosts {
            let _ = host.await;
        }
    }
}
