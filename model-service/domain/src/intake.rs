//! Intake as the domain core knows it: events in, each settled once what it says is durable. The trait
//! has the broker's semantics: at least once, in order, redelivered after a loss. What is held of a
//! queue, when it is handed over again, and what is done about events that come again and again, is decided in
//! [`unacked`], [`rewind`] and [`poison`], and which events wait for their domain's turn in [`pacing`].

pub mod pacing;
pub mod poison;
pub mod rewind;
pub mod size;
pub mod unacked;

use std::sync::Arc;

use async_trait::async_trait;
use kindred_shared::event::{Event, Refusal};
use kindred_shared::{DomainName, ItemId, ModelName};

/// Names one delivery until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(pub u64);

/// An event as delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// For [`Intake::settle`].
    pub tag: DeliveryTag,
    /// How often it was delivered before.
    pub redeliveries: u32,
    /// The event's domain.
    pub domain: DomainName,
    /// The event, valid by itself.
    pub event: Arc<Event>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// What it says is durable (or it was older than what is): acknowledge. With the version of an item's
    /// event.
    Stored(Option<u64>),
    /// It can never be taken: dead-letter whole, with the reason, then acknowledge.
    Refused(Refusal),
    /// It could not be stored now: leave it unacknowledged, to come again.
    Failed(Failure),
}

/// Why something valid was not stored now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Whether only a person can help (disk full, store damaged), or time can.
    pub needs_help: bool,
    /// What went wrong and, where known, the remedy.
    pub detail: String,
}

impl Failure {
    /// A failure that time can help.
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
    /// The next deliveries, at least one, at most `most`, in order. `None`: closed for good, and
    /// all that was delivered has been handed over.
    async fn next(&mut self, most: usize) -> Option<Vec<Delivery>>;

    /// For settling deliveries from elsewhere.
    fn settler(&self) -> Arc<dyn Settle>;
}

/// Settles deliveries. Each tag once; a tag of a lost connection has no effect.
pub trait Settle: Send + Sync + 'static {
    /// Says what became of these deliveries, in this order.
    fn settle(&self, settled: Vec<(DeliveryTag, Outcome)>);

    /// Whether a delivery may be kept waiting before it is taken in.
    fn may_wait(&self, _: DeliveryTag) -> MayWait {
        MayWait::No
    }
}

/// Whether a delivery may be kept waiting before it is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayWait {
    /// Whoever published it waits already, or other domains' events wait behind it.
    No,
    /// Others are delivered meanwhile.
    Yes,
    /// It comes again under another tag; settling it has no effect.
    Stale,
}

/// Why an event did not get in.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// The service refuses it for good.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored now.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The service is stopping or the other side is away; nothing was stored, send it again.
    #[error("the event was not taken: {0}")]
    Away(String),
}

/// Waits until a published event is durable (or refused, or not stored). With the version of an item's
/// event, where its domain's owner answers and not a broker.
pub type Confirm =
    std::pin::Pin<Box<dyn Future<Output = Result<Option<u64>, PublishError>> + Send + 'static>>;

/// An event of an item is durable at its domain's owner, and readers have lost what it takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The version it was given, or came with.
    pub version: Option<u64>,
}

/// Waits until a published event is settled by this process, as its domain's owner, or refused. `None`, or
/// no end at all: another process does that.
pub type Settlement =
    std::pin::Pin<Box<dyn Future<Output = Option<Result<Settled, Refusal>>> + Send + 'static>>;

/// The way in for this process's own events (HTTP, the demo).
#[async_trait]
pub trait Publish: Send + Sync + 'static {
    /// Hands an event over, in the order of the calls, waiting while too many bytes are on their
    /// way. The confirmation is awaited apart, so that many can be on their way at once.
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError>;

    /// The same, for who also wants to know when the event is settled. Unless a broker lies in between,
    /// that is when it is confirmed.
    async fn publish_to_settle(&self, event: Event) -> Result<(Confirm, Settlement), PublishError> {
        let settled = std::future::ready(Some(Ok(Settled { version: None })));
        Ok((self.publish(event).await?, Box::pin(settled)))
    }
}

/// Tells those who watch a domain from outside.
#[async_trait]
pub trait Notify: Send + Sync + 'static {
    /// The lists of these items, of this model, changed (those of deleted items are gone). `Ok`: watchers that are
    /// there will hear of it, perhaps more than once.
    async fn notify(
        &self,
        domain: &DomainName,
        model: &ModelName,
        ids: &[ItemId],
    ) -> Result<(), Failure>;

    /// A message of this type about a domain, as JSON. `Ok`: watchers that are there will hear of it.
    async fn tell(&self, domain: &DomainName, kind: &str, message: String) -> Result<(), Failure>;
}
