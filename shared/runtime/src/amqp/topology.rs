//! The broker topology. One description serves both the declaration over AMQP and the definitions file for import.

use std::time::Duration;

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use serde_json::{Value, json};

use super::connection::{AmqpError, REQUEST_DEADLINE, within};
use kindred_shared::wire::JobKind;

/// The minimum age of everything behind `kindred.items` when that is declared. A queue younger than a second may not
/// survive a crash of the broker.
pub const ITEMS_SETTLE: Duration = Duration::from_millis(1_500);

/// Stands for "no limit": leaving it unset means 20 on RabbitMQ 4, and −1 loses messages on 3.10.
const NO_DELIVERY_LIMIT: i64 = 1_000_000;
/// Redeliveries of a job before it becomes a dead letter.
const JOB_DELIVERY_LIMIT: i64 = 5;
/// Most bytes of dead jobs that are kept: 256 MiB.
const DEAD_JOBS_BYTES: i64 = 256 << 20;
/// How long a dead job is kept: a day.
const DEAD_JOBS_MS: i64 = 24 * 3600 * 1000;
/// Most replies waiting for one model service.
const REPLIES: i64 = 10_000;
/// Most bytes of replies waiting for one model service: 256 MiB.
const REPLIES_BYTES: i64 = 256 << 20;

/// The dead jobs that are kept: those redelivered too often, because they crashed their workers. The others expired,
/// and their sender sends them again. (`all-with-x` needs RabbitMQ 3.10 or newer.)
const KILLERS: [Argument; 2] = [
    Argument::Word("x-match", "all-with-x"),
    Argument::Word("x-first-death-reason", "delivery_limit"),
];

/// The exchange type that chooses a partition by the hash of the domain.
pub(super) const MODULUS_HASH: &str = "x-modulus-hash";

/// Names on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Default for Names {
    /// `kindred.…`
    fn default() -> Self {
        Self {
            prefix: "kindred".to_owned(),
        }
    }
}

impl Names {
    /// Names for a topology apart from the real one, `kindred.<scope>.…`: for tests.
    pub fn scoped(scope: &str) -> Self {
        Self {
            prefix: format!("kindred.{scope}"),
        }
    }

    fn name(&self, rest: &str) -> ShortString {
        super::short::short(&format!("{}.{rest}", self.prefix))
    }

    /// Topic exchange, routing key = domain: publishers send events here.
    pub fn items(&self) -> ShortString {
        self.name("items")
    }

    /// The queue of a partition.
    pub fn partition(&self, number: u16) -> ShortString {
        self.name(&format!("items.p{number:02}"))
    }

    /// With several partitions, the exchange that maps domains to partitions.
    pub fn partitions(&self) -> ShortString {
        self.name("partitions")
    }

    /// The work queue of a kind of job.
    pub fn jobs(&self, kind: JobKind) -> ShortString {
        self.name(&format!("jobs.{}", kind.word()))
    }

    /// Direct exchange, key = the queue of one model service. Workers publish replies here, so they need no permission
    /// to write to every queue.
    pub fn reply_exchange(&self) -> ShortString {
        self.name("replies")
    }

    /// The queue of replies to one model service.
    pub fn replies(&self, boot_id: &str) -> ShortString {
        self.name(&format!("replies.{boot_id}"))
    }

    /// Direct exchange of dead letters; the routing key is the queue's name.
    pub fn dead(&self) -> ShortString {
        self.name("dead")
    }

    /// Headers exchange for dead jobs, which routes by cause of death.
    pub fn dead_jobs(&self) -> ShortString {
        self.name("dead.jobs")
    }

    /// Events that were refused.
    pub fn items_dead(&self) -> ShortString {
        self.name("items.dead")
    }

    /// Jobs that crashed their workers.
    pub fn jobs_dead(&self) -> ShortString {
        self.name("jobs.dead")
    }

    /// Topic exchange, key = domain: `neighbours.updated` is published here.
    pub fn domains(&self) -> ShortString {
        self.name("domains")
    }

    /// Topic exchange, routing key = domain: feedback is published here.
    pub fn feedback(&self) -> ShortString {
        self.name("feedback")
    }

    /// The queue of feedback of all domains. Any model service reads it, and forwards feedback to the owners of the
    /// domains.
    pub fn feedback_queue(&self) -> ShortString {
        self.name("feedback.in")
    }

