//! Dispatch as the domain core knows it: jobs out to compute workers, replies back. The trait has the
//! broker's semantics: a job may be lost, done twice, or answered late; only the deadline in the
//! dispatch table knows. Nobody waits inside an implementation.

use std::time::Duration;

use async_trait::async_trait;
use kindred_shared::job::{Job, Reply};
use kindred_shared::worker::WorkerCard;

use crate::intake::Failure;

/// Number of a job, unique in one process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Which sending of a job this is: 1 is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// A reply as it comes back.
#[derive(Debug)]
pub struct Returned {
    /// The job it answers.
    pub job: JobId,
    /// The sending it answers.
    pub attempt: Attempt,
    /// The answer.
    pub reply: Reply,
    /// The job killed every worker that took it, so sending it again could only do harm. The answer is then
    /// [`Reply::Failed`].
    pub kills_workers: bool,
}

/// Why a job was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; later there is room again.
    #[error("the job queue is full")]
    Full,
    /// The edge is closed or away.
    #[error("the job queue is unreachable: {0}")]
    Away(String),
}

/// Why a job was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// No worker could do it, however often it was tried: the job itself may be at fault.
    GivenUp(Failure),
    /// No worker answered, however often it was sent. That says nothing about the job.
    Unanswered(Failure),
    /// The service is stopping. That says nothing about the job.
    Stopping,
}

impl From<Undone> for Failure {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::GivenUp(failure) | Undone::Unanswered(failure) => failure,
            Undone::Stopping => Self::passing("the service is stopping"),
        }
    }
}

/// What a worker reported about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWorker {
    /// What it said.
    pub card: WorkerCard,
    /// How long ago.
    pub ago: Duration,
}

/// Where jobs go and replies come from.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Hands a job to the workers. `Ok` means that it is queued, not that anyone will answer. A worker that receives it
    /// later than `expires` from now does not do it.
    async fn send(
        &self,
        id: JobId,
        attempt: Attempt,
        expires: Duration,
        job: Job,
    ) -> Result<(), SendError>;

    /// The next reply. `None`: the edge is closed for good. Cancel-safe; one caller at a time.
    async fn next_reply(&self) -> Option<Returned>;

    /// The number of known workers; 0: nothing consumes jobs, so none is sent again.
    fn workers(&self) -> usize;

    /// Threads of all workers together, as far as they are known: how much may be on its way.
    fn threads(&self) -> usize {
        self.workers()
    }

    /// Bytes of blocks that workers cannot have yet and need for a job.
    fn unshipped(&self, _: &Job) -> usize {
        0
    }

    /// Begins to bring those blocks where workers find them, unless that is under way. Nobody waits for it.
    fn ship(&self, _: &Job) {}

    /// What workers have recently reported about themselves.
    fn cards(&self) -> Vec<SeenWorker> {
        Vec::new()
    }
}
