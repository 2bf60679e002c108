//! Shares partitions with other model services; runs [`kindred_domain::sharing`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::lease::Instance;
use kindred_domain::lease::{LeaseTimes, Wish};
use kindred_domain::sharing::share;
use kindred_domain::store::{Partition, Store, StoreError};

/// The other ends of the channels of a keeper.
#[derive(Debug)]
pub struct KeeperHandle {
    /// Whether the partition is wanted.
    pub wish: watch::Sender<Wish>,
    /// Its owner, as far as known.
    pub owner: watch::Receiver<Option<String>>,
}

/// Announces this instance and asks for an even share of the partitions (`keepers`, in partition
/// order) while it is polled. Without news of other instances, nothing changes.
pub async fn share_evenly(
    store: Arc<dyn Store>,
    me: Instance,
    times: LeaseTimes,
    keepers: Vec<KeeperHandle>,
) {
    let mut look = interval(times.look());
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let looked = timeout(times.answer(), meet(&*store, &me, times.take)).await;
        let instances = match looked {
            Ok(Ok(instances)) => instances,
            Ok(Err(error)) => {
                debug!(%error, "other model services cannot be read");
                continue;
            }
            Err(_) => {
                debug!("other model services cannot be read: no answer in time");
                continue;
            }
        };
        let owners: Vec<Option<String>> = keepers
            .iter()
            .map(|keeper| keeper.owner.borrow().clone())
            .collect();
        let share = share(&me.owner, &instances, &owners);
        for ((partition, owner), keeper) in (0..).map(Partition).zip(&owners).zip(&keepers) {
            let wish = share.wish(&me.owner, partition, owner.as_deref());
            keeper.wish.send_if_modified(|old| {
                let is_other = *old != wish;
                *old = wish;
                is_other
            });
        }
    }
}

/// Announces this instance while it is polled.
pub async fn announce(store: Arc<dyn Store>, me: Instance, times: LeaseTimes) {
    let mut again = interval(times.look());
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        let announced = store.announce(&me.owner, &me.address, times.take);
        match timeout(times.answer(), announced).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "other model services cannot be told about this one"),
            Err(_) => {
                debug!("other model services cannot be told about this one: no answer in time");
            }
        }
    }
}

/// Announces this instance, for as long as its leases would last; returns the instances that are
/// alive.
async fn meet(
    store: &dyn Store,
    me: &Instance,
    lasting: Duration,
) -> Result<Vec<String>, StoreError> {
    store.announce(&me.owner, &me.address, lasting).await?;
    let there: BTreeSet<String> = store.instances().await?.into_iter().collect();
    Ok(there.into_iter().collect())
}
