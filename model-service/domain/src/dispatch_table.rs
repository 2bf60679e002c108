//! The dispatch table: every job that is to be done, was sent, or is overdue. Pure: time comes in
//! as an argument, sends go out as [`Action`]s.
//!
//! What is in flight lies in the order in which it was sent, so no more of it is than workers soon have
//! done: what else there is waits here, where domains take turns by the work they ask for. Of what may be
//! in flight a domain has half at most, so that jobs of it which are not answered hold up no other's. All
//! this is of jobs as [`effort`] estimates them.
//!
//! An unanswered job is sent again after its deadline, which doubles with every sending;
//! after [`ATTEMPTS`] it is given up. Of several answers the first counts; the others are late. A
//! job that kills workers is given up at once.

use std::collections::BTreeMap;
use std::time::Duration;

use kindred_shared::job::{Job, Reply};
use kindred_shared::{DomainName, FairQueue, effort};

use crate::dispatch::{Attempt, JobId};
use crate::time::RETRY;

/// Sendings of a job before it is given up.
pub const ATTEMPTS: u32 = 5;
/// Longest a sent job may stay unanswered, whatever its attempt: 10 minutes.
const LONGEST_DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked whether somebody is there to whom an overdue job can be sent: 500 ms.
const NOBODY_DELAY: Duration = Duration::from_millis(500);
/// How long a full or absent queue is left alone: 50 ms.
const FULL_DELAY: Duration = Duration::from_millis(50);

/// Work in flight for each thread of the workers: 160 ms. A piece of work is 40 ms, so that of a domain
/// which is alone and may have half there is a piece that a thread does, and another that it does next.
pub const WORK_PER_THREAD: Duration = Duration::from_millis(160);

/// How much may be in flight, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct DispatchLimits {
    /// Jobs sent and not answered, whatever workers there are.
    pub total: usize,
    /// Work sent and not answered, for each thread of the workers.
    pub per_thread: Duration,
    /// How long the first sending may stay unanswered.
    pub deadline: Duration,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Send the job; then say [`DispatchTable::not_sent`] if that failed.
    Send {
        /// The job.
        id: JobId,
        /// Which sending this is.
        attempt: Attempt,
        /// How long a worker may take to begin.
        expires: Duration,
        /// What to do.
        job: Job,
    },
    /// Tell who asked that the job is given up, and why.
    GiveUp {
        /// The job.
        id: JobId,
        /// What happened to its last sending.
        reason: String,
        /// Whether a worker said that it could not; else nobody answered, which says nothing about
        /// the job.
        by_worker: bool,
    },
}

/// What an answer was.
#[derive(Debug)]
pub enum Answer {
    /// The answer that was waited for.
    Due(Reply),
    /// A worker said it could not; the job is tried again or given up by the next poll.
    Retried,
    /// Nobody waits for it.
    Late,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    /// How long it takes.
    effort: Duration,
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// To be sent, once there is room.
    Queued,
    /// To be sent, not before `until`.
    Delayed {
        until: Duration,
        reason: String,
        by_worker: bool,
    },
    /// Sent; overdue at `deadline`.
    Sent { deadline: Duration },
}

/// Jobs that are sent and not answered.
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

    /// Whether one more is within so much, or would be alone.
    fn has_room(&self, effort: Duration, most: Duration) -> bool {
        self.jobs == 0 || self.effort + effort <= most
    }
}

/// Every job that is to be done.
#[derive(Debug)]
pub struct DispatchTable {
    limits: DispatchLimits,
    /// Of all workers together.
    threads: usize,
    /// By number, so that what is due together goes in the order it was asked for.
    jobs: BTreeMap<JobId, Entry>,
    queued: FairQueue<DomainName, JobId>,
    in_flight: BTreeMap<DomainName, Flight>,
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

    /// So many threads all workers have together.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// A new job to be done.
    pub fn submit(&mut self, job: Job) -> JobId {
        let id = JobId(self.next);
        self.next += 1;
        let effort = effort::of(&job.task);
        self.jobs.insert(
            id,
            Entry {
                job,
                effort,
                attempt: 0,
                state: State::Queued,
            },
        );
        self.enqueue(id);
        id
    }

