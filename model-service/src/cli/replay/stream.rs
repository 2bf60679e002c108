//! Reads kindred.log, a stream queue of RabbitMQ, as a consumer: reading takes nothing out of it.

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use kindred_runtime::amqp::{
    AmqpError, Connector, Names, REQUEST_DEADLINE, close, queue_counts, within,
};
use kindred_shared::event::Limits;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::record::{Message, Record};
use super::since::Since;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::retry::Retry;

/// Messages that the broker may send ahead of acknowledgements.
const PREFETCH: u16 = 200;
/// Messages that are acknowledged together.
const ACKNOWLEDGED: u16 = PREFETCH / 4;
/// The last messages come at once; a pause this long is the end of the stream.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time until the first of them comes; an empty stream has none.
const FIRST: Duration = Duration::from_secs(5);
/// Longest pause within the stream.
const STALLED: Duration = Duration::from_secs(30);
/// The place of a message, in its headers; and where to begin, in the arguments of a consumer.
const OFFSET: &str = "x-stream-offset";

/// The stream of the configured broker.
#[derive(Debug, Clone)]
pub(super) struct StreamLog {
    connector: Connector,
    limits: Limits,
    /// How long to retry.
    timeout: Duration,
}

/// Why reading ends early.
enum Trouble {
    /// It may work later.
    Passing(Exit, String),
    /// It will not.
    Final(CommandError),
    /// Nobody reads on.
    Unheard,
}

impl StreamLog {
    pub(super) fn new(connector: Connector, limits: Limits, timeout: Duration) -> Self {
        Self {
            connector,
            limits,
            timeout,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{} at {}", Names::default().log(), self.connector.place())
    }

    /// The offset of the last message; `None`: there is none.
    pub(super) fn end(&self) -> Result<Option<u64>, CommandError> {
        let runtime = runtime()?;
        let mut retry = Retry::new(self.timeout);
        let mut is_told = false;
        loop {
            let (exit, words) = match runtime.block_on(self.last()) {
                Ok(last) => return Ok(last),
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(exit, words)) => (exit, words),
                Err(Trouble::Unheard) => return Ok(None),
            };
            let Some(pause) = retry.next_pause() else {
                return Err(retry.given_up(exit, &words));
            };
            if !is_told {
                is_told = true;
                // Standard error may be closed.
                let _ = writeln!(std::io::stderr(), "{}", retry.words(&words));
            }
            std::thread::sleep(pause);
        }
    }

