//! Reads the queue of a partition, over one connection after the other.

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
    CONFIGURED, Configure, Event, Limits, MODELLED, Modelled, REMOVED, Reason, Refusal, Removal,
    parse_for,
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
use kindred_domain::intake::care::{Care, POISONOUS, Verdict};
use kindred_domain::intake::held::Held;
use kindred_domain::intake::rewind::Rewinding;
use kindred_domain::intake::{Delivery, DeliveryTag, Outcome, Settled};

/// Its ends towards the intake.
pub(super) struct Ends {
    pub(super) told: mpsc::UnboundedReceiver<Command>,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) generation: Arc<AtomicU64>,
    pub(super) is_alone: Arc<AtomicBool>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) up: watch::Sender<bool>,
}

pub(super) struct Reader {
    connector: Connector,
    publisher: Publisher,
    options: RabbitIntakeOptions,
    metrics: Arc<Metrics>,
    ends: Ends,
    care: Care,
    rewinding: Rewinding,
}

/// The consumer that reads one message at a time. See [`kindred_domain::intake::care`] for the order of both.
const CAREFUL: &str = "1-careful";
/// The consumer that reads ahead.
const AHEAD: &str = "2-ahead";

struct Link {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    /// The one before, cancelled: dropping it while the connection lives would cancel it again.
    _careful: Option<Consumer>,
}

/// Why a connection was given up.
enum End {
    Stopped,
    /// To be read with care.
    GivenBack,
    Lost(String),
    Told(tokio::sync::oneshot::Sender<()>),
}

/// A dead letter on its way, and what became of it.
type Dying = Pin<Box<dyn Future<Output = (Death, Result<(), PublishFault>)> + Send>>;

/// Why a message goes to the dead-letter queue.
#[derive(Debug, Clone, Copy)]
struct Death {
    /// The broker's tag.
    tag: u64,
    reason: &'static str,
    by: Refuser,
}

/// Who refused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuser {
    /// Who reads it here: nobody else has seen it.
    Reader,
    /// Its domain, which has counted it.
    Domain,
}

/// What is known of one connection's messages.
struct Session {
    held: Held<Raw>,
    dying: FuturesUnordered<Dying>,
    /// When everything is handed over again, if that is due.
    rewind_at: Option<Instant>,
    /// The message just read was the last to be read with care.
    reads_ahead: bool,
}

