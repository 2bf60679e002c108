//! What happens to one job: taken, read, done, answered, settled.
//!
//! A job is acknowledged only when its answer is with the broker, or nobody wants the answer any more. A
//! message that is no job is answered too, with a refusal; one that does not say whom to answer is dropped.
//! Whatever cannot be settled is delivered again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use kindred_runtime::amqp::{card_to_value, header_text, reply_properties, speaks};
use kindred_shared::job::{JobRefusal, Reply};
use kindred_shared::wire::{
    BlockHash, EncodedReply, JobKind, JobParts, MALFORMED_JOB, UNKNOWN_PROTOCOL, WireError,
    encode_reply, missing_blocks, parse_job,
};
use kindred_shared::worker::WORKER_HEADER;
use kindred_shared::{Backoff, Block, DomainName, effort};
use lapin::BasicProperties;
use lapin::types::ShortString;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blocks::{BlockError, Blocks};
use super::dying;
use super::report::{JobEnd, Report};
use super::turns::Turns;
use crate::worker::{Worker, words_of};

/// Jobs computed at once. Each uses every thread; the second fills the gaps of the first. The next one is
/// a domain's that has had least time, of those in hand.
const COMPUTING: usize = 2;
/// Blocks of one job read from the store at once.
const READING: usize = 4;
/// Before an absent store is asked, or a full queue is tried, again.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// Deadline of a job that names none.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(600);

/// The broker was lost, or did not confirm in time: what was in hand is delivered again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is away: {0}")]
pub(crate) struct Lost(pub(crate) String);

/// What the broker did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// It has it, safely.
    Confirmed,
    /// There is no such queue.
    Unroutable,
    /// The queue is full.
    Refused,
}

/// Where answers go.
#[async_trait]
pub(crate) trait Outbox: Send + Sync {
    /// Sends an answer to the queue of who asked, and waits for the confirm.
    async fn answer(
        &self,
        queue: &ShortString,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost>;
}

/// Tells the broker that a message is dealt with.
#[async_trait]
pub(crate) trait Settle: Send + Sync {
    /// Acknowledges it.
    async fn ack(&self) -> Result<(), Lost>;
}

/// A message of a job queue, in hand until it is settled.
pub(crate) struct Taken {
    /// Which queue it is from.
    pub(crate) kind: JobKind,
    /// Its properties.
    pub(crate) properties: BasicProperties,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// When it was taken.
    pub(crate) at: Instant,
    /// What settles it.
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
    /// When nobody waits for the answer any more. The broker delivers no job that has expired, so
    /// counting from the delivery is never too short, and needs no common clock.
    fn deadline(&self) -> Instant {
        let expiration = self.properties.expiration().as_ref();
        let millis = expiration.and_then(|text| text.as_str().parse().ok());
        self.at + millis.map_or(DEFAULT_EXPIRY, Duration::from_millis)
    }
}

/// A block and the name a job gives it.
type Named = (BlockHash, Arc<Block>);

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

/// Deals with jobs, several at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    worker: Worker,
    blocks: Arc<Blocks>,
    report: Arc<Report>,
    computing: Turns,
}

impl Desk {
    /// A desk for this worker.
    pub(crate) fn new(worker: Worker, blocks: Arc<Blocks>, report: Arc<Report>) -> Self {
        Self {
            worker,
            blocks,
            report,
            computing: Turns::new(COMPUTING),
        }
    }

