//! The duration supervisor: sends jobs and makes sure that a lost job never blocks anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use kindred_shared::LogLimiter;
use kindred_shared::job::{Job, Reply, Task};
use kindred_shared::wire::UNREADABLE_REPLY;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::clock::Clock;
use crate::metrics::Metrics;
use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, Undone};
use kindred_domain::dispatch_table::{Action, DispatchLimits, DispatchTable, ReplyOutcome};
use kindred_domain::intake::Failure;

/// Messages that may wait: replies, and as many requests as there are jobs to send.
const MAILBOX: usize = 1_024;

/// The broker's reason for dead-lettering a job that kills workers.
const DELIVERY_LIMIT: &str = "delivery_limit";

/// How often workers' faults are logged: a bad worker may cause thousands per second.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Watches every job in flight.
pub struct DurationSupervisor {
    jobs: Arc<dyn Jobs>,
    table: DispatchTable,
    askers: HashMap<JobId, oneshot::Sender<Result<Reply, Undone>>>,
    timer: Option<SpawnHandle>,
    overdue: u64,
    /// When it is told that answers are refused, and that workers could not do jobs.
    refusals: LogLimiter,
    failures: LogLimiter,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Have a job done. The answer is the worker's reply, or why there is none. Dropping the request
/// abandons the job.
#[derive(Message)]
#[rtype(result = "Result<Reply, Undone>")]
pub struct Perform {
    /// The job.
    pub job: Job,
    /// Length of the dense parts wanted, where known.
    pub dense: Option<usize>,
    /// Whether it is for a model next to the served one.
    pub is_beside: bool,
}

/// A reply has arrived.
#[derive(Message)]
#[rtype(result = "()")]
struct Replied(Returned);

/// A job could not be queued.
#[derive(Message)]
#[rtype(result = "()")]
struct NotSent(JobId);

impl DurationSupervisor {
    /// Starts the supervisor on an arbiter of its own.
    pub fn start_supervising(
        jobs: Arc<dyn Jobs>,
        limits: DispatchLimits,
        clock: Clock,
        metrics: Arc<Metrics>,
        arbiter: &ArbiterHandle,
    ) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(MAILBOX);
            Self {
                jobs,
                table: DispatchTable::new(limits),
                askers: HashMap::new(),
                timer: None,
                overdue: 0,
                refusals: LogLimiter::new(TELL_EVERY),
                failures: LogLimiter::new(TELL_EVERY),
                clock,
                metrics,
            }
        })
    }

    /// Sends what is due, abandons what is overdue, and sets the next alarm.
    fn turn(&mut self, context: &mut Context<Self>) {
        let gone: Vec<JobId> = self
            .askers
            .iter()
            .filter(|(_, asker)| asker.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.askers.remove(&id);
            self.table.cancel(id);
        }
        let now = self.clock.now().monotonic;
        self.table.set_threads(self.jobs.threads());
        for action in self.table.poll(now, self.jobs.workers()) {
            match action {
                Action::Send {
                    id,
                    attempt,
                    expires,
                    job,
                } => self.send(id, attempt, expires, job, context),
                Action::GiveUp {
                    id,
                    reason,
                    by_worker,
                } => self.give_up(id, &reason, by_worker),
            }
        }
        self.metrics
            .jobs_overdue
            .inc_by(self.table.overdue() - self.overdue);
        self.overdue = self.table.overdue();
        self.metrics
            .jobs_in_flight
            .set(i64::try_from(self.table.in_flight()).unwrap_or(i64::MAX));
        self.set_alarm(context);
    }

    fn send(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: Job,
        context: &mut Context<Self>,
    ) {
        let task = match &job.task {
            Task::Extract(_) => "extract",
            Task::Compare(_) => "compare",
        };
        let dispatched = &self.metrics.jobs_dispatched;
        dispatched.with_label_values(&[task]).inc();
        debug!(job = id.0, attempt = attempt.0, domain = %job.domain, task, "dispatch");
        let jobs = Arc::clone(&self.jobs);
        let send = async move { jobs.send(id, attempt, expires, job).await };
        context.spawn(send.into_actor(self).map(move |sent, _, context| {
            if let Err(error) = sent {
                debug!(job = id.0, %error, "not sent");
                context.notify(NotSent(id));
            }
        }));
    }

    fn give_up(&mut self, id: JobId, reason: &str, by_worker: bool) {
        warn!(job = id.0, reason, "job abandoned");
        self.metrics.jobs_failed.inc();
        if let Some(asker) = self.askers.remove(&id) {
            let failure = Failure::passing(format!("a job was abandoned: {reason}"));
            let undone = if by_worker {
                Undone::GivenUp(failure)
            } else {
                Undone::Unanswered(failure)
            };
            let _ = asker.send(Err(undone));
        }
    }

    fn set_alarm(&mut self, context: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        if let Some(at) = self.table.deadline() {
            let delay = at.saturating_sub(self.clock.now().monotonic);
            self.timer = Some(context.run_later(delay, |this, context| {
                this.timer = None;
                this.turn(context);
            }));
        }
    }
}

