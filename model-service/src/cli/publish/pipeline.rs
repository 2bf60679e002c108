//! Sends events to the broker: a bounded number in flight, confirmed in order.
//!
//! If an event is not confirmed, it and all events after it are sent again, in order. Those that
//! the broker had already accepted arrive twice, which versions make harmless; and two events of
//! one item with the same version keep their order.

use std::collections::VecDeque;
use std::time::Duration;

use kindred_runtime::amqp::{Confirmed, Outgoing, PublishFault, Publisher};
use kindred_shared::DomainName;
use tokio::sync::mpsc;

use super::super::exit::{CommandError, Exit};
use super::super::import::{Position, Reject};
use super::super::retry::Retry;
use super::served::Mark;

/// Something read from an input.
#[derive(Debug)]
pub(super) struct PipelineEntry {
    /// The position right after it.
    pub(super) after: Position,
    /// What to do with it.
    pub(super) work: Work,
    /// How to recognise its event later, if that will be asked.
    pub(super) mark: Option<(DomainName, Mark)>,
}

/// What to do with something read.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Publish it.
    Event(Box<Outgoing>),
    /// Write it to the rejects file.
    Rejected(Box<Reject>),
}

/// Limits of the pipeline.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    /// The broker's address, for messages.
    pub(super) place: String,
    /// Most entries taken but not settled.
    pub(super) in_flight: usize,
    /// How long to retry while nothing is confirmed.
    pub(super) timeout: Duration,
}

/// Accepts messages and reports the outcome of each.
pub(super) trait Broker {
    /// Sends a message, in the order of the calls.
    fn send(&self, message: Outgoing) -> impl Future<Output = Confirmed>;
}

impl Broker for Publisher {
    async fn send(&self, message: Outgoing) -> Confirmed {
        self.publish(message).await
    }
}

/// Observes the progress.
pub(super) trait Watch {
    /// An entry is settled, and so are all before it.
    fn settled(&mut self, entry: PipelineEntry) -> Result<(), CommandError>;
    /// A message for people.
    fn say(&self, words: &str);
}

/// Publishes entries until the channel is closed and all are settled.
///
/// # Errors
/// When nothing was confirmed for too long, or retrying does not help: no queue is bound, or the
/// user may not publish.
pub(super) async fn run(
    broker: &impl Broker,
    mut entries: mpsc::Receiver<PipelineEntry>,
    flow: &Flow,
    watch: &mut impl Watch,
) -> Result<(), CommandError> {
    let mut window: VecDeque<PipelineEntry> = VecDeque::with_capacity(flow.in_flight);
    // Confirmations of the first entries of the window; `None`: an entry that is not published.
    let mut confirms: VecDeque<Option<Confirmed>> = VecDeque::with_capacity(flow.in_flight);
    let mut retry = Retry::new(flow.timeout);
    let (mut open, mut told) = (true, false);
    loop {
        while let Some(entry) = window.get(confirms.len()) {
            confirms.push_back(match &entry.work {
                Work::Event(message) => Some(broker.send((**message).clone()).await),
                Work::Rejected(_) => None,
            });
        }
        if let Some(None) = confirms.front() {
            confirms.pop_front();
            settle(&mut window, watch)?;
            continue;
        }
        if !open && window.is_empty() {
            return Ok(());
        }
        let confirmed = tokio::select! {
            entry = entries.recv(), if open && window.len() < flow.in_flight => {
                match entry {
                    Some(entry) => window.push_back(entry),
                    None => open = false,
                }
                continue;
            }
            confirmed = front(&mut confirms), if !confirms.is_empty() => confirmed,
        };
        confirms.pop_front();
        let fault = match confirmed {
            Ok(()) => {
                settle(&mut window, watch)?;
                retry.renew();
                if std::mem::take(&mut told) {
                    watch.say(&format!("RabbitMQ at {} accepts events again", flow.place));
                }
                continue;
            }
            Err(fault) => fault,
        };
        // Nothing is sent again while older messages are still in flight.
        for confirm in confirms.drain(..).flatten() {
            let _ = confirm.await;
        }
        let (exit, trouble) = judge(&fault, &flow.place)?;
        let Some(pause) = retry.next_pause() else {
            return Err(retry.given_up(exit, &trouble));
        };
        if !std::mem::replace(&mut told, true) {
            watch.say(&retry.words(&trouble));
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether retrying may help: if not, the exit code; and what is wrong.
fn judge(fault: &PublishFault, place: &str) -> Result<(Exit, String), CommandError> {
    match fault {
        PublishFault::Away(words) if words.contains("ACCESS_REFUSED") => Err(CommandError::failed(
            format!("RabbitMQ at {place} forbids this user to publish: {words}"),
        )),
        PublishFault::Refused => Ok((
            Exit::Failed,
            format!(
                "RabbitMQ at {place}: a partition's queue is full until model services catch up"
            ),
        )),
        PublishFault::Unroutable(words) => Err(CommandError::failed(format!(
            "the topology is missing at {place}: no queue is bound behind kindred.items \
             ({words}); start a model service, which creates what is missing, or import \
             deploy/rabbitmq/definitions.json; `kindred doctor` says more"
        ))),
        fault => Ok((Exit::Unreachable, format!("RabbitMQ at {place}: {fault}"))),
    }
}

/// Waits for the outcome of the oldest message; it stays in the queue until removed.
async fn front(confirms: &mut VecDeque<Option<Confirmed>>) -> Result<(), PublishFault> {
    match confirms.front_mut() {
        Some(Some(confirm)) => confirm.await,
        Some(None) | None => Ok(()),
    }
}

fn settle(
    window: &mut VecDeque<PipelineEntry>,
    watch: &mut impl Watch,
) -> Result<(), CommandError> {
    window
        .pop_front()
        .map_or(Ok(()), |entry| watch.settled(entry))
}
