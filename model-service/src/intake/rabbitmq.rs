//! The clustered intake: events from the queue of one partition.
//!
//! Messages are read ahead up to a prefetch count (raw, in this process's memory) and handed over
//! up to a number of bytes. A message that can never be accepted is published whole to the
//! dead-letter queue with its reason, confirmed, then acknowledged. After an [`Outcome::Failed`]
//! everything unacknowledged is delivered again, in order, after a pause. The connection stays
//! open, so that an unreachable store does not count as redeliveries by the broker. A lost
//! connection also brings everything again. Nothing is negatively acknowledged; messages are only
//! given back with their connection.
//!
//! Messages that come again after this process died are read one at a time: see [`kindred_domain::intake::poison`],
//! which also explains how their order is kept.

mod dead;
mod feedback;
mod publish;
mod raw;
mod reader;
mod settlements;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use kindred_runtime::amqp::{Connector, Names, Publisher};
use kindred_shared::event::Limits;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::feedback::{TakeFeedback, read_feedback};
pub use self::publish::{Notifier, RabbitPublisher};
pub use self::settlements::Settlements;
use crate::metrics::Metrics;
pub use kindred_domain::intake::poison::{DEAD_FROM, POISONOUS, SUSPECT_FROM};
use kindred_domain::intake::unacked;
use kindred_domain::intake::{Delivery, DeliveryTag, Intake, MayWait, Outcome, Settle};

/// Deliveries waiting for [`Intake::next`]; more wait where they are counted in bytes.
const WAITING: usize = 256;

/// Options of a [`RabbitIntake`].
#[derive(Debug, Clone)]
pub struct RabbitIntakeOptions {
    /// Names on the broker.
    pub names: Names,
    /// The partition.
    pub partition: u16,
    /// Limits on an event's size.
    pub limits: Limits,
    /// Messages read and not acknowledged: 2,000 works well. With the largest messages, this many times
    /// `limits.message_bytes` are in memory.
    pub prefetch: u16,
    /// Most bytes of events delivered and not settled; a larger event is delivered alone.
    pub capacity_bytes: usize,
    /// Events of this process that wait to be settled.
    pub settlements: Arc<Settlements>,
}

/// The delivering end. Dropping it acknowledges what was settled and closes the connection.
pub struct RabbitIntake {
    deliveries: mpsc::Receiver<Delivery>,
    settler: Arc<Settler>,
    /// Deliveries of earlier generations are stale.
    generation: Arc<AtomicU64>,
    link: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
}

enum Command {
    Settle(Vec<(DeliveryTag, Outcome)>),
    Lose(oneshot::Sender<()>),
}

struct Settler {
    /// Unbounded, because each delivery has at most one settlement.
    commands: mpsc::UnboundedSender<Command>,
    generation: Arc<AtomicU64>,
    /// Whether messages are read one at a time.
    is_alone: Arc<AtomicBool>,
}

impl RabbitIntake {
    /// Starts connecting, and keeps reconnecting until dropped. `publisher` sends dead letters,
    /// which are counted. Must be called within a tokio runtime.
    pub fn start(
        connector: Connector,
        publisher: Publisher,
        options: RabbitIntakeOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (commands, told) = mpsc::unbounded_channel();
        let (sender, deliveries) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(false);
        let (up, link) = watch::channel(false);
        let generation = Arc::new(AtomicU64::new(1));
        let is_alone = Arc::new(AtomicBool::new(true));
        let reader = reader::QueueReader::new(
            connector,
            publisher,
            options,
            metrics,
            reader::Ends {
                told,
                deliveries: sender,
                generation: Arc::clone(&generation),
                is_alone: Arc::clone(&is_alone),
                stopped,
                up,
            },
        );
        tokio::spawn(reader.run());
        Self {
            deliveries,
            settler: Arc::new(Settler {
                commands,
                generation: Arc::clone(&generation),
                is_alone,
            }),
            generation,
            link,
            stop,
        }
    }

    /// Whether it is consuming its queue.
    pub fn is_connected(&self) -> bool {
        *self.link.borrow()
    }

    /// Closes the connection and opens another: everything unacknowledged comes again.
    pub async fn drop_connection(&self) {
        let (lost, done) = oneshot::channel();
        let _ = self.settler.commands.send(Command::Lose(lost));
        // An error means that the reader has ended, and the connection with it.
        let _ = done.await;
    }
}

impl Drop for RabbitIntake {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

#[async_trait]
impl Intake for RabbitIntake {
    async fn next(&mut self, most: usize) -> Option<Vec<Delivery>> {
        let mut batch = Vec::new();
        loop {
            let count = self.deliveries.recv_many(&mut batch, most.max(1)).await;
            if count == 0 {
                return None;
            }
            let generation = self.generation.load(Ordering::Acquire);
            batch.retain(|delivery| unacked::generation_of(delivery.tag) == generation);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    fn settler(&self) -> Arc<dyn Settle> {
        Arc::<Settler>::clone(&self.settler)
    }
}

impl Settle for Settler {
    fn settle(&self, settled: Vec<(DeliveryTag, Outcome)>) {
        // If the reader has ended, its connection is lost, and the tags with it.
        let _ = self.commands.send(Command::Settle(settled));
    }

    fn may_wait(&self, tag: DeliveryTag) -> MayWait {
        if unacked::generation_of(tag) != self.generation.load(Ordering::Acquire) {
            MayWait::Stale
        } else if self.is_alone.load(Ordering::Acquire) {
            MayWait::No
        } else {
            MayWait::Yes
        }
    }
}

#[cfg(test)]
mod tests;
