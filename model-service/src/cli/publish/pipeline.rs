//! Events on their way to the broker: a bounded number, confirmed in order.
//!
//! When one is not confirmed, it and all after it are sent again, in order. Those that the broker
//! had already taken come twice, which versions make harmless; and of two events of one item with
//! the same version the later one stays the later one.

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
    /// The place right after it.
    pub(super) after: Position,
    /// What is to be done with it.
    pub(super) work: Work,
    /// What an event is known by, where somebody will ask for it.
    pub(super) mark: Option<(DomainName, Mark)>,
}

/// What is to be done with something read.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// It is to be published.
    Event(Box<Outgoing>),
    /// It goes into the rejects file.
    Rejected(Box<Reject>),
}

/// How much at once, and how long.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    /// The broker, for messages.
    pub(super) place: String,
    /// Most entries taken and not settled.
    pub(super) in_flight: usize,
    /// How long it is tried while nothing is confirmed.
    pub(super) timeout: Duration,
}

/// Who takes messages and says what became of each.
pub(super) trait Broker {
    /// Hands a message over, in the order of the calls.
    fn send(&self, message: Outgoing) -> impl Future<Output = Confirmed>;
}

impl Broker for Publisher {
    async fn send(&self, message: Outgoing) -> Confirmed {
        self.publish(message).await
    }
}

/// Who is told how it goes.
pub(super) trait Watch {
    /// An entry is done with, and so are all before it.
    fn settled(&mut self, entry: PipelineEntry) -> Result<(), CommandError>;
    /// People should know.
    fn say(&self, words: &str);
}

/// Publishes all entries until whoever hands them over lets go, and all are settled.
///
/// # Errors
/// When nothing was confirmed for too long, or trying again does not help: no queue is bound, or
/// the user may not publish.
pub(super) async fn run(
    broker: &impl Broker,
    mut entries: mpsc::Receiver<PipelineEntry>,
    flow: &Flow,
    watch: &mut impl Watch,
) -> Result<(), CommandError> {
    let mut window: VecDeque<PipelineEntry> = VecDeque::with_capacity(flow.in_flight);
    // Of the first entries of the window; `None`: one that is not published.
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
                    watch.say(&format!("RabbitMQ at {} takes events again", flow.place));
                }
                continue;
            }
            Err(fault) => fault,
        };
        // Nothing is sent again while older messages are still on their way.
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

/// Whether trying again may help: how it ends if it does not, and what is wrong.
fn judge(fault: &PublishFault, place: &str) -> Result<(Exit, String), CommandError> {
    match fault {
        PublishFault::Away(words) if words.contains("ACCESS_REFUSED") => Err(CommandError::failed(
            format!("RabbitMQ at {place} does not let this user publish: {words}"),
        )),
        PublishFault::Refused => Ok((
            Exit::Failed,
            format!(
                "RabbitMQ at {place}: a partition's queue is full until model services catch up"
            ),
        )),
        PublishFault::Unroutable(words) => Err(CommandError::failed(format!(
            "the topology is missing at {place}: no queue is bound behind kindred.items ({words}); \
             start a model service, which makes what is missing, or import \
             deploy/rabbitmq/definitions.json; `kindred doctor` says more"
        ))),
        fault => Ok((Exit::Unreachable, format!("RabbitMQ at {place}: {fault}"))),
    }
}

/// What became of the oldest message; the answer stays in its place until it is taken away.
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
