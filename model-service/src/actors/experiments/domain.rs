//! One domain's experiments: the caller whose turn it is does the work for all who wait.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kindred_shared::DomainName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{ExperimentError, Experiments, Figures, Outcomes, lock};
use crate::actors::owner::Owner;
use kindred_domain::experiment::Experiment;
use kindred_domain::experiment::feedback::Feedback;
use kindred_domain::experiment::statistics::Sums;
use kindred_domain::experiment::store::{Ended, ExperimentRow, Writer};
use kindred_domain::store::{DomainRow, Epoch, Partition, StoreError};

/// Events that may wait for a domain's turn.
const ROOM: usize = 20_000;
/// Events counted in one turn, unless a single request has more.
const TURN_EVENTS: usize = 10_000;
/// Rows read at a time.
const PAGE_ROWS: usize = 1_000;
/// Ended experiments that are kept.
const KEPT: usize = 20;
/// How long sums are used before all rows are read again: a previous owner that did not yet know it
/// had lost the partition may have written some.
const SUMS_AGE: Duration = Duration::from_secs(3_600);

/// The experiments of one domain: the feedback that waits to be counted, and what is known of them.
pub(super) struct DomainExperiments {
    waiting: Mutex<Vec<Waiting>>,
    room: Arc<Semaphore>,
    /// Whether a message to watchers is scheduled.
    is_telling: AtomicBool,
    used: Mutex<Instant>,
    pub(super) counter: tokio::sync::Mutex<Option<Counter>>,
}

/// Events that wait to be counted.
pub(super) struct Waiting {
    pub(super) feedback: Vec<Feedback>,
    pub(super) answer: oneshot::Sender<Result<Outcomes, ExperimentError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// In-memory state of a domain's experiments while it is owned.
pub(super) struct Counter {
    epoch: Epoch,
    registered_at: DateTime<Utc>,
    read: Instant,
    pub(super) running: Option<Figures>,
    ended: Vec<ExperimentRow>,
}

impl Default for DomainExperiments {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM)),
            is_telling: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
            counter: tokio::sync::Mutex::default(),
        }
    }
}

impl DomainExperiments {
    /// Reserves room for waiting events; `None`: there is none.
    pub(super) fn take_room(&self, events: usize) -> Option<OwnedSemaphorePermit> {
        let events = u32::try_from(events).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(events).ok()
    }

    /// Marks it as used now.
    pub(super) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// Whether an experiment is known to run: its sums would have to be added up again.
    fn runs(&self) -> bool {
        let counter = self.counter.try_lock();
        counter.is_ok_and(|open| open.as_ref().is_some_and(|open| open.running.is_some()))
    }

    pub(super) fn push(&self, waiting: Waiting) {
        lock(&self.waiting).push(waiting);
    }

    /// Whether the caller has to tell watchers; otherwise a message is already scheduled.
    pub(super) fn claim_announcement(&self) -> bool {
        !self.is_telling.swap(true, Ordering::AcqRel)
    }

    /// The figures to tell watchers now; later counts cause another message.
    pub(super) async fn figures_to_tell(&self) -> Option<Figures> {
        self.is_telling.store(false, Ordering::Release);
        let open = self.counter.lock().await;
        open.as_ref()?.running.clone()
    }

    /// The events to count in this turn.
    pub(super) fn next(&self) -> Vec<Waiting> {
        let mut waiting = lock(&self.waiting);
        let mut events = 0;
        let fits = |one: &&Waiting| {
            events += one.feedback.len();
            events <= TURN_EVENTS
        };
        let count = waiting.iter().take_while(fits).count().max(1);
        let count = count.min(waiting.len());
        let rest = waiting.split_off(count);
        mem::replace(&mut waiting, rest)
    }
}

/// Makes room for one more domain, so that there are at most `most`. Domains without a running experiment are dropped
/// first, then those that were used least recently; those with waiting callers are kept.
pub(super) fn make_room(domains: &mut HashMap<DomainName, Arc<DomainExperiments>>, most: usize) {
    while domains.len() >= most {
        let idle = domains
            .iter()
            .filter(|(_, experiments)| Arc::strong_count(experiments) == 1);
        let least = idle.min_by_key(|(_, one)| (one.runs(), *lock(&one.used)));
        let Some(domain) = least.map(|(domain, _)| domain.clone()) else {
            return;
        };
        domains.remove(&domain);
    }
}

