//! Publishing with confirms over a connection that reconnects by itself.
//!
//! Messages leave in the order they were passed in. While the broker is unreachable or blocks
//! publishers, every message fails at once with [`PublishFault::Away`]: nothing is queued for
//! later.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::connection::{
    AmqpError, CLOSE_DEADLINE, Connector, RECONNECT, REQUEST_DEADLINE, close, wait_out, within,
};
use super::topology::Names;
use kindred_shared::event::Event;
use kindred_shared::wire::JSON;

/// Deadline for the broker to confirm a message: 15 s.
pub const CONFIRM_DEADLINE: Duration = Duration::from_secs(15);
/// How often an idle connection is checked: 200 ms.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes a message takes besides its body.
const MESSAGE_BYTES: usize = 512;

/// The properties of an event that Kindred itself publishes.
pub fn event_properties(kind: &str, message_id: &str) -> BasicProperties {
    super::properties::base(JSON, kind).with_message_id(super::short::short(message_id))
}

/// An event as a message for `kindred.items`: the routing key is its domain, the message id its
/// item and version or the name of its request, the body its canonical JSON. It is mandatory:
/// reaching no queue is an error.
pub fn event_message(names: &Names, event: &Event) -> Outgoing {
    let message_id = match (event, event.id(), event.version()) {
        (Event::Configure(configure), ..) => configure.request.clone(),
        (Event::Model(modelled), ..) => modelled.request.clone(),
        (Event::Record(recorded), ..) => recorded.request.clone(),
        (Event::Remove(removal), ..) => removal.request.clone(),
        (_, Some(id), Some(version)) => format!("{id}@{version}"),
        (_, id, _) => id.map(ToString::to_string).unwrap_or_default(),
    };
    Outgoing {
        exchange: names.items(),
        // A domain's name is at most 128 bytes.
        key: ShortString::from(event.domain().as_str()),
        properties: event_properties(event.type_name(), &message_id),
        body: event.to_json().into_bytes(),
        mandatory: true,
    }
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Empty: the default exchange, where the key is a queue's name.
    pub exchange: ShortString,
    /// The routing key.
    pub key: ShortString,
    /// Properties, headers included.
    pub properties: BasicProperties,
    /// The body.
    pub body: Vec<u8>,
    /// Whether a message that reaches no queue is an error.
    pub mandatory: bool,
}

/// Why a message is not known to be in a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishFault {
    /// The broker is unreachable, blocks publishers, or did not confirm: send it again.
    #[error("{0}")]
    Away(String),
    /// The broker refused it: a queue is full.
    #[error("the broker refused the message: a queue is full")]
    Refused,
    /// No queue is bound for it.
    #[error("the message reaches no queue: {0}")]
    Unroutable(String),
}

/// Resolves once it is known whether the broker has the message.
pub type Confirmed = Pin<Box<dyn Future<Output = Result<(), PublishFault>> + Send + 'static>>;

/// Publishes messages. Cheap to clone. When the last clone is dropped, pending messages are
/// confirmed and the connection is closed.
#[derive(Debug, Clone)]
pub struct Publisher {
    messages: mpsc::UnboundedSender<Handed>,
    room: Arc<Semaphore>,
    capacity: u32,
    link: watch::Receiver<bool>,
    user: ShortString,
}

#[derive(Debug)]
struct Handed {
    message: Outgoing,
    confirm: oneshot::Sender<Result<(), PublishFault>>,
    room: OwnedSemaphorePermit,
}

impl Publisher {
    /// A publisher with a connection of its own, named by `role`, and at most `capacity_bytes` of
    /// unconfirmed messages; a larger message takes all of the capacity. Must be called within a
    /// tokio runtime.
    pub fn start(connector: Connector, role: &'static str, capacity_bytes: usize) -> Self {
        let capacity = u32::try_from(capacity_bytes).unwrap_or(u32::MAX).max(1);
        let permits = (capacity as usize).min(Semaphore::MAX_PERMITS);
        // Unbounded, because `room` bounds it.
        let (messages, handed) = mpsc::unbounded_channel();
        let (up, link) = watch::channel(false);
        let user = connector.user();
        tokio::spawn(run(connector, role, handed, up));
        Self {
            messages,
            room: Arc::new(Semaphore::new(permits)),
            capacity,
            link,
            user,
        }
    }

    /// The user that it publishes as.
    pub fn user(&self) -> &ShortString {
        &self.user
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        *self.link.borrow()
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        let mut link = self.link.clone();
        // An error means that the task has ended, which happens only after this.
        let _ = link.wait_for(|up| *up).await;
    }

    /// Drops this clone. The last clone waits until all pending messages are answered and the
    /// connection is closed cleanly, but no longer than a few seconds.
    pub async fn finish(self) {
        let Self {
            messages, mut link, ..
        } = self;
        drop(messages);
        let gone = async { while link.changed().await.is_ok() {} };
        // Late only if the broker does not answer; the connection then ends with the process.
        let _ = tokio::time::timeout(2 * CLOSE_DEADLINE, gone).await;
    }

