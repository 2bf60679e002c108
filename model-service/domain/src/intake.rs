//! Intake as the domain core knows it: events come in, and each is settled once its content is durable. The trait has
//! the broker's semantics: at least once, in order, redelivered after a connection loss. [`unacked`] tracks what has
//! been read from a queue, [`rewind`] decides when it is handed over again, [`poison`] finds events that kill the
//! service, and [`pacing`] makes events wait for their domain's turn.

pub mod pacing;
pub mod poison;
pub mod rewind;
pub mod size;
pub mod unacked;

use std::sync::Arc;

use async_trait::async_trait;
use kindred_shared::event::{Event, Refusal};
use kindred_shared::{DomainName, ItemId, ModelName};

/// Identifies a delivery until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(pub u64);

/// An event as delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// To be passed to [`Settle::settle`].
    pub tag: DeliveryTag,
    /// How often it was delivered before.
    pub redeliveries: u32,
    /// The event's domain.
    pub domain: DomainName,
    /// The event, which is valid.
    pub event: Arc<Event>,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The event is durable (or older than what is stored): acknowledge it. With the version, for an item's event.
    Stored(Option<u64>),
    /// It can never be accepted: dead-letter the whole message with the reason, then acknowledge it.
    Refused(Refusal),
    /// It could not be stored now: leave it unacknowledged, so that it comes again.
    Failed(Failure),
}

/// Why something valid could not be done now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Whether only a person can help (disk full, store damaged); otherwise it may work later.
    pub needs_help: bool,
    /// What went wrong and, where known, the remedy.
    pub detail: String,
}

impl Failure {
    /// A failure that may go away by itself.
    pub fn passing(detail: impl Into<String>) -> Self {
        Self {
            needs_help: false,
            detail: detail.into(),
        }
    }
}

/// Where deliveries come from.
#[async_trait]
pub trait Intake: Send + 'static {
    /// The next deliveries, in order: at least one, at most `most`. `None`: the intake is closed for good, and
    /// everything delivered has been returned.
    async fn next(&mut self, most: usize) -> Option<Vec<Delivery>>;

    /// Settles deliveries, from anywhere.
    fn settler(&self) -> Arc<dyn Settle>;
}

/// Settles deliveries, each tag once. A tag of a lost connection has no effect.
pub trait Settle: Send + Sync + 'static {
    /// Settles these deliveries, in this order.
    fn settle(&self, settled: Vec<(DeliveryTag, Outcome)>);

    /// Whether a delivery may be kept waiting before it is processed.
    fn may_wait(&self, _: DeliveryTag) -> MayWait {
        MayWait::No
    }
}

/// Whether a delivery may be kept waiting before it is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayWait {
    /// No: its publisher is waiting, or other domains' events wait behind it.
    No,
    /// Yes: other events are delivered meanwhile.
    Yes,
    /// It will come again under another tag; settling it has no effect.
    Stale,
}

/// Why an event was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// The service refuses it for good.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored now.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The service is stopping or the other side is unreachable; nothing was stored, and the event may be sent again.
    #[error("the event was not accepted: {0}")]
    Away(String),
}

/// Waits until a published event is durable, refused or not stored. Includes the version of an item's event if the
/// domain's owner answers, but not if a broker does.
pub type Confirm =
    std::pin::Pin<Box<dyn Future<Output = Result<Option<u64>, PublishError>> + Send + 'static>>;

/// An item's event is durable at its domain's owner, and readers no longer see what it takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The version that it was given or came with.
    pub version: Option<u64>,
}

/// Waits until this process, as the domain's owner, has settled a published event or refused it. `None`, or no end at
/// all: another process does that.
pub type Settlement =
    std::pin::Pin<Box<dyn Future<Output = Option<Result<Settled, Refusal>>> + Send + 'static>>;

/// Publishes this process's own events (HTTP, the demo).
#[async_trait]
pub trait Publish: Send + Sync + 'static {
    /// Publishes an event, in the order of the calls; waits while too many bytes are in flight. The confirmation is
    /// awaited separately, so that many events can be in flight.
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError>;

    /// The same, and also tells when the event is settled. Without a broker in between, that is when it is confirmed.
    async fn publish_to_settle(&self, event: Event) -> Result<(Confirm, Settlement), PublishError> {
        let settled = std::future::ready(Some(Ok(Settled { version: None })));
        Ok((self.publish(event).await?, Box::pin(settled)))
    }
}

/// Notifies those who watch a domain from outside.
#[async_trait]
pub trait Notify: Send + Sync + 'static {
    /// The lists of these items, by this model, changed (or are gone, with deleted items). `Ok`: current watchers will
    /// be notified, perhaps more than once.
    async fn notify(
        &self,
        domain: &DomainName,
        model: &ModelName,
        ids: &[ItemId],
    ) -> Result<(), Failure>;

    /// A message of this type about a domain, as JSON. `Ok`: current watchers will receive it.
    async fn tell(&self, domain: &DomainName, kind: &str, message: String) -> Result<(), Failure>;
}