impl Counter {
    /// The experiment of this name.
    fn find(&self, name: &str) -> Option<Figures> {
        let running = self.running.as_ref();
        let running = running.filter(|running| running.row.experiment.name == name);
        running.cloned().or_else(|| {
            let mut ended = self.ended.iter();
            let row = ended.find(|row| row.experiment.name == name)?.clone();
            let sums = row.ended.as_ref()?.sums.clone();
            Some(Figures { row, sums })
        })
    }
}

impl Experiments {
    pub(super) async fn begin_now(
        &self,
        domain: &DomainRow,
        experiments: &DomainExperiments,
        experiment: Experiment,
        by: String,
    ) -> Result<(Figures, bool), ExperimentError> {
        let mut open = experiments.counter.lock().await;
        let owner = self.owner(domain)?;
        let counter = self.opened(domain, &owner, &mut open).await?;
        if let Some(running) = &counter.running {
            return match running.row.experiment == experiment {
                true => Ok((running.clone(), false)),
                false => Err(ExperimentError::Runs(running.row.experiment.name.clone())),
            };
        }
        let now = Utc::now();
        let last = counter.ended.iter().map(|row| row.run).max();
        let row = ExperimentRow {
            run: last
                .map_or(i64::MIN, |run| run + 1)
                .max(now.timestamp_millis()),
            since: now,
            by,
            ended: None,
            experiment,
        };
        // A crash may have left rows of readers of the last ended experiment.
        for before in &counter.ended {
            if Some(before.run) == last || before.experiment.name == row.experiment.name {
                let writer = writer(&owner)?;
                self.store
                    .forget_readers(writer, &domain.domain, before.run)
                    .await?;
            }
        }
        // If this fails, the state is read again.
        let Some(mut counter) = open.take() else {
            return Err(ExperimentError::Late);
        };
        self.store
            .put_experiment(writer(&owner)?, &domain.domain, &row)
            .await?;
        let name = &row.experiment.name;
        counter.ended.retain(|row| row.experiment.name != *name);
        self.drop_oldest(domain, &owner, &mut counter.ended).await?;
        tracing::info!(domain = %domain.domain, name, "experiment begun");
        self.saw(&domain.domain, Some(Arc::new(row.clone())));
        let figures = Figures {
            sums: vec![Sums::default(); row.experiment.arms.len()],
            row,
        };
        counter.running = Some(figures.clone());
        *open = Some(counter);
        Ok((figures, true))
    }

