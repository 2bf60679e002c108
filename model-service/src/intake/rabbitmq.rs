//! The clustered twin: events from the queue of one partition.
//!
//! Messages are read ahead up to a prefetch count (raw, in this process's memory) and handed over
//! up to a number of bytes. What can never be taken is published whole to the dead-letter queue
//! with its reason, confirmed, then acknowledged. An [`Outcome::Failed`] hands everything that is
//! not acknowledged over again, in order, after a pause; the connection stays, so that an absent
//! store does not count as redeliveries by the broker. A lost connection brings everything again,
//! too. Nothing is negatively acknowledged, nor given back but with its connection.
//!
//! Messages that come again after this process died are read with care: see [`kindred_domain::intake::care`], also for
//! what keeps their order.

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
pub use kindred_domain::intake::care::{CAREFUL_FROM, DEAD_FROM, POISONOUS};
use kindred_domain::intake::held;
use kindred_domain::intake::{Delivery, DeliveryTag, Intake, MayWait, Outcome, Settle};

/// Deliveries that wait for [`Intake::next`]; more wait where they are counted in bytes.
const WAITING: usize = 256;

/// What a [`RabbitIntake`] is told.
#[derive(Debug, Clone)]
pub struct RabbitIntakeOptions {
    /// Names on the broker.
    pub names: Names,
    /// The partition.
    pub partition: u16,
    /// What an event may measure.
    pub limits: Limits,
    /// Messages read and not acknowledged: 2,000 is a good number. With the largest messages this
    /// many times `limits.message_bytes` lie in memory.
    pub prefetch: u16,
    /// Bytes of events handed over and not settled; a larger event is handed over alone.
    pub capacity_bytes: usize,
    /// Events of this process whose settling it waits for.
    pub settlements: Arc<Settlements>,
}

/// The delivering end. Dropping it acknowledges what was settled and drops the connection.
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
    /// Unbounded, because there is a settlement for each delivery at most.
    commands: mpsc::UnboundedSender<Command>,
    generation: Arc<AtomicU64>,
    /// Messages are read one at a time.
    is_alone: Arc<AtomicBool>,
}

impl RabbitIntake {
    /// Starts connecting, and goes on until it is dropped. `publisher` takes dead letters, which are counted.
    /// Must be called within a tokio runtime.
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
        let reader = reader::Reader::new(
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

    /// Whether it consumes its queue now.
    pub fn is_connected(&self) -> bool {
        *self.link.borrow()
    }

    /// Drops the connection and makes another: all that was not acknowledged comes again.
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
            batch.retain(|delivery| held::generation_of(delivery.tag) == generation);
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
        // When the reader has ended, its connection is lost, and tags with it.
        let _ = self.commands.send(Command::Settle(settled));
    }

    fn may_wait(&self, tag: DeliveryTag) -> MayWait {
        if held::generation_of(tag) != self.generation.load(Ordering::Acquire) {
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
