//! A worker's connections to RabbitMQ: one to take jobs and settle them, another for answers, so
//! that a broker that blocks publishers still accepts acknowledgements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kindred_runtime::amqp::{Connector, Names, ReplyAddress, exists};
use kindred_shared::wire::JobKind;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionStatus, Consumer};
use tokio::time::{Instant, timeout};

use super::job::{Lost, Outbox, Published, Settle, Taken};

/// Jobs in hand per queue. Small, because each crash of a worker uses up an attempt of all of them.
pub(crate) const PREFETCH: u16 = 2;
/// Timeout of an answer of the broker.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Both connections.
pub(crate) struct Broker {
    name: String,
    taking: Connection,
    answering: Connection,
    outbox: Channel,
    /// Whether the exchange for replies exists.
    has_exchange: bool,
    consumers: Vec<(JobKind, Channel, Consumer)>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    /// Connects and starts to take jobs.
    ///
    /// # Errors
    /// [`Lost`], with a message that says what is missing.
    pub(crate) async fn connect(connector: &Connector, name: &str) -> Result<Self, Lost> {
        let taking = connection(connector, "jobs").await?;
        let answering = connection(connector, "answers").await?;
        let exchange = Names::default().reply_exchange();
        let has_exchange = exists(&answering, &exchange).await;
        let has_exchange = has_exchange.map_err(|error| Lost(error.to_string()))?;
        let outbox = answered("opening a channel", answering.create_channel()).await?;
        let confirms = outbox.confirm_select(ConfirmSelectOptions::default());
        answered("asking for confirms", confirms).await?;
        let mut consumers = Vec::new();
        for kind in [JobKind::Extract, JobKind::Compare] {
            let channel = answered("opening a channel", taking.create_channel()).await?;
            let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
            answered("setting the prefetch", qos).await?;
            let consumer = consume(&channel, kind, name).await?;
            consumers.push((kind, channel, consumer));
        }
        Ok(Self {
            name: name.to_owned(),
            taking,
            answering,
            outbox,
            has_exchange,
            consumers,
        })
    }

    /// The streams of jobs, one per queue.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = (JobKind, Consumer)> + '_ {
        let all = self.consumers.iter();
        all.map(|(kind, _, consumer)| (*kind, consumer.clone()))
    }

    /// The channel for answers.
    pub(crate) fn outbox(&self) -> LapinOutbox {
        LapinOutbox {
            channel: self.outbox.clone(),
            connection: self.answering.status().clone(),
        }
    }

    /// Whether the exchange for replies existed when this connected.
    pub(crate) fn has_exchange(&self) -> bool {
        self.has_exchange
    }

    /// Whether both connections and all channels are open.
    pub(crate) fn stands(&self) -> bool {
        self.taking.status().connected()
            && self.answering.status().connected()
            && self.outbox.status().connected()
            && (self.consumers.iter()).all(|(_, channel, _)| channel.status().connected())
    }

    /// Stops taking jobs; those in hand can still be settled.
    pub(crate) async fn cancel(&self) {
        for (kind, channel, consumer) in &self.consumers {
            let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            if let Err(lost) = answered("cancelling a consumer", cancel).await {
                tracing::debug!(kind = kind.word(), %lost, "consumer not cancelled");
            }
        }
    }

    /// Takes jobs again after [`Self::cancel`].
    ///
    /// # Errors
    /// [`Lost`] when the broker does not answer.
    pub(crate) async fn take_again(&mut self) -> Result<(), Lost> {
        for (kind, channel, consumer) in &mut self.consumers {
            *consumer = consume(channel, *kind, &self.name).await?;
        }
        Ok(())
    }

    /// Closes both connections; the broker redelivers whatever is unsettled.
    pub(crate) async fn close(self) {
        let close = |connection: Connection| async move {
            let closing = connection.close(200, "stopping".into());
            // A connection that cannot be closed counts as closed.
            let _ = answered("closing", closing).await;
        };
        close(self.answering).await;
        close(self.taking).await;
    }
}

async fn consume(channel: &Channel, kind: JobKind, name: &str) -> Result<Consumer, Lost> {
    let queue = Names::default().jobs(kind);
    let consume = channel.basic_consume(
        queue.clone(),
        short(&format!("{name} {}", kind.word())),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    answered(&format!("taking jobs from {queue}"), consume).await
}

async fn connection(connector: &Connector, role: &str) -> Result<Connection, Lost> {
    let connected = connector.connect(role).await;
    connected.map_err(|error| Lost(format!("{}: {error}", connector.place())))
}

async fn answered<T>(
    what: &str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Lost> {
    match timeout(ANSWER_DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Lost(format!("{what}: {error}"))),
        Err(_) => Err(Lost(format!(
            "{what}: no answer within {ANSWER_DEADLINE:?}"
        ))),
    }
}

/// A delivery as a job in hand.
pub(crate) fn taken(kind: JobKind, delivery: Delivery) -> Taken {
    let Delivery {
        properties,
        data,
        acker,
        ..
    } = delivery;
    Taken {
        kind,
        properties,
        body: data,
        at: Instant::now(),
        settle: Box::new(LapinSettle(acker)),
    }
}

struct LapinSettle(lapin::Acker);

#[async_trait]
impl Settle for LapinSettle {
    async fn ack(&self) -> Result<(), Lost> {
        let ack = self.0.ack(BasicAckOptions::default());
        if answered("acknowledging a job", ack).await? {
            Ok(())
        } else {
            Err(Lost(
                "acknowledging a job: its channel is closed".to_owned(),
            ))
        }
    }
}

/// A channel with publisher confirms.
#[derive(Clone)]
pub(crate) struct LapinOutbox {
    channel: Channel,
    connection: ConnectionStatus,
}

impl LapinOutbox {
    async fn publish(
        &self,
        to: &ReplyAddress,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmed = async {
            let sent = self
                .channel
                .basic_publish(
                    to.exchange.clone(),
                    to.queue.clone(),
                    options,
                    &body,
                    properties,
                )
                .await?;
            sent.await
        };
        let mut confirmed = std::pin::pin!(confirmed);
        let confirmation = loop {
            match timeout(ANSWER_DEADLINE, &mut confirmed).await {
                Ok(Ok(confirmation)) => break confirmation,
                Ok(Err(error)) => return Err(Lost(format!("publishing: {error}"))),
                // A broker that is short of disk or memory blocks publishers. Giving up would make
                // it redeliver the job again and again, as if the job killed its workers.
                Err(_) if self.connection.connected() && self.connection.blocked() => {
                    tracing::warn!("the broker blocks publishers; waiting");
                }
                Err(_) => {
                    return Err(Lost(format!(
                        "publishing: not confirmed within {ANSWER_DEADLINE:?}"
                    )));
                }
            }
        };
        match confirmation {
            Confirmation::Ack(None) => Ok(Published::Confirmed),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(Published::Unroutable),
            Confirmation::Nack(None) => Ok(Published::Refused),
            Confirmation::NotRequested => {
                Err(Lost("the channel is not in confirm mode".to_owned()))
            }
        }
    }
}

#[async_trait]
impl Outbox for LapinOutbox {
    async fn answer(
        &self,
        to: &ReplyAddress,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost> {
        self.publish(to, properties, body).await
    }
}

/// A short string: at most 255 bytes, cut at a character boundary.
fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
}
