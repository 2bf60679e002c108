//! The dispatch table: every job that must be done, was sent, or is overdue. Pure: time is an argument, sends are
//! returned as [`Action`]s.
//!
//! Jobs in flight are processed in the order they were sent, so only as much is sent as workers will soon have
//! finished. The rest waits here, where domains take turns by the amount of work they ask for. A domain may have at
//! most half of what is in flight, so that its unanswered jobs cannot block other domains. All amounts are times
//! estimated by [`effort`].
//!
//! An unanswered job is sent again after its deadline, which doubles with every attempt; after [`ATTEMPTS`] it is given
//! up. The first answer to a job counts; others are late. A job that kills workers is given up at once. An answer that
//! cannot belong to its job ([`fit`]) is ignored: the job is sent again, and its items are not blamed.

mod fit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use kindred_shared::job::{Job, Reply};
use kindred_shared::{DomainName, FairQueue, effort};

pub use self::fit::{Fault, Unfit};
use crate::dispatch::{Attempt, JobId};
use crate::time::RETRY;

/// Attempts at a job before it is given up.
pub const ATTEMPTS: u32 = 5;
/// Longest deadline of a sent job, whatever its attempt: 10 minutes.
const LONGEST_DEADLINE: Duration = Duration::from_secs(600);
/// How often to check whether there is a worker to which an overdue job can be sent again: 500 ms.
const NOBODY_DELAY: Duration = Duration::from_millis(500);
/// Delay before a full or missing queue is tried again: 50 ms.
const FULL_DELAY: Duration = Duration::from_millis(50);

/// Work in flight per worker thread: 160 ms. A piece of work is 40 ms, so even a single domain, which may use only
/// half, keeps one piece in progress and another queued per thread.
pub const WORK_PER_THREAD: Duration = Duration::from_millis(160);

/// Limits on how much may be in flight, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct DispatchLimits {
    /// Unanswered jobs in flight, however many workers there are.
    pub total: usize,
    /// Unanswered work in flight per worker thread.
    pub per_thread: Duration,
    /// Deadline of the first attempt.
    pub deadline: Duration,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Send the job; if that fails, call [`DispatchTable::not_sent`].
    Send {
        /// The job.
        id: JobId,
        /// The number of this attempt.
        attempt: Attempt,
        /// How soon a worker must start; otherwise the job expires.
        expires: Duration,
        /// The job's content.
        job: Job,
    },
    /// Tell the caller that the job is given up, and why.
    GiveUp {
        /// The job.
        id: JobId,
        /// What happened to its last attempt.
        reason: String,
        /// Whether a worker reported the failure; otherwise there was no answer, which says nothing about the job.
        by_worker: bool,
    },
}

/// How an answer was classified.
#[derive(Debug)]
pub enum ReplyOutcome {
    /// The awaited answer.
    Due(Reply),
    /// The worker failed; the next poll retries the job or gives it up.
    Retried,
    /// The answer is refused; the next poll retries the job or gives it up.
    Unfit(Unfit),
    /// Nobody waits for it.
    Late,
}

/// Jobs that take turns as one: of a domain, those of models beside the served one apart.
type Line = (DomainName, bool);

#[derive(Debug)]
struct PendingJob {
    line: Line,
    job: Job,
    /// Its estimated time.
    effort: Duration,
    /// Length of the requested dense parts, if known.
    dense: Option<usize>,
    attempt: u32,
    state: JobState,
}

#[derive(Debug, Clone, PartialEq)]
enum JobState {
    /// Waits for room.
    Queued,
    /// Must not be sent before `until`.
    Delayed {
        until: Duration,
        reason: String,
        by_worker: bool,
    },
    /// Sent; overdue at `deadline`.
    Sent { deadline: Duration },
}

/// Jobs that are sent and unanswered.
#[derive(Debug, Default, Clone, Copy)]
struct Flight {
    jobs: usize,
    effort: Duration,
}

impl Flight {
    fn takes_off(&mut self, effort: Duration) {
        self.jobs += 1;
        self.effort += effort;
    }

    fn lands(&mut self, effort: Duration) {
        self.jobs -= 1;
        self.effort -= effort;
    }

    /// Whether one more fits the limit, or would be the only one.
    fn has_room(&self, effort: Duration, most: Duration) -> bool {
        self.jobs == 0 || self.effort + effort <= most
    }
}

/// Every job that must be done.
#[derive(Debug)]
pub struct DispatchTable {
    limits: DispatchLimits,
    /// Of all workers together.
    threads: usize,
    /// By number, so that jobs due at the same time go in the order they were submitted.
    jobs: BTreeMap<JobId, PendingJob>,
    queued: FairQueue<Line, JobId>,
    in_flight: BTreeMap<Line, Flight>,
    all_in_flight: Flight,
    next: u64,
    overdue: u64,
}

