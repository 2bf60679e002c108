//! RabbitMQ as a worker uses it: one connection to take jobs and settle them, another for
//! answers, so that a broker that holds back publishers still takes acknowledgements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kindred_runtime::amqp::Names;
use kindred_shared::wire::JobKind;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ConnectionStatus,
    Consumer,
};
use tokio::time::{Instant, timeout};

use super::job::{Lost, Outbox, Published, Settle, Taken};

/// Jobs of one queue in hand. Small: each crash of a worker burns an attempt of all of them.
pub(crate) const PREFETCH: u16 = 2;
/// Where answers are sent: the exchange that knows every queue by its name.
const DEFAULT_EXCHANGE: &str = "";
/// Longest making a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest any other answer of the broker may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Heartbeat where the URL names none, in seconds: a lost peer is noticed within two of them.
const HEARTBEAT_S: u16 = 10;

/// Who connects, as the management UI shows it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Name of the connections.
    pub(crate) name: String,
    /// Further client properties.
    pub(crate) properties: Vec<(&'static str, String)>,
}

/// Both connections.
pub(crate) struct Broker {
    name: String,
    taking: Connection,
    answering: Connection,
    outbox: Channel,
    consumers: Vec<(JobKind, Channel, Consumer)>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    /// Connects and begins to take jobs.
    ///
    /// # Errors
    /// [`Lost`], in words that say what is missing.
    pub(crate) async fn connect(url: &str, identity: &Identity) -> Result<Self, Lost> {
        let taking = connection(url, identity, "jobs").await?;
        let answering = connection(url, identity, "answers").await?;
        let outbox = answered("opening a channel", answering.create_channel()).await?;
        let confirms = outbox.confirm_select(ConfirmSelectOptions::default());
        answered("asking for confirms", confirms).await?;
        let mut consumers = Vec::new();
        for kind in [JobKind::Extract, JobKind::Compare] {
            let channel = answered("opening a channel", taking.create_channel()).await?;
            let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
            answered("limiting what is in hand", qos).await?;
            let consumer = consume(&channel, kind, &identity.name).await?;
            consumers.push((kind, channel, consumer));
        }
        Ok(Self {
            name: identity.name.clone(),
            taking,
            answering,
            outbox,
            consumers,
        })
    }

    /// The streams of jobs, one a queue.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = (JobKind, Consumer)> + '_ {
        let all = self.consumers.iter();
        all.map(|(kind, _, consumer)| (*kind, consumer.clone()))
    }

    /// Where answers go.
    pub(crate) fn outbox(&self) -> LapinOutbox {
        LapinOutbox {
            channel: self.outbox.clone(),
            connection: self.answering.status().clone(),
        }
    }

    /// Whether both connections and all channels stand.
    pub(crate) fn stands(&self) -> bool {
        self.taking.status().connected()
            && self.answering.status().connected()
            && self.outbox.status().connected()
            && (self.consumers.iter()).all(|(_, channel, _)| channel.status().connected())
    }

    /// Takes no more jobs; those in hand can still be settled.
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
    /// [`Lost`], when the broker does not answer.
    pub(crate) async fn take_again(&mut self) -> Result<(), Lost> {
        for (kind, channel, consumer) in &mut self.consumers {
            *consumer = consume(channel, *kind, &self.name).await?;
        }
        Ok(())
    }

    /// Closes both connections; what is unsettled is delivered again.
    pub(crate) async fn close(self) {
        let close = |connection: Connection| async move {
            let closing = connection.close(200, "stopping".into());
            // A connection that cannot be closed is as good as closed.
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

async fn connection(url: &str, identity: &Identity, what: &str) -> Result<Connection, Lost> {
    let mut uri: AMQPUri = url
        .parse()
        .map_err(|error: String| Lost(format!("amqp_url cannot be read: {error}")))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let place = format!("{}:{}", uri.authority.host, uri.authority.port);
    let name = format!("{} {what}", identity.name);
    let properties = identity.properties.iter().fold(
        ConnectionProperties::default().with_connection_name(name.into()),
        |properties, (key, value)| {
            properties.with_client_property((*key).into(), value.as_str().into())
        },
    );
    match timeout(CONNECT_DEADLINE, Connection::connect_uri(uri, properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Lost(format!("connecting to {place}: {error}"))),
        Err(_) => Err(Lost(format!(
            "connecting to {place}: no answer within {CONNECT_DEADLINE:?}"
        ))),
    }
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
            Err(Lost("acknowledging a job: its channel is gone".to_owned()))
        }
    }
}

/// A channel with confirms.
#[derive(Clone)]
pub(crate) struct LapinOutbox {
    channel: Channel,
    connection: ConnectionStatus,
}

impl LapinOutbox {
    async fn publish(
        &self,
        exchange: &str,
        key: ShortString,
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
                .basic_publish(short(exchange), key, options, &body, properties)
                .await?;
            sent.await
        };
        let mut confirmed = std::pin::pin!(confirmed);
        let confirmation = loop {
            match timeout(ANSWER_DEADLINE, &mut confirmed).await {
                Ok(Ok(confirmation)) => break confirmation,
                Ok(Err(error)) => return Err(Lost(format!("publishing: {error}"))),
                // A broker short of disk or memory holds publishers back. To give up would have
                // the job delivered again and again, as if it killed its workers.
                Err(_) if self.connection.connected() && self.connection.blocked() => {
                    tracing::warn!("the broker holds publishers back; waiting");
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
            Confirmation::NotRequested => Err(Lost("the channel does not confirm".to_owned())),
        }
    }
}

#[async_trait]
impl Outbox for LapinOutbox {
    async fn answer(
        &self,
        queue: &ShortString,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<Published, Lost> {
        self.publish(DEFAULT_EXCHANGE, queue.clone(), properties, body)
            .await
    }
}

/// A short string: at most 255 bytes, cut where a character ends.
fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
}
