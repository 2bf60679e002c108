//! Reads the queue of a partition, reconnecting as necessary.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kindred_runtime::amqp::{
    AmqpError, Connector, PublishFault, Publisher, RECONNECT, REQUEST_DEADLINE, close, wait_out,
    within,
};
use kindred_runtime::host::process_name;
use kindred_shared::event::{
    CONFIGURED, Configure, Event, Limits, MODELLED, Modelled, RECORDED, REMOVED, Reason, Recorded,
    Refusal, Removal, parse_for,
};
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dead::letter;
use super::raw::Raw;
use super::{Command, RabbitIntakeOptions};
use crate::metrics::Metrics;
use kindred_domain::intake::poison::{POISONOUS, PoisonGuard, Verdict};
use kindred_domain::intake::rewind::Rewinding;
use kindred_domain::intake::unacked::UnackedMessages;
use kindred_domain::intake::{Delivery, DeliveryTag, Outcome, Settled};

/// The reader's channels to the intake.
pub(super) struct Ends {
    pub(super) told: mpsc::UnboundedReceiver<Command>,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) generation: Arc<AtomicU64>,
    pub(super) is_alone: Arc<AtomicBool>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) up: watch::Sender<bool>,
}

pub(super) struct QueueReader {
    connector: Connector,
    publisher: Publisher,
    options: RabbitIntakeOptions,
    metrics: Arc<Metrics>,
    ends: Ends,
    guard: PoisonGuard,
    rewinding: Rewinding,
}

/// The consumer that reads one message at a time. See [`kindred_domain::intake::poison`] for the order of both.
const CAREFUL: &str = "1-careful";
/// The consumer that reads ahead.
const AHEAD: &str = "2-ahead";

struct Link {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    /// The previous consumer, cancelled: dropping it while the connection lives would cancel it
    /// again.
    _careful: Option<Consumer>,
}

/// Why a connection was closed.
enum End {
    Stopped,
    /// To read one message at a time.
    GivenBack,
    Lost(String),
    Told(tokio::sync::oneshot::Sender<()>),
}

/// A dead letter that is being published, and its outcome.
type PendingDeadLetter =
    Pin<Box<dyn Future<Output = (DeadLetter, Result<(), PublishFault>)> + Send>>;

/// Why a message becomes a dead letter.
#[derive(Debug, Clone, Copy)]
struct DeadLetter {
    /// The broker's tag.
    tag: u64,
    reason: &'static str,
    by: Refuser,
}

/// Who refused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuser {
    /// The reader here: nobody else has seen it.
    Reader,
    /// Its domain, which has counted it.
    Domain,
}

/// The state of one connection's messages.
struct Session {
    unacked: UnackedMessages<Raw>,
    dead_letters: FuturesUnordered<PendingDeadLetter>,
    /// When everything is to be delivered again, if that is due.
    rewind_at: Option<Instant>,
    /// The message just read was the last to be read alone.
    reads_ahead: bool,
}

