//! The understudy: does jobs in this process while there are no workers, so that lists stay fresh;
//! and jobs whose blocks are here but have not been shipped to the workers yet, as after a load.
//!
//! Jobs are pieces of bounded size (`kindred_shared::effort`), however large a window is, and the
//! dispatch table sends no more of them than the threads here can do soon. A larger job waits for a
//! worker.
//!
//! A job that the last worker was working on when it disappeared may have killed it. Restarted
//! workers get that job again, and if it kills them too, it becomes a dead letter; so it is done
//! here only if no worker has come back for a while. After a job has become a dead letter, nothing
//! is done here for a while. The first reply counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kindred_shared::effort;
use kindred_shared::job::Job;

use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SeenWorker, SendError};

/// How long there must be no workers before jobs are done here: 2 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for jobs that one of the workers may have been working on: 15 s.
const CAUTION: Duration = Duration::from_secs(15);
/// How long nothing is done here after a job has killed workers: 10 minutes. Its parts are then
/// tried alone, and the bad one would kill this process.
const WARY: Duration = Duration::from_secs(600);
/// Longest job done here: twice a piece, since pieces are cut by rows.
const LONGEST: Duration = effort::PIECE.saturating_mul(2);
/// Most bytes of blocks that are shipped before a job is sent: 4 MiB. Larger amounts are shipped in
/// the background while the job is done here.
const UNSHIPPED: usize = 4 << 20;
/// How often the number of workers is checked.
const LOOK: Duration = Duration::from_millis(500);

/// Called when this process starts or stops doing jobs itself.
pub type Told = Box<dyn Fn(bool) + Send + Sync>;

/// Jobs done by workers, or by this process while there are none.
pub struct Understudy {
    workers: Arc<dyn Jobs>,
    own: Arc<dyn Jobs>,
    told: Told,
    /// Most jobs remembered.
    capacity: usize,
    state: Mutex<StandIn>,
}

#[derive(Default)]
struct StandIn {
    /// Since when there have been no workers.
    alone_since: Option<Instant>,
    is_on: bool,
    /// Until when nothing is done here.
    wary_until: Option<Instant>,
    /// Jobs that workers were sent and have not answered.
    sent: HashMap<JobId, Sent>,
}

struct Sent {
    attempt: Attempt,
    at: Instant,
    expires: Instant,
    job: Job,
}

impl StandIn {
    /// Whether a job has killed workers recently.
    fn is_wary(&self, now: Instant) -> bool {
        self.wary_until.is_some_and(|until| now < until)
    }

    /// Whether this attempt at a job is to be done here now. If a job was sent again, a worker may
    /// have taken an earlier attempt.
    fn takes_over(&self, attempt: Attempt, sent: Instant, now: Instant) -> bool {
        self.is_on
            && !self.is_wary(now)
            && self.alone_since.is_some_and(|since| {
                let is_nobodys = attempt.0 <= 1 && sent > since;
                is_nobodys || now.saturating_duration_since(since) >= CAUTION
            })
    }
}