    /// An answer has come.
    pub fn answer(&mut self, now: Duration, id: JobId, attempt: Attempt, reply: Reply) -> Answer {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return Answer::Late;
        };
        let (reason, by_worker) = match reply {
            Reply::Failed(reason) => (reason, true),
            Reply::UnknownModel(model) => (unknown_model(&model), false),
            Reply::Refused(refusal) => (format!("not done: {refusal}"), false),
            Reply::Extracted(_) | Reply::Compared(_) => {
                self.forget(id);
                return Answer::Due(reply);
            }
        };
        if attempt.0 != entry.attempt || !matches!(entry.state, State::Sent { .. }) {
            return Answer::Late;
        }
        let until = now + RETRY.delay(attempt.0);
        entry.state = State::Delayed {
            until,
            reason,
            by_worker,
        };
        let (domain, effort) = (entry.job.domain.clone(), entry.effort);
        self.landed(&domain, effort);
        Answer::Retried
    }

    /// The job kills workers, whichever sending of it did: the next poll gives it up. Whether
    /// somebody waits for it.
    pub fn condemn(&mut self, now: Duration, id: JobId, reason: String) -> bool {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return false;
        };
        entry.attempt = ATTEMPTS;
        let condemned = State::Delayed {
            until: now,
            reason,
            by_worker: true,
        };
        let before = std::mem::replace(&mut entry.state, condemned);
        let (domain, effort) = (entry.job.domain.clone(), entry.effort);
        self.leave(&domain, id, effort, &before);
        true
    }

    /// The job of an [`Action::Send`] did not get into the queue. It does not count as sent.
    pub fn not_sent(&mut self, now: Duration, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        if matches!(entry.state, State::Sent { .. }) {
            entry.attempt -= 1;
            let reason = "the job queue is full or away".to_owned();
            entry.state = State::Delayed {
                until: now + FULL_DELAY,
                reason,
                by_worker: false,
            };
            let (domain, effort) = (entry.job.domain.clone(), entry.effort);
            self.landed(&domain, effort);
        }
    }

    /// Nobody waits for the job any more.
    pub fn cancel(&mut self, id: JobId) {
        self.forget(id);
    }

    /// What is to be done now. `workers`: consumers of the queue; without any, overdue jobs stay.
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
        self.jobs.values().filter_map(Entry::due).min()
    }

    /// Jobs sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.all_in_flight.jobs
    }

    /// Jobs not done.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether all jobs are done.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Sendings that were not answered in time.
    pub fn overdue(&self) -> u64 {
        self.overdue
    }

    /// A job whose time has come: overdue ones and delayed ones are queued again, or given up.
    fn wake(&mut self, now: Duration, id: JobId, workers: usize, actions: &mut Vec<Action>) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let (domain, effort) = (entry.job.domain.clone(), entry.effort);
        let (reason, by_worker) = match std::mem::replace(&mut entry.state, State::Queued) {
            State::Sent { .. } if workers == 0 => {
                // It has expired, so nobody will answer it: it is sent again as soon as somebody is there.
                entry.state = State::Sent {
                    deadline: now + NOBODY_DELAY,
                };
                return;
            }
            State::Sent { .. } => {
                self.overdue += 1;
                self.landed(&domain, effort);
                ("no worker answered in time".to_owned(), false)
            }
            State::Delayed {
                reason, by_worker, ..
            } => (reason, by_worker),
            State::Queued => return,
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
        entry.state = State::Sent {
            deadline: now + expires,
        };
        let of_domain = self.in_flight.entry(entry.job.domain.clone());
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
            self.queued.push(entry.job.domain.clone(), cost, id);
        }
    }

    /// The next job to send: of the first domain in turn that is below its part. It waits for room
    /// rather than have smaller ones of others go before it.
    fn next_queued(&mut self) -> Option<JobId> {
        if self.all_in_flight.jobs >= self.limits.total {
            return None;
        }
        let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
        let most = self.limits.per_thread.saturating_mul(threads);
        let effort = |id: &JobId| self.jobs.get(id).map_or(Duration::ZERO, |job| job.effort);
        let is_below = |domain: &DomainName, id: &JobId| {
            let of_domain = self.in_flight.get(domain).copied().unwrap_or_default();
            of_domain.has_room(effort(id), most / 2)
        };
        let (_, id) = self.queued.peek_if(is_below)?;
        if !self.all_in_flight.has_room(effort(id), most) {
            return None;
        }
        self.queued.pop_if(is_below).map(|(_, id)| id)
    }

    fn landed(&mut self, domain: &DomainName, effort: Duration) {
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
        self.leave(&entry.job.domain, id, entry.effort, &entry.state);
    }

    /// A job is no more where this state had it.
    fn leave(&mut self, domain: &DomainName, id: JobId, effort: Duration, state: &State) {
        match state {
            State::Sent { .. } => self.landed(domain, effort),
            State::Delayed { .. } => {}
            State::Queued => self.queued.retain(domain, |queued| *queued != id),
        }
    }
}