    /// The stream of all events, if they are kept.
    pub fn log(&self) -> ShortString {
        self.name("log")
    }
}

/// How long, and up to what size, the stream of all events keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// Older events are dropped.
    pub age: Duration,
    /// Beyond this many bytes, the oldest events are dropped.
    pub bytes: u64,
}

/// The stream is dropped in segments: of this part of its size, so that little more than its size is kept.
const SEGMENTS: u64 = 16;
/// Sizes of a segment, in bytes; the largest is RabbitMQ's default.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=500_000_000;

impl LogRetention {
    /// The arguments of the stream.
    pub(super) fn arguments(self) -> Vec<Argument> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let segment = (self.bytes / SEGMENTS).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        vec![
            Argument::Word("x-queue-type", "stream"),
            Argument::Text("x-max-age", format!("{}s", self.age.as_secs().max(1))),
            Argument::Number("x-max-length-bytes", number(self.bytes)),
            Argument::Number("x-stream-max-segment-size-bytes", number(segment)),
        ]
    }
}

/// Why the topology could not be declared.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// The broker cannot make `x-modulus-hash` exchanges.
    #[error(
        "the broker has no exchange type x-modulus-hash, which partitions > 1 need: enable its plugin with `rabbitmq-plugins enable rabbitmq_sharding`"
    )]
    NoSharding,
    /// Any other failure.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
}

