//! Inspects what is declared and what a user may do, without changing anything.
//!
//! AMQP cannot ask some of this directly. Only a declaration tells whether a queue has the right
//! arguments; it has no effect if the queue exists, so it is sent only after a passive declaration
//! has found the queue. Whether a name may be written or read shows when unbinding a binding that
//! cannot exist, because the broker checks permissions first.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

use super::connection::{AmqpError, REQUEST_DEADLINE, within};
use super::topology::{Argument, LogRetention, MODULUS_HASH, Names, queues};

/// The management name of the default exchange, which routes to the queue named by the routing key.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// Whether something exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It exists.
    There,
    /// It does not exist.
    Missing,
    /// The broker did not say, for this reason.
    Unknown(String),
}

/// How the arguments of something that exists compare with the expected ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// They match.
    Right,
    /// They differ; the broker's message names the first difference.
    Wrong(String),
    /// They could not be compared, for this reason.
    Unknown(String),
}

/// A queue or an exchange of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Its name.
    pub name: String,
    /// Whether it is a queue; otherwise it is an exchange.
    pub is_queue: bool,
    /// Whether it exists.
    pub presence: Presence,
    /// Whether its arguments match; unknown if it does not exist.
    pub arguments: Arguments,
    /// Messages that are ready, if it is a queue that exists.
    pub messages: u32,
    /// Consumers, if it is a queue that exists.
    pub consumers: u32,
}

/// An action that a user may or may not be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Make and delete queues for replies.
    ConfigureReplies,
    /// Publish to an exchange of this name; `amq.default` is the default one.
    Write(ShortString),
    /// Consume from a queue of this name.
    Read(ShortString),
}

/// Looks for everything that [`super::declare`] makes, except for the stream of events.
///
/// # Errors
/// When the connection is lost.
pub async fn inspect(
    connection: &Connection,
    names: &Names,
    partitions: u16,
) -> Result<Vec<Inspected>, AmqpError> {
    let partitions = partitions.max(1);
    let mut exchanges = vec![
        (names.dead(), ExchangeKind::Direct),
        (names.dead_jobs(), ExchangeKind::Headers),
        (names.domains(), ExchangeKind::Topic),
        (names.reply_exchange(), ExchangeKind::Direct),
        (names.feedback(), ExchangeKind::Topic),
        (names.items(), ExchangeKind::Topic),
    ];
    if partitions > 1 {
        let kind = ExchangeKind::Custom(MODULUS_HASH.to_owned());
        exchanges.push((names.partitions(), kind));
    }
    let mut found = Vec::new();
    for (name, kind) in exchanges {
        found.push(exchange(connection, name, kind).await?);
    }
    for one in queues(names, partitions) {
        found.push(queue(connection, one.name, &one.arguments).await?);
    }
    Ok(found)
}

/// Looks for the stream of events.
///
/// # Errors
/// When the connection is lost.
pub async fn inspect_log(
    connection: &Connection,
    names: &Names,
    retention: LogRetention,
) -> Result<Inspected, AmqpError> {
    queue(connection, names.log(), &retention.arguments()).await
}

async fn open(connection: &Connection) -> Result<Channel, AmqpError> {
    within("opening", REQUEST_DEADLINE, connection.create_channel()).await
}

async fn shut(channel: &Channel) {
    if channel.status().connected() {
        // The answer is already known.
        let _ = within("closing", REQUEST_DEADLINE, channel.close(200, "OK".into())).await;
    }
}

async fn exchange(
    connection: &Connection,
    name: ShortString,
    kind: ExchangeKind,
) -> Result<Inspected, AmqpError> {
    let channel = open(connection).await?;
    let declare = |passive| {
        let options = ExchangeDeclareOptions {
            durable: true,
            passive,
            ..ExchangeDeclareOptions::default()
        };
        let none = FieldTable::default();
        let declaring = channel.exchange_declare(name.clone(), kind.clone(), options, none);
        within("looking for an exchange", REQUEST_DEADLINE, declaring)
    };
    let presence = presence(declare(true).await);
    let arguments = match presence {
        Presence::There => compared(declare(false).await),
        _ => Arguments::Unknown("it does not exist".to_owned()),
    };
    shut(&channel).await;
    Ok(Inspected {
        name: name.to_string(),
        is_queue: false,
        presence,
        arguments,
        messages: 0,
        consumers: 0,
    })
}

async fn queue(
    connection: &Connection,
    name: ShortString,
    arguments: &[Argument],
) -> Result<Inspected, AmqpError> {
    let channel = open(connection).await?;
    let look = channel.queue_declare(
        name.clone(),
        QueueDeclareOptions::durable().passive(),
        FieldTable::default(),
    );
    let looked = within("looking for a queue", REQUEST_DEADLINE, look).await;
    let (messages, consumers) = looked.as_ref().map_or((0, 0), |queue| {
        (queue.message_count(), queue.consumer_count())
    });
    let presence = presence(looked.map(|_| ()));
    let arguments = match presence {
        Presence::There => {
            let declaring = channel.queue_declare(
                name.clone(),
                QueueDeclareOptions::durable(),
                Argument::table(arguments),
            );
            let compare = within("comparing a queue", REQUEST_DEADLINE, declaring).await;
            compared(compare.map(|_| ()))
        }
        _ => Arguments::Unknown("it does not exist".to_owned()),
    };
    shut(&channel).await;
    Ok(Inspected {
        name: name.to_string(),
        is_queue: true,
        presence,
        arguments,
        messages,
        consumers,
    })
}

