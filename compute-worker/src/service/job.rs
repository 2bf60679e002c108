//! The life of one job: taken, parsed, computed, answered, settled.
//!
//! A job is acknowledged only once the broker has its answer, or the answer is no longer wanted. A message that is not
//! a valid job is answered with a refusal, or dropped if it does not say where to send the reply. The broker redelivers
//! whatever cannot be settled.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use kindred_runtime::amqp::{ReplyAddress, card_to_value, header_text, reply_properties, speaks};
use kindred_shared::job::{JobRefusal, Reply};
use kindred_shared::wire::{
    BlockHash, EncodedReply, JobKind, JobParts, MALFORMED_JOB, UNKNOWN_PROTOCOL, WireError,
    encode_reply, missing_blocks, parse_job, some_of,
};
use kindred_shared::worker::WORKER_HEADER;
use kindred_shared::{Backoff, Block, DomainName, effort};
use lapin::BasicProperties;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blocks::{BlockError, Blocks, CACHE_BYTES};
use super::crash;
use super::status::{JobEnd, WorkerStatus};
use super::turns::Turns;
use crate::worker::{Worker, words_of};

/// Jobs computed at once. Each uses every thread; the second fills the gaps of the first. Among the jobs in hand, the
/// next one comes from the domain that has had the least time.
const COMPUTING: usize = 2;
/// Concurrent reads of one job's blocks from the store.
const READING: usize = 4;
/// Most bytes of the blocks that one job names: the size of the cache.
const BLOCK_BYTES: usize = CACHE_BYTES;
/// Delays before retrying an unreachable store or a full queue.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// Deadline of a job that sets none.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(600);

/// The connection to the broker was lost, or the broker did not confirm in time; it will redeliver whatever was in
/// hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is unreachable: {0}")]
pub(crate) struct Lost(pub(crate) String);

/// What the broker did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// It confirmed the message.
    Confirmed,
    /// The queue does not exist.
    Unroutable,
    /// The queue is full.
    Refused,
}

/// Sends answers.
#[async_trait]
pub(crate) trait Outbox: Send + Sync {
    /// Sends an answer to the sender of the job, and waits for the confirm.
    async fn answer(
        &self,
        to: &ReplyAddress,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost>;
}

/// Settles a message.
#[async_trait]
pub(crate) trait Settle: Send + Sync {
    /// Acknowledges the message.
    async fn ack(&self) -> Result<(), Lost>;
}

/// A message from a job queue, in hand until it is settled.
pub(crate) struct Taken {
    /// The queue it came from.
    pub(crate) kind: JobKind,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
    /// When it was taken.
    pub(crate) at: Instant,
    pub(crate) settle: Box<dyn Settle>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("kind", &self.kind)
            .field("id", self.properties.correlation_id())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Taken {
    /// When the answer is no longer waited for. The broker delivers no expired job, so counting from the delivery is
    /// never too short, and needs no synchronised clocks.
    fn deadline(&self) -> Instant {
        let expiration = self.properties.expiration().as_ref();
        let millis = expiration.and_then(|text| text.as_str().parse().ok());
        self.at + millis.map_or(DEFAULT_EXPIRY, Duration::from_millis)
    }
}

/// A block and the name by which a job refers to it.
type Named = (BlockHash, Arc<Block>);

/// Why the blocks that a job names are not available.
enum Unread {
    /// These are not stored, or not under their hash: the sender must store them again.
    Missing(Vec<BlockHash>),
    /// They take at least this many bytes, which is over the limit for one job.
    TooLarge(usize),
}

/// Why a job ends without an answer.
enum Undone {
    Expired,
    Lost(Lost),
}

impl From<Lost> for Undone {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// Handles jobs, several at a time.
#[derive(Debug)]
pub(crate) struct JobHandler {
    worker: Worker,
    blocks: Arc<Blocks>,
    status: Arc<WorkerStatus>,
    computing: Turns,
}

impl JobHandler {
    /// A handler for this worker.
    pub(crate) fn new(worker: Worker, blocks: Arc<Blocks>, status: Arc<WorkerStatus>) -> Self {
        Self {
            worker,
            blocks,
            status,
            computing: Turns::new(COMPUTING),
        }
    }