#[derive(Debug, Clone)]
pub(super) enum Argument {
    Text(&'static str, String),
    Word(&'static str, &'static str),
    Number(&'static str, i64),
    Flag(&'static str),
}

impl Argument {
    pub(super) fn table(arguments: &[Self]) -> FieldTable {
        let mut table = FieldTable::default();
        for argument in arguments {
            match argument {
                Self::Text(name, text) => table.insert(
                    ShortString::from(*name),
                    AMQPValue::LongString(text.as_str().into()),
                ),
                Self::Word(name, word) => table.insert(
                    ShortString::from(*name),
                    AMQPValue::LongString((*word).into()),
                ),
                Self::Number(name, number) => {
                    table.insert(ShortString::from(*name), AMQPValue::LongLongInt(*number))
                }
                Self::Flag(name) => {
                    table.insert(ShortString::from(*name), AMQPValue::Boolean(true))
                }
            };
        }
        table
    }

    fn json(arguments: &[Self]) -> Value {
        let pairs = arguments.iter().map(|argument| match argument {
            Self::Text(name, text) => ((*name).to_owned(), json!(text)),
            Self::Word(name, word) => ((*name).to_owned(), json!(word)),
            Self::Number(name, number) => ((*name).to_owned(), json!(number)),
            Self::Flag(name) => ((*name).to_owned(), json!(true)),
        });
        Value::Object(pairs.collect())
    }
}

pub(super) struct Queue {
    pub(super) name: ShortString,
    pub(super) arguments: Vec<Argument>,
}

fn quorum() -> Argument {
    Argument::Text("x-queue-type", "quorum".to_owned())
}

fn dead_letters_to(names: &Names, queue: &ShortString) -> [Argument; 2] {
    [
        Argument::Text("x-dead-letter-exchange", names.dead().to_string()),
        Argument::Text("x-dead-letter-routing-key", queue.to_string()),
    ]
}

/// All durable queues, dead-letter queues first.
pub(super) fn queues(names: &Names, partitions: u16) -> Vec<Queue> {
    let mut queues = vec![
        Queue {
            name: names.items_dead(),
            arguments: vec![
                quorum(),
                Argument::Number("x-delivery-limit", NO_DELIVERY_LIMIT),
            ],
        },
        Queue {
            name: names.jobs_dead(),
            arguments: vec![
                quorum(),
                Argument::Number("x-delivery-limit", NO_DELIVERY_LIMIT),
                Argument::Text("x-overflow", "drop-head".to_owned()),
                Argument::Number("x-max-length-bytes", DEAD_JOBS_BYTES),
                Argument::Number("x-message-ttl", DEAD_JOBS_MS),
            ],
        },
    ];
    for kind in [JobKind::Extract, JobKind::Compare] {
        let mut arguments = vec![
            quorum(),
            Argument::Number("x-delivery-limit", JOB_DELIVERY_LIMIT),
        ];
        arguments.extend(dead_letters_to(names, &names.jobs_dead()));
        queues.push(Queue {
            name: names.jobs(kind),
            arguments,
        });
    }
    queues.push(Queue {
        name: names.feedback_queue(),
        arguments: vec![
            quorum(),
            Argument::Number("x-delivery-limit", NO_DELIVERY_LIMIT),
            Argument::Text("x-overflow", "reject-publish".to_owned()),
        ],
    });
    for number in 0..partitions {
        let mut arguments = vec![
            quorum(),
            Argument::Flag("x-single-active-consumer"),
            Argument::Number("x-delivery-limit", NO_DELIVERY_LIMIT),
            Argument::Text("x-overflow", "reject-publish".to_owned()),
            Argument::Text("x-dead-letter-strategy", "at-least-once".to_owned()),
        ];
        arguments.extend(dead_letters_to(names, &names.items_dead()));
        queues.push(Queue {
            name: names.partition(number),
            arguments,
        });
    }
    queues
}

/// Declares the queue for replies to one model service: exclusive to this connection, bounded, deleted with it. Copies
/// of jobs that crashed their workers go there too, so that their sender learns of it.
///
/// # Errors
/// [`AmqpError`]; also while an older connection of the same service still holds the queue.
pub async fn declare_replies(
    channel: &Channel,
    names: &Names,
    boot_id: &str,
) -> Result<ShortString, AmqpError> {
    let arguments = Argument::table(&[
        Argument::Text("x-overflow", "reject-publish".to_owned()),
        Argument::Number("x-max-length", REPLIES),
        Argument::Number("x-max-length-bytes", REPLIES_BYTES),
    ]);
    let queue = names.replies(boot_id);
    let options = QueueDeclareOptions::exclusive().auto_delete();
    let declaring = channel.queue_declare(queue.clone(), options, arguments);
    within(
        "declaring the queue of replies",
        REQUEST_DEADLINE,
        declaring,
    )
    .await?;
    bind_queue(channel, &queue, &names.reply_exchange(), queue.clone()).await?;
    bind_killers(channel, names, &queue).await?;
    Ok(queue)
}

/// The number of consumers of the work queue for a kind of job.
///
/// # Errors
/// [`AmqpError`]; a queue that does not exist closes the channel.
pub async fn consumers(channel: &Channel, names: &Names, kind: JobKind) -> Result<u32, AmqpError> {
    let options = QueueDeclareOptions::durable().passive();
    let looking = channel.queue_declare(names.jobs(kind), options, FieldTable::default());
    let queue = within("looking for workers", REQUEST_DEADLINE, looking).await?;
    Ok(queue.consumer_count())
}

/// Counts of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages that are ready.
    pub messages: u32,
    /// Consumers.
    pub consumers: u32,
}

/// The counts of a queue; `None` if it does not exist.
///
/// # Errors
/// [`AmqpError`] if the broker is unreachable or forbids it.
pub async fn queue_counts(
    connection: &Connection,
    queue: ShortString,
) -> Result<Option<QueueCounts>, AmqpError> {
    // A passive declaration of a missing queue closes the channel.
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let options = QueueDeclareOptions::durable().passive();
    let looking = channel.queue_declare(queue, options, FieldTable::default());
    match within("looking at a queue", REQUEST_DEADLINE, looking).await {
        Ok(queue) => Ok(Some(QueueCounts {
            messages: queue.message_count(),
            consumers: queue.consumer_count(),
        })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Declares everything that does not exist yet, `kindred.items` last. Existing objects must have the same arguments,
/// except for the stream of events, which stays as it is. Any number of programs may do this at once.
///
/// # Errors
/// [`TopologyError`] if the broker is unreachable, lacks a plugin, forbids it, or has something else under one of the
/// names.
pub async fn declare(
    connection: &Connection,
    names: &Names,
    partitions: u16,
    log: Option<LogRetention>,
) -> Result<(), TopologyError> {
    let partitions = partitions.max(1);
    let fresh = !exists(connection, &names.items()).await?;
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    exchange(&channel, names.dead(), ExchangeKind::Direct).await?;
    exchange(&channel, names.dead_jobs(), ExchangeKind::Headers).await?;
    exchange(&channel, names.domains(), ExchangeKind::Topic).await?;
    exchange(&channel, names.reply_exchange(), ExchangeKind::Direct).await?;
    declare_queues(&channel, names, partitions).await?;
    let dead_items = names.items_dead();
    bind_queue(&channel, &dead_items, &names.dead(), dead_items.clone()).await?;
    keep_killers_only(&channel, names).await?;
    if partitions > 1 {
        bind_partitions(&channel, names, partitions).await?;
    }
    if let Some(retention) = log {
        declare_log(connection, names, retention).await?;
    }
    if fresh {
        tokio::time::sleep(ITEMS_SETTLE).await;
    }
    feedback_last(&channel, names).await?;
    items_last(&channel, names, partitions).await?;
    if log.is_some() {
        bind_log(&channel, names).await?;
    }
    within("closing", REQUEST_DEADLINE, channel.close(200, "OK".into())).await?;
    Ok(())
}

/// Declares the stream of events. One that exists stays as it is, whatever it keeps: declaring it anew would lose it.
async fn declare_log(
    connection: &Connection,
    names: &Names,
    retention: LogRetention,
) -> Result<(), AmqpError> {
    // Other arguments close the channel.
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let arguments = Argument::table(&retention.arguments());
    let declaring = channel.queue_declare(names.log(), QueueDeclareOptions::durable(), arguments);
    match within(
        "declaring the stream of events",
        REQUEST_DEADLINE,
        declaring,
    )
    .await
    {
        Ok(_) => within("closing", REQUEST_DEADLINE, channel.close(200, "OK".into())).await,
        Err(error) if error.is_other() => {
            tracing::warn!(
                queue = %names.log(),
                found = error.broker_words(),
                "the stream of events keeps them for another time or size than configured; a \
                policy can lower both, and docs/OPERATIONS.md says how to raise them"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Whether the stream of events exists.
pub(super) async fn has_log(connection: &Connection, names: &Names) -> Result<bool, AmqpError> {
    Ok(queue_counts(connection, names.log()).await?.is_some())
}

/// From now on, keeps every event. Bound after the partitions: an event that only the stream gets would be confirmed
/// and never processed.
pub(super) async fn bind_log(channel: &Channel, names: &Names) -> Result<(), AmqpError> {
    bind_queue(channel, &names.log(), &names.items(), "#".into()).await
}

/// Unbinds the stream of events, before the partitions are unbound. See [`bind_log`].
pub(super) async fn unbind_log(channel: &Channel, names: &Names) -> Result<(), AmqpError> {
    let unbinding = channel.queue_unbind(
        names.log(),
        names.items(),
        "#".into(),
        FieldTable::default(),
    );
    within("unbinding a queue", REQUEST_DEADLINE, unbinding).await
}

/// Declares the durable queues.
pub(super) async fn declare_queues(
    channel: &Channel,
    names: &Names,
    partitions: u16,
) -> Result<(), AmqpError> {
    for queue in queues(names, partitions) {
        let declaring = channel.queue_declare(
            queue.name,
            QueueDeclareOptions::durable(),
            Argument::table(&queue.arguments),
        );
        within("declaring a queue", REQUEST_DEADLINE, declaring).await?;
    }
    Ok(())
}

/// Declares the exchange that chooses a partition, and binds the queues of all partitions to it.
pub(super) async fn bind_partitions(
    channel: &Channel,
    names: &Names,
    partitions: u16,
) -> Result<(), TopologyError> {
    let kind = ExchangeKind::Custom(MODULUS_HASH.to_owned());
    exchange(channel, names.partitions(), kind)
        .await
        .map_err(no_sharding)?;
    for number in 0..partitions {
        let queue = names.partition(number);
        bind_queue(channel, &queue, &names.partitions(), "".into()).await?;
    }
    Ok(())
}

/// Unbinds a partition's queue from the exchange that chooses one, if it is bound.
pub(super) async fn unbind_partition(
    channel: &Channel,
    names: &Names,
    number: u16,
) -> Result<(), AmqpError> {
    let (queue, exchange) = (names.partition(number), names.partitions());
    let unbinding = channel.queue_unbind(queue, exchange, "".into(), FieldTable::default());
    within("unbinding a queue", REQUEST_DEADLINE, unbinding).await
}

/// Unbinds all partitions from events; publishers that set `mandatory` get them returned. `several` says whether the
/// exchange that chooses among partitions exists.
pub(super) async fn unbind_items(
    channel: &Channel,
    names: &Names,
    several: bool,
) -> Result<(), AmqpError> {
    let all: ShortString = "#".into();
    if several {
        let unbinding = channel.exchange_unbind(
            names.partitions(),
            names.items(),
            all.clone(),
            ExchangeUnbindOptions::default(),
            FieldTable::default(),
        );
        within("unbinding an exchange", REQUEST_DEADLINE, unbinding).await?;
    }
    let (queue, exchange) = (names.partition(0), names.items());
    let unbinding = channel.queue_unbind(queue, exchange, all, FieldTable::default());
    within("unbinding a queue", REQUEST_DEADLINE, unbinding).await
}

/// Like [`items_last`], for feedback.
async fn feedback_last(channel: &Channel, names: &Names) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        nowait: true,
        ..ExchangeDeclareOptions::default()
    };
    let none = FieldTable::default;
    let declaring =
        channel.exchange_declare(names.feedback(), ExchangeKind::Topic, options, none());
    let (queue, exchange) = (names.feedback_queue(), names.feedback());
    let options = QueueBindOptions::default();
    let binding = channel.queue_bind(queue, exchange, "#".into(), options, none());
    let both = async {
        let (declared, bound) = futures_util::future::join(declaring, binding).await;
        declared.and(bound)
    };
    within("declaring kindred.feedback", REQUEST_DEADLINE, both).await
}

/// Sends the exchange and its one binding together, without waiting for the declaration. So publishing is safe once the
/// exchange exists: no publisher can see it before its binding.
pub(super) async fn items_last(
    channel: &Channel,
    names: &Names,
    partitions: u16,
) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        nowait: true,
        ..ExchangeDeclareOptions::default()
    };
    let none = FieldTable::default;
    let declaring = channel.exchange_declare(names.items(), ExchangeKind::Topic, options, none());
    let all: ShortString = "#".into();
    let binding = async {
        if partitions > 1 {
            let options = ExchangeBindOptions::default();
            channel
                .exchange_bind(names.partitions(), names.items(), all, options, none())
                .await
        } else {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(names.partition(0), names.items(), all, options, none())
                .await
        }
    };
    let both = async {
        let (declared, bound) = futures_util::future::join(declaring, binding).await;
        declared.and(bound)
    };
    within("declaring kindred.items", REQUEST_DEADLINE, both).await
}

/// A missing exchange type closes the connection (`COMMAND_INVALID`) or fails a precondition, depending on the version;
/// both messages name the type.
fn no_sharding(error: AmqpError) -> TopologyError {
    if error.to_string().contains("exchange type") {
        TopologyError::NoSharding
    } else {
        TopologyError::Amqp(error)
    }
}

/// Whether an exchange of this name exists. Uses a channel of its own, which a negative answer closes. Needs no
/// permission.
///
/// # Errors
/// [`AmqpError`] when the broker does not answer.
pub async fn exists(connection: &Connection, exchange: &ShortString) -> Result<bool, AmqpError> {
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let options = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    let looking = channel.exchange_declare(
        exchange.clone(),
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    match within("looking for an exchange", REQUEST_DEADLINE, looking).await {
        Ok(()) => {
            within("closing", REQUEST_DEADLINE, channel.close(200, "OK".into())).await?;
            Ok(true)
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn exchange(
    channel: &Channel,
    name: ShortString,
    kind: ExchangeKind,
) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declaring = channel.exchange_declare(name, kind, options, FieldTable::default());
    within("declaring an exchange", REQUEST_DEADLINE, declaring).await
}

/// Routes dead jobs through the exchange that checks their cause of death. The arguments of existing work queues cannot
/// be changed, so they still name the direct exchange. Version 0.1 bound the queue to that; this removes that binding
/// last, so that no dead job is lost meanwhile.
async fn keep_killers_only(channel: &Channel, names: &Names) -> Result<(), AmqpError> {
    let queue = names.jobs_dead();
    let leading = channel.exchange_bind(
        names.dead_jobs(),
        names.dead(),
        queue.clone(),
        ExchangeBindOptions::default(),
        FieldTable::default(),
    );
    within("binding an exchange", REQUEST_DEADLINE, leading).await?;
    bind_killers(channel, names, &queue).await?;
    let unbinding = channel.queue_unbind(queue.clone(), names.dead(), queue, FieldTable::default());
    within("unbinding a queue", REQUEST_DEADLINE, unbinding).await
}

/// From now on, routes every job that crashed its workers to the queue.
async fn bind_killers(
    channel: &Channel,
    names: &Names,
    queue: &ShortString,
) -> Result<(), AmqpError> {
    let binding = channel.queue_bind(
        queue.clone(),
        names.dead_jobs(),
        "".into(),
        QueueBindOptions::default(),
        Argument::table(&KILLERS),
    );
    within("binding a queue", REQUEST_DEADLINE, binding).await
}

async fn bind_queue(
    channel: &Channel,
    queue: &ShortString,
    exchange: &ShortString,
    key: ShortString,
) -> Result<(), AmqpError> {
    let binding = channel.queue_bind(
        queue.clone(),
        exchange.clone(),
        key,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within("binding a queue", REQUEST_DEADLINE, binding).await
}

/// The topology of [`declare`] as a definitions file for virtual host `/`.
pub fn definitions(names: &Names, partitions: u16) -> Value {
    let partitions = partitions.max(1);
    let exchange = |name: ShortString, kind: &str| {
        json!({"name": name.as_str(), "vhost": "/", "type": kind, "durable": true,
            "auto_delete": false, "internal": false, "arguments": {}})
    };
    let binding = |source: ShortString, destination: &ShortString, kind: &str, key: &str| {
        json!({"source": source.as_str(), "vhost": "/", "destination": destination.as_str(),
            "destination_type": kind, "routing_key": key, "arguments": {}})
    };
    let mut exchanges = vec![
        exchange(names.dead(), "direct"),
        exchange(names.dead_jobs(), "headers"),
        exchange(names.domains(), "topic"),
        exchange(names.reply_exchange(), "direct"),
    ];
    let (dead_items, dead_jobs) = (names.items_dead(), names.jobs_dead());
    let mut killers = binding(names.dead_jobs(), &dead_jobs, "queue", "");
    killers["arguments"] = Argument::json(&KILLERS);
    let mut bindings: Vec<Value> = vec![
        binding(names.dead(), &dead_items, "queue", dead_items.as_str()),
        binding(
            names.dead(),
            &names.dead_jobs(),
            "exchange",
            dead_jobs.as_str(),
        ),
        killers,
    ];
    if partitions > 1 {
        exchanges.push(exchange(names.partitions(), MODULUS_HASH));
        for number in 0..partitions {
            let queue = names.partition(number);
            bindings.push(binding(names.partitions(), &queue, "queue", ""));
        }
        bindings.push(binding(names.items(), &names.partitions(), "exchange", "#"));
    } else {
        bindings.push(binding(names.items(), &names.partition(0), "queue", "#"));
    }
    bindings.push(binding(
        names.feedback(),
        &names.feedback_queue(),
        "queue",
        "#",
    ));
    exchanges.push(exchange(names.feedback(), "topic"));
    exchanges.push(exchange(names.items(), "topic"));
    let queues: Vec<Value> = queues(names, partitions)
        .iter()
        .map(|queue| {
            json!({"name": queue.name.as_str(), "vhost": "/", "durable": true,
                "auto_delete": false, "arguments": Argument::json(&queue.arguments)})
        })
        .collect();
    json!({"vhosts": [{"name": "/"}], "exchanges": exchanges, "queues": queues,
        "bindings": bindings})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn the_definitions_file_is_what_is_declared() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../deploy/rabbitmq/definitions.json"
        );
        let made = format!("{:#}\n", definitions(&Names::default(), 1));
        if std::env::var_os("KINDRED_TEST_REWRITE").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let file = std::fs::read_to_string(path).unwrap();
        assert_eq!(file, made, "run this test with KINDRED_TEST_REWRITE=1");
    }

    #[test]
    fn several_partitions_are_behind_the_hash() {
        let definitions = definitions(&Names::default(), 3);
        let bindings = definitions["bindings"].as_array().unwrap();
        let to_items: Vec<&Value> = bindings
            .iter()
            .filter(|binding| binding["source"] == "kindred.items")
            .collect();
        assert_eq!(to_items.len(), 1);
        assert_eq!(to_items[0]["destination"], "kindred.partitions");
        let hashed = |b: &&Value| b["source"] == "kindred.partitions" && b["routing_key"] == "";
        assert_eq!(bindings.iter().filter(hashed).count(), 3);
    }
}
