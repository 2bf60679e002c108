//! Reads what readers did from its queue, which all instances share: the domain's owner is looked
//! up when events are counted.
//!
//! A message is acknowledged when its events are durable, or can never be accepted. One that cannot be accepted now is
//! tried again after a pause ([`Turns`]), or goes to the end of the queue so that other domains' messages can be read:
//! given back, it would be the first to come again. It may arrive any number of times: an event counts once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kindred_runtime::amqp::{
    AmqpError, Connector, Names, Outgoing, Publisher, RECONNECT, REQUEST_DEADLINE, close, wait_out,
    within,
};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};

use super::turns::{PREFETCH, Turns};

/// How often waiting messages are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Consumer tag.
const TAG: &str = "feedback";

/// Where events go.
#[async_trait]
pub(crate) trait TakeFeedback: Send + Sync + 'static {
    /// Handles messages of one routing key: on success they are settled, whatever they contain.
    ///
    /// # Errors
    /// In words, when they cannot be accepted now.
    async fn take(&self, routing_key: &str, bodies: Vec<Bytes>) -> Result<(), String>;
}

/// Reads the queue for the life of the process. `publisher` moves messages to the end of the queue.
pub(crate) async fn read_feedback(
    connector: Connector,
    publisher: Publisher,
    names: Names,
    door: Arc<dyn TakeFeedback>,
) {
    let mut backoff = RECONNECT;
    loop {
        let connection = connector.connect_patiently("feedback").await;
        backoff.worked();
        let lost = serve(&connection, &publisher, &names, &door).await;
        close(&connection).await;
        wait_out(&mut backoff, &connector.place(), "feedback", &lost).await;
    }
}

/// A message that is not settled.
#[derive(Debug)]
struct Message {
    tag: u64,
    body: Bytes,
    content_type: Option<ShortString>,
}

impl Message {
    fn of(delivery: Delivery) -> (String, Self) {
        let message = Self {
            tag: delivery.delivery_tag,
            body: delivery.data.into(),
            content_type: delivery.properties.content_type().clone(),
        };
        (delivery.routing_key.to_string(), message)
    }
}

/// Reads over one connection until it is lost.
async fn serve(
    connection: &Connection,
    publisher: &Publisher,
    names: &Names,
    door: &Arc<dyn TakeFeedback>,
) -> String {
    let (channel, consumer) = match open(connection, names).await {
        Ok(opened) => opened,
        Err(error) => return error.to_string(),
    };
    let mut messages = consumer.ready_chunks(usize::from(PREFETCH));
    let mut turns = Turns::new();
    let (mut taking, mut moving) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        let now = Instant::now();
        for (key, batch) in turns.ready(now) {
            taking.push(take(&channel, door, key, batch));
        }
        for (key, message) in turns.overdue(now) {
            moving.push(move_back(&channel, publisher, names, key, message));
        }
        tokio::select! {
            Some(taken) = taking.next(), if !taking.is_empty() => match taken {
                Ok((key, failed)) => turns.done(&key, failed, Instant::now()),
                Err(error) => return AmqpError::to_string(&error),
            },
            Some(moved) = moving.next(), if !moving.is_empty() => {
                if let Err(error) = moved {
                    return AmqpError::to_string(&error);
                }
            }
            chunk = messages.next() => {
                let Some(chunk) = chunk else {
                    return "its queue is gone".to_owned();
                };
                for delivery in chunk {
                    let (key, message) = match delivery {
                        Ok(delivery) => Message::of(delivery),
                        Err(error) => return error.to_string(),
                    };
                    turns.push(&key, message, Instant::now());
                }
            }
            () = tokio::time::sleep(LOOK), if turns.has_waiting() => {}
        }
    }
}

async fn open(
    connection: &Connection,
    names: &Names,
) -> Result<(Channel, lapin::Consumer), AmqpError> {
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let limiting = channel.basic_qos(PREFETCH, BasicQosOptions::default());
    within("limiting", REQUEST_DEADLINE, limiting).await?;
    let consuming = channel.basic_consume(
        names.feedback_queue(),
        TAG.into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = within("consuming", REQUEST_DEADLINE, consuming).await?;
    Ok((channel, consumer))
}

/// Has messages handled and settles them; returns those that cannot be accepted now.
async fn take(
    channel: &Channel,
    door: &Arc<dyn TakeFeedback>,
    key: String,
    messages: Vec<Message>,
) -> Result<(String, Vec<Message>), AmqpError> {
    let bodies = messages.iter().map(|message| message.body.clone());
    if let Err(error) = door.take(&key, bodies.collect()).await {
        let count = messages.len();
        tracing::debug!(
            domain = key,
            messages = count,
            error,
            "feedback not accepted yet"
        );
        return Ok((key, messages));
    }
    for message in messages {
        acknowledge(channel, message.tag).await?;
    }
    Ok((key, Vec::new()))
}

/// Moves a message to the end of the queue, or gives it back if the broker does not accept it.
async fn move_back(
    channel: &Channel,
    publisher: &Publisher,
    names: &Names,
    key: String,
    message: Message,
) -> Result<(), AmqpError> {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    if let Some(content_type) = message.content_type {
        properties = properties.with_content_type(content_type);
    }
    let copy = Outgoing {
        exchange: names.feedback(),
        key: key.into(),
        properties,
        body: message.body.into(),
        mandatory: true,
    };
    match publisher.publish(copy).await.await {
        Ok(()) => acknowledge(channel, message.tag).await,
        Err(fault) => {
            tracing::debug!(%fault, "feedback not moved to the end of its queue");
            let options = BasicNackOptions {
                requeue: true,
                ..BasicNackOptions::default()
            };
            let giving_back = channel.basic_nack(message.tag, options);
            within("giving back", REQUEST_DEADLINE, giving_back).await
        }
    }
}

async fn acknowledge(channel: &Channel, tag: u64) -> Result<(), AmqpError> {
    let settling = channel.basic_ack(tag, BasicAckOptions::default());
    within("acknowledging", REQUEST_DEADLINE, settling).await
}
