//! Experiments of the domains owned here: started, ended and counted, one change per domain at a
//! time.
//!
//! Only a domain's owner writes; every instance reads which experiment runs
//! ([`Experiments::running`]). What readers did is counted into their rows, each of which is
//! complete in itself. Sums over readers are kept in memory: a new owner reads the rows once and
//! gets the same sums. So a crash neither loses nor doubles anything.

mod counting;
mod domain;
mod told;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use kindred_shared::DomainName;
use kindred_shared::event::{Reason, Recorded, Refusal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::owner::Owner;
use crate::metrics::Metrics;
use domain::{DomainExperiments, Waiting, make_room};
use kindred_domain::experiment::Experiment;
use kindred_domain::experiment::feedback::Feedback;
use kindred_domain::experiment::statistics::Sums;
use kindred_domain::experiment::store::{ExperimentRow, ExperimentStore};
use kindred_domain::intake::Notify;
use kindred_domain::store::{DomainRow, Partition, Store, StoreError};
use kindred_query::Views;
pub use told::told;

/// How long the running experiment is cached.
const SEEN_AGE: Duration = Duration::from_secs(1);
/// Domains in that cache; beyond it the cache is cleared.
const SEEN_DOMAINS: usize = 1_024;
/// Domains counted at a time; beyond it one without waiting callers is dropped.
const COUNTED_DOMAINS: usize = 256;
/// How often watchers are told an experiment's figures while events are counted.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The type of that message.
const UPDATED: &str = "experiment.updated";
/// Longest wait for an answer: reading all readers of a large experiment takes some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExperimentError {
    /// The domain's partition is not hosted here.
    NotHosted,
    /// It takes longer than callers wait; it continues.
    Late,
    /// Too many events wait.
    Busy,
    /// No experiment has this name.
    Unknown,
    /// Another experiment is running, of this name.
    Runs(String),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for ExperimentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An experiment and its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The experiment.
    pub row: ExperimentRow,
    /// Sums per arm.
    pub sums: Vec<Sums>,
}

/// The outcome of each event, in order.
pub type Outcomes = Vec<Result<(), Refusal>>;

/// The running experiment of a domain, and when it was read.
type Seen = (Instant, Option<Arc<ExperimentRow>>);

/// The experiments of all domains in this process.
pub struct Experiments {
    store: Arc<dyn ExperimentStore>,
    items: Arc<dyn Store>,
    views: Arc<Views>,
    watchers: Arc<dyn Notify>,
    metrics: Arc<Metrics>,
    owners: Mutex<HashMap<Partition, Arc<Owner>>>,
    seen: Mutex<HashMap<DomainName, Seen>>,
    domains: Mutex<HashMap<DomainName, Arc<DomainExperiments>>>,
}

