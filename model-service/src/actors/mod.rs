//! Actors: thin shells around the pure machines. actix appears here and in HTTP only.
//!
//! [`registry`] starts a [`domain`] actor for each active domain and puts idle ones to sleep;
//! [`supervisor`] watches every job that is out; [`owner`] stamps every write. [`loading`] and
//! [`extraction`] are what a domain's machine asks for that takes several steps.

pub mod domain;
pub mod extraction;
pub mod loading;
pub mod owner;
pub mod registry;
pub mod supervisor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use chrono::Utc;

use crate::domain::time::Now;
use crate::domain::window::WindowSize;
use crate::intake::Settle;
use crate::metrics::Metrics;
use crate::preprocessing::Preprocessor;
use crate::serving::view::Views;
use crate::store::Store;
use owner::Owner;
use supervisor::DurationSupervisor;

/// What every domain's actor works with.
pub struct Services {
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Stamps for writes.
    pub owner: Arc<Owner>,
    /// Where deliveries are settled.
    pub settle: Arc<dyn Settle>,
    /// What readers see.
    pub views: Arc<Views>,
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
    /// The clocks.
    pub clock: Clock,
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
