//! Remote workers: jobs may be lost, done twice, late, or not done; and the dispatcher of a process.

use std::collections::BTreeMap;
use std::time::Duration;

use kindred_domain::dispatch::{Attempt, JobId, Returned, Undone};
use kindred_domain::dispatch_table::{Action, DispatchLimits, DispatchTable, ReplyOutcome};
use kindred_domain::effect::{Comparing, Input, Ticket};
use kindred_domain::extraction::PieceId;
use kindred_domain::intake::Failure;
use kindred_shared::job::{Job, Reply, Task};

use crate::invariants::{Invariant, violated};
use crate::mutations::Mutation;
use crate::process::{Address, Alarm, Context, Message, ProcessId};
use crate::simulated::reference::{by_model, compare, feature_of_length};
use crate::world::{Happening, World};

/// Limits of what may be in flight, small so that they are reached.
const LIMITS: DispatchLimits = DispatchLimits {
    total: 6,
    per_thread: Duration::from_millis(8),
    deadline: Duration::from_secs(2),
};

/// A job on its way to a worker, or its reply on the way back.
#[derive(Debug)]
pub(crate) struct Work {
    process: ProcessId,
    id: JobId,
    attempt: Attempt,
    job: Job,
}

/// The requester of a job.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    Compare(Address, Ticket, usize),
    /// A piece of an extraction.
    Extract(Address, Ticket, PieceId),
}

impl Asker {
    fn address(&self) -> &Address {
        match self {
            Self::Compare(address, ..) | Self::Extract(address, ..) => address,
        }
    }
}

/// The dispatcher of one process.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    table: DispatchTable,
    askers: BTreeMap<JobId, Asker>,
    alarm: Alarm,
}

impl Dispatcher {
    pub(crate) fn new() -> Self {
        Self {
            table: DispatchTable::new(LIMITS),
            askers: BTreeMap::new(),
            alarm: Alarm::default(),
        }
    }

    /// Submits a job; `length` is that of its features, where it is known.
    pub(crate) fn submit(&mut self, job: Job, length: Option<usize>, asker: Asker) {
        let id = self.table.submit_for(job, length);
        self.askers.insert(id, asker);
    }

    /// Cancels the jobs that this actor requested.
    pub(crate) fn abandon(&mut self, actor: u64) {
        let gone = self
            .askers
            .extract_if(.., |_, asker| asker.address().actor == actor);
        for (id, _) in gone.collect::<Vec<_>>() {
            self.table.cancel(id);
        }
    }
}

