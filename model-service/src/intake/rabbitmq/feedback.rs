//! What readers did, from its queue, which all instances read: whose domain it is, is asked when it is counted.
//!
//! A message is acknowledged when its events are durable, or can never be taken; what cannot be taken now is given back
//! after a pause. It may come any number of times: an event counts once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kindred_runtime::amqp::{
    AmqpError, Connector, Names, RECONNECT, REQUEST_DEADLINE, close, wait_out, within,
};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

/// Messages read and not settled.
const PREFETCH: u16 = 500;
/// Messages that are counted together, of one domain.
const TOGETHER: usize = 250;
/// After what pause messages are given back that cannot be taken now.
const PAUSE: Duration = Duration::from_secs(1);
/// Tag of the consumer.
const TAG: &str = "feedback";

/// Where events go.
#[async_trait]
pub(crate) trait TakeFeedback: Send + Sync + 'static {
    /// Takes what messages of one routing key hold: once it is done they are settled, whatever is in them.
    ///
    /// # Errors
    /// In words, when they cannot be taken now.
    async fn take(&self, routing_key: &str, bodies: Vec<Bytes>) -> Result<(), String>;
}

/// Reads the queue for as long as the process runs.
pub(crate) async fn read_feedback(connector: Connector, names: Names, door: Arc<dyn TakeFeedback>) {
    let mut backoff = RECONNECT;
    loop {
        let connection = connector.connect_patiently("feedback").await;
        backoff.worked();
        let lost = serve(&connection, &names, &door).await;
        close(&connection).await;
        wait_out(&mut backoff, &connector.place(), "feedback", &lost).await;
    }
}

/// Reads over one connection until it is lost.
async fn serve(connection: &Connection, names: &Names, door: &Arc<dyn TakeFeedback>) -> String {
    let (channel, consumer) = match open(connection, names).await {
        Ok(opened) => opened,
        Err(error) => return error.to_string(),
    };
    let mut messages = consumer.ready_chunks(usize::from(PREFETCH));
    let mut taking = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(settled) = taking.next(), if !taking.is_empty() => {
                if let Err(error) = settled {
                    return AmqpError::to_string(&error);
                }
            }
            chunk = messages.next() => {
                let Some(chunk) = chunk else {
                    return "its queue is gone".to_owned();
                };
                let chunk: Result<Vec<Delivery>, _> = chunk.into_iter().collect();
                match chunk {
                    Ok(chunk) => for (key, together) in by_domain(chunk) {
                        taking.push(take(&channel, door, key, together));
                    },
                    Err(error) => return error.to_string(),
                }
            }
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

/// Messages that are taken together.
fn by_domain(messages: Vec<Delivery>) -> Vec<(String, Vec<Delivery>)> {
    let mut domains: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
    for message in messages {
        let key = message.routing_key.to_string();
        domains.entry(key).or_default().push(message);
    }
    let mut together = Vec::new();
    for (key, mut messages) in domains {
        while !messages.is_empty() {
            let rest = messages.split_off(messages.len().min(TOGETHER));
            together.push((key.clone(), std::mem::replace(&mut messages, rest)));
        }
    }
    together
}

/// Has messages taken, and settles them.
async fn take(
    channel: &Channel,
    door: &Arc<dyn TakeFeedback>,
    key: String,
    mut messages: Vec<Delivery>,
) -> Result<(), AmqpError> {
    let bodies = messages.iter_mut();
    let bodies = bodies.map(|message| Bytes::from(std::mem::take(&mut message.data)));
    let taken = door.take(&key, bodies.collect()).await;
    if let Err(error) = &taken {
        tracing::debug!(
            domain = key,
            messages = messages.len(),
            error,
            "feedback not taken yet"
        );
        tokio::time::sleep(PAUSE).await;
    }
    for message in messages {
        let tag = message.delivery_tag;
        match &taken {
            Ok(()) => {
                let settling = channel.basic_ack(tag, BasicAckOptions::default());
                within("acknowledging", REQUEST_DEADLINE, settling).await?;
            }
            Err(_) => {
                let options = BasicNackOptions {
                    requeue: true,
                    ..BasicNackOptions::default()
                };
                let settling = channel.basic_nack(tag, options);
                within("giving back", REQUEST_DEADLINE, settling).await?;
            }
        }
    }
    Ok(())
}