    /// Handles one job from receipt to settlement; returns how it ended.
    pub(crate) async fn handle(&self, taken: Taken, outbox: &dyn Outbox) -> JobEnd {
        let begun = taken.at;
        let id = taken.properties.correlation_id().clone();
        let kind = taken.kind.word();
        let in_hand = self.status.taken();
        let end = match self.settle(taken, outbox).await {
            Ok(end) => end,
            Err(Undone::Expired) => JobEnd::Expired,
            Err(Undone::Lost(lost)) => {
                tracing::warn!(?id, kind, %lost, "job not settled; it will be delivered again");
                JobEnd::Lost
            }
        };
        in_hand.ended(end, begun.elapsed());
        tracing::debug!(?id, kind, end = end.word(), after = ?begun.elapsed(), "job ended");
        end
    }

    async fn settle(&self, taken: Taken, outbox: &dyn Outbox) -> Result<JobEnd, Undone> {
        let deadline = taken.deadline();
        let Taken {
            kind,
            properties,
            body,
            settle,
            ..
        } = taken;
        let parsed = match speaks(&properties) {
            Ok(()) => self.on_pool(move || parse_job(kind, &body)).await,
            Err(unknown) => Ok(Err(unknown)),
        };
        let parsed = match parsed {
            Ok(Ok(parts)) => Ok(parts),
            Ok(Err(error @ WireError::UnknownProtocol(_))) => {
                Err((UNKNOWN_PROTOCOL, error.to_string()))
            }
            Ok(Err(error)) => Err((MALFORMED_JOB, error.to_string())),
            Err(panic) => Err((MALFORMED_JOB, panic)),
        };
        let Some(reply_to) = ReplyAddress::of(&properties) else {
            let detail = "it does not say where to send the reply";
            no_job(&properties, detail, "message dropped: it is not a job");
            settle.ack().await?;
            return Ok(JobEnd::Malformed);
        };
        let answer = match parsed {
            Ok(parts) => self.answer(parts, deadline).await,
            Err((reason, detail)) => {
                no_job(&properties, &detail, "message refused");
                let reason = reason.to_owned();
                let refused = Reply::Refused(JobRefusal { reason, detail });
                Ok((encode_reply(&refused), JobEnd::Malformed))
            }
        };
        let (reply, end) = match answer {
            Ok(answer) => answer,
            Err(Undone::Expired) => {
                settle.ack().await?;
                return Ok(JobEnd::Expired);
            }
            Err(lost) => return Err(lost),
        };
        let properties = self.sign(reply_properties(&reply, &properties));
        let published = send(outbox, &reply_to, properties, reply.body, deadline).await?;
        settle.ack().await?;
        Ok(match published {
            _ if end == JobEnd::Malformed => end,
            Published::Unroutable => JobEnd::Orphaned,
            Published::Refused => JobEnd::Expired,
            Published::Confirmed => end,
        })
    }

    /// The answer to a job, and how the job ends with that answer.
    async fn answer(
        &self,
        parts: JobParts,
        deadline: Instant,
    ) -> Result<(EncodedReply, JobEnd), Undone> {
        let named = match self.fetch(&parts, deadline).await? {
            Ok(named) => named,
            Err(Unread::Missing(missing)) => {
                let (domain, blocks) = (parts.domain(), some_of(&missing));
                tracing::warn!(%domain, blocks, "blocks not in the store; the sender must store them again");
                return Ok((missing_blocks(&missing), JobEnd::Failed));
            }
            Err(Unread::TooLarge(bytes)) => {
                let why =
                    format!("its blocks take {bytes} bytes; at most {BLOCK_BYTES} are allowed");
                return Ok(refusal(parts.domain(), why));
            }
        };
        let find = |hash: &BlockHash| {
            let found = named.iter().find(|(named, _)| named == hash);
            found.map(|(_, block)| Arc::clone(block))
        };
        let domain = parts.domain().clone();
        let job = match parts.assemble(find) {
            Ok(job) => job,
            Err(error) => return Ok(refusal(&domain, error.to_string())),
        };
        let turn = self
            .computing
            .next(job.domain.clone(), effort::of(&job.task));
        let Ok(_turn) = tokio::time::timeout_at(deadline, turn).await else {
            return Err(Undone::Expired);
        };
        let worker = self.worker.clone();
        let status = Arc::clone(&self.status);
        let answer = self.on_pool(move || {
            crash::if_asked(&job);
            let reply = worker.perform(&job);
            if let Reply::Compared(compared) = &reply {
                status.compared(compared.pairs);
            }
            let end = match reply {
                Reply::Failed(_) => JobEnd::Failed,
                _ => JobEnd::Answered,
            };
            (encode_reply(&reply), end)
        });
        Ok(answer
            .await
            .unwrap_or_else(|why| (encode_reply(&Reply::Failed(why)), JobEnd::Failed)))
    }

