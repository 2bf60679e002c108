//! The clustered job queue: jobs go out over RabbitMQ, replies come back on a queue of this process.
//!
//! Blocks that a job refers to are stored before it is sent. Replies and copies of dead jobs arrive
//! on one exclusive queue; a job that killed its workers is answered as permanently failed. The
//! number of workers is the number of consumers of the work queues.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kindred_runtime::amqp::job_properties;
use kindred_runtime::amqp::{Connector, Names, Outgoing, PublishFault, Publisher};
use kindred_shared::block_store::BlockStore;
use kindred_shared::job::{Job, Reply};
use kindred_shared::wire::{EncodedJob, JobAddress, WireError, encode_job};
use kindred_shared::worker::WorkerCard;
use tokio::sync::{mpsc, oneshot, watch};

use self::shipping::Shipping;
use self::stored::StoredBlocks;
use kindred_domain::dispatch::{Attempt, JobId, Jobs, Returned, SeenWorker, SendError};

mod replies;
mod shipping;
mod stored;

/// Longest time to store a block: 20 s.
const STORE_DEADLINE: Duration = Duration::from_secs(20);
/// Most bytes of unconfirmed jobs: 64 MiB.
const UNCONFIRMED_BYTES: usize = 64 << 20;
/// Replies waiting for [`Jobs::next_reply`]; more wait in the broker.
const WAITING_REPLIES: usize = 16;

/// Most workers remembered.
const WORKERS_KNOWN: usize = 1_000;
/// How long a silent worker is remembered: several of its greetings.
const WORKER_FORGOTTEN: Duration = Duration::from_secs(30);

/// Options of a [`RabbitJobs`].
#[derive(Debug, Clone)]
pub struct RabbitJobsOptions {
    /// Names on the broker.
    pub names: Names,
    /// Identifies this start of this process; part of the name of its reply queue.
    pub boot_id: String,
    /// Jobs sent and neither answered nor expired; beyond it, sending returns [`SendError::Full`].
    /// At least 1.
    pub capacity: usize,
}

/// Jobs done by compute workers elsewhere.
pub struct RabbitJobs {
    shared: Arc<Shared>,
    publisher: Publisher,
    blocks: Arc<dyn BlockStore>,
    replies: tokio::sync::Mutex<mpsc::Receiver<Returned>>,
    failed: mpsc::Sender<Returned>,
    stop: watch::Sender<bool>,
}

/// State shared by sending and receiving.
struct Shared {
    options: RabbitJobsOptions,
    stored: StoredBlocks,
    shipping: Shipping,
    sent: Mutex<HashMap<JobId, Sent>>,
    workers: AtomicUsize,
    threads: AtomicUsize,
    receiving: AtomicBool,
    cards: Mutex<HashMap<String, (WorkerCard, Instant)>>,
}

struct Sent {
    attempt: Attempt,
    expires: Instant,
}

impl RabbitJobs {
    /// Starts connecting, and keeps reconnecting until [`Self::close`]. Must be called within a
    /// tokio runtime.
    pub fn start(
        connector: Connector,
        options: RabbitJobsOptions,
        blocks: Arc<dyn BlockStore>,
    ) -> Arc<Self> {
        let (stop, stopped) = watch::channel(false);
        let (failed, replies) = mpsc::channel(WAITING_REPLIES);
        let shared = Arc::new(Shared::new(options));
        let publisher = Publisher::start(connector.clone(), "jobs", UNCONFIRMED_BYTES);
        tokio::spawn(replies::run(
            connector,
            Arc::clone(&shared),
            failed.clone(),
            stopped,
        ));
        Arc::new(Self {
            shared,
            publisher,
            blocks,
            replies: tokio::sync::Mutex::new(replies),
            failed,
            stop,
        })
    }

    /// Whether jobs can be sent and replies received.
    pub fn is_connected(&self) -> bool {
        self.publisher.is_connected() && self.shared.receiving.load(Ordering::Relaxed)
    }

    /// Accepts no more jobs; [`Jobs::next_reply`] returns `None` from now on.
    pub fn close(&self) {
        self.stop.send_replace(true);
        self.shared.workers.store(0, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        *self.stop.borrow()
    }

    /// Encodes a job on the pool and stores the blocks that must exist before it is sent.
    async fn prepare(&self, job: &Job) -> Result<Result<EncodedJob, WireError>, SendError> {
        let (answer, encoded) = oneshot::channel();
        let (shared, job) = (Arc::clone(&self.shared), job.clone());
        let domain = job.domain.clone();
        rayon::spawn(move || {
            let known = |block: &_| shared.stored.known(&job.domain, block);
            let _ = answer.send(encode_job(&job, &known));
        });
        let encoded = encoded
            .await
            .map_err(|_| SendError::Away("the job could not be encoded".to_owned()))?;
        let mut encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Err(error)),
        };
        for block in std::mem::take(&mut encoded.to_store) {
            let putting = self.blocks.put(&domain, &block.hash, &block.bytes);
            match tokio::time::timeout(STORE_DEADLINE, putting).await {
                Ok(Ok(())) => self.shared.stored.insert(&domain, &block.block, block.hash),
                Ok(Err(error)) => return Err(SendError::Away(error.to_string())),
                Err(_) => {
                    let words = "the block store did not answer in time";
                    return Err(SendError::Away(words.to_owned()));
                }
            }
        }
        Ok(Ok(encoded))
    }
}