    /// Deals with one job from the taking to the settlement, and says how it ended.
    pub(crate) async fn deal(&self, taken: Taken, outbox: &dyn Outbox) -> JobEnd {
        let begun = taken.at;
        let id = taken.properties.correlation_id().clone();
        let kind = taken.kind.word();
        let in_hand = self.report.taken();
        let end = match self.dealt(taken, outbox).await {
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

    async fn dealt(&self, taken: Taken, outbox: &dyn Outbox) -> Result<JobEnd, Undone> {
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
        let Some(reply_to) = properties.reply_to().clone() else {
            let detail = "it does not say whom to answer";
            no_job(&properties, detail, "message is no job; it is dropped");
            settle.ack().await?;
            return Ok(JobEnd::Malformed);
        };
        let answer = match parsed {
            Ok(parts) => self.answer(parts, deadline).await,
            Err((reason, detail)) => {
                no_job(&properties, &detail, "message is refused");
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

    /// The answer to a job, and how the job ends with it.
    async fn answer(
        &self,
        parts: JobParts,
        deadline: Instant,
    ) -> Result<(EncodedReply, JobEnd), Undone> {
        let named = match self.fetch(&parts, deadline).await? {
            Ok(named) => named,
            Err(missing) => return Ok((missing_blocks(&missing), JobEnd::Failed)),
        };
        let find = |hash: &BlockHash| {
            let found = named.iter().find(|(named, _)| named == hash);
            found.map(|(_, block)| Arc::clone(block))
        };
        let job = match parts.assemble(find) {
            Ok(job) => job,
            Err(error) => {
                let failed = Reply::Failed(error.to_string());
                return Ok((encode_reply(&failed), JobEnd::Failed));
            }
        };
        let turn = self
            .computing
            .next(job.domain.clone(), effort::of(&job.task));
        let Ok(_turn) = tokio::time::timeout_at(deadline, turn).await else {
            return Err(Undone::Expired);
        };
        let worker = self.worker.clone();
        let report = Arc::clone(&self.report);
        let answer = self.on_pool(move || {
            dying::taken_up(&job);
            let reply = worker.perform(&job);
            if let Reply::Compared(compared) = &reply {
                report.compared(compared.pairs);
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

    /// The blocks a job names; `Err` inside: those that are not stored, or not as named, which
    /// who asked must store again.
    async fn fetch(
        &self,
        parts: &JobParts,
        deadline: Instant,
    ) -> Result<Result<Vec<Named>, Vec<BlockHash>>, Undone> {
        let domain = parts.domain();
        let wanted = parts.wanted().into_iter();
        let fetches = wanted.map(|hash| self.fetch_one(domain, hash, deadline));
        let mut fetches = stream::iter(fetches).buffer_unordered(READING);
        let (mut named, mut missing) = (Vec::new(), Vec::new());
        while let Some(fetched) = fetches.next().await {
            match fetched? {
                Ok(block) => named.push(block),
                Err(hash) => missing.push(hash),
            }
        }
        Ok(if missing.is_empty() {
            Ok(named)
        } else {
            Err(missing)
        })
    }

    /// One of them; asks an absent store again until the deadline.
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
                    tracing::warn!(%domain, %error, "block asked for again");
                    return Ok(Err(hash));
                }
                Err(BlockError::Away(_)) => sleep_before(deadline, &mut backoff).await?,
            }
        }
    }

    /// Adds who did the job.
    fn sign(&self, properties: BasicProperties) -> BasicProperties {
        let mut card = self.report.card();
        card.jobs_done += 1;
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(WORKER_HEADER.into(), card_to_value(&card));
        properties.with_headers(headers)
    }

    /// Runs CPU work on the worker's threads; the words of its panic, if it panics.
    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (sender, receiver) = oneshot::channel();
        self.worker.pool().spawn(move || {
            // Whoever waited may be gone: then nobody wants the outcome.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let done = receiver.await.expect("the pool runs what it is given");
        done.map_err(|panic| words_of(panic.as_ref()).to_owned())
    }
}

/// Pauses, longer each time; not past the deadline.
async fn sleep_before(deadline: Instant, backoff: &mut Backoff) -> Result<(), Undone> {
    let until = Instant::now() + backoff.failed();
    if until >= deadline {
        return Err(Undone::Expired);
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

/// Sends an answer; while its queue is full, again until the deadline.
async fn send(
    outbox: &dyn Outbox,
    queue: &ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    deadline: Instant,
) -> Result<Published, Lost> {
    let mut backoff = RETRY;
    loop {
        let published = outbox
            .answer(queue, properties.clone(), body.clone())
            .await?;
        if published != Published::Refused || sleep_before(deadline, &mut backoff).await.is_err() {
            return Ok(published);
        }
    }
}

/// Says that a message is no job that can be read here, and why.
fn no_job(properties: &BasicProperties, why: &str, what: &str) {
    tracing::error!(
        id = ?properties.correlation_id(),
        message_id = ?properties.message_id(),
        domain = header_text(properties, "x-kindred-domain"),
        why,
        "{what}"
    );
}
