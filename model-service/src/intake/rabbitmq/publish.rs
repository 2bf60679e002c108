//! Publishes this system's own events, and its notifications.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use kindred_runtime::amqp::{
    Names, Outgoing, PublishFault, Publisher, event_message, event_properties,
};
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId, ModelName};
use lapin::types::ShortString;
use serde_json::json;

use super::settlements::Settlements;
use kindred_domain::intake::{Confirm, Failure, Publish, PublishError, Settlement};

/// Most ids in one notification.
const IDS_PER_NOTIFICATION: usize = 1_000;

/// Publishes events to `kindred.items`. Confirmed means that the broker has the event, not that it
/// is stored.
#[derive(Debug)]
pub struct RabbitPublisher {
    publisher: Publisher,
    names: Names,
    settlements: Arc<Settlements>,
    /// Held while an event waits for room, so that events keep their order.
    turn: tokio::sync::Mutex<()>,
}

impl RabbitPublisher {
    /// Publishes with these names.
    pub fn new(publisher: Publisher, names: Names, settlements: Arc<Settlements>) -> Self {
        Self {
            publisher,
            names,
            settlements,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.publisher.is_connected()
    }

    /// An event as a message. One about the domain itself says who sends it, which the broker verifies: publishers of
    /// items may not set what only keys with `manage` may.
    fn message(&self, event: Event) -> Outgoing {
        let mut message = event_message(&self.names, &event);
        if event.id().is_none() {
            let user = self.publisher.user().clone();
            message.properties = message.properties.with_user_id(user);
        }
        message
    }

    async fn send(&self, message: Outgoing) -> Confirm {
        let message_id = message.properties.message_id().clone();
        let (domain, bytes) = (message.key.clone(), message.body.len());
        let turn = self.turn.lock().await;
        let confirmed = self.publisher.publish(message).await;
        drop(turn);
        // An event without a version gets one later, from its domain's owner.
        Box::pin(async move {
            confirmed.await.map_err(in_words)?;
            let message_id = message_id.as_ref().map(ShortString::as_str);
            tracing::debug!(%domain, message_id, bytes, "event.published");
            Ok(None)
        })
    }
}

#[async_trait]
impl Publish for RabbitPublisher {
    async fn publish(&self, event: Event) -> Result<Confirm, PublishError> {
        let message = self.message(event);
        Ok(self.send(message).await)
    }

    async fn publish_to_settle(&self, event: Event) -> Result<(Confirm, Settlement), PublishError> {
        let mut message = self.message(event);
        let wait = self.settlements.expect();
        let id = ShortString::from(wait.id.as_str());
        message.properties = message.properties.with_correlation_id(id);
        Ok((self.send(message).await, Box::pin(wait.settled())))
    }
}

/// A domain's name has at most 128 bytes.
fn key_of(domain: &DomainName) -> ShortString {
    ShortString::from(domain.as_str())
}

fn in_words(fault: PublishFault) -> PublishError {
    match fault {
        PublishFault::Away(words) => PublishError::Away(words),
        PublishFault::Refused => PublishError::Failed(Failure::passing(
            "the partition's queue is full; wait until the model service has caught up",
        )),
        fault => PublishError::Failed(Failure {
            needs_help: true,
            detail: format!("{fault}; `kindred doctor` says what is missing"),
        }),
    }
}

/// Publishes whose neighbours have changed, to `kindred.domains`. At least once.
#[derive(Debug, Clone)]
pub struct Notifier {
    publisher: Publisher,
    names: Names,
}

impl Notifier {
    /// Publishes with these names.
    pub fn new(publisher: Publisher, names: Names) -> Self {
        Self { publisher, names }
    }

    /// Publishes `neighbours.updated` for these items of a domain, deleted ones included, at most
    /// 1,000 per message. Returns once the broker has all messages.
    ///
    /// # Errors
    /// [`PublishError`]: some messages may not have been sent; send all again.
    pub async fn neighbours_updated(
        &self,
        domain: &DomainName,
        ids: &[ItemId],
        model: &ModelName,
        at: DateTime<Utc>,
    ) -> Result<(), PublishError> {
        let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut confirms = Vec::new();
        for (part, ids) in ids.chunks(IDS_PER_NOTIFICATION).enumerate() {
            let body = json!({"type": "neighbours.updated", "domain": domain, "ids": ids,
                "model": model, "at": at});
            let message = Outgoing {
                exchange: self.names.domains(),
                key: key_of(domain),
                properties: event_properties(
                    "neighbours.updated",
                    &format!("{domain}@{at}/{part}"),
                ),
                body: body.to_string().into_bytes(),
                // It is fine if nobody listens.
                mandatory: false,
            };
            confirms.push(self.publisher.publish(message).await);
        }
        for confirm in confirms {
            confirm.await.map_err(in_words)?;
        }
        Ok(())
    }

    /// Publishes a message of this type about a domain. Returns once the broker has it.
    ///
    /// # Errors
    /// [`PublishError`]: the message may not have been sent.
    pub async fn tell(
        &self,
        domain: &DomainName,
        kind: &str,
        message: String,
    ) -> Result<(), PublishError> {
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        let message = Outgoing {
            exchange: self.names.domains(),
            key: key_of(domain),
            properties: event_properties(kind, &format!("{domain}@{at}")),
            body: message.into_bytes(),
            // It is fine if nobody listens.
            mandatory: false,
        };
        self.publisher
            .publish(message)
            .await
            .await
            .map_err(in_words)
    }
}
