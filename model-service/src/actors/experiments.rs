//! Experiments of the domains that are owned here: begun, ended and counted, one change of a domain after the other.
//!
//! A domain's owner alone writes; every instance reads which experiment runs ([`Experiments::running`]). What readers did
//! is counted into their rows, each whole in itself, and sums over readers are kept in memory: whoever becomes the owner
//! reads the rows once and has the same sums. So nothing is lost and nothing counted twice, whatever crashes.

mod counting;
mod desk;
mod told;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use kindred_shared::DomainName;
use kindred_shared::event::{Reason, Refusal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::owner::Owner;
use crate::metrics::Metrics;
use desk::{Desk, Waiting, make_room};
use kindred_domain::experiment::Experiment;
use kindred_domain::experiment::feedback::Feedback;
use kindred_domain::experiment::statistics::Sums;
use kindred_domain::experiment::store::{ExperimentRow, ExperimentStore};
use kindred_domain::intake::Notify;
use kindred_domain::store::{DomainRow, Partition, Store, StoreError};
use kindred_query::Views;
pub use told::told;

/// For how long it is believed which experiment runs.
const SEEN_AGE: Duration = Duration::from_secs(1);
/// Domains of which that is remembered; past it all are forgotten.
const SEEN_DOMAINS: usize = 1_024;
/// Domains that are counted at a time; past it one that nobody waits for makes room.
const DESKS: usize = 256;
/// How often watchers are told how an experiment goes while events are counted.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The type of the message.
const UPDATED: &str = "experiment.updated";
/// How long somebody waits for what is asked: to read all readers of a large experiment takes some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The domain's partition is not hosted here.
    NotHosted,
    /// It takes longer than somebody waits; it goes on.
    Late,
    /// More events wait than may.
    Busy,
    /// There is no experiment of this name.
    Unknown,
    /// Another experiment runs, of this name.
    Runs(String),
    /// The store did not do it.
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An experiment and what readers did.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The experiment.
    pub row: ExperimentRow,
    /// By arm.
    pub sums: Vec<Sums>,
}

/// What became of each event, in their order.
pub type Outcomes = Vec<Result<(), Refusal>>;

/// Which experiment runs in a domain, and when that was read.
type Seen = (Instant, Option<Arc<ExperimentRow>>);

/// Experiments of all domains of the process.
pub struct Experiments {
    store: Arc<dyn ExperimentStore>,
    items: Arc<dyn Store>,
    views: Arc<Views>,
    watchers: Arc<dyn Notify>,
    metrics: Arc<Metrics>,
    owners: Mutex<HashMap<Partition, Arc<Owner>>>,
    seen: Mutex<HashMap<DomainName, Seen>>,
    desks: Mutex<HashMap<DomainName, Arc<Desk>>>,
}