impl Reader {
    pub(super) fn new(
        connector: Connector,
        publisher: Publisher,
        options: RabbitIntakeOptions,
        metrics: Arc<Metrics>,
        ends: Ends,
    ) -> Self {
        let care = Care::new(options.prefetch);
        Self {
            connector,
            publisher,
            options,
            metrics,
            ends,
            care,
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
                held: Held::new(self.generation(), self.options.capacity_bytes),
                dying: FuturesUnordered::new(),
                rewind_at: None,
                reads_ahead: false,
            };
            backoff.worked();
            self.ends.up.send_replace(true);
            let end = self.serve(&mut link, &mut session).await;
            self.ends.up.send_replace(false);
            self.ends.generation.fetch_add(1, Ordering::AcqRel);
            let deliberate = matches!(end, End::GivenBack);
            self.care.lost(session.held.fingerprints(), deliberate);
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

    /// A connection that consumes the queue. Settlements meanwhile are of lost connections.
    async fn open_unless_stopped(&mut self) -> Option<Result<Link, AmqpError>> {
        let opening = open(
            &self.connector,
            &self.options,
            self.care.is_careful(),
            self.care.prefetch(),
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
            let can_hand_over = self.rewinding.may_hand_over() && session.held.has_ready();
            let rewind_at = session.rewind_at;
            let rewinding = async move {
                match rewind_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // In this order, so that what is settled is acknowledged before the end.
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
                Some((death, died)) = session.dying.next() => {
                    self.died(session, death, died)
                }
                _ = stopping => Some(End::Stopped),
                () = rewinding => {
                    let generation = self.ends.generation.fetch_add(1, Ordering::AcqRel) + 1;
                    session.held.rewind(generation);
                    session.rewind_at = None;
                    self.rewinding.done();
                    None
                }
                permit = deliveries.reserve(), if can_hand_over => {
                    match (permit, session.held.hand_over()) {
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
                && let Err(error) = read_ahead(link, &self.options, self.care.prefetch()).await
            {
                return End::Lost(error.to_string());
            }
            if let Err(error) = acknowledge(&link.channel, &mut session.held).await {
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
        let verdict = self.care.judge(raw.fingerprint, count);
        let is_alone = self.care.is_careful();
        self.ends.is_alone.store(is_alone, Ordering::Release);
        match verdict {
            Verdict::GiveBack => {
                // It counts as held: it comes again.
                session.held.enter_dying(tag, raw);
                return Some(End::GivenBack);
            }
            Verdict::Dead => {
                let detail = format!(
                    "it was delivered {count} times before and never stored; the service ended or stalled each time"
                );
                let raw = session.held.enter_dying(tag, raw);
                let death = Death {
                    tag,
                    reason: POISONOUS,
                    by: Refuser::Reader,
                };
                self.kill(session, death, &raw, &detail);
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
                session.held.enter(tag, raw, domain, event);
            }
            Err(refusal) => {
                let raw = session.held.enter_dying(tag, raw);
                let death = Death {
                    tag,
                    reason: refusal.reason.word(),
                    by: Refuser::Reader,
                };
                self.kill(session, death, &raw, &refusal.detail);
            }
        }
        None
    }

    /// Sends a message to the dead-letter queue.
    fn kill(&self, session: &Session, death: Death, raw: &Raw, detail: &str) {
        tracing::warn!(
            domain = raw.key,
            message_id = raw
                .properties
                .message_id()
                .as_ref()
                .map(ShortString::as_str),
            bytes = raw.body.len(),
            reason = death.reason,
            detail,
            "event.refused"
        );
        let message = letter(&self.options.names, raw, death.reason, detail);
        let publisher = self.publisher.clone();
        session.dying.push(Box::pin(async move {
            let confirmed = publisher.publish(message).await;
            (death, confirmed.await)
        }));
    }

    fn died(
        &mut self,
        session: &mut Session,
        death: Death,
        died: Result<(), PublishFault>,
    ) -> Option<End> {
        match died {
            Ok(()) => {
                let labels = ["items", death.reason];
                self.metrics.dead_letters.with_label_values(&labels).inc();
                if death.by == Refuser::Reader {
                    let refused = &self.metrics.events_refused;
                    refused.with_label_values(&[death.reason]).inc();
                }
                if let Some(fingerprint) = session.held.died(death.tag) {
                    self.care.settled(fingerprint);
                }
                None
            }
            // All that is not acknowledged comes again, and is refused again.
            Err(fault) => Some(End::Lost(format!("a dead letter was not taken: {fault}"))),
        }
    }

    fn settle(&mut self, session: &mut Session, settled: Vec<(DeliveryTag, Outcome)>) {
        for (tag, outcome) in settled {
            match outcome {
                Outcome::Stored(version) => match session.held.stored(tag) {
                    Some(raw) => {
                        if let Some(id) = raw.properties.correlation_id() {
                            let settlements = &self.options.settlements;
                            settlements.settled(id.as_str(), Ok(Settled { version }));
                        }
                        self.care.settled(raw.fingerprint);
                        self.rewinding.stored();
                    }
                    None => tracing::debug!(tag = tag.0, "intake.settled_unknown_tag"),
                },
                Outcome::Refused(refusal) => {
                    if let Some((broker, raw)) = session.held.refused(tag) {
                        if let Some(id) = raw.properties.correlation_id() {
                            let settlements = &self.options.settlements;
                            settlements.settled(id.as_str(), Err(refusal.clone()));
                        }
                        let death = Death {
                            tag: broker,
                            reason: refusal.reason.word(),
                            by: Refuser::Domain,
                        };
                        self.kill(session, death, &raw, &refusal.detail);
                    }
                }
                Outcome::Failed(failure) => {
                    let is_handed = session.held.is_handed(tag);
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
    careful: bool,
    prefetch: u16,
) -> Result<Link, AmqpError> {
    let connection = connector.connect("intake").await?;
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let tag = if careful { CAREFUL } else { AHEAD };
    let consumer = consume(&channel, options, tag, prefetch).await?;
    Ok(Link {
        connection,
        channel,
        consumer,
        _careful: None,
    })
}

/// A consumer of the partition's queue. What it may read ahead holds for it alone.
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

/// A consumer's tag as the broker's management shows it: queue, host and process, and which of the two it is.
fn tag_of(options: &RabbitIntakeOptions, kind: &str) -> String {
    let queue = options.names.partition(options.partition);
    format!("{queue} {} {kind}", process_name())
}

/// Replaces the consumer that reads with care, which holds its one message, by one that reads
/// ahead. Why the order is kept: [`kindred_domain::intake::care`].
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

async fn acknowledge(channel: &Channel, held: &mut Held<Raw>) -> Result<(), AmqpError> {
    for ack in held.acks() {
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

/// The event of a message. Those that set settings, change models or remove the domain are told by the message's type.
/// Nobody but Kindred sends them: they name its user, which the broker lets no other user do.
fn parse(raw: &Raw, limits: &Limits, own_user: &ShortString) -> Result<Event, Refusal> {
    let kind = raw.properties.kind().as_ref().map(ShortString::as_str);
    let Some(kind @ (CONFIGURED | MODELLED | REMOVED)) = kind else {
        return parse_for(&raw.body, limits, &raw.key);
    };
    if raw.properties.user_id().as_ref() != Some(own_user) {
        let detail = format!(
            "a message of type {kind} is taken from the user of the model services alone: use Kindred's HTTP interface"
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
        _ => Removal::parse(&raw.body, limits, &raw.key).map(Event::Remove),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use lapin::BasicProperties;

    use super::*;

    #[test]
    fn what_is_about_a_domain_is_taken_from_our_own_user_alone() {
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
        for kind in [CONFIGURED, MODELLED, REMOVED] {
            for user in [None, Some("publisher"), Some("")] {
                let refusal = read(kind, user).unwrap_err();
                assert_eq!(refusal.reason, Reason::UnknownType, "{kind} {user:?}");
            }
        }
        // Events of items are anybody's who may publish.
        let refusal = read("item.created", None).unwrap_err();
        assert_eq!(refusal.reason, Reason::MissingField);
    }
}
