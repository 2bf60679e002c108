//! A plain AMQP client that publishes events and knows nothing of Kindred but the contract.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    PublisherConfirm,
};
use tokio::time::timeout;

use super::services::{ANSWER, wait};
use crate::corpus::event::Event;

/// CONTRACT: publish here, with the domain as routing key.
const EXCHANGE: &str = "kindred.items";
/// Messages on their way without a confirm.
const IN_FLIGHT: usize = 256;
/// Longest until everything is confirmed, restarts of the broker included.
const DEADLINE: Duration = Duration::from_secs(600);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A message and its routing key.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
}

impl From<&Event> for Message {
    fn from(event: &Event) -> Self {
        Self {
            key: event.domain.clone(),
            body: event.line.clone().into_bytes(),
        }
    }
}

/// Publishes all in order as soon as the exchange is there, and again from the first unconfirmed
/// one on whenever the connection is lost. `confirmed` counts.
///
/// # Panics
/// When not all is confirmed in time.
#[track_caller]
pub(crate) fn publish(url: &str, messages: &[Message], confirmed: &AtomicUsize) {
    publish_to(EXCHANGE, url, messages, confirmed);
}

/// The same to another exchange.
#[track_caller]
pub(crate) fn publish_to(
    exchange: &'static str,
    url: &str,
    messages: &[Message],
    confirmed: &AtomicUsize,
) {
    let started = Instant::now();
    while let Err(error) = wait(publish_rest(exchange, url, messages, confirmed)) {
        assert!(
            started.elapsed() < DEADLINE,
            "{} of {} confirmed; the last error: {error}",
            confirmed.load(Ordering::SeqCst),
            messages.len()
        );
        std::thread::sleep(PAUSE);
    }
}

/// Publishes events, and returns when all are confirmed.
#[track_caller]
pub(crate) fn publish_events<'a>(url: &str, events: impl IntoIterator<Item = &'a Event>) {
    let messages: Vec<Message> = events.into_iter().map(Message::from).collect();
    publish(url, &messages, &AtomicUsize::new(0));
}

/// Publishes one message of a type as this user, which the broker verifies; returns when it is confirmed.
#[track_caller]
pub(crate) fn publish_typed(url: &str, kind: &str, message: &Message) {
    let user = url.trim_start_matches("amqp://").split(':').next();
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_type(kind.into())
        .with_user_id(user.unwrap_or_default().into());
    wait(async {
        let publisher = Publisher::connect(EXCHANGE, url).await?;
        let confirm = publisher.send_with(message, properties).await?;
        accepted(confirm).await
    })
    .expect("a confirm");
}

async fn publish_rest(
    exchange: &'static str,
    url: &str,
    messages: &[Message],
    confirmed: &AtomicUsize,
) -> Result<(), String> {
    let publisher = Publisher::connect(exchange, url).await?;
    let mut unconfirmed: VecDeque<PublisherConfirm> = VecDeque::new();
    for message in &messages[confirmed.load(Ordering::SeqCst)..] {
        if unconfirmed.len() == IN_FLIGHT
            && let Some(oldest) = unconfirmed.pop_front()
        {
            accepted(oldest).await?;
            confirmed.fetch_add(1, Ordering::SeqCst);
        }
        unconfirmed.push_back(publisher.send(message).await?);
    }
    for confirm in unconfirmed {
        accepted(confirm).await?;
        confirmed.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// An open connection, for who measures.
pub(crate) struct Publisher {
    exchange: &'static str,
    _connection: Connection,
    channel: Channel,
}

impl Publisher {
    /// Connects, when the exchange is there.
    #[track_caller]
    pub(crate) fn open(url: &str) -> Self {
        wait(Self::connect(EXCHANGE, url)).expect("the broker and the exchange")
    }

    /// Publishes and waits for the confirm.
    #[track_caller]
    pub(crate) fn publish(&self, event: &Event) {
        wait(async {
            let confirm = self.send(&Message::from(event)).await?;
            accepted(confirm).await
        })
        .expect("a confirm");
    }

    async fn connect(exchange: &'static str, url: &str) -> Result<Self, String> {
        let connection = in_time(Connection::connect(
            url,
            ConnectionProperties::default().with_connection_name("publisher".into()),
        ))
        .await?;
        let channel = in_time(connection.create_channel()).await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        in_time(channel.exchange_declare(
            exchange.into(),
            ExchangeKind::Topic,
            passive,
            FieldTable::default(),
        ))
        .await?;
        in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self {
            exchange,
            _connection: connection,
            channel,
        })
    }

    async fn send(&self, message: &Message) -> Result<PublisherConfirm, String> {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        self.send_with(message, properties).await
    }

    async fn send_with(
        &self,
        message: &Message,
        properties: BasicProperties,
    ) -> Result<PublisherConfirm, String> {
        let key = ShortString::try_new(message.key.as_str()).map_err(|error| error.to_string())?;
        in_time(self.channel.basic_publish(
            self.exchange.into(),
            key,
            BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            },
            &message.body,
            properties,
        ))
        .await
    }
}

async fn accepted(confirm: PublisherConfirm) -> Result<(), String> {
    match in_time(confirm).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) => Err(format!("returned: {}", returned.reply_text)),
        Confirmation::Nack(_) => Err("refused: a queue is full".to_owned()),
        Confirmation::NotRequested => Err("no confirms on this channel".to_owned()),
    }
}

async fn in_time<T>(doing: impl IntoFuture<Output = Result<T, lapin::Error>>) -> Result<T, String> {
    match timeout(ANSWER, doing.into_future()).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER:?}")),
    }
}