    /// Passes a message on, in the order of the calls; waits while too many bytes are unconfirmed.
    /// The returned confirmation is awaited separately and resolves within about
    /// [`CONFIRM_DEADLINE`]; its share of the capacity is free once the broker has answered.
    pub async fn publish(&self, message: Outgoing) -> Confirmed {
        let bytes = u32::try_from(message.body.len() + MESSAGE_BYTES).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes.min(self.capacity))
            .await;
        let (confirm, confirmed) = oneshot::channel();
        if let Ok(room) = room {
            let _ = self.messages.send(Handed {
                message,
                confirm,
                room,
            });
        }
        Box::pin(async move {
            confirmed.await.unwrap_or_else(|_| {
                let words = "the connection to the broker was lost before it confirmed";
                Err(PublishFault::Away(words.to_owned()))
            })
        })
    }
}

async fn run(
    connector: Connector,
    role: &'static str,
    mut handed: mpsc::UnboundedReceiver<Handed>,
    up: watch::Sender<bool>,
) {
    let mut backoff = RECONNECT;
    loop {
        let opened = tokio::select! {
            opened = open(&connector, role) => opened,
            () = turn_away(&mut handed, &connector) => return,
        };
        let (connection, channel) = match opened {
            Ok(link) => link,
            Err(error) => {
                let place = connector.place();
                tokio::select! {
                    () = wait_out(&mut backoff, &place, role, &error) => continue,
                    () = turn_away(&mut handed, &connector) => return,
                }
            }
        };
        backoff.worked();
        tracing::info!(place = connector.place(), role, "amqp.connected");
        up.send_replace(true);
        let done = serve(&connection, &channel, &mut handed).await;
        up.send_replace(false);
        close(&connection).await;
        if done {
            return;
        }
        tracing::warn!(place = connector.place(), role, "amqp.lost");
    }
}

/// Fails messages while there is no connection. Ends when the last publisher is gone.
async fn turn_away(handed: &mut mpsc::UnboundedReceiver<Handed>, connector: &Connector) {
    while let Some(message) = handed.recv().await {
        let words = format!(
            "there is no connection to RabbitMQ at {}",
            connector.place()
        );
        let _ = message.confirm.send(Err(PublishFault::Away(words)));
    }
}

async fn open(connector: &Connector, role: &str) -> Result<(Connection, Channel), AmqpError> {
    let connection = connector.connect(role).await?;
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let select = channel.confirm_select(ConfirmSelectOptions::default());
    within("asking for confirms", REQUEST_DEADLINE, select).await?;
    Ok((connection, channel))
}

/// Publishes until the channel is lost (`false`) or the last publisher is gone (`true`).
async fn serve(
    connection: &Connection,
    channel: &Channel,
    handed: &mut mpsc::UnboundedReceiver<Handed>,
) -> bool {
    let mut pending = FuturesUnordered::new();
    let mut look = tokio::time::interval(LOOK);
    let mut open = true;
    while open || !pending.is_empty() {
        tokio::select! {
            message = handed.recv(), if open => match message {
                Some(message) => {
                    if let Some(confirm) = send(connection, channel, message).await {
                        pending.push(confirm);
                    }
                }
                None => open = false,
            },
            Some(()) = pending.next() => {}
            _ = look.tick() => {}
        }
        if !channel.status().connected() || !connection.status().connected() {
            break;
        }
    }
    // The rest failed with the channel, or fails at its deadline.
    while pending.next().await.is_some() {}
    !open
}

async fn send(
    connection: &Connection,
    channel: &Channel,
    handed: Handed,
) -> Option<impl Future<Output = ()> + use<>> {
    let Handed {
        message,
        confirm,
        room,
    } = handed;
    if connection.status().blocked() {
        let words = "RabbitMQ takes no messages now: it is short of memory or disk";
        let _ = confirm.send(Err(PublishFault::Away(words.to_owned())));
        return None;
    }
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        ..BasicPublishOptions::default()
    };
    let publishing = channel.basic_publish(
        message.exchange,
        message.key,
        options,
        &message.body,
        message.properties,
    );
    match within("publishing", REQUEST_DEADLINE, publishing).await {
        Ok(outcome) => Some(async move {
            let _ = confirm.send(confirmed(outcome).await);
            drop(room);
        }),
        Err(error) => {
            let _ = confirm.send(Err(PublishFault::Away(error.to_string())));
            None
        }
    }
}

async fn confirmed(outcome: PublisherConfirm) -> Result<(), PublishFault> {
    match within("confirming a message", CONFIRM_DEADLINE, outcome).await {
        Ok(Confirmation::Ack(None)) => Ok(()),
        Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
            Err(PublishFault::Unroutable(returned.reply_text.to_string()))
        }
        Ok(Confirmation::Nack(None)) => Err(PublishFault::Refused),
        Ok(Confirmation::NotRequested) => {
            Err(PublishFault::Away("the channel has no confirms".to_owned()))
        }
        Err(error) => Err(PublishFault::Away(error.to_string())),
    }
}
