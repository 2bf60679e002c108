//! The embedded job queue: a bounded queue and the rayon pool of this process.
//!
//! Each lane is a thread that takes one job after the other and runs it on the pool. There are as
//! many lanes as the pool has threads, rather than one pool task per queued job: a job splits its
//! work on the pool, and a pool thread that waits for the parts starts other queued work, one job
//! on top of the other on its stack. Lanes limit that depth. Lanes also wait for room in the queue
//! of replies, so that the pool never has to.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kindred_runtime::host::host_name;
use kindred_shared::job::{Job, Reply};
use kindred_shared::worker::WorkerCard;
use tokio::sync::mpsc;

use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SeenWorker, SendError};

/// Does a job. A panic in it becomes [`Reply::Failed`].
pub type Perform = Arc<dyn Fn(&Job) -> Reply + Send + Sync>;

/// Does jobs in this process. Dropping it discards waiting jobs; running jobs end without a reply.
pub struct EmbeddedJobs {
    queue: Arc<Queue>,
    replies: tokio::sync::Mutex<mpsc::Receiver<Returned>>,
    /// The card of a worker that has done nothing yet.
    card: WorkerCard,
    done: Arc<AtomicU64>,
}

impl EmbeddedJobs {
    /// A queue of at most `capacity` jobs (at least 1) and as many replies not yet taken; jobs run
    /// on a pool. `kernel` is the kernel that this process's worker reports.
    ///
    /// # Errors
    /// When the operating system refuses to start a thread for a lane.
    pub fn new(
        perform: Perform,
        pool: Arc<rayon::ThreadPool>,
        capacity: usize,
        kernel: &str,
    ) -> std::io::Result<Arc<Self>> {
        let capacity = capacity.max(1);
        let (sender, replies) = mpsc::channel(capacity);
        let jobs = Arc::new(Self {
            queue: Arc::new(Queue::new(capacity)),
            replies: tokio::sync::Mutex::new(replies),
            card: WorkerCard {
                name: format!("{}-{}", host_name(), std::process::id()),
                kernel: kernel.to_owned(),
                threads: u32::try_from(pool.current_num_threads()).unwrap_or(u32::MAX),
                jobs_done: 0,
            },
            done: Arc::default(),
        });
        for lane in 0..pool.current_num_threads().max(1) {
            let lane_of = Lane {
                queue: Arc::clone(&jobs.queue),
                replies: sender.clone(),
                perform: Arc::clone(&perform),
                pool: Arc::clone(&pool),
                done: Arc::clone(&jobs.done),
            };
            std::thread::Builder::new()
                .name(format!("job-lane-{lane}"))
                .spawn(move || lane_of.run())?;
        }
        Ok(jobs)
    }

    /// Accepts no more jobs and discards waiting ones. Replies of running jobs still arrive, then
    /// [`Jobs::next_reply`] returns `None`.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Jobs waiting for a lane.
    pub fn waiting(&self) -> usize {
        self.queue.state().jobs.len()
    }
}

impl Drop for EmbeddedJobs {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[async_trait]
impl Jobs for EmbeddedJobs {
    async fn send(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: Job,
    ) -> Result<(), SendError> {
        self.queue.push(Queued {
            id,
            attempt,
            // A time too far to be represented means no expiry.
            expires: Instant::now().checked_add(expires),
            job,
        })
    }

    async fn next_reply(&self) -> Option<Returned> {
        self.replies.lock().await.recv().await
    }

    fn workers(&self) -> usize {
        usize::from(!self.queue.state().closed)
    }

    fn threads(&self) -> usize {
        self.card.threads as usize
    }

