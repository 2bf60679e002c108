//! Hosts a partition, running the host's machine. While this process holds the lease, the
//! partition's events are consumed and its domains can be active.

use std::sync::Arc;

use actix::prelude::*;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::lease::Ownership;
use super::owner::Owner;
use super::pending::{alarm, answer};
use super::registry::{Disown, Dispatch, DomainRegistry, Raise, Resume};
use super::services::{ServiceParts, Services};
use crate::owners::HostedPartitions;
use kindred_domain::hosting::{HostEffect, HostInput, Hosting};
use kindred_domain::intake::{Failure, Intake};
use kindred_domain::store::{DomainRow, Epoch, Partition, StoreError};
use kindred_query::Term;

/// Deliveries handed to the registry at a time.
const DELIVERIES: usize = 256;

/// Opens the intake of a partition. It is closed and opened again with every ownership.
#[async_trait]
pub trait OpenIntake: Send + Sync + 'static {
    /// The intake of the partition's events; unacknowledged ones are delivered again.
    async fn open(&self, partition: Partition) -> Result<Box<dyn Intake>, Failure>;
}

/// Hosts one partition while its ownership is reported.
pub struct PartitionHost {
    partition: Partition,
    parts: Arc<ServiceParts>,
    intake: Arc<dyn OpenIntake>,
    homes: Vec<ArbiterHandle>,
    exhausted: Arc<Notify>,
    hosted: Arc<HostedPartitions>,
    /// The term of the latest ownership.
    term: Arc<Term>,
    /// Dropped to signal that the partition has been released for another instance.
    leaving: Option<oneshot::Sender<()>>,
    opening: Option<BoxFuture<'static, Result<Box<dyn Intake>, Failure>>>,
    /// Open, but nobody reads from it yet.
    opened: Option<Box<dyn Intake>>,
    reading: Option<BoxFuture<'static, Result<Vec<DomainRow>, StoreError>>>,
    tenure: Option<Tenure>,
}

/// State that exists while the partition is owned.
struct Tenure {
    owner: Arc<Owner>,
    registry: Addr<DomainRegistry>,
    /// Delivers events, once reading has started.
    pump: Option<JoinHandle<()>>,
}

impl PartitionHost {
    /// A host whose domains run on `homes`; `exhausted` is notified when an epoch's sequence
    /// numbers run out, `hosted` learns what is hosted.
    pub fn new(
        partition: Partition,
        parts: Arc<ServiceParts>,
        intake: Arc<dyn OpenIntake>,
        homes: Vec<ArbiterHandle>,
        exhausted: Arc<Notify>,
        hosted: Arc<HostedPartitions>,
    ) -> Self {
        Self {
            partition,
            parts,
            intake,
            homes,
            exhausted,
            hosted,
            term: Arc::default(),
            leaving: None,
            opening: None,
            opened: None,
            reading: None,
            tenure: None,
        }
    }

    /// Follows the ownership until its sender is gone, then releases the partition. Runs on an
    /// actix arbiter.
    pub async fn follow(mut self, mut ownership: mpsc::Receiver<Ownership>) {
        let mut machine = Hosting::new(self.partition);
        let mut is_told = true;
        while is_told {
            let left = machine.deadline();
            let left = left.map(|at| at.saturating_sub(self.parts.clock.now().monotonic));
            let input = tokio::select! {
                change = ownership.recv() => {
                    is_told = change.is_some();
                    change.map_or(HostInput::Lost, |change| self.heard(change))
                }
                opened = answer(&mut self.opening) => self.answered(opened),
                rows = answer(&mut self.reading) => self.read(rows),
                () = alarm(left.map(|left| Instant::now() + left)) => HostInput::Tick,
            };
            let now = self.parts.clock.now().monotonic;
            for effect in machine.handle(now, input) {
                self.carry_out(effect).await;
            }
        }
    }

    fn heard(&mut self, change: Ownership) -> HostInput {
        match change {
            Ownership::Owned(epoch, term) => {
                self.term = term;
                HostInput::Owned(epoch)
            }
            Ownership::Lost => HostInput::Lost,
            Ownership::HandedOver(leaving) => {
                self.leaving = Some(leaving);
                HostInput::HandOver
            }
        }
    }

