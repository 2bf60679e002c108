//! Actors: thin shells around the pure machines. actix appears here and in HTTP only.
//!
//! [`lease`] keeps the ownership of a partition, [`sharing`] wishes for as many as others have, and
//! [`partition`] hosts one; there [`registry`] starts
//! a [`domain`] actor for each active domain and puts idle ones to sleep; [`supervisor`] watches
//! every job that is out; [`owner`] stamps every write; [`watchdog`] ends a process that stalls. [`loading`] and
//! [`extraction`] are what a domain's machine asks for that takes several steps.

pub mod domain;
pub mod extraction;
pub mod lease;
pub mod loading;
pub mod owner;
pub mod partition;
pub mod registry;
pub mod sharing;
pub mod supervisor;
pub mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use chrono::Utc;

use crate::metrics::Metrics;
use crate::preprocessing::Preprocessor;
use kindred_domain::intake::{Notify, Settle};
use kindred_domain::store::Store;
use kindred_domain::time::Now;
use kindred_domain::window::WindowSize;
use kindred_query::Views;
use owner::Owner;
use supervisor::DurationSupervisor;

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
    pub preprocessor: Arc<Preprocessor>,
    /// Where CPU work of the service itself runs.
    pub pool: Arc<rayon::ThreadPool>,
    /// Who has jobs done.
    pub supervisor: Addr<DurationSupervisor>,
    /// What every domain's machine is told.
    pub settings: DomainSettings,
    /// Told when an owner's sequence numbers run out.
    pub exhausted: Arc<tokio::sync::Notify>,
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

/// What every domain's machine is told.
#[derive(Debug, Clone)]
pub struct DomainSettings {
    /// The model of texts.
    pub model: String,
    /// When a window closes.
    pub window: WindowSize,
    /// Whether domains register themselves.
    pub auto_register: bool,
    /// Most right blocks of one compare job.
    pub strip_blocks: usize,
    /// Bytes of texts a domain keeps in memory for extraction.
    pub material_bytes: usize,
    /// How long an idle domain stays in memory.
    pub idle_after: Duration,
}

/// Both clocks, from one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Clocks whose monotonic side begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            unix_ms: Utc::now().timestamp_millis(),
        }
    }
}
