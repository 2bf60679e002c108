//! The embedded intake: events of this process's own publishers, in memory until settled.
//!
//! There is no queue on disk: a publisher waits for its confirmation, which comes once the event is
//! in the store, and sends unconfirmed events again. So, unlike with a broker, nothing is
//! redelivered: a delivery settled as failed resolves its confirmation with that failure, and when
//! the intake is dropped, every outstanding confirmation resolves with [`PublishError::Away`]. An
//! event that is sent again becomes a new delivery.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId, ModelName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use kindred_domain::intake::size::size_of_event;
use kindred_domain::intake::{
    Confirm, Delivery, DeliveryTag, Failure, Intake, Notify, Outcome, Publish, PublishError, Settle,
};

/// The delivering end. Dropping it resolves all outstanding confirmations with
/// [`PublishError::Away`]; later publishing fails the same way.
pub struct EmbeddedIntake {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    outstanding: Arc<OutstandingEvents>,
    room: Arc<Semaphore>,
}

/// The publishing end. When all of them are dropped or closed, the intake ends after delivering
/// what was published.
pub struct EmbeddedPublisher {
    /// Held while an event waits for room and is handed over, so that events keep their order.
    /// `None`: closed. Unbounded, because `room` bounds it.
    turn: tokio::sync::Mutex<Option<mpsc::UnboundedSender<Delivery>>>,
    outstanding: Arc<OutstandingEvents>,
    room: Arc<Semaphore>,
    capacity: u32,
}

impl EmbeddedIntake {
    /// Both ends of an intake with at most `capacity_bytes` of events in flight: an event occupies
    /// room from publishing until it is settled. One larger than the capacity occupies all of it.
    /// At least 1 byte, at most 4 GiB.
    // Two ends that refer to each other are created together.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(capacity_bytes: usize) -> (Arc<EmbeddedPublisher>, Self) {
        let capacity = u32::try_from(capacity_bytes).unwrap_or(u32::MAX).max(1);
        let permits = (capacity as usize).min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(permits));
        let outstanding = Arc::new(OutstandingEvents::default());
        let (sender, deliveries) = mpsc::unbounded_channel();
        let publisher = EmbeddedPublisher {
            turn: tokio::sync::Mutex::new(Some(sender)),
            outstanding: Arc::clone(&outstanding),
            room: Arc::clone(&room),
            capacity,
        };
        let intake = Self {
            deliveries,
            outstanding,
            room,
        };
        (Arc::new(publisher), intake)
    }
}

#[async_trait]
impl Intake for EmbeddedIntake {
    async fn next(&mut self, most: usize) -> Option<Vec<Delivery>> {
        let mut batch = Vec::new();
        let count = self.deliveries.recv_many(&mut batch, most.max(1)).await;
        (count > 0).then_some(batch)
    }

    fn settler(&self) -> Arc<dyn Settle> {
        Arc::<OutstandingEvents>::clone(&self.outstanding)
    }
}

impl Drop for EmbeddedIntake {
    fn drop(&mut self) {
        self.room.close();
        self.outstanding.close();
    }
}

impl EmbeddedPublisher {
    /// Accepts no more events. What was published is still delivered and settled; then
    /// [`Intake::next`] returns `None`.
    pub async fn close(&self) {
        // Publishers that wait for room go first: their events came before the end.
        *self.turn.lock().await = None;
    }

    /// Bytes of events published and not settled.
    pub fn bytes_on_their_way(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.room.available_permits())
    }
}

#[async_trait]
impl Publish for EmbeddedPublisher {
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError> {
        let away = || PublishError::Away("the service is stopping".to_string());
        let bytes = u32::try_from(size_of_event(&event)).unwrap_or(u32::MAX);
        let turn = self.turn.lock().await;
        let deliveries = turn.as_ref().ok_or_else(away)?;
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes.min(self.capacity))
            .await
            .map_err(|_| away())?;
        let (confirm, confirmed) = oneshot::channel();
        let tag = self
            .outstanding
            .enter(OutstandingEvent {
                confirm,
                _room: room,
            })
            .ok_or_else(away)?;
        let delivery = Delivery {
            tag,
            redeliveries: 0,
            domain: event.domain().clone(),
            event: Arc::new(event),
        };
        // If the intake was dropped at this very moment, the confirmation is already gone.
        let _ = deliveries.send(delivery);
        Ok(Box::pin(async move {
            confirmed.await.unwrap_or_else(|_| {
                Err(PublishError::Away(
                    "the service stopped before it was stored".to_string(),
                ))
            })
        }))
    }
}

/// An unsettled event. Dropping it unsettled resolves its confirmation with [`PublishError::Away`].
struct OutstandingEvent {
    confirm: oneshot::Sender<Result<Option<u64>, PublishError>>,
    _room: OwnedSemaphorePermit,
}

/// The unsettled deliveries. Its size is bounded by the intake's room.
#[derive(Default)]
struct OutstandingEvents(Mutex<OutstandingState>);