impl Understudy {
    /// Checks `workers` twice a second while anybody holds this; jobs go to `own` while there are
    /// none. At most `capacity` jobs are remembered. Must be called within a tokio runtime.
    pub fn start(
        workers: Arc<dyn Jobs>,
        own: Arc<dyn Jobs>,
        capacity: usize,
        told: Told,
    ) -> Arc<Self> {
        let one = Arc::new(Self::new(workers, own, capacity, told));
        let looking = Arc::downgrade(&one);
        tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                let Some(one) = looking.upgrade() else { break };
                one.look(Instant::now()).await;
            }
        });
        one
    }

    fn new(workers: Arc<dyn Jobs>, own: Arc<dyn Jobs>, capacity: usize, told: Told) -> Self {
        Self {
            workers,
            own,
            told,
            capacity,
            state: Mutex::default(),
        }
    }

    /// Checks for workers, and takes over jobs that are to be done here.
    async fn look(&self, now: Instant) {
        let (changed, taken) = self.decide(now, self.workers.workers());
        if let Some(is_on) = changed {
            (self.told)(is_on);
        }
        for (id, one) in taken {
            let left = one.expires.saturating_duration_since(now);
            let sent = self.own.send(id, one.attempt, left, one.job.clone()).await;
            if sent.is_err() {
                // It is full, or closed. Later there will be room, or nothing left to do.
                self.state().sent.entry(id).or_insert(one);
            }
        }
    }

    /// Whether the understudy starts or stops, and the jobs that it takes over.
    fn decide(&self, now: Instant, workers: usize) -> (Option<bool>, Vec<(JobId, Sent)>) {
        let mut state = self.state();
        let was_on = state.is_on;
        if workers > 0 {
            (state.alone_since, state.is_on) = (None, false);
        } else {
            let since = *state.alone_since.get_or_insert(now);
            let is_patient = now.saturating_duration_since(since) < PATIENCE;
            state.is_on = !is_patient && !state.is_wary(now);
        }
        let changed = (state.is_on != was_on).then_some(state.is_on);
        let mut kept = HashMap::new();
        let mut taken = Vec::new();
        for (id, one) in std::mem::take(&mut state.sent) {
            if state.takes_over(one.attempt, one.at, now) {
                taken.push((id, one));
            } else if one.expires > now {
                kept.insert(id, one);
            }
        }
        state.sent = kept;
        (changed, taken)
    }

    /// Remembers a job sent to workers if it could be done here.
    fn remember(&self, id: JobId, sent: Sent) {
        let mut state = self.state();
        if state.sent.len() < self.capacity || state.sent.contains_key(&id) {
            state.sent.insert(id, sent);
        }
    }

    fn forget(&self, id: JobId) {
        self.state().sent.remove(&id);
    }

    fn is_on(&self) -> bool {
        self.state().is_on
    }

    /// No code that can panic runs under the lock, so a poisoned lock is harmless.
    fn state(&self) -> MutexGuard<'_, StandIn> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current job queue.
    fn acting(&self) -> &dyn Jobs {
        if self.is_on() {
            &*self.own
        } else {
            &*self.workers
        }
    }
}

#[async_trait]
impl Jobs for Understudy {
    async fn send(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: Job,
    ) -> Result<(), SendError> {
        if effort::of(&job.task) > LONGEST {
            return self.workers.send(id, attempt, expires, job).await;
        }
        let now = Instant::now();
        if self.state().takes_over(attempt, now, now) {
            return self.own.send(id, attempt, expires, job).await;
        }
        if self.workers.unshipped(&job) > UNSHIPPED && !self.state().is_wary(now) {
            self.workers.ship(&job);
            return self.own.send(id, attempt, expires, job).await;
        }
        // A time too far to be represented counts as a day.
        let day = Duration::from_secs(24 * 3600);
        let sent = Sent {
            attempt,
            at: now,
            expires: now + expires.min(day),
            job: job.clone(),
        };
        self.remember(id, sent);
        let sent = self.workers.send(id, attempt, expires, job).await;
        if sent.is_err() {
            self.forget(id);
        }
        sent
    }

    async fn next_reply(&self) -> Option<Returned> {
        let returned = tokio::select! {
            Some(returned) = self.own.next_reply() => Some(returned),
            returned = self.workers.next_reply() => returned,
        };
        if let Some(returned) = &returned {
            self.forget(returned.job);
            if returned.kills_workers {
                self.state().wary_until = Some(Instant::now() + WARY);
            }
        }
        returned
    }

    fn workers(&self) -> usize {
        self.acting().workers()
    }

    fn threads(&self) -> usize {
        self.acting().threads()
    }