/// Why a job waits for other workers, in words.
fn unknown_model(model: &str) -> String {
    format!("a worker does not know model {model:?}; run workers of this service's version")
}

impl Entry {
    fn due(&self) -> Option<Duration> {
        match &self.state {
            State::Queued => None,
            State::Delayed { until, .. } => Some(*until),
            State::Sent { deadline } => Some(*deadline),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::sync::Arc;

    use kindred_shared::job::{ExtractTask, JobRefusal, Task, TermCounts};
    use kindred_shared::{ItemId, Space};
    use proptest::prelude::*;

    use super::*;

    /// Room for two jobs of a domain, and three of all: the least that a job counts for is 2 ms.
    const LIMITS: DispatchLimits = DispatchLimits {
        total: 3,
        per_thread: Duration::from_millis(8),
        deadline: Duration::from_secs(30),
    };

    fn job(domain: &str) -> Job {
        Job {
            domain: DomainName::new(domain).unwrap(),
            task: Task::Extract(Arc::new(ExtractTask {
                space: Space::stored("words-1/en"),
                rows: vec![],
            })),
        }
    }

    fn sends(actions: &[Action]) -> Vec<(u64, u32)> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Send { id, attempt, .. } => Some((id.0, attempt.0)),
                Action::GiveUp { .. } => None,
            })
            .collect()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn done() -> Reply {
        Reply::Extracted(vec![])
    }

