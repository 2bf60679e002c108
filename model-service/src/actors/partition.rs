//! Hosting a partition: while the lease is ours, its events are taken and its domains are alive.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use kindred_shared::Backoff;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::lease::Ownership;
use super::owner::Owner;
use super::registry::{Disown, Dispatch, DomainRegistry, Raise, Resume};
use super::{ServiceParts, Services};
use crate::serving::owners::Hosted as PartitionsHosted;
use kindred_domain::intake::{Failure, Intake};
use kindred_domain::store::{DomainRow, Epoch, Partition};
use kindred_domain::time::RETRY;

/// Deliveries handed to the registry at a time.
const DELIVERIES: usize = 256;

/// Before the domains are read again: the partition stands still until they are.
const READ_AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Opens the intake of a partition. Closed and opened again with every ownership.
#[async_trait]
pub trait OpenIntake: Send + Sync + 'static {
    /// The intake of the partition's events; unacknowledged ones come again.
    async fn open(&self, partition: Partition) -> Result<Box<dyn Intake>, Failure>;
}

/// Hosts one partition for as long as its ownership is told.
pub struct PartitionHost {
    partition: Partition,
    parts: Arc<ServiceParts>,
    intake: Arc<dyn OpenIntake>,
    homes: Vec<ArbiterHandle>,
    hosted: Option<Hosted>,
}

struct Hosted {
    owner: Arc<Owner>,
    registry: Addr<DomainRegistry>,
    pump: JoinHandle<()>,
}

impl PartitionHost {
    /// A host whose domains live on these arbiters.
    pub fn new(
        partition: Partition,
        parts: Arc<ServiceParts>,
        intake: Arc<dyn OpenIntake>,
        homes: Vec<ArbiterHandle>,
    ) -> Self {
        Self {
            partition,
            parts,
            intake,
            homes,
            hosted: None,
        }
    }

    /// Follows the ownership until nobody tells it any more, then lets go. Runs on an actix
    /// arbiter. `hosting` is told of it.
    pub async fn follow(
        mut self,
        mut ownership: mpsc::Receiver<Ownership>,
        hosting: Arc<PartitionsHosted>,
    ) {
        while let Some(change) = ownership.recv().await {
            match change {
                Ownership::Owned(epoch) => match &self.hosted {
                    Some(hosted) => {
                        hosted.owner.raise(epoch);
                        let _ = hosted.registry.send(Raise).await;
                        let domains = self.domains().await;
                        let _ = hosted.registry.send(Resume(domains)).await;
                    }
                    None => {
                        self.host(epoch, &mut ownership).await;
                        if self.hosted.is_some() {
                            hosting.host(self.partition);
                            info!(partition = self.partition.0, "hosting");
                        }
                    }
                },
                Ownership::Lost => {
                    hosting.let_go(self.partition);
                    self.let_go().await;
                }
                Ownership::HandedOver(let_go) => {
                    hosting.let_go(self.partition);
                    self.let_go().await;
                    drop(let_go);
                }
            }
        }
        hosting.let_go(self.partition);
        self.let_go().await;
    }

    /// Begins to host, trying for as long as the partition is ours.
    async fn host(&mut self, epoch: Epoch, ownership: &mut mpsc::Receiver<Ownership>) {
        let mut retry = RETRY;
        let intake = loop {
            match self.intake.open(self.partition).await {
                Ok(intake) => break intake,
                Err(failure) => {
                    warn!(
                        partition = self.partition.0,
                        reason = failure.detail,
                        "intake not open"
                    );
                    let delay = tokio::time::sleep(retry.failed());
                    tokio::select! {
                        () = delay => {}
                        change = ownership.recv() => {
                            // What is handed over is let go with it: nothing was begun.
                            if !matches!(change, Some(Ownership::Owned(_))) {
                                return;
                            }
                        }
                    }
                }
            }
        };
        let exhausted = Arc::clone(&self.parts.exhausted);
        let owner = Arc::new(Owner::new(self.partition, epoch, exhausted));
        let services = Arc::new(Services::new(
            Arc::clone(&self.parts),
            Arc::clone(&owner),
            intake.settler(),
        ));
        let registry = DomainRegistry::new(services, self.homes.clone()).start();
        let domains = self.domains().await;
        let _ = registry.send(Resume(domains)).await;
        let pump = tokio::task::spawn_local(pump(intake, registry.clone()));
        self.hosted = Some(Hosted {
            owner,
            registry,
            pump,
        });
    }

    /// The partition's domains as stored; tried for as long as it takes.
    async fn domains(&self) -> Vec<DomainRow> {
        let mut retry = READ_AGAIN;
        loop {
            match self.parts.store.domains().await {
                Ok(mut domains) => {
                    domains.retain(|row| row.partition == self.partition.0);
                    return domains;
                }
                Err(error) => {
                    warn!(partition = self.partition.0, %error, "domains not read");
                    tokio::time::sleep(retry.failed()).await;
                }
            }
        }
    }

    /// Stops taking events, then stops the domains. What was not acknowledged comes to the next
    /// owner.
    async fn let_go(&mut self) {
        if let Some(Hosted { registry, pump, .. }) = self.hosted.take() {
            pump.abort();
            let _ = registry.send(Disown).await;
            info!(partition = self.partition.0, "partition let go");
        }
    }
}

/// Brings deliveries to their domains, in order.
async fn pump(mut intake: Box<dyn Intake>, registry: Addr<DomainRegistry>) {
    while let Some(deliveries) = intake.next(DELIVERIES).await {
        if registry.send(Dispatch(deliveries)).await.is_err() {
            break;
        }
    }
}