fn presence(looked: Result<(), AmqpError>) -> Presence {
    match looked {
        Ok(()) => Presence::There,
        Err(error) if error.is_not_found() => Presence::Missing,
        Err(error) => Presence::Unknown(error.to_string()),
    }
}

fn compared(declared: Result<(), AmqpError>) -> Arguments {
    match declared {
        Ok(()) => Arguments::Right,
        Err(error) if error.is_other() => Arguments::Wrong(error.broker_words()),
        Err(error) => Arguments::Unknown(error.broker_words()),
    }
}

/// Whether the user of this connection has each of these permissions; `None`: unknown.
///
/// # Errors
/// When the connection is lost.
pub async fn permitted(
    connection: &Connection,
    names: &Names,
    wanted: &[Permission],
) -> Result<Vec<Option<bool>>, AmqpError> {
    // Nobody declares this exchange, so it has no bindings.
    let nothing = names.replies("doctor-looks");
    let mut answers = vec![None; wanted.len()];
    let mut writable = None;
    for (answer, permission) in answers.iter_mut().zip(wanted) {
        match permission {
            Permission::ConfigureReplies => {
                let channel = open(connection).await?;
                let options = QueueDeleteOptions {
                    if_unused: true,
                    if_empty: true,
                    nowait: false,
                };
                let deleting = channel.queue_delete(nothing.clone(), options);
                let deleted = within("asking for a permission", REQUEST_DEADLINE, deleting).await;
                *answer = allowed(deleted.map(|_| ()), &nothing);
                shut(&channel).await;
            }
            Permission::Write(name) => {
                *answer = may_unbind(connection, name, &nothing, name).await?;
                if *answer == Some(true) {
                    writable.get_or_insert_with(|| name.clone());
                }
            }
            Permission::Read(_) => {}
        }
    }
    let Some(writable) = writable else {
        return Ok(answers);
    };
    for (answer, permission) in answers.iter_mut().zip(wanted) {
        if let Permission::Read(name) = permission {
            *answer = may_unbind(connection, &writable, name, name).await?;
        }
    }
    Ok(answers)
}

/// Checks writing `to` and reading `from`: whether the broker refuses neither for the name in
/// question.
async fn may_unbind(
    connection: &Connection,
    to: &ShortString,
    from: &ShortString,
    in_question: &ShortString,
) -> Result<Option<bool>, AmqpError> {
    let channel = open(connection).await?;
    let unbinding = channel.exchange_unbind(
        to.clone(),
        from.clone(),
        "kindred doctor: no binding has this key".into(),
        ExchangeUnbindOptions::default(),
        FieldTable::default(),
    );
    let unbound = within("asking for a permission", REQUEST_DEADLINE, unbinding).await;
    shut(&channel).await;
    Ok(allowed(unbound, in_question))
}

/// A refusal counts only if it names this object; "not found" is not a refusal.
fn allowed(answer: Result<(), AmqpError>, name: &ShortString) -> Option<bool> {
    match answer {
        Ok(()) => Some(true),
        Err(error) if error.is_refused() => {
            Some(!error.broker_words().contains(&format!("'{name}'")))
        }
        Err(error) if error.is_not_found() => Some(true),
        Err(_) => None,
    }
}

impl Permission {
    /// The permissions of a publisher.
    pub fn of_publisher(names: &Names) -> Vec<Self> {
        vec![Self::Write(names.items())]
    }

    /// The permissions of a compute worker.
    pub fn of_worker(names: &Names) -> Vec<Self> {
        use kindred_shared::wire::JobKind::{Compare, Extract};
        vec![
            Self::Write(names.reply_exchange()),
            Self::Read(names.jobs(Extract)),
            Self::Read(names.jobs(Compare)),
        ]
    }

    /// The permissions of a model service once everything is declared.
    pub fn of_service(names: &Names, partitions: u16) -> Vec<Self> {
        let mut wanted = vec![
            Self::ConfigureReplies,
            Self::Write(names.items()),
            Self::Write(names.domains()),
            Self::Write(names.dead()),
            Self::Write(names.feedback()),
            Self::Write(DEFAULT_EXCHANGE.into()),
            Self::Read(names.dead()),
            Self::Read(names.dead_jobs()),
            Self::Read(names.reply_exchange()),
            Self::Read(names.replies("any")),
            Self::Read(names.feedback_queue()),
        ];
        let queues = (0..partitions.max(1)).map(|number| Self::Read(names.partition(number)));
        wanted.extend(queues);
        wanted
    }
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConfigureReplies => f.write_str("configure kindred.replies.…"),
            Self::Write(name) => write!(f, "write {name}"),
            Self::Read(name) => write!(f, "read {name}"),
        }
    }
}