    fn cards(&self) -> Vec<SeenWorker> {
        let card = WorkerCard {
            jobs_done: self.done.load(Ordering::Relaxed),
            ..self.card.clone()
        };
        vec![SeenWorker {
            card,
            ago: Duration::ZERO,
        }]
    }
}

struct Queued {
    id: JobId,
    attempt: Attempt,
    expires: Option<Instant>,
    job: Job,
}

struct Queue {
    capacity: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Queued>,
    closed: bool,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// No code that can panic runs under the lock, so a poisoned lock is harmless.
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Queued) -> Result<(), SendError> {
        let mut state = self.state();
        if state.closed {
            return Err(SendError::Away("the service is stopping".to_string()));
        }
        if state.jobs.len() >= self.capacity {
            return Err(SendError::Full);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next job. `None`: closed.
    fn pop(&self) -> Option<Queued> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let forgotten = std::mem::take(&mut state.jobs);
        drop(state);
        drop(forgotten);
        self.changed.notify_all();
    }
}

struct Lane {
    queue: Arc<Queue>,
    replies: mpsc::Sender<Returned>,
    perform: Perform,
    pool: Arc<rayon::ThreadPool>,
    done: Arc<AtomicU64>,
}

impl Lane {
    fn run(self) {
        while let Some(queued) = self.queue.pop() {
            let Queued {
                id: job, attempt, ..
            } = queued;
            if queued.expires.is_some_and(|end| Instant::now() >= end) {
                tracing::debug!(job = job.0, attempt = attempt.0, "job.expired");
                continue;
            }
            let reply = self.perform(&queued.job);
            drop(queued);
            self.done.fetch_add(1, Ordering::Relaxed);
            let returned = Returned {
                job,
                attempt,
                reply,
                kills_workers: false,
            };
            if self.replies.blocking_send(returned).is_err() {
                return; // nobody is there to take it
            }
        }
    }

    fn perform(&self, job: &Job) -> Reply {
        let work = || self.pool.install(|| (self.perform)(job));
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let detail = panic_text(&*panic);
            tracing::error!(domain = %job.domain, detail, "job.panicked");
            Reply::Failed(format!("the job panicked: {detail}"))
        })
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::contract::{Fixture, Gate, dispatch_contract, job, perform};
    use super::*;

    struct Embedded {
        jobs: Arc<EmbeddedJobs>,
        gate: Arc<Gate>,
    }

    impl Embedded {
        fn fresh() -> Self {
            let gate = Arc::new(Gate::default());
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(2)
                .build()
                .unwrap();
            let at = Arc::clone(&gate);
            let jobs = EmbeddedJobs::new(
                Arc::new(move |job| perform(&at, job)),
                Arc::new(pool),
                4,
                "scalar",
            )
            .unwrap();
            Self { jobs, gate }
        }
    }

    impl Fixture for Embedded {
        fn jobs(&self) -> Arc<dyn Jobs> {
            Arc::<EmbeddedJobs>::clone(&self.jobs)
        }

        fn gate(&self) -> &Gate {
            &self.gate
        }

        fn capacity(&self) -> usize {
            // Two in the lanes, four in the queue.
            6
        }

        fn close(&self) {
            self.jobs.close();
        }
    }

    dispatch_contract!(Embedded::fresh());

    #[tokio::test]
    async fn untaken_replies_hold_lanes_back_and_not_the_pool() {
        let fixture = Embedded::fresh();
        let (mut sent, far) = (0, Duration::from_secs(60));
        // Four replies waiting, two held by lanes, four jobs in the queue.
        let deadline = Instant::now() + Duration::from_secs(10);
        while sent < 10 {
            match fixture
                .jobs
                .send(JobId(sent), Attempt(1), far, job("echo"))
                .await
            {
                Ok(()) => sent += 1,
                Err(error) => assert_eq!(error, SendError::Full),
            }
            assert!(Instant::now() < deadline, "{sent} sent");
        }
        let full = fixture
            .jobs
            .send(JobId(10), Attempt(1), far, job("echo"))
            .await;
        assert_eq!(full, Err(SendError::Full));
        for _ in 0..10 {
            assert!(fixture.jobs.next_reply().await.is_some());
        }
        // Dropped with unread replies: no lane may wait forever.
        let queue = Arc::downgrade(&fixture.jobs.queue);
        for id in 0..3 {
            let sent = fixture
                .jobs
                .send(JobId(id), Attempt(1), far, job("echo"))
                .await;
            assert_eq!(sent, Ok(()));
        }
        drop(fixture);
        while queue.strong_count() > 0 {
            assert!(Instant::now() < deadline, "a lane is still there");
            std::thread::yield_now();
        }
    }
}