    /// Sends the messages from some place up to another, and what ends that early.
    pub(super) fn read(
        &self,
        since: Since,
        until: u64,
        out: &mpsc::Sender<Result<Record, CommandError>>,
    ) {
        let failure = match runtime() {
            Ok(runtime) => runtime.block_on(self.follow_patiently(since, until, out)),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = failure {
            // Nobody may be left to hear it.
            let _ = out.blocking_send(Err(failure));
        }
    }

    async fn last(&self) -> Result<Option<u64>, Trouble> {
        let connection = self.connect().await?;
        let found = self.last_of(&connection).await;
        close(&connection).await;
        found
    }

    /// Begins with the last chunk of messages that the broker has stored, and reads to its end.
    async fn last_of(&self, connection: &Connection) -> Result<Option<u64>, Trouble> {
        let names = Names::default();
        let counts = queue_counts(connection, names.log()).await;
        let counts = counts.map_err(|error| self.trouble(&error))?;
        // How many there are is known only some seconds later.
        if counts.is_none() {
            return Err(Trouble::Final(self.missing()));
        }
        let place = AMQPValue::LongString("last".into());
        let mut consumer = self.consume(connection, place).await?;
        let mut last = None;
        let mut unacknowledged = 0;
        loop {
            let limit = if last.is_none() { FIRST } else { PAUSE };
            let Ok(next) = timeout(limit, consumer.next()).await else {
                break;
            };
            let delivery = self.delivered(next)?;
            last = last.max(offset_of(&delivery));
            self.acknowledge(&delivery, &mut unacknowledged).await?;
        }
        Ok(last)
    }

    async fn follow_patiently(
        &self,
        since: Since,
        until: u64,
        out: &mpsc::Sender<Result<Record, CommandError>>,
    ) -> Result<(), CommandError> {
        let mut retry = Retry::new(self.timeout);
        let mut next = None;
        loop {
            let before = next;
            let (exit, words) = match self.follow(since, until, &mut next, out).await {
                Ok(()) | Err(Trouble::Unheard) => return Ok(()),
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(exit, words)) => (exit, words),
            };
            if next > before {
                retry.renew();
            }
            let Some(pause) = retry.next_pause() else {
                return Err(retry.given_up(exit, &words));
            };
            tracing::warn!(words, "replay.stream_lost");
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads from `next` on, if that is known; it is then the place behind what was sent.
    async fn follow(
        &self,
        since: Since,
        until: u64,
        next: &mut Option<u64>,
        out: &mpsc::Sender<Result<Record, CommandError>>,
    ) -> Result<(), Trouble> {
        if next.is_some_and(|next| next > until) {
            return Ok(());
        }
        let connection = self.connect().await?;
        let place = match (*next, since) {
            (Some(next), _) => AMQPValue::LongLongInt(i64::try_from(next).unwrap_or(i64::MAX)),
            (None, Since::Start) => AMQPValue::LongString("first".into()),
            (None, Since::Time(time)) => {
                AMQPValue::Timestamp(u64::try_from(time.timestamp()).unwrap_or(0))
            }
        };
        let consumer = self.consume(&connection, place).await;
        let followed = match consumer {
            Ok(mut consumer) => self.pass_on(&mut consumer, until, next, out).await,
            Err(trouble) => Err(trouble),
        };
        close(&connection).await;
        followed
    }

    async fn pass_on(
        &self,
        consumer: &mut Consumer,
        until: u64,
        next: &mut Option<u64>,
        out: &mpsc::Sender<Result<Record, CommandError>>,
    ) -> Result<(), Trouble> {
        let mut unacknowledged = 0;
        loop {
            let Ok(delivered) = timeout(STALLED, consumer.next()).await else {
                let words = format!("{} sends nothing more", self.name());
                return Err(Trouble::Passing(Exit::Failed, words));
            };
            let delivery = self.delivered(delivered)?;
            let Some(offset) = offset_of(&delivery) else {
                let words = format!("{} is not a stream: delete that queue", self.name());
                return Err(Trouble::Final(CommandError::failed(words)));
            };
            // A chunk may begin before the place that was asked for.
            let is_new = next.is_none_or(|next| offset >= next);
            if is_new && offset <= until {
                let record = self.record(offset, &delivery);
                if out.send(Ok(record)).await.is_err() {
                    return Err(Trouble::Unheard);
                }
                *next = Some(offset + 1);
            }
            if offset >= until {
                return Ok(());
            }
            self.acknowledge(&delivery, &mut unacknowledged).await?;
        }
    }

    fn record(&self, offset: u64, delivery: &Delivery) -> Record {
        let properties = &delivery.properties;
        let message = Message {
            key: delivery.routing_key.as_str(),
            kind: properties.kind().as_ref().map(ShortString::as_str),
            is_ours: properties.user_id().as_ref() == Some(&self.connector.user()),
            body: &delivery.data,
        };
        Record::of_message(offset, &message, &self.limits)
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let connected = self.connector.connect("log").await;
        connected.map_err(|error| self.trouble(&error))
    }

    async fn consume(
        &self,
        connection: &Connection,
        place: AMQPValue,
    ) -> Result<Consumer, Trouble> {
        let consuming = async {
            let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
            let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
            within("limiting prefetch", REQUEST_DEADLINE, qos).await?;
            let mut arguments = FieldTable::default();
            arguments.insert(OFFSET.into(), place);
            let consuming = channel.basic_consume(
                Names::default().log(),
                "".into(),
                BasicConsumeOptions::default(),
                arguments,
            );
            within("consuming", REQUEST_DEADLINE, consuming).await
        };
        consuming.await.map_err(|error| self.trouble(&error))
    }

    fn delivered(&self, next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Trouble> {
        let words = match next {
            Some(Ok(delivery)) => return Ok(delivery),
            Some(Err(error)) => error.to_string(),
            None => "the queue is gone".to_owned(),
        };
        let words = format!("{}: {words}", self.name());
        Err(Trouble::Passing(Exit::Unreachable, words))
    }

    /// Acknowledges some messages together, so that the broker sends more.
    async fn acknowledge(
        &self,
        delivery: &Delivery,
        unacknowledged: &mut u16,
    ) -> Result<(), Trouble> {
        *unacknowledged += 1;
        if *unacknowledged < ACKNOWLEDGED {
            return Ok(());
        }
        *unacknowledged = 0;
        let acking = async {
            let options = BasicAckOptions { multiple: true };
            delivery.ack(options).await.map(|_| ())
        };
        let acked = within("acknowledging", REQUEST_DEADLINE, acking).await;
        acked.map_err(|error| self.trouble(&error))
    }

    fn missing(&self) -> CommandError {
        CommandError::failed(format!(
            "there is no {}: events are kept there once log_retention is set for the model \
            services, such as log_retention = \"30days\", and one of them was started; what was \
            published before is in no log. To replay the log of a standalone, name its data \
            directory with --from-dir",
            self.name()
        ))
    }

    fn trouble(&self, error: &AmqpError) -> Trouble {
        let name = self.name();
        if error.is_not_found() {
            return Trouble::Final(self.missing());
        }
        if error.is_refused() {
            let words = format!(
                "{name}: this user may not read it: {}; use the user of the model services, or \
                give this one permission to read kindred.log",
                error.broker_words()
            );
            return Trouble::Final(CommandError::failed(words));
        }
        if error.is_other() {
            let words = format!(
                "{name} is not a stream: {}; delete that queue, and start a model service with \
                log_retention",
                error.broker_words()
            );
            return Trouble::Final(CommandError::failed(words));
        }
        let words = format!(
            "{name} cannot be read: {error}; to replay the log of a standalone, name its data \
            directory with --from-dir"
        );
        Trouble::Passing(Exit::Unreachable, words)
    }
}

fn runtime() -> Result<Runtime, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| CommandError::failed(format!("reading cannot begin: {error}")))
}

/// The place of a message; `None`: it is not from a stream.
fn offset_of(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    let offset = headers.inner().get(OFFSET)?.as_long_long_int()?;
    u64::try_from(offset).ok()
}