impl Experiments {
    /// Experiments in `store`, about items in `items`; watchers are told their figures.
    pub fn new(
        store: Arc<dyn ExperimentStore>,
        items: Arc<dyn Store>,
        views: Arc<Views>,
        watchers: Arc<dyn Notify>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            items,
            views,
            watchers,
            metrics,
            owners: Mutex::default(),
            seen: Mutex::default(),
            domains: Mutex::default(),
        })
    }

    /// The partition is owned here from now on.
    pub(crate) fn host(&self, partition: Partition, owner: Arc<Owner>) {
        lock(&self.owners).insert(partition, owner);
    }

    /// The partition is no longer owned here.
    pub(crate) fn let_go(&self, partition: Partition) {
        lock(&self.owners).remove(&partition);
    }

    /// The experiment running in a domain, at most a second old; the last known one while the store
    /// cannot be read.
    pub async fn running(&self, domain: &DomainName) -> Option<Arc<ExperimentRow>> {
        let seen = lock(&self.seen).get(domain).cloned();
        if let Some((at, running)) = &seen
            && at.elapsed() < SEEN_AGE
        {
            return running.clone();
        }
        let last = seen.and_then(|(_, running)| running);
        if last.is_some() {
            // One caller asks the store; the others do not wait for its answer.
            self.saw(domain, last.clone());
        }
        match self.store.experiments(domain).await {
            Ok(rows) => {
                let running = rows.into_iter().find(|row| row.ended.is_none());
                let running = running.map(Arc::new);
                self.saw(domain, running.clone());
                running
            }
            Err(error) => {
                tracing::warn!(%domain, %error, "experiments not read");
                self.saw(domain, last.clone());
                last
            }
        }
    }

    fn saw(&self, domain: &DomainName, running: Option<Arc<ExperimentRow>>) {
        let mut seen = lock(&self.seen);
        if seen.len() >= SEEN_DOMAINS {
            seen.clear();
        }
        seen.insert(domain.clone(), (Instant::now(), running));
    }

    /// Drops the cached running experiment of a domain.
    pub fn forget(&self, domain: &DomainName) {
        lock(&self.seen).remove(domain);
    }

    /// Every experiment of a domain by name, ended ones included.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn all(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError> {
        let mut rows = self.store.experiments(domain).await?;
        rows.sort_unstable_by(|a, b| a.experiment.name.cmp(&b.experiment.name));
        Ok(rows)
    }

    /// Changes of a domain's experiments that its log has not recorded, in order; `recorded`: the
    /// number of the last one that it has.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unrecorded(
        &self,
        domain: &DomainRow,
        recorded: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        let rows = self.store.experiments(&domain.domain).await?;
        let changes = rows.iter().flat_map(|row| row.changes(domain));
        let mut changes: Vec<Recorded> =
            changes.filter(|change| change.number > recorded).collect();
        changes.sort_unstable_by_key(|change| change.number);
        Ok(changes)
    }

    /// Starts an experiment in a domain that is owned here, for `by`; returns whether it is new.
    /// Starting the same one again changes nothing.
    ///
    /// # Errors
    /// [`ExperimentError::Runs`] while another one is running, or if a different one has this name.
    pub async fn begin(
        self: &Arc<Self>,
        domain: DomainRow,
        experiment: Experiment,
        by: String,
    ) -> Result<(Figures, bool), ExperimentError> {
        self.in_turn(domain, move |this, domain, experiments| async move {
            let begun = this
                .begin_now(&domain, &experiments, experiment, by)
                .await?;
            if begun.1 {
                this.tell_apart(&domain.domain, &begun.0);
            }
            Ok(begun)
        })
        .await
    }

    /// Ends an experiment, for `by`; one that has ended already stays as it is.
    ///
    /// # Errors
    /// [`ExperimentError::Unknown`] if none has this name.
    pub async fn end(
        self: &Arc<Self>,
        domain: DomainRow,
        name: String,
        by: String,
    ) -> Result<Figures, ExperimentError> {
        self.in_turn(domain, move |this, domain, experiments| async move {
            let ended = this.end_now(&domain, &experiments, &name, by).await?;
            this.tell_apart(&domain.domain, &ended);
            Ok(ended)
        })
        .await
    }

    /// The results of an experiment.
    ///
    /// # Errors
    /// [`ExperimentError::Unknown`] if none has this name.
    pub async fn figures(
        self: &Arc<Self>,
        domain: DomainRow,
        name: String,
    ) -> Result<Figures, ExperimentError> {
        self.in_turn(domain, move |this, domain, experiments| async move {
            this.figures_now(&domain, &experiments, &name).await
        })
        .await
    }

    /// Counts what readers did. Each outcome is durable.
    ///
    /// # Errors
    /// [`ExperimentError`]: some events may have been counted. They may be sent again: an event counts only
    /// once.
    pub async fn count(
        self: &Arc<Self>,
        domain: DomainRow,
        feedback: Vec<Feedback>,
    ) -> Result<Outcomes, ExperimentError> {
        let experiments = self.of_domain(&domain.domain);
        let room = experiments
            .take_room(feedback.len())
            .ok_or(ExperimentError::Busy)?;
        let (answer, answered) = oneshot::channel();
        experiments.push(Waiting {
            feedback,
            answer,
            _room: room,
        });
        // The caller whose turn it is counts for everyone who waits. It must finish even if its
        // client has gone.
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if this.count_waiting(&domain, &experiments).await && experiments.claim_announcement() {
                this.tell_soon(&domain.domain, &experiments).await;
            }
        });
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(ExperimentError::Late)),
            Err(_) => Err(ExperimentError::Late),
        }
    }

    /// Counts refused events in the metrics.
    pub fn refused(&self, reason: Reason, events: u64) {
        let refused = self.metrics.feedback.with_label_values(&[reason.word()]);
        refused.inc_by(events);
    }

    /// Schedules telling watchers the figures of a domain's experiment in some seconds.
    async fn tell_soon(&self, domain: &DomainName, experiments: &DomainExperiments) {
        tokio::time::sleep(TELL_EVERY).await;
        if let Some(figures) = experiments.figures_to_tell().await {
            self.tell(domain, figures).await;
        }
    }

    /// Tells watchers in the background.
    fn tell_apart(self: &Arc<Self>, domain: &DomainName, figures: &Figures) {
        let (this, domain, figures) = (Arc::clone(self), domain.clone(), figures.clone());
        tokio::spawn(async move { this.tell(&domain, figures).await });
    }

    /// Tells watchers an experiment's figures. A missed message is repaired by the next one, or by
    /// asking.
    async fn tell(&self, domain: &DomainName, figures: Figures) {
        let name = figures.row.experiment.name.clone();
        let Ok(mut body) = serde_json::to_value(told(domain.clone(), figures)) else {
            return;
        };
        body["type"] = UPDATED.into();
        body["at"] = told::rfc3339(Utc::now()).into();
        let told = self.watchers.tell(domain, UPDATED, body.to_string()).await;
        if let Err(failure) = told {
            tracing::warn!(%domain, name, reason = failure.detail, "watchers not notified of an \
                experiment");
        }
    }

    /// Runs one operation on a domain's experiments to completion, even if its caller goes away.
    async fn in_turn<T: Send + 'static, F>(
        self: &Arc<Self>,
        domain: DomainRow,
        work: impl FnOnce(Arc<Self>, DomainRow, Arc<DomainExperiments>) -> F,
    ) -> Result<T, ExperimentError>
    where
        F: Future<Output = Result<T, ExperimentError>> + Send + 'static,
    {
        let experiments = self.of_domain(&domain.domain);
        let work = tokio::spawn(work(Arc::clone(self), domain, experiments));
        match timeout(PATIENCE, work).await {
            Ok(done) => done.unwrap_or(Err(ExperimentError::Late)),
            Err(_) => Err(ExperimentError::Late),
        }
    }

    fn of_domain(&self, domain: &DomainName) -> Arc<DomainExperiments> {
        let mut domains = lock(&self.domains);
        if !domains.contains_key(domain) {
            make_room(&mut domains, COUNTED_DOMAINS);
        }
        let experiments = Arc::clone(domains.entry(domain.clone()).or_default());
        experiments.touch();
        experiments
    }
}

impl std::fmt::Debug for Experiments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "experiments of {} domains", lock(&self.domains).len())
    }
}

/// Every write leaves the value consistent, so a panic elsewhere is harmless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