impl QueueReader {
    pub(super) fn new(
        connector: Connector,
        publisher: Publisher,
        options: RabbitIntakeOptions,
        metrics: Arc<Metrics>,
        ends: Ends,
    ) -> Self {
        let guard = PoisonGuard::new(options.prefetch);
        Self {
            connector,
            publisher,
            options,
            metrics,
            ends,
            guard,
            rewinding: Rewinding::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = RECONNECT;
        let place = self.connector.place();
        loop {
            let Some(opened) = self.open_unless_stopped().await else {
                return;
            };
            let mut link = match opened {
                Ok(link) => link,
                Err(error) => {
                    tokio::select! {
                        () = wait_out(&mut backoff, &place, "intake", &error) => continue,
                        _ = self.ends.stopped.wait_for(|stop| *stop) => return,
                    }
                }
            };
            let mut session = Session {
                unacked: UnackedMessages::new(self.generation(), self.options.capacity_bytes),
                dead_letters: FuturesUnordered::new(),
                rewind_at: None,
                reads_ahead: false,
            };
            backoff.worked();
            self.ends.up.send_replace(true);
            let end = self.serve(&mut link, &mut session).await;
            self.ends.up.send_replace(false);
            self.ends.generation.fetch_add(1, Ordering::AcqRel);
            let deliberate = matches!(end, End::GivenBack);
            self.guard.lost(session.unacked.fingerprints(), deliberate);
            self.rewinding.done();
            close(&link.connection).await;
            drop(link);
            match end {
                End::Stopped => return,
                End::GivenBack => {}
                End::Lost(why) => wait_out(&mut backoff, &place, "intake", &why).await,
                End::Told(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn generation(&self) -> u64 {
        self.ends.generation.load(Ordering::Acquire)
    }

    /// Connects and consumes the queue. Settlements that arrive meanwhile belong to lost
    /// connections.
    async fn open_unless_stopped(&mut self) -> Option<Result<Link, AmqpError>> {
        let opening = open(
            &self.connector,
            &self.options,
            self.guard.reads_one_at_a_time(),
            self.guard.prefetch(),
        );
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return Some(opened),
                _ = self.ends.stopped.wait_for(|stop| *stop) => return None,
                command = self.ends.told.recv() => match command? {
                    Command::Settle(settled) => {
                        tracing::debug!(tags = settled.len(), "intake.settled_lost_tags");
                    }
                    Command::Lose(done) => drop(done.send(())),
                },
            }
        }
    }

    async fn serve(&mut self, link: &mut Link, session: &mut Session) -> End {
        let mut stopped = self.ends.stopped.clone();
        let deliveries = self.ends.deliveries.clone();
        loop {
            let stopping = async { stopped.wait_for(|stop| *stop).await.is_ok() };
            let can_hand_over = self.rewinding.may_hand_over() && session.unacked.has_ready();
            let rewind_at = session.rewind_at;
            let rewinding = async move {
                match rewind_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // In this order, so that settled messages are acknowledged before the end.
            let end = tokio::select! {
                biased;
                command = self.ends.told.recv() => match command {
                    Some(Command::Settle(settled)) => {
                        self.settle(session, settled);
                        None
                    }
                    Some(Command::Lose(done)) => Some(End::Told(done)),
                    None => Some(End::Stopped),
                },
                Some((dead_letter, published)) = session.dead_letters.next() => {
                    self.dead_lettered(session, dead_letter, published)
                }
                _ = stopping => Some(End::Stopped),
                () = rewinding => {
                    let generation = self.ends.generation.fetch_add(1, Ordering::AcqRel) + 1;
                    session.unacked.rewind(generation);
                    session.rewind_at = None;
                    self.rewinding.done();
                    None
                }
                permit = deliveries.reserve(), if can_hand_over => {
                    match (permit, session.unacked.hand_over()) {
                        (Ok(permit), Some(delivery)) => {
                            permit.send(delivery);
                            None
                        }
                        (Ok(_), None) => None,
                        (Err(_), _) => Some(End::Stopped),
                    }
                }
                message = link.consumer.next() => match message {
                    Some(Ok(message)) => self.read(session, message),
                    Some(Err(error)) => Some(End::Lost(error.to_string())),
                    None => Some(End::Lost("the partition's queue is gone".to_owned())),
                },
            };
            if std::mem::take(&mut session.reads_ahead)
                && let Err(error) = read_ahead(link, &self.options, self.guard.prefetch()).await
            {
                return End::Lost(error.to_string());
            }
            if let Err(error) = acknowledge(&link.channel, &mut session.unacked).await {
                return End::Lost(error.to_string());
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn read(&mut self, session: &mut Session, message: Message) -> Option<End> {
        let count = redeliveries(&message);
        let tag = message.delivery_tag;
        let key = message.routing_key.to_string();
        let mut raw = Raw {
            fingerprint: xxh3_64_with_seed(&message.data, xxh3_64_with_seed(key.as_bytes(), 0)),
            key,
            properties: message.properties,
            body: message.data,
            redeliveries: 0,
        };
        let verdict = self.guard.judge(raw.fingerprint, count);
        let is_alone = self.guard.reads_one_at_a_time();
        self.ends.is_alone.store(is_alone, Ordering::Release);
        match verdict {
            Verdict::GiveBack => {
                // It counts as unacknowledged: it comes again.
                session.unacked.enter_dead_letter(tag, raw);
                return Some(End::GivenBack);
            }
            Verdict::Dead => {
                let detail = format!(
                    "it was delivered {count} times and never stored; each time the service died \
                    or stalled"
                );
                let raw = session.unacked.enter_dead_letter(tag, raw);
                let dead_letter = DeadLetter {
                    tag,
                    reason: POISONOUS,
                    by: Refuser::Reader,
                };
                self.send_dead_letter(session, dead_letter, &raw, &detail);
                return None;
            }
            Verdict::HandOver(before) => raw.redeliveries = before,
            Verdict::ReadAhead(before) => {
                raw.redeliveries = before;
                session.reads_ahead = true;
            }
        }
        match parse(&raw, &self.options.limits, &self.connector.user()) {
            Ok(event) => {
                let domain = event.domain().clone();
                tracing::debug!(
                    partition = self.options.partition,
                    %domain,
                    item = event.id().map(tracing::field::display),
                    message_id = raw.properties.message_id().as_ref().map(ShortString::as_str),
                    bytes = raw.body.len(),
                    redeliveries = raw.redeliveries,
                    "event.read"
                );
                session.unacked.enter(tag, raw, domain, event);
            }
            Err(refusal) => {
                let raw = session.unacked.enter_dead_letter(tag, raw);
                let dead_letter = DeadLetter {
                    tag,
                    reason: refusal.reason.word(),
                    by: Refuser::Reader,
                };
                self.send_dead_letter(session, dead_letter, &raw, &refusal.detail);
            }
        }
        None
    }

    /// Sends a message to the dead-letter queue.
    fn send_dead_letter(
        &self,
        session: &Session,
        dead_letter: DeadLetter,
        raw: &Raw,
        detail: &str,
    ) {
        tracing::warn!(
            domain = raw.key,
            message_id = raw
                .properties
                .message_id()
                .as_ref()
                .map(ShortString::as_str),
            bytes = raw.body.len(),
            reason = dead_letter.reason,
            detail,
            "event.refused"
        );
        let message = letter(&self.options.names, raw, dead_letter.reason, detail);
        let publisher = self.publisher.clone();
        session.dead_letters.push(Box::pin(async move {
            let confirmed = publisher.publish(message).await;
            (dead_letter, confirmed.await)
        }));
    }

    fn dead_lettered(
        &mut self,
        session: &mut Session,
        dead_letter: DeadLetter,
        published: Result<(), PublishFault>,
    ) -> Option<End> {
        match published {
            Ok(()) => {
                let labels = ["items", dead_letter.reason];
                self.metrics.dead_letters.with_label_values(&labels).inc();
                if dead_letter.by == Refuser::Reader {
                    let refused = &self.metrics.events_refused;
                    refused.with_label_values(&[dead_letter.reason]).inc();
                }
                if let Some(fingerprint) = session.unacked.dead_lettered(dead_letter.tag) {
                    self.guard.settled(fingerprint);
                }
                None
            }
            // Everything unacknowledged comes again and is refused again.
            Err(fault) => Some(End::Lost(format!(
                "a dead letter was not accepted: {fault}"
            ))),
        }
    }

    fn settle(&mut self, session: &mut Session, settled: Vec<(DeliveryTag, Outcome)>) {
        for (tag, outcome) in settled {
            match outcome {
                Outcome::Stored(version) => match session.unacked.stored(tag) {
                    Some(raw) => {
                        if let Some(id) = raw.properties.correlation_id() {
                            let settlements = &self.options.settlements;
                            settlements.settled(id.as_str(), Ok(Settled { version }));
                        }
                        self.guard.settled(raw.fingerprint);
                        self.rewinding.stored();
                    }
                    None => tracing::debug!(tag = tag.0, "intake.settled_unknown_tag"),
                },
                Outcome::Refused(refusal) => {
                    if let Some((broker, raw)) = session.unacked.refused(tag) {
                        if let Some(id) = raw.properties.correlation_id() {
                            let settlements = &self.options.settlements;
                            settlements.settled(id.as_str(), Err(refusal.clone()));
                        }
                        let dead_letter = DeadLetter {
                            tag: broker,
                            reason: refusal.reason.word(),
                            by: Refuser::Domain,
                        };
                        self.send_dead_letter(session, dead_letter, &raw, &refusal.detail);
                    }
                }
                Outcome::Failed(failure) => {
                    let is_handed = session.unacked.is_handed(tag);
                    if let Some(delay) = self.rewinding.failed(is_handed) {
                        let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                        let detail = failure.detail;
                        if failure.needs_help {
                            tracing::error!(detail, retry_ms, "intake.not_stored");
                        } else {
                            tracing::warn!(detail, retry_ms, "intake.not_stored");
                        }
                        session.rewind_at = Some(Instant::now() + delay);
                    }
                }
            }
        }
    }
}

async fn open(
    connector: &Connector,
    options: &RabbitIntakeOptions,
    one_at_a_time: bool,
    prefetch: u16,
) -> Result<Link, AmqpError> {
    let connection = connector.connect("intake").await?;
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let tag = if one_at_a_time { CAREFUL } else { AHEAD };
    let consumer = consume(&channel, options, tag, prefetch).await?;
    Ok(Link {
        connection,
        channel,
        consumer,
        _careful: None,
    })
}

/// A consumer of the partition's queue. The prefetch count applies to this consumer alone.
async fn consume(
    channel: &Channel,
    options: &RabbitIntakeOptions,
    kind: &str,
    prefetch: u16,
) -> Result<Consumer, AmqpError> {
    let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
    within("limiting prefetch", REQUEST_DEADLINE, qos).await?;
    let consuming = channel.basic_consume(
        options.names.partition(options.partition),
        tag_of(options, kind).into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    within("consuming", REQUEST_DEADLINE, consuming).await
}

/// A consumer's tag as shown by the broker's management UI: queue, host and process, and which of
/// the two it is.
fn tag_of(options: &RabbitIntakeOptions, kind: &str) -> String {
    let queue = options.names.partition(options.partition);
    format!("{queue} {} {kind}", process_name())
}

/// Replaces the consumer that reads one message at a time, and still holds one, by one that reads ahead.
/// [`kindred_domain::intake::poison`] explains why this keeps the order.
async fn read_ahead(
    link: &mut Link,
    options: &RabbitIntakeOptions,
    prefetch: u16,
) -> Result<(), AmqpError> {
    let ahead = consume(&link.channel, options, AHEAD, prefetch).await?;
    let cancel = link.channel.basic_cancel(
        tag_of(options, CAREFUL).into(),
        BasicCancelOptions::default(),
    );
    within("cancelling a consumer", REQUEST_DEADLINE, cancel).await?;
    link._careful = Some(std::mem::replace(&mut link.consumer, ahead));
    Ok(())
}

async fn acknowledge(
    channel: &Channel,
    unacked: &mut UnackedMessages<Raw>,
) -> Result<(), AmqpError> {
    for ack in unacked.acks() {
        let options = BasicAckOptions {
            multiple: ack.multiple,
        };
        let acking = channel.basic_ack(ack.tag, options);
        within("acknowledging", REQUEST_DEADLINE, acking).await?;
    }
    Ok(())
}

/// How often the broker says a message was delivered before.
fn redeliveries(message: &Message) -> u32 {
    let headers = message.properties.headers().as_ref();
    let count = headers
        .and_then(|headers| headers.inner().get("x-delivery-count"))
        .and_then(AMQPValue::as_long_long_int)
        .unwrap_or(0);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Parses the event of a message. Events that change settings or models, record a change, or remove the domain, are
/// recognised by the message's type. Only Kindred sends them: they name its user, and the broker lets no other user do
/// that.
fn parse(raw: &Raw, limits: &Limits, own_user: &ShortString) -> Result<Event, Refusal> {
    let kind = raw.properties.kind().as_ref().map(ShortString::as_str);
    let Some(kind @ (CONFIGURED | MODELLED | RECORDED | REMOVED)) = kind else {
        return parse_for(&raw.body, limits, &raw.key);
    };
    if raw.properties.user_id().as_ref() != Some(own_user) {
        let detail = format!(
            "messages of type {kind} are accepted only from the model services' own user: use \
            Kindred's HTTP interface"
        );
        return Err(Refusal::new(Reason::UnknownType, Some("type"), detail));
    }
    match kind {
        CONFIGURED => {
            let configure = Configure::parse(&raw.body, limits, &raw.key)?;
            Ok(Event::Configure(Box::new(configure)))
        }
        MODELLED => {
            let modelled = Modelled::parse(&raw.body, limits, &raw.key)?;
            Ok(Event::Model(Box::new(modelled)))
        }
        RECORDED => {
            let recorded = Recorded::parse(&raw.body, limits, &raw.key)?;
            Ok(Event::Record(Box::new(recorded)))
        }
        _ => Removal::parse(&raw.body, limits, &raw.key).map(Event::Remove),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use lapin::BasicProperties;

    use super::*;

    #[test]
    fn events_about_a_domain_are_accepted_from_our_own_user_only() {
        let ours = ShortString::from("kindred");
        let raw = |kind: &str, user: Option<&str>| {
            let properties = BasicProperties::default().with_type(kind.into());
            let properties = match user {
                Some(user) => properties.with_user_id(user.into()),
                None => properties,
            };
            Raw {
                key: "news".to_owned(),
                properties,
                body: br#"{"domain":"news","request":"r1","settings":{}}"#.to_vec(),
                fingerprint: 0,
                redeliveries: 0,
            }
        };
        let read = |kind, user| parse(&raw(kind, user), &Limits::default(), &ours);
        assert!(matches!(
            read(CONFIGURED, Some("kindred")),
            Ok(Event::Configure(_))
        ));
        assert!(matches!(
            read(REMOVED, Some("kindred")),
            Ok(Event::Remove(_))
        ));
        for kind in [CONFIGURED, MODELLED, RECORDED, REMOVED] {
            for user in [None, Some("publisher"), Some("")] {
                let refusal = read(kind, user).unwrap_err();
                assert_eq!(refusal.reason, Reason::UnknownType, "{kind} {user:?}");
            }
        }
        // Anyone who may publish may send events of items.
        let refusal = read("item.created", None).unwrap_err();
        assert_eq!(refusal.reason, Reason::MissingField);
    }
}
