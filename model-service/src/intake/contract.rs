//! What every implementation of the intake must do.
//!
//! A [`Fixture`] opens the ends of the implementation under test and loses its connection, and
//! `intake_contract!` makes a test of every case.

#![allow(clippy::unwrap_used)] // a test may panic

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use kindred_shared::event::{Delete, Event, Reason, Refusal, Upsert, UpsertKind};
use kindred_shared::{DomainName, ItemId, VectorName};

use kindred_domain::intake::*;

/// Longest a case may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// An intake under test. Its publisher and its intake are of the same queue, empty at first.
#[async_trait]
pub(crate) trait Fixture: Send {
    /// Whether a delivery that was not stored comes again by itself; if not, its publisher is told
    /// and sends it again.
    const REDELIVERS: bool;

    /// The publishing end.
    fn publisher(&self) -> Arc<dyn Publish>;

    /// The delivering end.
    fn intake(&mut self) -> &mut dyn Intake;

    /// Most bytes of events in flight.
    fn capacity_bytes(&self) -> usize;

    /// Breaks the connection that deliveries came over, and opens another.
    async fn lose_connection(&mut self);
}

/// Makes a test of every case; `$fixture` is an expression that makes a fresh [`Fixture`].
/// An attribute before it is put on every test.
macro_rules! intake_contract {
    (@each $metas:tt $fixture:expr; $($case:ident),+) => {$(
        $crate::intake::contract::intake_contract!(@one $metas $fixture; $case);
    )+};
    (@one [$(#[$meta:meta])*] $fixture:expr; $case:ident) => {
        #[tokio::test]
        $(#[$meta])*
        async fn $case() {
            let mut fixture = $fixture;
            tokio::time::timeout(
                $crate::intake::contract::DEADLINE,
                $crate::intake::contract::$case(&mut fixture),
            )
            .await
            .expect("the case ends before its deadline");
        }
    };
    (@all $metas:tt $fixture:expr) => {
        $crate::intake::contract::intake_contract!(@each $metas $fixture;
            delivers_whole_and_in_order, confirms_what_became_of_it, settles_once,
            a_full_intake_holds_publishers_back, a_lost_connection_never_hangs,
            what_failed_comes_again);
    };
    (#[$meta:meta] $fixture:expr) => {
        $crate::intake::contract::intake_contract!(@all [#[$meta]] $fixture);
    };
    ($fixture:expr) => {
        $crate::intake::contract::intake_contract!(@all [] $fixture);
    };
}
pub(crate) use intake_contract;

/// A deletion of an item.
pub(crate) fn deletion(id: &str, version: u64) -> Event {
    Event::Delete(Delete {
        domain: DomainName::new("contract").unwrap(),
        id: ItemId::new(id).unwrap(),
        version: Some(version),
    })
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

fn upsert(id: &str, version: u64, text_bytes: usize) -> Event {
    Event::Upsert(Box::new(Upsert {
        kind: UpsertKind::Created,
        domain: DomainName::new("contract").unwrap(),
        id: ItemId::new(id).unwrap(),
        title: Some("Größe".into()),
        text: Some("x".repeat(text_bytes)),
        url: None,
        image: None,
        language: None,
        group: None,
        categories: ["a".to_string()].into(),
        published_at: None,
        publish_at: None,
        expires_at: None,
        hidden: false,
        version: Some(version),
        vector: Some(vec![0.5]),
        vectors: [(VectorName::new("clip").unwrap(), vec![0.25, -1.0])].into(),
        attributes: [("k".to_string(), "v".to_string())].into(),
    }))
}

/// Id and version of each delivery.
pub(crate) fn published(deliveries: &[Delivery]) -> Vec<(String, u64)> {
    let name = |d: &Delivery| {
        (
            d.event.id().unwrap().to_string(),
            d.event.version().unwrap(),
        )
    };
    deliveries.iter().map(name).collect()
}

async fn take(fixture: &mut impl Fixture, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let most = count - taken.len();
        let batch = fixture.intake().next(most).await.unwrap();
        assert!((1..=most).contains(&batch.len()));
        taken.extend(batch);
    }
    taken
}

fn all_stored(deliveries: &[Delivery]) -> Vec<(DeliveryTag, Outcome)> {
    deliveries
        .iter()
        .map(|d| (d.tag, Outcome::Stored(None)))
        .collect()
}

pub(crate) async fn delivers_whole_and_in_order(fixture: &mut impl Fixture) {
    let publisher = fixture.publisher();
    let events: Vec<Event> = (0..40)
        .map(|n| match n % 2 {
            0 => upsert(&format!("item {}", n % 3), n, 100),
            _ => deletion(&format!("item {}", n % 3), n),
        })
        .collect();
    let mut confirms = Vec::new();
    for event in events.clone() {
        confirms.push(publisher.publish(event).await.unwrap());
    }
    let got = take(fixture, 40).await;
    for (delivery, event) in got.iter().zip(&events) {
        assert_eq!(*delivery.event, *event);
        assert_eq!(delivery.domain, *event.domain());
        assert_eq!(delivery.redeliveries, 0);
    }
    fixture.intake().settler().settle(all_stored(&got));
    for confirm in confirms {
        assert_eq!(confirm.await, Ok(None));
    }
}

pub(crate) async fn confirms_what_became_of_it(fixture: &mut impl Fixture) {
    let publisher = fixture.publisher();
    let mut confirms = Vec::new();
    for version in 0..2 {
        confirms.push(publisher.publish(deletion("a", version)).await.unwrap());
    }
    let got = take(fixture, 2).await;
    let refusal = Refusal {
        reason: Reason::OverQuota,
        field: None,
        detail: "full".into(),
    };
    let settled = vec![
        (got[0].tag, Outcome::Refused(refusal.clone())),
        (got[1].tag, Outcome::Stored(None)),
    ];
    fixture.intake().settler().settle(settled);
    let mut confirms = confirms.into_iter();
    let refused = confirms.next().unwrap().await;
    if !redelivers(fixture) {
        // A broker only confirms that it has the event; the refusal goes to its dead-letter queue.
        assert_eq!(refused, Err(PublishError::Refused(refusal)));
    }
    assert_eq!(confirms.next().unwrap().await, Ok(None));
}

pub(crate) async fn settles_once(fixture: &mut impl Fixture) {
    let publisher = fixture.publisher();
    let confirm = publisher.publish(deletion("a", 1)).await.unwrap();
    let got = take(fixture, 1).await;
    let settler = fixture.intake().settler();
    settler.settle(all_stored(&got));
    assert_eq!(confirm.await, Ok(None));
    // Settling a tag twice, or an unknown tag, has no effect.
    let next = publisher.publish(deletion("a", 2)).await.unwrap();
    settler.settle(vec![
        (got[0].tag, Outcome::Stored(None)),
        (DeliveryTag(u64::MAX), Outcome::Stored(None)),
    ]);
    let got = take(fixture, 1).await;
    assert_eq!(published(&got), [("a".to_string(), 2)]);
    settler.settle(all_stored(&got));
    assert_eq!(next.await, Ok(None));
}

pub(crate) async fn a_full_intake_holds_publishers_back(fixture: &mut impl Fixture) {
    let (publisher, capacity) = (fixture.publisher(), fixture.capacity_bytes());
    let text = capacity / 8;
    let mut confirms = Vec::new();
    let mut waiting = None;
    // Nothing is settled, so not many more than eight fit.
    for version in 0..64 {
        let publisher = Arc::clone(&publisher);
        let event = upsert("a", version, text);
        let mut publish = Box::pin(async move { publisher.publish(event).await });
        match poll_once(publish.as_mut()).await {
            Poll::Ready(confirm) => confirms.push(confirm.unwrap()),
            Poll::Pending => {
                waiting = Some(publish);
                break;
            }
        }
    }
    let waiting = waiting.expect("a publisher is held back");
    assert!((1..=8).contains(&confirms.len()), "{}", confirms.len());
    let got = take(fixture, confirms.len()).await;
    fixture.intake().settler().settle(all_stored(&got));
    confirms.push(waiting.await.unwrap());
    let got = take(fixture, 1).await;
    fixture.intake().settler().settle(all_stored(&got));
    for confirm in confirms {
        assert_eq!(confirm.await, Ok(None));
    }
}

pub(crate) async fn a_lost_connection_never_hangs(fixture: &mut impl Fixture) {
    let publisher = fixture.publisher();
    let mut confirms = Vec::new();
    for version in 0..3 {
        confirms.push(publisher.publish(deletion("a", version)).await.unwrap());
    }
    // One delivered, two still in flight.
    let got = take(fixture, 1).await;
    let settler = fixture.intake().settler();
    fixture.lose_connection().await;
    settler.settle(all_stored(&got));
    for confirm in confirms {
        match confirm.await {
            Ok(_) => assert!(redelivers(fixture), "nobody has stored it"),
            Err(error) => assert!(matches!(error, PublishError::Away(_)), "{error}"),
        }
    }
    if !redelivers(fixture) {
        let publisher = fixture.publisher();
        for version in 0..3 {
            drop(publisher.publish(deletion("a", version)).await.unwrap());
        }
    }
    // A tag of the lost connection settled nothing: all events come again, in order.
    let got = take(fixture, 3).await;
    let versions: Vec<u64> = published(&got).into_iter().map(|(_, v)| v).collect();
    assert_eq!(versions, [0, 1, 2]);
    assert_eq!(got[0].redeliveries > 0, redelivers(fixture));
    fixture.intake().settler().settle(all_stored(&got));
}

pub(crate) async fn what_failed_comes_again(fixture: &mut impl Fixture) {
    let publisher = fixture.publisher();
    let confirm = publisher.publish(deletion("a", 1)).await.unwrap();
    let got = take(fixture, 1).await;
    let failure = Failure {
        needs_help: true,
        detail: "the disk is full".into(),
    };
    let failed = vec![(got[0].tag, Outcome::Failed(failure.clone()))];
    fixture.intake().settler().settle(failed);
    if redelivers(fixture) {
        fixture.lose_connection().await;
    } else {
        assert_eq!(confirm.await, Err(PublishError::Failed(failure)));
        drop(publisher.publish(deletion("a", 1)).await.unwrap());
    }
    let again = take(fixture, 1).await;
    assert_eq!(again[0].event, got[0].event);
    fixture.intake().settler().settle(all_stored(&again));
}

fn redelivers<T: Fixture>(_: &T) -> bool {
    T::REDELIVERS
}