impl DispatchTable {
    /// An empty table.
    pub fn new(limits: DispatchLimits) -> Self {
        Self {
            limits,
            threads: 1,
            jobs: BTreeMap::new(),
            queued: FairQueue::default(),
            in_flight: BTreeMap::new(),
            all_in_flight: Flight::default(),
            next: 1,
            overdue: 0,
        }
    }

    /// Sets the total number of worker threads.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// Submits a job.
    pub fn submit(&mut self, job: Job) -> JobId {
        self.submit_for(job, None)
    }

    /// The same for features whose dense parts are known to have this length.
    pub fn submit_for(&mut self, job: Job, dense: Option<usize>) -> JobId {
        self.submit_beside(job, dense, false)
    }

    /// The same, perhaps of a model beside the served one: all such of a domain wait apart from its other jobs.
    pub fn submit_beside(&mut self, job: Job, dense: Option<usize>, is_beside: bool) -> JobId {
        let id = JobId(self.next);
        self.next += 1;
        let effort = effort::of(&job.task);
        self.jobs.insert(
            id,
            PendingJob {
                line: (job.domain.clone(), is_beside),
                job,
                effort,
                dense,
                attempt: 0,
                state: JobState::Queued,
            },
        );
        self.enqueue(id);
        id
    }

    /// Processes an answer.
    pub fn answer(
        &mut self,
        now: Duration,
        id: JobId,
        attempt: Attempt,
        reply: Reply,
    ) -> ReplyOutcome {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return ReplyOutcome::Late;
        };
        let mut answer = ReplyOutcome::Retried;
        let (reason, by_worker) = match reply {
            Reply::Failed(reason) => (reason, true),
            Reply::UnknownModel(model) => (unknown_model(&model), false),
            Reply::Refused(refusal) => (format!("not done: {refusal}"), false),
            Reply::Extracted(_) | Reply::Compared(_) => {
                match fit::check(&entry.job.task, entry.dense, &reply) {
                    Ok(()) => {
                        self.forget(id);
                        return ReplyOutcome::Due(reply);
                    }
                    Err(unfit) => {
                        let reason = format!("a worker's answer was refused ({unfit})");
                        answer = ReplyOutcome::Unfit(unfit);
                        (reason, false)
                    }
                }
            }
        };
        if attempt.0 != entry.attempt || !matches!(entry.state, JobState::Sent { .. }) {
            return match answer {
                ReplyOutcome::Unfit(_) => answer,
                _ => ReplyOutcome::Late,
            };
        }
        let until = now + RETRY.delay(attempt.0);
        entry.state = JobState::Delayed {
            until,
            reason,
            by_worker,
        };
        let (domain, effort) = (entry.line.clone(), entry.effort);
        self.landed(&domain, effort);
        answer
    }

    /// Marks the job as one that kills workers, whichever attempt did: the next poll gives it up. Returns whether
    /// anyone is waiting for it.
    pub fn condemn(&mut self, now: Duration, id: JobId, reason: String) -> bool {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return false;
        };
        entry.attempt = ATTEMPTS;
        let condemned = JobState::Delayed {
            until: now,
            reason,
            by_worker: true,
        };
        let before = std::mem::replace(&mut entry.state, condemned);
        let (domain, effort) = (entry.line.clone(), entry.effort);
        self.leave(&domain, id, effort, &before);
        true
    }

    /// Records that the job of an [`Action::Send`] did not get into the queue. This does not count as an attempt.
    pub fn not_sent(&mut self, now: Duration, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        if matches!(entry.state, JobState::Sent { .. }) {
            entry.attempt -= 1;
            let reason = "the job queue is full or away".to_owned();
            entry.state = JobState::Delayed {
                until: now + FULL_DELAY,
                reason,
                by_worker: false,
            };
            let (domain, effort) = (entry.line.clone(), entry.effort);
            self.landed(&domain, effort);
        }
    }

    /// Cancels the job.
    pub fn cancel(&mut self, id: JobId) {
        self.forget(id);
    }

    /// The actions that are due. `workers` is the number of consumers of the queue; without any, overdue jobs stay.
    pub fn poll(&mut self, now: Duration, workers: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        let due: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, entry)| entry.due().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.wake(now, id, workers, &mut actions);
        }
        while let Some(id) = self.next_queued() {
            actions.extend(self.send(now, id));
        }
        actions
    }

    /// When to poll again if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        self.jobs.values().filter_map(PendingJob::due).min()
    }

    /// Number of unanswered jobs in flight.
    pub fn in_flight(&self) -> usize {
        self.all_in_flight.jobs
    }

    /// Number of unfinished jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether all jobs are finished.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Number of attempts that were not answered in time.
    pub fn overdue(&self) -> u64 {
        self.overdue
    }

    /// Wakes a job whose time has come: overdue and delayed jobs are queued again or given up.
    fn wake(&mut self, now: Duration, id: JobId, workers: usize, actions: &mut Vec<Action>) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let (domain, effort) = (entry.line.clone(), entry.effort);
        let (reason, by_worker) = match std::mem::replace(&mut entry.state, JobState::Queued) {
            JobState::Sent { .. } if workers == 0 => {
                // The job has expired, so no answer will come; it is sent again once there is a worker.
                entry.state = JobState::Sent {
                    deadline: now + NOBODY_DELAY,
                };
                return;
            }
            JobState::Sent { .. } => {
                self.overdue += 1;
                self.landed(&domain, effort);
                ("no worker answered in time".to_owned(), false)
            }
            JobState::Delayed {
                reason, by_worker, ..
            } => (reason, by_worker),
            JobState::Queued => return,
        };
        let attempts = self.jobs.get(&id).map_or(0, |entry| entry.attempt);
        if attempts >= ATTEMPTS {
            self.jobs.remove(&id);
            actions.push(Action::GiveUp {
                id,
                reason,
                by_worker,
            });
        } else {
            self.enqueue(id);
        }
    }

    fn send(&mut self, now: Duration, id: JobId) -> Option<Action> {
        let entry = self.jobs.get_mut(&id)?;
        entry.attempt += 1;
        let expires = self
            .limits
            .deadline
            .saturating_mul(1 << (entry.attempt - 1).min(16))
            .min(LONGEST_DEADLINE.max(self.limits.deadline));
        entry.state = JobState::Sent {
            deadline: now + expires,
        };
        let of_domain = self.in_flight.entry(entry.line.clone());
        of_domain.or_default().takes_off(entry.effort);
        self.all_in_flight.takes_off(entry.effort);
        Some(Action::Send {
            id,
            attempt: Attempt(entry.attempt),
            expires,
            job: entry.job.clone(),
        })
    }

    fn enqueue(&mut self, id: JobId) {
        if let Some(entry) = self.jobs.get(&id) {
            let cost = u64::try_from(entry.effort.as_micros()).unwrap_or(u64::MAX);
            self.queued.push(entry.line.clone(), cost, id);
        }
    }

    /// The next job to send: that of the first domain in turn that is below its share. If there is no room for it, it
    /// waits, so that smaller jobs of others cannot overtake it.
    fn next_queued(&mut self) -> Option<JobId> {
        if self.all_in_flight.jobs >= self.limits.total {
            return None;
        }
        let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
        let most = self.limits.per_thread.saturating_mul(threads);
        let effort = |id: &JobId| self.jobs.get(id).map_or(Duration::ZERO, |job| job.effort);
        let is_below = |domain: &Line, id: &JobId| {
            let of_domain = self.in_flight.get(domain).copied().unwrap_or_default();
            of_domain.has_room(effort(id), most / 2)
        };
        let (_, id) = self.queued.peek_if(is_below)?;
        if !self.all_in_flight.has_room(effort(id), most) {
            return None;
        }
        self.queued.pop_if(is_below).map(|(_, id)| id)
    }

    fn landed(&mut self, domain: &Line, effort: Duration) {
        if let Some(flight) = self.in_flight.get_mut(domain) {
            flight.lands(effort);
            self.all_in_flight.lands(effort);
            if flight.jobs == 0 {
                self.in_flight.remove(domain);
            }
        }
    }

    fn forget(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else {
            return;
        };
        self.leave(&entry.line, id, entry.effort, &entry.state);
    }

    /// Undoes what this state of the job was counted as.
    fn leave(&mut self, domain: &Line, id: JobId, effort: Duration, state: &JobState) {
        match state {
            JobState::Sent { .. } => self.landed(domain, effort),
            JobState::Delayed { .. } => {}
            JobState::Queued => self.queued.retain(domain, |queued| *queued != id),
        }
    }
}

/// A message that explains why a job waits for other workers.
fn unknown_model(model: &str) -> String {
    format!(
        "a worker does not know model {model:?}; run workers of this service's version and with the same encoders"
    )
}

impl PendingJob {
    fn due(&self) -> Option<Duration> {
        match &self.state {
            JobState::Queued => None,
            JobState::Delayed { until, .. } => Some(*until),
            JobState::Sent { deadline } => Some(*deadline),
        }
    }
}