impl Experiments {
    /// Experiments in this store, of items in that one; watchers are told how they go.
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
            desks: Mutex::default(),
        })
    }

    /// The partition is owned here from now on.
    pub(crate) fn host(&self, partition: Partition, owner: Arc<Owner>) {
        lock(&self.owners).insert(partition, owner);
    }

    /// It is no more.
    pub(crate) fn let_go(&self, partition: Partition) {
        lock(&self.owners).remove(&partition);
    }

    /// The experiment that runs in a domain, as of a second ago; while the store cannot be read, as it was known last.
    pub async fn running(&self, domain: &DomainName) -> Option<Arc<ExperimentRow>> {
        let seen = lock(&self.seen).get(domain).cloned();
        if let Some((at, running)) = &seen
            && at.elapsed() < SEEN_AGE
        {
            return running.clone();
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
                seen.and_then(|(_, running)| running)
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

    /// Which experiment runs is read anew when it is asked for next.
    pub fn forget(&self, domain: &DomainName) {
        lock(&self.seen).remove(domain);
    }

    /// Every experiment of a domain, those that ended too, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn all(&self, domain: &DomainName) -> Result<Vec<ExperimentRow>, StoreError> {
        let mut rows = self.store.experiments(domain).await?;
        rows.sort_unstable_by(|a, b| a.experiment.name.cmp(&b.experiment.name));
        Ok(rows)
    }

    /// Begins an experiment in a domain that is owned here. The same one again changes nothing; whether it is new.
    ///
    /// # Errors
    /// [`Failure::Runs`] while another one runs, or one of the name that is not the same.
    pub async fn begin(
        self: &Arc<Self>,
        domain: DomainRow,
        experiment: Experiment,
    ) -> Result<(Figures, bool), Failure> {
        self.in_turn(domain, move |this, domain, desk| async move {
            let begun = this.begin_now(&domain, &desk, experiment).await?;
            if begun.1 {
                this.tell_apart(&domain.domain, &begun.0);
            }
            Ok(begun)
        })
        .await
    }

    /// Ends an experiment; one that ended already stays as it is.
    ///
    /// # Errors
    /// [`Failure::Unknown`] when there is none of this name.
    pub async fn end(
        self: &Arc<Self>,
        domain: DomainRow,
        name: String,
    ) -> Result<Figures, Failure> {
        self.in_turn(domain, move |this, domain, desk| async move {
            let ended = this.end_now(&domain, &desk, &name).await?;
            this.tell_apart(&domain.domain, &ended);
            Ok(ended)
        })
        .await
    }

    /// What readers did in an experiment.
    ///
    /// # Errors
    /// [`Failure::Unknown`] when there is none of this name.
    pub async fn figures(
        self: &Arc<Self>,
        domain: DomainRow,
        name: String,
    ) -> Result<Figures, Failure> {
        self.in_turn(domain, move |this, domain, desk| async move {
            this.figures_now(&domain, &desk, &name).await
        })
        .await
    }

    /// Counts what readers did. Each outcome is durable.
    ///
    /// # Errors
    /// [`Failure`]: any of it may be counted or not. It may come again: an event counts once.
    pub async fn count(
        self: &Arc<Self>,
        domain: DomainRow,
        feedback: Vec<Feedback>,
    ) -> Result<Outcomes, Failure> {
        let desk = self.desk(&domain.domain);
        let room = desk.take_room(feedback.len()).ok_or(Failure::Busy)?;
        let (answer, answered) = oneshot::channel();
        desk.push(Waiting {
            feedback,
            answer,
            _room: room,
        });
        // Whoever has the turn counts what waits, of all who wait. It must end even when its client has gone.
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if this.count_waiting(&domain, &desk).await && desk.is_to_be_told() {
                this.tell_soon(&domain.domain, &desk).await;
            }
        });
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Failure::Late)),
            Err(_) => Err(Failure::Late),
        }
    }

    /// Counts events that were refused.
    pub fn refused(&self, reason: Reason, events: u64) {
        let refused = self.metrics.feedback.with_label_values(&[reason.word()]);
        refused.inc_by(events);
    }

    /// Tells watchers how the experiment of a domain goes, some seconds from now.
    async fn tell_soon(&self, domain: &DomainName, desk: &Desk) {
        tokio::time::sleep(TELL_EVERY).await;
        if let Some(figures) = desk.figures_to_tell().await {
            self.tell(domain, figures).await;
        }
    }

    /// Tells watchers, and nobody waits for that.
    fn tell_apart(self: &Arc<Self>, domain: &DomainName, figures: &Figures) {
        let (this, domain, figures) = (Arc::clone(self), domain.clone(), figures.clone());
        tokio::spawn(async move { this.tell(&domain, figures).await });
    }

    /// Tells watchers how an experiment goes. Whoever misses it hears it with what is counted next, or asks.
    async fn tell(&self, domain: &DomainName, figures: Figures) {
        let name = figures.row.experiment.name.clone();
        let Ok(mut body) = serde_json::to_value(told(domain.clone(), figures)) else {
            return;
        };
        body["type"] = UPDATED.into();
        body["at"] = told::rfc3339(Utc::now()).into();
        let told = self.watchers.tell(domain, UPDATED, body.to_string()).await;
        if let Err(failure) = told {
            tracing::warn!(%domain, name, reason = failure.detail, "watchers not told of an experiment");
        }
    }

    /// Does something about a domain's experiments, and does not stop half-way when nobody waits any more.
    async fn in_turn<T: Send + 'static, F>(
        self: &Arc<Self>,
        domain: DomainRow,
        work: impl FnOnce(Arc<Self>, DomainRow, Arc<Desk>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let desk = self.desk(&domain.domain);
        let work = tokio::spawn(work(Arc::clone(self), domain, desk));
        match timeout(PATIENCE, work).await {
            Ok(done) => done.unwrap_or(Err(Failure::Late)),
            Err(_) => Err(Failure::Late),
        }
    }

    fn desk(&self, domain: &DomainName) -> Arc<Desk> {
        let mut desks = lock(&self.desks);
        if !desks.contains_key(domain) {
            make_room(&mut desks, DESKS);
        }
        let desk = Arc::clone(desks.entry(domain.clone()).or_default());
        desk.touch();
        desk
    }
}

impl std::fmt::Debug for Experiments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "experiments of {} domains", lock(&self.desks).len())
    }
}

/// Every write leaves the value whole, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
