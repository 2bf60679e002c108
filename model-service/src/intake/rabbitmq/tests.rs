//! The contract on a real broker, and cases that need a broker.

#![allow(clippy::unwrap_used)] // a test may panic

use futures_util::StreamExt;
use kindred_runtime::amqp::Outgoing;
use kindred_runtime::amqp::event_properties;
use kindred_runtime::amqp::header_text;
use kindred_shared::event::{Event, Reason, Refusal};
use lapin::options::BasicAckOptions;

use super::super::contract::{Fixture, deletion, intake_contract, published};
use super::*;
use crate::test_broker::{DEADLINE, Scope, consume, until};
use kindred_domain::intake::{Failure, Publish};

mod feedback;
mod order;

const CAPACITY: usize = 64 << 10;

struct Rabbit {
    publisher: Arc<RabbitPublisher>,
    raw: Publisher,
    intake: RabbitIntake,
    metrics: Arc<Metrics>,
    scope: Scope,
}

impl Rabbit {
    async fn fresh() -> Self {
        let scope = Scope::fresh().await;
        let raw = Publisher::start(scope.connector.clone(), "publish", CAPACITY);
        raw.connected().await;
        let metrics = Arc::<Metrics>::default();
        let intake = Self::start(&scope, &raw, &metrics);
        until("the intake is connected", || intake.is_connected()).await;
        Self {
            publisher: Arc::new(RabbitPublisher::new(
                raw.clone(),
                scope.names.clone(),
                Settlements::new("test".to_owned()),
            )),
            raw,
            intake,
            metrics,
            scope,
        }
    }

    fn start(scope: &Scope, publisher: &Publisher, metrics: &Arc<Metrics>) -> RabbitIntake {
        let options = RabbitIntakeOptions {
            names: scope.names.clone(),
            partition: 0,
            limits: Limits::default(),
            prefetch: 100,
            capacity_bytes: 1 << 20,
            settlements: Settlements::new("test".to_owned()),
        };
        let (connector, publisher) = (scope.connector.clone(), publisher.clone());
        RabbitIntake::start(connector, publisher, options, Arc::clone(metrics))
    }

    /// Publishes these bytes with this routing key.
    async fn publish_raw(&self, key: &str, body: &[u8]) {
        let message = Outgoing {
            exchange: self.scope.names.items(),
            key: key.into(),
            properties: event_properties("item.created", "m-1").with_expiration("60000".into()),
            body: body.to_vec(),
            mandatory: true,
        };
        self.raw.publish(message).await.await.unwrap();
    }

    async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let more = tokio::time::timeout(DEADLINE, self.intake.next(count - taken.len())).await;
            taken.extend(more.unwrap().unwrap());
        }
        taken
    }

    fn settle(&self, deliveries: &[Delivery], outcome: &Outcome) {
        let settled = deliveries.iter().map(|d| (d.tag, outcome.clone()));
        self.intake.settler().settle(settled.collect());
    }

    /// The next dead letter: reason, detail, body.
    async fn dead(&self) -> (String, String, Vec<u8>) {
        let (connection, channel) = self.scope.open().await;
        let mut consumer = consume(&channel, self.scope.names.items_dead()).await;
        let letter = tokio::time::timeout(DEADLINE, consumer.next()).await;
        let letter = letter.unwrap().unwrap().unwrap();
        letter.ack(BasicAckOptions::default()).await.unwrap();
        kindred_runtime::amqp::close(&connection).await;
        let header = |name| header_text(&letter.properties, name).unwrap();
        assert_eq!(letter.properties.expiration(), &None);
        assert_eq!(header("x-kindred-routing-key"), "contract");
        (
            header("x-kindred-reason"),
            header("x-kindred-detail"),
            letter.data.clone(),
        )
    }
}

#[async_trait]
impl Fixture for Rabbit {
    const REDELIVERS: bool = true;

    fn publisher(&self) -> Arc<dyn Publish> {
        Arc::<RabbitPublisher>::clone(&self.publisher)
    }

    fn intake(&mut self) -> &mut dyn Intake {
        &mut self.intake
    }

    fn capacity_bytes(&self) -> usize {
        CAPACITY
    }

    async fn lose_connection(&mut self) {
        self.intake.drop_connection().await;
    }
}

intake_contract!(Rabbit::fresh().await);

async fn publish_all(fixture: &Rabbit, count: u64) {
    for version in 0..count {
        let confirm = fixture.publisher.publish(deletion("a", version)).await;
        confirm.unwrap().await.unwrap();
    }
}