impl Drop for RabbitJobs {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Jobs for RabbitJobs {
    async fn send(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: Job,
    ) -> Result<(), SendError> {
        if self.is_closed() {
            return Err(SendError::Away("the service is stopping".to_owned()));
        }
        if !self.is_connected() {
            let words = "not connected to RabbitMQ";
            return Err(SendError::Away(words.to_owned()));
        }
        // No worker can take it that fast. (RabbitMQ's shortest expiration is 1 ms.)
        if expires < Duration::from_millis(1) {
            return Ok(());
        }
        self.shared.enter(id, attempt, expires)?;
        let sent = self.send_entered(id, attempt, expires, &job).await;
        if sent.is_err() {
            self.shared.leave(id, attempt);
        }
        sent
    }

    async fn next_reply(&self) -> Option<Returned> {
        let mut stopped = self.stop.subscribe();
        let mut replies = self.replies.lock().await;
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => None,
            reply = replies.recv() => reply,
        }
    }

    fn workers(&self) -> usize {
        if self.is_closed() {
            return 0;
        }
        self.shared.workers.load(Ordering::Relaxed)
    }

    fn threads(&self) -> usize {
        self.shared.threads.load(Ordering::Relaxed)
    }

    fn unshipped(&self, job: &Job) -> usize {
        self.shared.unshipped(job).map(|block| block.bytes()).sum()
    }

    fn ship(&self, job: &Job) {
        if !self.is_closed() {
            shipping::ship(&self.shared, &self.blocks, job);
        }
    }

    fn cards(&self) -> Vec<SeenWorker> {
        self.shared.seen()
    }
}

impl RabbitJobs {
    async fn send_entered(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: &Job,
    ) -> Result<(), SendError> {
        let encoded = match self.prepare(job).await? {
            Ok(encoded) => encoded,
            // Sending it again would not help, so the caller is told why.
            Err(error) => {
                let reply = Reply::Failed(error.to_string());
                let returned = Returned {
                    job: id,
                    attempt,
                    reply,
                    kills_workers: false,
                };
                self.shared.leave(id, attempt);
                return self.failed.try_send(returned).map_err(|_| SendError::Full);
            }
        };
        let options = &self.shared.options;
        let address = JobAddress {
            job: id.0,
            attempt: attempt.0,
        };
        let reply_to = options.names.replies(&options.boot_id);
        let confirm = self
            .publisher
            .publish(Outgoing {
                exchange: "".into(),
                key: options.names.jobs(encoded.kind),
                properties: job_properties(&encoded, address, &reply_to, expires),
                body: encoded.body,
                mandatory: true,
            })
            .await;
        confirm.await.map_err(|fault| match fault {
            PublishFault::Refused => SendError::Full,
            fault => SendError::Away(fault.to_string()),
        })
    }
}

impl Shared {
    fn new(options: RabbitJobsOptions) -> Self {
        Self {
            options,
            stored: StoredBlocks::default(),
            shipping: Shipping::default(),
            sent: Mutex::default(),
            workers: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            receiving: AtomicBool::new(false),
            cards: Mutex::default(),
        }
    }

    /// No code that can panic runs under the lock, so a poisoned lock is harmless.
    fn sent(&self) -> MutexGuard<'_, HashMap<JobId, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a job in flight. A later attempt replaces an earlier one.
    fn enter(&self, id: JobId, attempt: Attempt, expires: Duration) -> Result<(), SendError> {
        let now = Instant::now();
        let mut sent = self.sent();
        if sent.len() >= self.options.capacity.max(1) && !sent.contains_key(&id) {
            sent.retain(|_, job| job.expires > now);
            if sent.len() >= self.options.capacity.max(1) {
                return Err(SendError::Full);
            }
        }
        let far = now + Duration::from_secs(24 * 3600);
        sent.insert(
            id,
            Sent {
                attempt,
                expires: now.checked_add(expires).map_or(far, |end| end.min(far)),
            },
        );
        Ok(())
    }

    /// Records what a worker reported about itself.
    fn saw(&self, card: WorkerCard) {
        let now = Instant::now();
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        if cards.len() >= WORKERS_KNOWN && !cards.contains_key(&card.name) {
            cards.retain(|_, (_, at)| now.duration_since(*at) < WORKER_FORGOTTEN);
            if cards.len() >= WORKERS_KNOWN {
                return;
            }
        }
        cards.insert(card.name.clone(), (card, now));
    }

    /// Updates the number of workers. A worker that has reported nothing yet counts as one thread.
    fn count(&self, workers: usize) {
        self.workers.store(workers, Ordering::Relaxed);
        let seen = self.seen();
        let threads = seen.iter().map(|worker| worker.card.threads as usize);
        let unknown = workers.saturating_sub(seen.len());
        let threads = threads.fold(unknown, usize::saturating_add);
        self.threads.store(threads, Ordering::Relaxed);
    }

    /// Workers that reported recently, by name.
    fn seen(&self) -> Vec<SeenWorker> {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        cards.retain(|_, (_, at)| at.elapsed() < WORKER_FORGOTTEN);
        let mut seen: Vec<SeenWorker> = cards
            .values()
            .map(|(card, at)| SeenWorker {
                card: card.clone(),
                ago: at.elapsed(),
            })
            .collect();
        seen.sort_unstable_by(|a, b| a.card.name.cmp(&b.card.name));
        seen
    }

    fn leave(&self, id: JobId, attempt: Attempt) {
        let mut sent = self.sent();
        if sent.get(&id).is_some_and(|job| job.attempt == attempt) {
            sent.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