    #[test]
    fn domains_take_turns_within_their_limits() {
        let mut table = DispatchTable::new(LIMITS);
        for domain in ["a", "a", "a", "b", "c"] {
            table.submit(job(domain));
        }
        assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1), (4, 1), (5, 1)]);
        assert!(matches!(
            table.answer(at(1), JobId(4), Attempt(1), done()),
            Answer::Due(_)
        ));
        assert_eq!(sends(&table.poll(at(1), 1)), [(2, 1)]);
        table.answer(at(1), JobId(5), Attempt(1), done());
        assert_eq!(
            sends(&table.poll(at(1), 1)),
            [],
            "domain a has two in flight"
        );
    }

    /// A job that takes a piece's time.
    fn piece(domain: &str) -> Job {
        let item = TermCounts {
            id: ItemId::new("a").unwrap(),
            terms: vec![("x".repeat(effort::PIECE_TERM_BYTES - 8).into(), 1)],
        };
        Job {
            domain: DomainName::new(domain).unwrap(),
            task: Task::Extract(Arc::new(ExtractTask {
                space: Space::stored("words-1/en"),
                rows: vec![item],
            })),
        }
    }

    /// Workers with so many threads take jobs in the order they were sent. How many of the others are
    /// answered between a job's coming and its answer, and how long that takes.
    fn overtaken(threads: usize, others: &[&str]) -> (usize, Duration) {
        let limits = DispatchLimits {
            total: 256,
            per_thread: WORK_PER_THREAD,
            deadline: Duration::from_secs(30),
        };
        let mut table = DispatchTable::new(limits);
        table.set_threads(threads);
        for domain in others {
            let piece = piece(domain);
            (0..1_000).for_each(|_| {
                table.submit(piece.clone());
            });
        }
        let mut queue: VecDeque<JobId> = VecDeque::new();
        let (mut now, mut small) = (at(0), None);
        for round in 0.. {
            let actions = table.poll(now, 1);
            queue.extend(sends(&actions).iter().map(|(id, _)| JobId(*id)));
            assert!(queue.len() >= 2 * threads, "no thread is without work");
            if round == 20 {
                small = Some((table.submit(job("small")), now));
                let actions = table.poll(now, 1);
                queue.extend(sends(&actions).iter().map(|(id, _)| JobId(*id)));
            }
            now += effort::PIECE;
            for (nth, id) in queue.drain(..threads).enumerate() {
                table.answer(now, id, Attempt(1), done());
                if let Some((small, came)) = small
                    && small == id
                {
                    return ((round - 20) * threads + nth, now - came);
                }
            }
        }
        unreachable!("it goes on until the job is answered")
    }

    #[test]
    fn one_job_does_not_wait_behind_a_thousand_of_others() {
        for threads in [1, 2, 16] {
            let (before, after) = overtaken(threads, &["large"]);
            assert!(before <= 2 * threads, "{before} pieces before it");
            assert!(after <= 3 * effort::PIECE, "after {after:?}");
            let (before, after) = overtaken(threads, &["a", "b", "c", "d"]);
            assert!(before <= 4 * threads, "{before} pieces before it");
            assert!(after <= 5 * effort::PIECE, "after {after:?}");
        }
    }

    #[test]
    fn what_takes_longer_than_all_may_is_sent_alone() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(piece("a"));
        table.submit(job("b"));
        assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1)]);
        table.answer(at(1), JobId(1), Attempt(1), done());
        assert_eq!(sends(&table.poll(at(1), 1)), [(2, 1)]);
        table.submit(piece("a"));
        assert_eq!(sends(&table.poll(at(1), 1)), []);
        table.set_threads(20);
        assert_eq!(sends(&table.poll(at(1), 1)), [(3, 1)]);
    }

    #[test]
    fn an_overdue_job_is_sent_again_with_a_longer_deadline_and_given_up_in_the_end() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        let mut now = at(0);
        for attempt in 1..=ATTEMPTS {
            assert_eq!(sends(&table.poll(now, 1)), [(1, attempt)]);
            let deadline = table.deadline().unwrap();
            assert_eq!(deadline - now, at(30) * (1 << (attempt - 1)));
            now = deadline;
        }
        let given_up = table.poll(now, 1);
        assert!(matches!(
            &given_up[..],
            [Action::GiveUp {
                id: JobId(1),
                by_worker: false,
                ..
            }]
        ));
        assert!(table.is_empty() && table.in_flight() == 0);
    }

    #[test]
    fn nothing_is_sent_again_while_nobody_works() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        table.poll(at(0), 0);
        for hour in 1..10 {
            assert!(table.poll(at(hour * 3600), 0).is_empty());
        }
        assert_eq!(sends(&table.poll(at(40_000), 1)), [(1, 2)]);
    }

    #[test]
    fn the_first_answer_counts_and_others_are_late() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        table.poll(at(0), 1);
        assert_eq!(sends(&table.poll(at(30), 1)), [(1, 2)]);
        assert!(matches!(
            table.answer(at(31), JobId(1), Attempt(1), done()),
            Answer::Due(_)
        ));
        assert!(matches!(
            table.answer(at(32), JobId(1), Attempt(2), done()),
            Answer::Late
        ));
    }

    #[test]
    fn a_worker_that_cannot_is_asked_again_later() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        table.poll(at(0), 1);
        let failed = Reply::Failed("no".into());
        assert!(matches!(
            table.answer(at(1), JobId(1), Attempt(1), failed),
            Answer::Retried
        ));
        assert!(table.poll(at(1), 1).is_empty());
        assert_eq!(sends(&table.poll(at(2), 1)), [(1, 2)]);
    }

    #[test]
    fn a_job_that_workers_cannot_take_up_is_not_at_fault() {
        let refused = Reply::Refused(JobRefusal {
            reason: "unknown-protocol".to_owned(),
            detail: "it is of protocol 7".to_owned(),
        });
        for (reply, word) in [
            (Reply::UnknownModel("words-0".into()), "words-0"),
            (refused, "unknown-protocol: it is of protocol 7"),
        ] {
            let mut table = DispatchTable::new(LIMITS);
            table.submit(job("a"));
            let mut now = 0;
            for attempt in 1..=ATTEMPTS {
                assert_eq!(sends(&table.poll(at(now), 1)), [(1, attempt)]);
                let answer = table.answer(at(now), JobId(1), Attempt(attempt), reply.clone());
                assert!(matches!(answer, Answer::Retried));
                now += 100;
            }
            let actions = table.poll(at(now), 1);
            assert!(
                matches!(&actions[..], [Action::GiveUp { by_worker: false, reason, .. }]
                    if reason.contains(word)),
                "{actions:?}"
            );
        }
    }

    #[test]
    fn an_overdue_job_is_sent_again_as_soon_as_there_is_a_worker() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        assert_eq!(sends(&table.poll(at(0), 1)), [(1, 1)]);
        // The worker is gone when the deadline comes, and another is there soon after.
        assert_eq!(sends(&table.poll(LIMITS.deadline, 0)), []);
        let looks_again = table.deadline().unwrap();
        assert!(looks_again <= LIMITS.deadline + at(1), "{looks_again:?}");
        assert_eq!(sends(&table.poll(looks_again, 0)), []);
        assert_eq!(sends(&table.poll(looks_again + at(1), 1)), [(1, 2)]);
        assert_eq!(table.overdue(), 1);
    }

    #[test]
    fn a_job_that_kills_workers_is_given_up_at_once_whichever_sending_did() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        table.poll(at(0), 1);
        assert_eq!(sends(&table.poll(at(30), 1)), [(1, 2)]);
        assert!(table.condemn(at(31), JobId(1), "it kills workers".into()));
        let actions = table.poll(at(31), 1);
        assert!(
            matches!(&actions[..], [Action::GiveUp { id: JobId(1), by_worker: true, reason }]
                if reason == "it kills workers"),
            "{actions:?}"
        );
        assert!(table.is_empty() && table.in_flight() == 0);
        assert!(!table.condemn(at(32), JobId(1), "again".into()));
    }

    #[test]
    fn a_full_queue_costs_no_attempt() {
        let mut table = DispatchTable::new(LIMITS);
        table.submit(job("a"));
        for second in 0..20 {
            assert_eq!(sends(&table.poll(at(second), 1)), [(1, 1)]);
            table.not_sent(at(second), JobId(1));
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Submit(u8),
        Answer(u8, bool),
        NotSent(u8),
        Cancel(u8),
        Condemn(u8),
        Wait(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4u8).prop_map(Step::Submit),
            3 => (any::<u8>(), any::<bool>()).prop_map(|(n, ok)| Step::Answer(n, ok)),
            1 => any::<u8>().prop_map(Step::NotSent),
            1 => any::<u8>().prop_map(Step::Cancel),
            1 => any::<u8>().prop_map(Step::Condemn),
            2 => (0..90u16).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_job_ends_once_and_limits_hold(steps in prop::collection::vec(step(), 1..150)) {
            let mut table = DispatchTable::new(LIMITS);
            let mut now = Duration::ZERO;
            let mut open: BTreeSet<u64> = BTreeSet::new();
            let mut sent: Vec<(u64, u32)> = vec![];
            let pick = |sent: &[(u64, u32)], n: u8| {
                (!sent.is_empty()).then(|| sent[usize::from(n) % sent.len()])
            };
            for step in steps {
                match step {
                    Step::Submit(domain) => {
                        open.insert(table.submit(job(&format!("d{domain}"))).0);
                    }
                    Step::Answer(n, ok) => {
                        if let Some((id, attempt)) = pick(&sent, n) {
                            let reply = if ok { done() } else { Reply::Failed("no".into()) };
                            let answer = table.answer(now, JobId(id), Attempt(attempt), reply);
                            if let Answer::Due(_) = answer {
                                prop_assert!(open.remove(&id), "a job ended twice");
                            }
                        }
                    }
                    Step::NotSent(n) => {
                        if let Some((id, _)) = pick(&sent, n) {
                            table.not_sent(now, JobId(id));
                        }
                    }
                    Step::Cancel(n) => {
                        if let Some((id, _)) = pick(&sent, n) {
                            table.cancel(JobId(id));
                            open.remove(&id);
                        }
                    }
                    Step::Condemn(n) => {
                        if let Some((id, _)) = pick(&sent, n) {
                            let waited = table.condemn(now, JobId(id), "it kills".into());
                            prop_assert_eq!(waited, open.contains(&id));
                        }
                    }
                    Step::Wait(seconds) => now += at(u64::from(seconds)),
                }
                for action in table.poll(now, 1) {
                    match action {
                        Action::Send { id, attempt, .. } => {
                            prop_assert!(open.contains(&id.0) && attempt.0 <= ATTEMPTS);
                            sent.push((id.0, attempt.0));
                        }
                        Action::GiveUp { id, .. } => {
                            prop_assert!(open.remove(&id.0), "a job ended twice");
                        }
                    }
                }
                prop_assert!(table.in_flight() <= LIMITS.total);
                prop_assert!(table.in_flight.values().all(|flight| (1..=2).contains(&flight.jobs)));
                prop_assert_eq!(table.len(), open.len());
                let queued = table.jobs.values().filter(|entry| entry.state == State::Queued);
                prop_assert_eq!(queued.count(), table.queued.len());
                let of_all = table.in_flight.values().map(|flight| flight.jobs);
                prop_assert_eq!(of_all.sum::<usize>(), table.in_flight());
            }
            // Left alone, every job is given up in the end.
            for _ in 0..10_000 {
                if open.is_empty() { break; }
                now = table.deadline().unwrap_or(now).max(now);
                for action in table.poll(now, 1) {
                    if let Action::GiveUp { id, .. } = action {
                        open.remove(&id.0);
                    }
                }
            }
            prop_assert!(open.is_empty() && table.is_empty());
        }
    }
}
