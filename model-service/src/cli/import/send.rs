//! Sends batches: a few at a time, never two of one domain at once, retrying each until it is
//! answered.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_api::batch::BatchAnswer;
use kindred_api::path;
use kindred_api::problem::word;
use kindred_shared::DomainName;

use super::batch::ImportBatch;
use crate::cli::client::Client;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::retry::Retry;
use crate::client::Response;

/// Batches in flight at once.
pub(crate) const SENDERS: usize = 4;
/// Batches waiting to be sent.
const WAITING: usize = 8;
/// Temporary failures: too many connections, or the store is unreachable.
const PASSING: [u16; 2] = [429, 503];

/// A line that the server rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its index in the batch, from 0.
    pub(crate) at: usize,
    /// The stable reason code.
    pub(crate) reason: String,
    /// What is wrong, and what would be right.
    pub(crate) detail: String,
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settled {
    /// Lines that are durable.
    pub(crate) accepted: u64,
    /// Lines that were rejected.
    pub(crate) refused: Vec<Refused>,
}

/// Observes sending, called from several threads at once.
pub(crate) trait Watch: Sync {
    /// A batch was answered.
    fn settled(&self, batch: &ImportBatch, settled: Settled) -> Result<(), CommandError>;
    /// A message for people.
    fn say(&self, words: &str);
}

#[derive(Default)]
struct SendQueue {
    waiting: VecDeque<ImportBatch>,
    busy: HashSet<DomainName>,
    closed: bool,
    failure: Option<CommandError>,
}

/// The connection to one server.
pub(crate) struct Sender<'a> {
    client: &'a Client,
    /// How long to retry a batch.
    timeout: Duration,
    watch: &'a dyn Watch,
    state: Mutex<SendQueue>,
    changed: Condvar,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(client: &'a Client, timeout: Duration, watch: &'a dyn Watch) -> Self {
        Self {
            client,
            timeout,
            watch,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Sends all that `feed` hands to [`Sender::push`]; returns when all of it was answered.
    ///
    /// # Errors
    /// The first failure of the feed or of sending; some pushed batches may then not have been
    /// sent.
    pub(crate) fn run(
        &self,
        feed: impl FnOnce() -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| self.work());
            }
            let fed = feed();
            // Lines before the point where an input broke off are still sent.
            self.lock().closed = true;
            self.changed.notify_all();
            fed
        })
        .and_then(|()| self.lock().failure.take().map_or(Ok(()), Err))
    }

    /// Queues a batch; blocks while the queue is full.
    pub(crate) fn push(&self, batch: ImportBatch) -> Result<(), CommandError> {
        let mut state = self.lock();
        while state.waiting.len() >= WAITING && state.failure.is_none() {
            state = self.wait(state);
        }
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.waiting.push_back(batch);
        self.changed.notify_all();
        Ok(())
    }

    fn work(&self) {
        while let Some(batch) = self.next() {
            let result = self
                .send(&batch)
                .and_then(|settled| self.watch.settled(&batch, settled));
            let mut state = self.lock();
            state.busy.remove(&batch.domain);
            if let Err(failure) = result {
                state.failure.get_or_insert(failure);
            }
            self.changed.notify_all();
        }
    }

    /// The first batch whose domain has no batch in flight.
    fn next(&self) -> Option<ImportBatch> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            let free = state
                .waiting
                .iter()
                .position(|batch| !state.busy.contains(&batch.domain));
            if let Some(batch) = free.and_then(|at| state.waiting.remove(at)) {
                state.busy.insert(batch.domain.clone());
                self.changed.notify_all();
                return Some(batch);
            }
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// Sends one batch until it is answered. Sending it twice is harmless: every line has a
    /// version.
    fn send(&self, batch: &ImportBatch) -> Result<Settled, CommandError> {
        let path = path::batch(batch.domain.as_str());
        let mut retry = Retry::new(self.timeout);
        let mut told = false;
        let mut failed_once = false;
        loop {
            let trouble = match self.client.post(&path, &batch.body) {
                Ok(answer) if !PASSING.contains(&answer.status) => {
                    if told {
                        self.watch
                            .say(&format!("{} answers again", self.client.base()));
                    }
                    return self.settle(batch, &answer);
                }
                Ok(answer) => CommandError::failed(format!(
                    "{} cannot take events now: {}",
                    self.client.base(),
                    answer.words()
                )),
                Err(failure) if failure.exit == Exit::Unreachable => failure,
                Err(failure) => return Err(failure),
            };
            let Some(pause) = retry.next_pause() else {
                return Err(retry.given_up(trouble.exit, &trouble.message));
            };
            // A kept-alive connection may have gone stale; only a second failure is reported.
            if failed_once && !told {
                told = true;
                self.watch.say(&retry.words(&trouble.message));
            }
            failed_once = true;
            self.pause(pause)?;
        }
    }

    /// Waits, unless another batch fails meanwhile.
    fn pause(&self, time: Duration) -> Result<(), CommandError> {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn settle(&self, batch: &ImportBatch, answer: &Response) -> Result<Settled, CommandError> {
        let lines = batch.places.len();
        if !answer.is_success() {
            // A problem of the whole batch (the domain may not be written to) applies to every
            // line; any other answer is not Kindred's.
            let Some(problem) = answer
                .problem()
                .filter(|_| (400..500).contains(&answer.status))
            else {
                return Err(CommandError::failed(format!(
                    "{} refused a batch of {}: {}",
                    self.client.base(),
                    batch.domain,
                    answer.words()
                )));
            };
            let refused = (0..lines).map(|at| Refused {
                at,
                reason: problem.word().to_owned(),
                detail: problem.detail.clone(),
            });
            return Ok(Settled {
                accepted: 0,
                refused: refused.collect(),
            });
        }
        let answer: BatchAnswer = self.client.read(answer)?;
        let more = answer.rejected_more.unwrap_or(0);
        let told = answer.rejected.len() as u64 + more;
        if answer.accepted + told != lines as u64 || more > 0 {
            return Err(self.client.other(&format!(
                "{} of {lines} lines were accepted and {told} rejected",
                answer.accepted
            )));
        }
        answer
            .rejected
            .into_iter()
            .map(|line| {
                let at = usize::try_from(line.line)
                    .ok()
                    .and_then(|line| line.checked_sub(1));
                let none = || self.client.other(&format!("no line {}", line.line));
                Ok(Refused {
                    at: at.filter(|at| *at < lines).ok_or_else(none)?,
                    reason: word(&line.kind).to_owned(),
                    detail: line.detail,
                })
            })
            .collect::<Result<_, _>>()
            .map(|refused| Settled {
                accepted: answer.accepted,
                refused,
            })
    }

    fn lock(&self) -> MutexGuard<'_, SendQueue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, SendQueue>) -> MutexGuard<'g, SendQueue> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}