    /// Deletes the oldest ended experiments beyond the limit.
    async fn drop_oldest(
        &self,
        domain: &DomainRow,
        owner: &Owner,
        ended: &mut Vec<ExperimentRow>,
    ) -> Result<(), ExperimentError> {
        ended.sort_unstable_by_key(|row| row.run);
        let surplus = (ended.len() + 1).saturating_sub(KEPT);
        for row in ended.drain(..surplus) {
            let name = &row.experiment.name;
            self.store
                .delete_experiment(writer(owner)?, &domain.domain, name)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn end_now(
        &self,
        domain: &DomainRow,
        experiments: &DomainExperiments,
        name: &str,
        by: String,
    ) -> Result<Figures, ExperimentError> {
        let mut open = experiments.counter.lock().await;
        let owner = self.owner(domain)?;
        let counter = self.opened(domain, &owner, &mut open).await?;
        let mut figures = counter.find(name).ok_or(ExperimentError::Unknown)?;
        if figures.row.ended.is_some() {
            return Ok(figures);
        }
        figures.row.ended = Some(Ended {
            at: Utc::now(),
            by,
            sums: figures.sums.clone(),
        });
        let Some(mut counter) = open.take() else {
            return Err(ExperimentError::Late);
        };
        self.store
            .put_experiment(writer(&owner)?, &domain.domain, &figures.row)
            .await?;
        tracing::info!(domain = %domain.domain, name, "experiment ended");
        self.saw(&domain.domain, None);
        counter.running = None;
        counter.ended.push(figures.row.clone());
        *open = Some(counter);
        // They are no longer needed; if this fails, the next experiment deletes them.
        let forgotten = self
            .store
            .forget_readers(writer(&owner)?, &domain.domain, figures.row.run)
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(domain = %domain.domain, name, %error, "readers of an experiment not deleted yet");
        }
        Ok(figures)
    }

    pub(super) async fn figures_now(
        &self,
        domain: &DomainRow,
        experiments: &DomainExperiments,
        name: &str,
    ) -> Result<Figures, ExperimentError> {
        let mut open = experiments.counter.lock().await;
        let owner = self.owner(domain)?;
        let counter = self.opened(domain, &owner, &mut open).await?;
        counter.find(name).ok_or(ExperimentError::Unknown)
    }

    pub(super) fn owner(&self, domain: &DomainRow) -> Result<Arc<Owner>, ExperimentError> {
        let owner = lock(&self.owners)
            .get(&Partition(domain.partition))
            .cloned();
        owner.ok_or(ExperimentError::NotHosted)
    }

    /// The state of the domain's experiments, read if necessary.
    pub(super) async fn opened<'a>(
        &self,
        domain: &DomainRow,
        owner: &Owner,
        open: &'a mut Option<Counter>,
    ) -> Result<&'a mut Counter, ExperimentError> {
        let epoch = owner.epoch();
        let is_current = open.as_ref().is_some_and(|counter| {
            counter.epoch == epoch
                && counter.registered_at == domain.registered_at
                && counter.read.elapsed() < SUMS_AGE
        });
        if !is_current {
            *open = None;
            let rows = self.store.experiments(&domain.domain).await?;
            let (ended, running): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| row.ended.is_some());
            let running = match running.into_iter().next() {
                Some(row) => Some(self.add_up(&domain.domain, row).await?),
                None => None,
            };
            *open = Some(Counter {
                epoch,
                registered_at: domain.registered_at,
                read: Instant::now(),
                running,
                ended,
            });
        }
        open.as_mut().ok_or(ExperimentError::Late)
    }

    /// An experiment with the sums over all its readers.
    async fn add_up(&self, domain: &DomainName, row: ExperimentRow) -> Result<Figures, StoreError> {
        let mut sums = vec![Sums::default(); row.experiment.arms.len()];
        let mut behind = None;
        loop {
            let page = self
                .store
                .scan_readers(domain, row.run, behind, PAGE_ROWS)
                .await?;
            for (arm, counts) in page.rows.iter().flat_map(|(_, tally)| tally.arms()) {
                if let Some(sums) = sums.get_mut(arm) {
                    sums.change(Default::default(), counts);
                }
            }
            behind = page.next;
            if behind.is_none() {
                return Ok(Figures { row, sums });
            }
        }
    }
}

/// The current writer.
pub(super) fn writer(owner: &Owner) -> Result<Writer, ExperimentError> {
    let (epoch, stamp) = owner.stamp().ok_or(ExperimentError::NotHosted)?;
    Ok(Writer {
        partition: owner.partition(),
        epoch,
        stamp,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn domain(number: u32) -> DomainName {
        DomainName::new(&format!("d{number}")).unwrap()
    }

    /// What is known of a domain in which an experiment is running, or none.
    fn known(runs: bool, used: Instant) -> Arc<DomainExperiments> {
        let running = runs.then(|| Figures {
            row: ExperimentRow {
                run: 1,
                since: Utc::now(),
                by: "-".to_owned(),
                ended: None,
                experiment: Experiment {
                    name: "x".to_owned(),
                    salt: "x".to_owned(),
                    arms: Vec::new(),
                },
            },
            sums: Vec::new(),
        });
        let counter = Counter {
            epoch: Epoch(1),
            registered_at: Utc::now(),
            read: used,
            running,
            ended: Vec::new(),
        };
        Arc::new(DomainExperiments {
            used: Mutex::new(used),
            counter: tokio::sync::Mutex::new(Some(counter)),
            ..DomainExperiments::default()
        })
    }

    #[test]
    fn domains_without_a_running_experiment_are_dropped_first_then_the_least_recently_used() {
        let begun = Instant::now();
        let used = |second: u64| begun + Duration::from_secs(second);
        let mut domains = HashMap::from([
            (domain(1), known(true, used(1))),
            (domain(2), known(true, used(2))),
            (domain(3), known(false, used(4))),
            (domain(4), known(false, used(3))),
        ]);
        make_room(&mut domains, 5);
        assert_eq!(domains.len(), 4, "there is room");
        let waited_for = Arc::clone(&domains[&domain(1)]);
        let mut gone = Vec::new();
        for most in (1..=4).rev() {
            let before: Vec<DomainName> = domains.keys().cloned().collect();
            make_room(&mut domains, most);
            gone.extend(
                before
                    .into_iter()
                    .filter(|name| !domains.contains_key(name)),
            );
        }
        assert_eq!(gone, [domain(4), domain(3), domain(2)]);
        drop(waited_for);
        make_room(&mut domains, 1);
        assert_eq!(domains.len(), 0);
    }
}