    fn cards(&self) -> Vec<SeenWorker> {
        let mut cards = self.workers.cards();
        if self.is_on() {
            cards.extend(self.own.cards());
        }
        cards
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use kindred_shared::job::Reply;
    use tokio::sync::watch;

    use super::super::contract::{Fixture, Gate, dispatch_contract, job, perform};
    use super::super::embedded::EmbeddedJobs;
    use super::*;

    const FAR: Duration = Duration::from_secs(60);

    /// Workers that come and go, and never answer.
    struct Troupe {
        workers: AtomicUsize,
        sent: Mutex<Vec<(JobId, Attempt)>>,
        closed: watch::Sender<bool>,
        unshipped: AtomicUsize,
        shipped: AtomicUsize,
        replies: Mutex<Vec<Returned>>,
    }

    #[async_trait]
    impl Jobs for Troupe {
        async fn send(
            &self,
            id: JobId,
            attempt: Attempt,
            _: Duration,
            _: Job,
        ) -> Result<(), SendError> {
            self.sent.lock().unwrap().push((id, attempt));
            Ok(())
        }

        async fn next_reply(&self) -> Option<Returned> {
            if let Some(returned) = self.replies.lock().unwrap().pop() {
                return Some(returned);
            }
            let mut closed = self.closed.subscribe();
            closed.wait_for(|closed| *closed).await.unwrap();
            None
        }

        fn workers(&self) -> usize {
            self.workers.load(Ordering::Relaxed)
        }

        fn unshipped(&self, _: &Job) -> usize {
            self.unshipped.load(Ordering::Relaxed)
        }

        fn ship(&self, _: &Job) {
            self.shipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Alone {
        troupe: Arc<Troupe>,
        own: Arc<EmbeddedJobs>,
        jobs: Arc<Understudy>,
        gate: Arc<Gate>,
        turns: Arc<Mutex<Vec<bool>>>,
        begun: Instant,
    }

    impl Alone {
        /// With this many workers from the start.
        fn with(workers: usize) -> Self {
            let gate = Arc::new(Gate::default());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
            let at = Arc::clone(&gate);
            let perform = Arc::new(move |job: &Job| perform(&at, job));
            let own = EmbeddedJobs::new(perform, Arc::new(pool.unwrap()), 4, "scalar").unwrap();
            let troupe = Arc::new(Troupe {
                workers: AtomicUsize::new(workers),
                sent: Mutex::default(),
                closed: watch::channel(false).0,
                unshipped: AtomicUsize::new(0),
                shipped: AtomicUsize::new(0),
                replies: Mutex::default(),
            });
            let turns: Arc<Mutex<Vec<bool>>> = Arc::default();
            let told = Arc::clone(&turns);
            let told = Box::new(move |is_on| told.lock().unwrap().push(is_on));
            let workers = Arc::<Troupe>::clone(&troupe);
            let jobs = Understudy::new(workers, Arc::<EmbeddedJobs>::clone(&own), 8, told);
            Self {
                troupe,
                own,
                jobs: Arc::new(jobs),
                gate,
                turns,
                begun: Instant::now(),
            }
        }

        /// Without workers for long enough that it does all jobs.
        async fn fresh() -> Self {
            let alone = Self::with(0);
            let since = alone.begun.checked_sub(CAUTION).unwrap();
            alone.jobs.look(since).await;
            alone.look(Duration::ZERO).await;
            alone
        }

        async fn look(&self, after: Duration) {
            self.jobs.look(self.begun + after).await;
        }

        async fn send(&self, id: u64, attempt: u32) {
            let sent = self
                .jobs
                .send(JobId(id), Attempt(attempt), FAR, job("echo"));
            assert_eq!(sent.await, Ok(()));
        }

        fn sent_to_workers(&self) -> Vec<u64> {
            let sent = self.troupe.sent.lock().unwrap();
            sent.iter().map(|(id, _)| id.0).collect()
        }
    }

    impl Fixture for Alone {
        fn jobs(&self) -> Arc<dyn Jobs> {
            Arc::<Understudy>::clone(&self.jobs)
        }

        fn gate(&self) -> &Gate {
            &self.gate
        }

        fn capacity(&self) -> usize {
            // Two in the lanes, four in the queue.
            6
        }

        fn close(&self) {
            self.own.close();
            self.troupe.closed.send_replace(true);
        }
    }

    dispatch_contract!(Alone::fresh().await);

    #[tokio::test]
    async fn it_is_patient_and_steps_back_when_a_worker_comes() {
        let alone = Alone::with(2);
        alone.look(Duration::ZERO).await;
        assert_eq!((alone.jobs.workers(), alone.jobs.cards().len()), (2, 0));
        alone.troupe.workers.store(0, Ordering::Relaxed);
        alone.look(Duration::from_secs(10)).await;
        alone.send(1, 1).await;
        assert_eq!(alone.jobs.workers(), 0);
        alone.look(Duration::from_secs(10) + PATIENCE).await;
        assert_eq!((alone.jobs.workers(), alone.jobs.threads()), (1, 2));
        assert_eq!(alone.jobs.cards().len(), 1);
        alone.troupe.workers.store(1, Ordering::Relaxed);
        alone.look(Duration::from_secs(13)).await;
        alone.send(2, 1).await;
        assert_eq!((alone.jobs.workers(), alone.jobs.cards().len()), (1, 0));
        assert_eq!(alone.sent_to_workers(), [1, 2]);
        assert_eq!(*alone.turns.lock().unwrap(), [true, false]);
    }

    #[tokio::test]
    async fn what_no_worker_had_is_taken_over_at_once_and_the_rest_after_a_while() {
        let alone = Alone::with(1);
        alone.send(1, 1).await;
        alone.look(Duration::ZERO).await;
        alone.troupe.workers.store(0, Ordering::Relaxed);
        // It is noticed before anything else is sent.
        alone.jobs.look(Instant::now()).await;
        alone.send(2, 1).await;
        alone.send(3, 2).await;
        assert_eq!(alone.sent_to_workers(), [1, 2, 3]);
        alone.jobs.look(Instant::now() + PATIENCE).await;
        let returned = alone.jobs.next_reply().await.unwrap();
        assert_eq!((returned.job, returned.attempt), (JobId(2), Attempt(1)));
        assert!(matches!(returned.reply, Reply::Extracted(_)));
        assert!(alone.jobs.next_reply().now_or_never().is_none());
        alone.jobs.look(Instant::now() + CAUTION).await;
        let mut rest = Vec::new();
        for _ in 0..2 {
            rest.push(alone.jobs.next_reply().await.unwrap().job);
        }
        rest.sort();
        assert_eq!(rest, [JobId(1), JobId(3)]);
        assert!(alone.jobs.state().sent.is_empty());
    }

    #[tokio::test]
    async fn jobs_are_done_here_until_workers_have_their_blocks() {
        let alone = Alone::with(1);
        alone
            .troupe
            .unshipped
            .store(UNSHIPPED + 1, Ordering::Relaxed);
        alone.send(1, 1).await;
        assert_eq!(alone.jobs.next_reply().await.unwrap().job, JobId(1));
        assert_eq!(alone.troupe.shipped.load(Ordering::Relaxed), 1);
        alone.troupe.unshipped.store(UNSHIPPED, Ordering::Relaxed);
        alone.send(2, 1).await;
        assert_eq!(alone.sent_to_workers(), [2]);
        assert_eq!(alone.troupe.shipped.load(Ordering::Relaxed), 1);
        assert!(alone.turns.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn after_a_job_that_killed_workers_nothing_is_done_here_for_a_while() {
        let alone = Alone::with(0);
        alone.look(Duration::ZERO).await;
        alone.jobs.look(Instant::now() + PATIENCE).await;
        alone.troupe.unshipped.store(usize::MAX, Ordering::Relaxed);
        alone.troupe.replies.lock().unwrap().push(Returned {
            job: JobId(1),
            attempt: Attempt(1),
            reply: Reply::Failed("it kills workers".to_owned()),
            kills_workers: true,
        });
        assert!(alone.jobs.next_reply().await.unwrap().kills_workers);
        // Its parts are tried alone.
        alone.send(2, 1).await;
        alone.jobs.look(Instant::now() + CAUTION).await;
        alone.send(3, 1).await;
        assert_eq!(alone.sent_to_workers(), [2, 3]);
        assert_eq!(*alone.turns.lock().unwrap(), [true, false]);
        alone.jobs.look(Instant::now() + WARY).await;
        assert_eq!(*alone.turns.lock().unwrap(), [true, false, true]);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_ends() {
        let alone = Alone::with(1);
        for id in 0..20 {
            alone.send(id, 1).await;
        }
        assert_eq!(alone.jobs.state().sent.len(), 8);
        alone.look(2 * FAR).await;
        assert!(alone.jobs.state().sent.is_empty());
    }
}