#[derive(Default)]
struct OutstandingState {
    last: u64,
    closed: bool,
    outstanding: HashMap<DeliveryTag, OutstandingEvent>,
}

impl OutstandingEvents {
    /// No code that can panic runs under the lock, so a poisoned lock is harmless.
    fn entries(&self) -> MutexGuard<'_, OutstandingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, event: OutstandingEvent) -> Option<DeliveryTag> {
        let mut entries = self.entries();
        if entries.closed {
            return None;
        }
        entries.last += 1;
        let tag = DeliveryTag(entries.last);
        entries.outstanding.insert(tag, event);
        Some(tag)
    }

    fn close(&self) {
        let mut entries = self.entries();
        entries.closed = true;
        let outstanding = mem::take(&mut entries.outstanding);
        drop(entries);
        drop(outstanding);
    }
}

impl Settle for OutstandingEvents {
    fn settle(&self, settled: Vec<(DeliveryTag, Outcome)>) {
        for (tag, outcome) in settled {
            let Some(event) = self.entries().outstanding.remove(&tag) else {
                tracing::debug!(tag = tag.0, "intake.settled_unknown_tag");
                continue;
            };
            // The publisher may have gone.
            let _ = event.confirm.send(match outcome {
                Outcome::Stored(version) => Ok(version),
                Outcome::Refused(refusal) => Err(refusal.into()),
                Outcome::Failed(failure) => Err(failure.into()),
            });
        }
    }
}

/// Watchers of a standalone: there are none; clients ask over HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatchers;

#[async_trait]
impl Notify for NoWatchers {
    async fn notify(&self, _: &DomainName, _: &ModelName, _: &[ItemId]) -> Result<(), Failure> {
        Ok(())
    }

    async fn tell(&self, _: &DomainName, _: &str, _: String) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::contract::{Fixture, deletion, intake_contract, poll_once, published};
    use super::*;

    const CAPACITY: usize = 64 << 10;

    struct Embedded {
        publisher: Arc<EmbeddedPublisher>,
        intake: EmbeddedIntake,
    }

    impl Embedded {
        fn fresh() -> Self {
            let (publisher, intake) = EmbeddedIntake::new(CAPACITY);
            Self { publisher, intake }
        }
    }

    #[async_trait]
    impl Fixture for Embedded {
        const REDELIVERS: bool = false;

        fn publisher(&self) -> Arc<dyn Publish> {
            Arc::<EmbeddedPublisher>::clone(&self.publisher)
        }

        fn intake(&mut self) -> &mut dyn Intake {
            &mut self.intake
        }

        fn capacity_bytes(&self) -> usize {
            CAPACITY
        }

        async fn lose_connection(&mut self) {
            *self = Self::fresh();
        }
    }

    intake_contract!(Embedded::fresh());

    #[tokio::test]
    async fn ends_when_closed_and_empty() {
        let mut fixture = Embedded::fresh();
        let first = fixture.publisher.publish(deletion("a", 1)).await.unwrap();
        fixture.publisher.close().await;
        let late = fixture.publisher.publish(deletion("b", 1)).await;
        assert!(matches!(late, Err(PublishError::Away(_))));
        let got = fixture.intake.next(10).await.unwrap();
        assert_eq!(published(&got), [("a".to_string(), 1)]);
        assert!(fixture.intake.next(10).await.is_none());
        let settler = fixture.intake.settler();
        settler.settle(vec![(got[0].tag, Outcome::Stored(Some(9)))]);
        assert_eq!(first.await, Ok(Some(9)));
        assert_eq!(fixture.publisher.bytes_on_their_way(), 0);
    }

    #[tokio::test]
    async fn an_event_over_the_capacity_gets_in_alone() {
        let (publisher, mut intake) = EmbeddedIntake::new(1);
        let confirm = publisher.publish(deletion("a", 1)).await.unwrap();
        let waits = publisher.publish(deletion("b", 1));
        tokio::pin!(waits);
        assert!(poll_once(waits.as_mut()).await.is_pending());
        let got = intake.next(10).await.unwrap();
        intake
            .settler()
            .settle(vec![(got[0].tag, Outcome::Stored(None))]);
        assert_eq!(confirm.await, Ok(None));
        assert!(waits.await.is_ok());
    }

    #[tokio::test]
    async fn a_publisher_that_waits_for_room_hears_when_the_intake_goes() {
        let (publisher, intake) = EmbeddedIntake::new(1);
        let confirm = publisher.publish(deletion("a", 1)).await.unwrap();
        let waits = publisher.publish(deletion("b", 1));
        tokio::pin!(waits);
        assert!(poll_once(waits.as_mut()).await.is_pending());
        drop(intake);
        assert!(matches!(waits.await, Err(PublishError::Away(_))));
        assert!(matches!(confirm.await, Err(PublishError::Away(_))));
    }
}