impl Context<'_> {
    /// Sends and gives up jobs as the table requires, and sets the next alarm.
    pub(crate) fn dispatch(&mut self) {
        let now = self.me.clock(self.world.now);
        let workers = self.world.workers();
        self.jobs.table.set_threads(workers);
        for action in self.jobs.table.poll(now, workers) {
            match action {
                Action::Send {
                    id,
                    attempt,
                    expires,
                    job,
                } => {
                    let process = self.me.id;
                    let work = Work {
                        process,
                        id,
                        attempt,
                        job,
                    };
                    self.world.send_job(work, expires);
                }
                Action::GiveUp {
                    id,
                    by_worker,
                    reason,
                } => {
                    let failure = Failure::passing(reason);
                    let undone = match by_worker {
                        true => Undone::GivenUp(failure),
                        false => Undone::Unanswered(failure),
                    };
                    self.answer(id, Err(undone));
                }
            }
        }
        if self.jobs.table.in_flight() > LIMITS.total {
            let checked = violated(Invariant::Bounded, "too many jobs are in flight".to_owned());
            self.world.check(checked);
        }
        let at = self.jobs.table.deadline();
        if let Some(at) = at
            && let Some(number) = self.jobs.alarm.set(at, self.world)
        {
            let at = self.me.at(at);
            self.world
                .tell_at(self.me.id, at, Message::DispatchAlarm(number));
        }
    }

    pub(crate) fn dispatch_alarm(&mut self, number: u64) {
        if self.jobs.alarm.rings(number) {
            self.dispatch();
        }
    }

    /// A reply arrives.
    pub(crate) fn replied(&mut self, returned: Returned) {
        let now = self.me.clock(self.world.now);
        let Returned {
            job,
            attempt,
            reply,
            kills_workers,
        } = returned;
        match reply {
            Reply::Failed(reason) if kills_workers => {
                self.jobs.table.condemn(now, job, reason);
            }
            reply => {
                let again = reply.clone();
                match self.jobs.table.answer(now, job, attempt, reply) {
                    ReplyOutcome::Due(reply) => self.answer(job, Ok(reply)),
                    ReplyOutcome::Late if self.world.is_mutated(Mutation::StaleAnswerTaken) => {
                        if let Some(other) = self.jobs.askers.keys().next().copied() {
                            self.jobs.table.cancel(other);
                            self.answer(other, Ok(again));
                        }
                    }
                    ReplyOutcome::Unfit(unfit) => {
                        let words = format!("what a good worker answered is refused: {unfit}");
                        self.world.check(violated(Invariant::Exact, words));
                    }
                    ReplyOutcome::Retried | ReplyOutcome::Late => {}
                }
            }
        }
        self.dispatch();
    }

    pub(crate) fn not_sent(&mut self, id: JobId) {
        let now = self.me.clock(self.world.now);
        self.jobs.table.not_sent(now, id);
        self.dispatch();
    }

    fn answer(&mut self, id: JobId, result: Result<Reply, Undone>) {
        let Some(asker) = self.jobs.askers.remove(&id) else {
            return;
        };
        let message = match asker {
            Asker::Compare(address, ticket, task) => {
                let result = match result {
                    Ok(Reply::Compared(reply)) => Ok(reply),
                    Ok(_) => Err(Failure::passing("a worker answered another question")),
                    Err(undone) => Err(undone.into()),
                };
                let input = Input::Compared {
                    ticket,
                    task,
                    result,
                };
                Message::Input(address, input)
            }
            Asker::Extract(address, ticket, piece) => {
                let result = match result {
                    Ok(Reply::Extracted(features)) => Ok(features),
                    Ok(_) => Err(Undone::GivenUp(Failure::passing("another question"))),
                    Err(undone) => Err(undone),
                };
                Message::Features(address, ticket, piece, result)
            }
        };
        let delay = Duration::from_micros(10);
        self.world.tell(self.me.id, delay, message);
    }
}

impl World {
    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        usize::from(self.now >= self.workers_away_until) * 2
    }

    fn send_job(&mut self, work: Work, expires: Duration) {
        let delay = self.latency();
        if self.goes_wrong(self.faults.job * 4) {
            return self.tell(work.process, delay, Message::NotSent(work.id));
        }
        if self.goes_wrong(self.faults.job) || self.now < self.workers_away_until {
            return;
        }
        let delay = delay + self.latency();
        if delay < expires {
            self.after(delay, Happening::Work(work));
        }
    }

    /// A worker does a job.
    pub(crate) fn work(&mut self, work: Work) {
        let unable = self.goes_wrong(self.faults.unable);
        let kills = unable && self.dice.one_in(3);
        let reply = match &work.job.task {
            _ if unable && !kills && self.dice.one_in(4) => Reply::UnknownModel("words-1".into()),
            _ if unable => Reply::Failed("simulated".into()),
            Task::Extract(task) => {
                let model = task.space.model();
                let letters = |count: u32| by_model(&model, feature_of_length(count as usize));
                let rows = task.rows.iter();
                Reply::Extracted(rows.map(|row| letters(row.terms[0].1)).collect())
            }
            Task::Compare(task) => {
                let reply = compare(&Comparing::Some(std::sync::Arc::clone(task)));
                let reply = self.mutate_reply(reply);
                Reply::Compared(reply)
            }
        };
        let times = if self.goes_wrong(self.faults.job) {
            0
        } else {
            1
        };
        let times = times + usize::from(self.goes_wrong(self.faults.job));
        for _ in 0..times {
            let delay = self.latency();
            let returned = Returned {
                job: work.id,
                attempt: work.attempt,
                reply: reply.clone(),
                kills_workers: kills,
            };
            self.tell(work.process, delay, Message::Replied(returned));
        }
    }
}