fn versions(deliveries: &[Delivery]) -> Vec<u64> {
    published(deliveries).into_iter().map(|(_, v)| v).collect()
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_and_those_behind_it_go_on() {
    let mut fixture = Rabbit::fresh().await;
    fixture.publish_raw("contract", b"not json").await;
    publish_all(&fixture, 2).await;
    let got = fixture.take(2).await;
    assert_eq!(versions(&got), [0, 1]);
    let refusal = Refusal::new(Reason::OverQuota, None, "too many");
    fixture.settle(&got[..1], &Outcome::Refused(refusal));
    fixture.settle(&got[1..], &Outcome::Stored(None));
    let (reason, detail, body) = fixture.dead().await;
    assert_eq!(
        (reason.as_str(), &body[..]),
        ("invalid-json", &b"not json"[..])
    );
    assert!(!detail.is_empty());
    let (reason, detail, body) = fixture.dead().await;
    assert_eq!(
        (reason.as_str(), detail.as_str()),
        ("over-quota", "too many")
    );
    let event: Event = (*got[0].event).clone();
    assert_eq!(body, event.to_json().into_bytes());
    // A refusal by its domain is counted by the domain.
    let (refused, dead) = (
        &fixture.metrics.events_refused,
        &fixture.metrics.dead_letters,
    );
    until("both dead letters are counted", || {
        let of = |reason| dead.with_label_values(&["items", reason]).get();
        (of("invalid-json"), of("over-quota")) == (1, 1)
    })
    .await;
    assert_eq!(refused.with_label_values(&["invalid-json"]).get(), 1);
    assert_eq!(refused.with_label_values(&["over-quota"]).get(), 0);
    // Nothing comes again.
    fixture.intake.drop_connection().await;
    publish_all(&fixture, 1).await;
    let again = fixture.take(1).await;
    assert_eq!((versions(&again), again[0].redeliveries), (vec![0], 0));
    fixture.settle(&again, &Outcome::Stored(None));
}

#[tokio::test]
async fn after_a_failure_all_comes_again_in_order_without_a_redelivery() {
    let mut fixture = Rabbit::fresh().await;
    publish_all(&fixture, 4).await;
    let got = fixture.take(4).await;
    fixture.settle(&got[1..2], &Outcome::Stored(None));
    let failure = Failure::passing("the database is away");
    fixture.settle(&got[2..3], &Outcome::Failed(failure));
    let again = fixture.take(3).await;
    assert_eq!(versions(&again), [0, 2, 3]);
    assert!(again.iter().all(|delivery| delivery.redeliveries == 0));
    fixture.settle(&again, &Outcome::Stored(None));
    publish_all(&fixture, 1).await;
    let next = fixture.take(1).await;
    assert_eq!(versions(&next), [0]);
    fixture.settle(&next, &Outcome::Stored(None));
}

#[tokio::test]
async fn an_event_that_kills_the_service_dies_and_its_neighbours_live() {
    let mut fixture = Rabbit::fresh().await;
    publish_all(&fixture, 5).await;
    let (mut deaths, mut stored) = (0, std::collections::BTreeSet::new());
    // Until nothing more arrives.
    let quiet = std::time::Duration::from_secs(3);
    while let Ok(taken) = tokio::time::timeout(quiet, fixture.intake.next(100)).await {
        let taken = taken.unwrap();
        if !versions(&taken).contains(&0) {
            stored.extend(versions(&taken));
            fixture.settle(&taken, &Outcome::Stored(None));
            continue;
        }
        // The process dies as soon as it takes the first event, and forgets it.
        deaths += 1;
        assert!(deaths < 20, "it is never given up");
        fixture.intake = Rabbit::start(&fixture.scope, &fixture.raw, &fixture.metrics);
    }
    assert!(deaths >= 7, "{deaths}");
    assert_eq!(stored, (1..5).collect());
    let (reason, _, _) = fixture.dead().await;
    assert_eq!(reason, POISONOUS);
    // None of them became a dead letter.
    let (connection, channel) = fixture.scope.open().await;
    let options = lapin::options::QueueDeclareOptions::durable().passive();
    let none = lapin::types::FieldTable::default();
    let queue = channel.queue_declare(fixture.scope.names.items_dead(), options, none);
    assert_eq!(queue.await.unwrap().message_count(), 0);
    kindred_runtime::amqp::close(&connection).await;
}

#[tokio::test]
async fn notifications_name_at_most_a_thousand_ids() {
    let fixture = Rabbit::fresh().await;
    let (connection, channel) = fixture.scope.open().await;
    let options = lapin::options::QueueDeclareOptions::exclusive();
    let none = lapin::types::FieldTable::default;
    let queue = channel
        .queue_declare("".into(), options, none())
        .await
        .unwrap();
    let binding = lapin::options::QueueBindOptions::default();
    let domains = fixture.scope.names.domains();
    let name = queue.name().clone();
    channel
        .queue_bind(name.clone(), domains, "contract".into(), binding, none())
        .await
        .unwrap();
    let notifier = Notifier::new(fixture.raw.clone(), fixture.scope.names.clone());
    let domain = kindred_shared::DomainName::new("contract").unwrap();
    let model = kindred_shared::ModelName::new("words-1").unwrap();
    let ids: Vec<_> = (0..1_001)
        .map(|n| kindred_shared::ItemId::new(&format!("i{n}")).unwrap())
        .collect();
    let sent = notifier.neighbours_updated(&domain, &ids, &model, chrono::Utc::now());
    sent.await.unwrap();
    let mut consumer = consume(&channel, name).await;
    let mut seen = vec![];
    for _ in 0..2 {
        let message = tokio::time::timeout(DEADLINE, consumer.next()).await;
        let message = message.unwrap().unwrap().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(body["domain"], "contract");
        seen.push(body["ids"].as_array().unwrap().len());
        message.ack(BasicAckOptions::default()).await.unwrap();
    }
    assert_eq!(seen, [1_000, 1]);
    kindred_runtime::amqp::close(&connection).await;
}
