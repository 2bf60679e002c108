//! Hosting a partition: while the lease is ours, its events are taken and its domains are alive.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use kindred_shared::Backoff;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::lease::Ownership;
use super::owner::Owner;
use super::registry::{Disown, Dispatch, DomainRegistry, Raise, Resume};
use super::services::{ServiceParts, Services};
use crate::owners::Hosted;
use kindred_domain::intake::{Failure, Intake};
use kindred_domain::store::{DomainRow, Epoch, Partition};
use kindred_domain::time::RETRY;
use kindred_query::Term;

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
    exhausted: Arc<Notify>,
    tenure: Option<Tenure>,
}

/// What there is while the partition is ours.
struct Tenure {
    owner: Arc<Owner>,
    registry: Addr<DomainRegistry>,
    pump: JoinHandle<()>,
}

impl PartitionHost {
    /// A host whose domains live on `homes`; `exhausted` is told when an epoch's sequence numbers
    /// run out.
    pub fn new(
        partition: Partition,
        parts: Arc<ServiceParts>,
        intake: Arc<dyn OpenIntake>,
        homes: Vec<ArbiterHandle>,
        exhausted: Arc<Notify>,
    ) -> Self {
        Self {
            partition,
            parts,
            intake,
            homes,
            exhausted,
            tenure: None,
        }
    }

    /// Follows the ownership until nobody tells it any more, then lets go. Runs on an actix
    /// arbiter. `hosting` is told of it.
    pub async fn follow(mut self, mut ownership: mpsc::Receiver<Ownership>, hosting: Arc<Hosted>) {
        while let Some(change) = ownership.recv().await {
            match (change, &self.tenure) {
                (Ownership::Owned(epoch, _), Some(tenure)) => {
                    tenure.owner.raise(epoch);
                    let _ = tenure.registry.send(Raise).await;
                    let _ = tenure.registry.send(Resume(self.domains().await)).await;
                }
                (Ownership::Owned(epoch, term), None) => {
                    let opened = self.open_intake(epoch, &mut ownership).await;
                    if let Some((epoch, intake)) = opened {
                        self.host(epoch, term, intake).await;
                        hosting.host(self.partition);
                        info!(partition = self.partition.0, "hosting");
                    }
                }
                (Ownership::Lost, _) => {
                    hosting.let_go(self.partition);
                    self.let_go().await;
                }
                (Ownership::HandedOver(let_go), _) => {
                    hosting.let_go(self.partition);
                    self.let_go().await;
                    drop(let_go);
                }
            }
        }
        hosting.let_go(self.partition);
        self.let_go().await;
    }

    /// The partition's intake and the epoch by then, tried for as long as the partition is ours.
    async fn open_intake(
        &self,
        mut epoch: Epoch,
        ownership: &mut mpsc::Receiver<Ownership>,
    ) -> Option<(Epoch, Box<dyn Intake>)> {
        let mut retry = RETRY;
        loop {
            let failure = match self.intake.open(self.partition).await {
                Ok(intake) => return Some((epoch, intake)),
                Err(failure) => failure,
            };
            let (partition, reason) = (self.partition.0, failure.detail);
            warn!(partition, reason, "intake not open");
            tokio::select! {
                () = tokio::time::sleep(retry.failed()) => {}
                change = ownership.recv() => match change {
                    Some(Ownership::Owned(raised, _)) => epoch = raised,
                    // What is handed over is let go with it: nothing was begun.
                    Some(Ownership::Lost | Ownership::HandedOver(_)) | None => return None,
                },
            }
        }
    }

    /// Begins to host at an epoch, for a term.
    async fn host(&mut self, epoch: Epoch, term: Arc<Term>, intake: Box<dyn Intake>) {
        let exhausted = Arc::clone(&self.exhausted);
        let owner = Arc::new(Owner::new(self.partition, epoch, term, exhausted));
        let services = Arc::new(Services::new(
            Arc::clone(&self.parts),
            Arc::clone(&owner),
            intake.settler(),
        ));
        let registry = DomainRegistry::new(services, self.homes.clone()).start();
        let _ = registry.send(Resume(self.domains().await)).await;
        let waking = registry.clone().recipient();
        self.parts.waking.host(self.partition, waking);
        let pump = tokio::task::spawn_local(pump(intake, registry.clone()));
        self.tenure = Some(Tenure {
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
        if let Some(Tenure { registry, pump, .. }) = self.tenure.take() {
            self.parts.waking.let_go(self.partition);
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