    /// The blocks that a job names, or why they are not available.
    async fn fetch(
        &self,
        parts: &JobParts,
        deadline: Instant,
    ) -> Result<Result<Vec<Named>, Unread>, Undone> {
        let domain = parts.domain();
        let wanted = parts.wanted().into_iter();
        let fetches = wanted.map(|hash| self.fetch_one(domain, hash, deadline));
        let mut fetches = stream::iter(fetches).buffer_unordered(READING);
        let (mut named, mut missing, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        while let Some(fetched) = fetches.next().await {
            match fetched? {
                Ok(block) => {
                    bytes = bytes.saturating_add(block.1.bytes());
                    named.push(block);
                }
                Err(hash) => missing.push(hash),
            }
            if bytes > BLOCK_BYTES {
                return Ok(Err(Unread::TooLarge(bytes)));
            }
        }
        Ok(if missing.is_empty() {
            Ok(named)
        } else {
            Err(Unread::Missing(missing))
        })
    }

    /// One of the blocks; retries an unreachable store until the deadline.
    async fn fetch_one(
        &self,
        domain: &DomainName,
        hash: BlockHash,
        deadline: Instant,
    ) -> Result<Result<Named, BlockHash>, Undone> {
        let mut backoff = RETRY;
        loop {
            match self.blocks.get(domain, hash).await {
                Ok(block) => return Ok(Ok((hash, block))),
                Err(error @ (BlockError::Missing(_) | BlockError::Malformed(..))) => {
                    tracing::debug!(%domain, %error, "block not read");
                    return Ok(Err(hash));
                }
                Err(BlockError::Away(_)) => sleep_before(deadline, &mut backoff).await?,
            }
        }
    }

    /// Adds the worker's card to an answer.
    fn sign(&self, properties: BasicProperties) -> BasicProperties {
        let mut card = self.status.card();
        card.jobs_done += 1;
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(WORKER_HEADER.into(), card_to_value(&card));
        properties.with_headers(headers)
    }

    /// Runs CPU work on the worker's threads; if it panics, returns the panic's message.
    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (sender, receiver) = oneshot::channel();
        self.worker.pool().spawn(move || {
            // The receiver may be gone; then the result is not needed.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let done = receiver.await.expect("the pool runs what it is given");
        done.map_err(|panic| words_of(panic.as_ref()).to_owned())
    }
}

/// The answer to an invalid job whose message could be parsed.
fn refusal(domain: &DomainName, detail: String) -> (EncodedReply, JobEnd) {
    tracing::error!(%domain, why = detail, "job refused");
    let reason = MALFORMED_JOB.to_owned();
    let refused = Reply::Refused(JobRefusal { reason, detail });
    (encode_reply(&refused), JobEnd::Malformed)
}

/// Pauses, longer each time, but not past the deadline.
async fn sleep_before(deadline: Instant, backoff: &mut Backoff) -> Result<(), Undone> {
    let until = Instant::now() + backoff.failed();
    if until >= deadline {
        return Err(Undone::Expired);
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

/// Sends an answer; while its queue is full, retries until the deadline.
async fn send(
    outbox: &dyn Outbox,
    to: &ReplyAddress,
    properties: BasicProperties,
    body: Vec<u8>,
    deadline: Instant,
) -> Result<Published, Lost> {
    let mut backoff = RETRY;
    loop {
        let published = outbox.answer(to, properties.clone(), body.clone()).await?;
        if published != Published::Refused || sleep_before(deadline, &mut backoff).await.is_err() {
            return Ok(published);
        }
    }
}

/// Logs that a message is not a job that this worker can read, and why.
fn no_job(properties: &BasicProperties, why: &str, what: &str) {
    tracing::error!(
        id = ?properties.correlation_id(),
        message_id = ?properties.message_id(),
        domain = header_text(properties, "x-kindred-domain"),
        why,
        "{what}"
    );
}
