//! The parts that handlers use. HTTP listens before the broker and the database are connected;
//! until then a handler that needs a part answers that the service is not ready.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use kindred_shared::event::{Event, Limits, Refusal};
use kindred_shared::{DomainName, ModelName};

use super::error::Error;
use super::guard::Guard;
use super::hosts::Hosts;
use super::maps::Maps;
use super::outgoing::Waiting;
use super::pulse::Pulse;
use super::quotas::Quotas;
use super::readiness::{Readiness, not_ready};
use super::relay::{Others, Relay};
use crate::actors::clock::Clock;
use crate::actors::experiments::Experiments;
use crate::actors::scans::Scans;
use crate::actors::texts::Texts;
use crate::actors::waking::Waking;
use crate::metrics::Metrics;
use crate::owners::Owners;
use kindred_domain::dispatch::Jobs;
use kindred_domain::intake::{Confirm, Publish, PublishError};
use kindred_domain::settings::DomainSettings;
use kindred_domain::store::{DomainRow, Store, StoreError};
use kindred_query::Views;

/// How long a write waits for room, and then again to become durable.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(120);
/// How long the answer to a deletion or a hiding waits until the item is gone for readers.
const SETTLE_DEADLINE: Duration = Duration::from_secs(2);

/// The service as far as it has started.
pub(crate) struct Lobby {
    /// What `/readyz` answers.
    pub(crate) readiness: Arc<Readiness>,
    /// Accepted host names.
    pub(super) hosts: Hosts,
    /// Access control.
    pub(super) guard: Guard,
    /// Long answers that have not been read yet.
    pub(super) waiting: Waiting,
    /// Recent samples of metrics.
    pub(super) pulse: Pulse,
    /// Recently computed maps.
    pub(super) maps: Maps,
    parts: OnceLock<Parts>,
}

impl Lobby {
    /// A lobby without any parts.
    pub(crate) fn new(readiness: Arc<Readiness>, hosts: Hosts, guard: Guard) -> Self {
        Self {
            readiness,
            hosts,
            guard,
            waiting: Waiting::default(),
            pulse: Pulse::default(),
            maps: Maps::default(),
            parts: OnceLock::new(),
        }
    }

    /// What readers are answered from, once it exists.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        self.parts.get().map(|parts| &*parts.reads)
    }

    /// Sets all parts. Called once.
    pub(crate) fn open(&self, parts: Parts) {
        if self.parts.set(parts).is_err() {
            tracing::error!("the service was started twice");
        }
    }
}

/// What exists once the broker and the database are connected.
pub(crate) struct Parts {
    pub(crate) reads: Arc<Reads>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) workers: Arc<Workers>,
}

/// What readers are answered from.
pub(crate) struct Reads {
    /// This process's address.
    pub(crate) address: String,
    /// Durable storage.
    pub(crate) store: Arc<dyn Store>,
    /// The views of active domains.
    pub(crate) views: Arc<Views>,
    /// Finds the owners of other partitions.
    pub(crate) owners: Owners,
    /// Sends requests to them.
    pub(crate) relay: Relay,
    /// The clock of views.
    pub(crate) clock: Clock,
    /// Recently read settings of domains.
    seen_settings: Mutex<HashMap<DomainName, SeenSettings>>,
}

/// The settings of a domain, and when they were read.
type SeenSettings = (Instant, Option<Arc<DomainSettings>>);

/// How long settings are cached for readers.
const SETTINGS_AGE: Duration = Duration::from_secs(1);
/// Domains whose settings are cached; beyond it the cache is cleared.
const SETTINGS_SEEN: usize = 1_024;

impl Reads {
    /// Answers from these.
    pub(crate) fn new(
        address: String,
        store: Arc<dyn Store>,
        views: Arc<Views>,
        owners: Owners,
        clock: Clock,
        others: Others,
    ) -> Self {
        Self {
            address,
            store,
            views,
            owners,
            relay: Relay::new(others),
            clock,
            seen_settings: Mutex::default(),
        }
    }
}

impl Reads {
    /// A domain's settings, at most a second old; `None`: none are set, or they cannot be read now.
    pub(crate) async fn settings(&self, domain: &DomainName) -> Option<Arc<DomainSettings>> {
        if let Some((read, settings)) = self.seen_settings().get(domain)
            && read.elapsed() < SETTINGS_AGE
        {
            return settings.clone();
        }
        let row = self.store.settings(domain).await.ok()?;
        let settings = row.map(|row| Arc::new(row.settings));
        let mut seen = self.seen_settings();
        if seen.len() >= SETTINGS_SEEN {
            seen.clear();
        }
        seen.insert(domain.clone(), (Instant::now(), settings.clone()));
        settings
    }