impl Actor for DurationSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (jobs, own) = (Arc::clone(&self.jobs), context.address());
        let replies = async move {
            while let Some(returned) = jobs.next_reply().await {
                if own.send(Replied(returned)).await.is_err() {
                    break;
                }
            }
        };
        context.spawn(replies.into_actor(self));
    }
}

impl Handler<Perform> for DurationSupervisor {
    type Result = ResponseFuture<Result<Reply, Undone>>;

    fn handle(&mut self, perform: Perform, context: &mut Context<Self>) -> Self::Result {
        let (asker, answer) = oneshot::channel();
        let Perform {
            job,
            dense,
            is_beside,
        } = perform;
        let id = self.table.submit_beside(job, dense, is_beside);
        self.askers.insert(id, asker);
        self.turn(context);
        Box::pin(async move { answer.await.unwrap_or(Err(Undone::Stopping)) })
    }
}

impl Handler<Replied> for DurationSupervisor {
    type Result = ();

    fn handle(&mut self, Replied(returned): Replied, context: &mut Context<Self>) {
        let Returned {
            job,
            attempt,
            reply,
            kills_workers,
        } = returned;
        let now = self.clock.now().monotonic;
        if kills_workers && let Reply::Failed(reason) = reply {
            warn!(job = job.0, attempt = attempt.0, "a job kills workers");
            let dead = &self.metrics.dead_letters;
            dead.with_label_values(&["jobs", DELIVERY_LIMIT]).inc();
            self.table.condemn(now, job, reason);
            self.turn(context);
            return;
        }
        if let Reply::Refused(refusal) = &reply
            && refusal.reason == UNREADABLE_REPLY
        {
            let reason = [UNREADABLE_REPLY];
            self.metrics
                .replies_refused
                .with_label_values(&reason)
                .inc();
            if let Some(more) = self.refusals.tell(now) {
                let why = &refusal.detail;
                warn!(
                    job = job.0,
                    attempt = attempt.0,
                    why,
                    more,
                    "a worker's reply was refused"
                );
            }
        }
        match self.table.answer(now, job, attempt, reply) {
            ReplyOutcome::Due(reply) => {
                if let Some(asker) = self.askers.remove(&job) {
                    let _ = asker.send(Ok(reply));
                }
            }
            ReplyOutcome::Unfit(unfit) => {
                let reason = [unfit.fault.word()];
                self.metrics
                    .replies_refused
                    .with_label_values(&reason)
                    .inc();
                if let Some(more) = self.refusals.tell(now) {
                    warn!(job = job.0, attempt = attempt.0, %unfit, more, "a worker's reply was \
                        refused");
                }
            }
            ReplyOutcome::Retried => {
                if let Some(more) = self.failures.tell(now) {
                    warn!(
                        job = job.0,
                        attempt = attempt.0,
                        more,
                        "a worker could not do a job"
                    );
                }
            }
            ReplyOutcome::Late => {
                self.metrics.late_replies.inc();
                debug!(job = job.0, attempt = attempt.0, "late reply dropped");
            }
        }
        self.turn(context);
    }
}

impl Handler<NotSent> for DurationSupervisor {
    type Result = ();

    fn handle(&mut self, NotSent(id): NotSent, context: &mut Context<Self>) {
        self.table.not_sent(self.clock.now().monotonic, id);
        self.turn(context);
    }
}