    fn answered(&mut self, opened: Result<Box<dyn Intake>, Failure>) -> HostInput {
        match opened {
            Ok(intake) => {
                self.opened = Some(intake);
                HostInput::Opened
            }
            Err(failure) => {
                let (partition, reason) = (self.partition.0, failure.detail);
                warn!(partition, reason, "intake not opened");
                HostInput::NotOpened
            }
        }
    }

    fn read(&self, rows: Result<Vec<DomainRow>, StoreError>) -> HostInput {
        match rows {
            Ok(rows) => HostInput::DomainsRead(rows),
            Err(error) => {
                warn!(partition = self.partition.0, %error, "domains not read");
                HostInput::DomainsNotRead
            }
        }
    }

    async fn carry_out(&mut self, effect: HostEffect) {
        match effect {
            HostEffect::Open => {
                let (intake, partition) = (Arc::clone(&self.intake), self.partition);
                self.opening = Some(Box::pin(async move { intake.open(partition).await }));
            }
            HostEffect::Host(epoch) => self.host(epoch),
            HostEffect::Raise(epoch) => {
                if let Some(tenure) = &self.tenure {
                    tenure.owner.raise(epoch);
                    let _ = tenure.registry.send(Raise).await;
                }
            }
            HostEffect::ReadDomains => {
                let store = Arc::clone(&self.parts.store);
                self.reading = Some(Box::pin(async move { store.domains().await }));
            }
            HostEffect::Resume(rows) => {
                if let Some(tenure) = &self.tenure {
                    let _ = tenure.registry.send(Resume(rows)).await;
                }
            }
            HostEffect::Serve => self.serve(),
            HostEffect::LetGo => self.let_go().await,
            HostEffect::HandedOver => self.leaving = None,
        }
    }

    /// Starts hosting at an epoch: domains can be woken.
    fn host(&mut self, epoch: Epoch) {
        let Some(intake) = &self.opened else { return };
        let (term, exhausted) = (Arc::clone(&self.term), Arc::clone(&self.exhausted));
        let owner = Arc::new(Owner::new(self.partition, epoch, term, exhausted));
        let services = Arc::new(Services::new(
            Arc::clone(&self.parts),
            Arc::clone(&owner),
            intake.settler(),
        ));
        let registry = DomainRegistry::new(services, self.homes.clone()).start();
        self.tenure = Some(Tenure {
            owner,
            registry,
            pump: None,
        });
    }

    /// Starts reading events; queries are now routed to this process.
    fn serve(&mut self) {
        if let (Some(tenure), Some(intake)) = (&mut self.tenure, self.opened.take()) {
            let waking = tenure.registry.clone().recipient();
            self.parts.waking.host(self.partition, waking);
            let owner = Arc::clone(&tenure.owner);
            self.parts.experiments.host(self.partition, owner);
            let pump = pump(intake, tenure.registry.clone());
            tenure.pump = Some(tokio::task::spawn_local(pump));
            self.hosted.host(self.partition);
            info!(partition = self.partition.0, "hosting");
        }
    }

    async fn let_go(&mut self) {
        self.hosted.let_go(self.partition);
        (self.opening, self.opened, self.reading) = (None, None, None);
        if let Some(Tenure { registry, pump, .. }) = self.tenure.take() {
            self.parts.waking.let_go(self.partition);
            self.parts.experiments.let_go(self.partition);
            if let Some(pump) = pump {
                pump.abort();
            }
            let _ = registry.send(Disown).await;
            info!(partition = self.partition.0, "partition released");
        }
    }
}

/// Delivers events to their domains, in order.
async fn pump(mut intake: Box<dyn Intake>, registry: Addr<DomainRegistry>) {
    while let Some(deliveries) = intake.next(DELIVERIES).await {
        if registry.send(Dispatch(deliveries)).await.is_err() {
            break;
        }
    }
}