    fn seen_settings(&self) -> MutexGuard<'_, HashMap<DomainName, SeenSettings>> {
        // Every change leaves the map consistent.
        self.seen_settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The domain's row, if it is registered and not removed.
    pub(crate) async fn registered(
        &self,
        domain: &DomainName,
    ) -> Result<Option<DomainRow>, StoreError> {
        let row = self.store.domain(domain).await?;
        Ok(row.filter(DomainRow::is_there))
    }
}

/// What queries use besides [`Reads`].
pub(crate) struct Queries {
    /// Computes queries.
    pub(crate) scans: Scans,
    /// Reads their texts.
    pub(crate) texts: Texts,
    /// Wakes their domains.
    pub(crate) waking: Arc<Waking>,
    /// Limits of texts and queries.
    pub(crate) limits: Limits,
    /// The running experiments.
    pub(crate) experiments: Arc<Experiments>,
}

/// Publishes events.
pub(crate) struct Writes {
    publish: Arc<dyn Publish>,
    /// Limits of an event.
    pub(crate) limits: Limits,
    /// Quotas of domains.
    pub(super) quotas: Quotas,
    /// The kinds of models whose features this program's encoders make.
    pub(crate) encoders: Vec<ModelName>,
    metrics: Arc<Metrics>,
}

/// The job queue, which knows the workers.
pub(crate) struct Workers(pub(crate) Arc<dyn Jobs>);

/// A part that a handler needs.
pub(crate) struct Part<T>(Arc<T>);

/// One of the [`Parts`].
pub(crate) trait OfParts: Sized + 'static {
    /// The part.
    fn of(parts: &Parts) -> &Arc<Self>;
}

impl OfParts for Reads {
    fn of(parts: &Parts) -> &Arc<Self> {
        &parts.reads
    }
}

impl OfParts for Queries {
    fn of(parts: &Parts) -> &Arc<Self> {
        &parts.queries
    }
}

impl OfParts for Writes {
    fn of(parts: &Parts) -> &Arc<Self> {
        &parts.writes
    }
}

impl OfParts for Workers {
    fn of(parts: &Parts) -> &Arc<Self> {
        &parts.workers
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: OfParts> FromRequest for Part<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let lobby = request.app_data::<web::Data<Lobby>>();
        ready(match lobby.and_then(|lobby| lobby.parts.get()) {
            Some(parts) => Ok(Self(Arc::clone(T::of(parts)))),
            None => Err(not_ready(
                lobby
                    .map(|lobby| lobby.readiness.reasons())
                    .unwrap_or_default(),
            )),
        })
    }
}

impl Writes {
    /// Publishes over `publish` events within these limits, without any encoders.
    pub(crate) fn new(publish: Arc<dyn Publish>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            publish,
            limits,
            quotas: Quotas::default(),
            encoders: Vec::new(),
            metrics,
        }
    }

    /// The same with encoders, which make the features of these kinds of models.
    pub(crate) fn with_encoders(self, encoders: Vec<ModelName>) -> Self {
        Self { encoders, ..self }
    }

    /// Hands an event over, waiting for room at most until the deadline.
    pub(crate) async fn hand_over(&self, event: Event) -> Result<Confirm, PublishError> {
        tokio::time::timeout(CONFIRM_DEADLINE, self.publish.publish(event))
            .await
            .unwrap_or_else(|_| Err(late("there was no room for it")))
    }

    /// Hands an event over and waits until it is durable, and then until it is settled, but no
    /// longer than [`SETTLE_DEADLINE`] after that.
    pub(crate) async fn settle(&self, event: Event) -> Result<Written, PublishError> {
        let published = self.publish.publish_to_settle(event);
        let (confirm, settlement) = tokio::time::timeout(CONFIRM_DEADLINE, published)
            .await
            .unwrap_or_else(|_| Err(late("there was no room for it")))?;
        let version = confirmed(confirm).await?;
        let settled = tokio::time::timeout(SETTLE_DEADLINE, settlement).await;
        let settled = settled.ok().flatten().transpose()?;
        Ok(Written {
            version: version.or(settled.and_then(|settled| settled.version)),
            is_settled: settled.is_some(),
        })
    }

    /// Counts an event that was refused before it was handed over.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.metrics
            .events_refused
            .with_label_values(&[refusal.reason.word()])
            .inc();
    }
}

/// An event that is durable.
pub(crate) struct Written {
    /// The version it was given, if known.
    pub(crate) version: Option<u64>,
    /// Whether it is certain that readers no longer see what it removes; only known if this process
    /// owns the domain.
    pub(crate) is_settled: bool,
}

/// Waits until an event is durable, at most until the deadline; returns its assigned version, if
/// known.
pub(crate) async fn confirmed(confirm: Confirm) -> Result<Option<u64>, PublishError> {
    tokio::time::timeout(CONFIRM_DEADLINE, confirm)
        .await
        .unwrap_or_else(|_| Err(late("no confirmation that it was stored")))
}

fn late(what: &str) -> PublishError {
    PublishError::Away(format!("{what} within {} s", CONFIRM_DEADLINE.as_secs()))
}
