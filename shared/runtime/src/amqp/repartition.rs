//! Changes the number of partitions: recreates queues and bindings, and asks the broker which domain goes to which
//! partition.
//!
//! Meanwhile `kindred.items` has no binding, so the broker returns events to publishers that set `mandatory`. Nothing
//! here needs to be atomic: each step may be repeated.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeleteOptions,
};

use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use super::connection::{AmqpError, REQUEST_DEADLINE, within};
use super::properties::header_text;
use super::short::short;
use super::topology::{
    Names, TopologyError, bind_log, bind_partitions, declare_queues, exists, has_log, items_last,
    queue_counts, unbind_items, unbind_log, unbind_partition,
};

/// Probes whose confirmations are awaited together.
const AT_ONCE: usize = 256;
/// The header of a probe. Its value is the domain's name.
const PROBE: &str = "x-kindred-probe";

/// Why the partitions could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepartitionError {
    /// The topology could not be changed.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A request to the broker failed.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// Events arrived although no publisher may run.
    #[error("events are waiting in {queue}, which must be recreated: stop all publishers first")]
    Events {
        /// Their queue.
        queue: String,
    },
    /// A probe reached no queue.
    #[error("the broker did not say where {0:?} goes: its probe was not routed")]
    Unrouted(String),
}

impl From<lapin::Error> for RepartitionError {
    fn from(error: lapin::Error) -> Self {
        let what = "changing partitions";
        Self::Amqp(AmqpError::Broker { what, error })
    }
}

/// The number of events in the queues of partitions.
///
/// # Errors
/// [`AmqpError`] if the broker is unreachable or forbids it.
pub async fn events_waiting(
    connection: &Connection,
    names: &Names,
    partitions: u16,
) -> Result<u32, AmqpError> {
    let mut waiting = 0;
    for number in 0..partitions {
        let counts = queue_counts(connection, names.partition(number)).await?;
        waiting += counts.map_or(0, |counts| counts.messages);
    }
    Ok(waiting)
}

/// Unbinds all partitions from events, makes the queues of `partitions`, and binds only these to the exchange that
/// chooses among them. `before` is the previous number.
///
/// # Errors
/// [`RepartitionError`]; nothing is lost, and the call may be repeated.
pub async fn rebind(
    connection: &Connection,
    names: &Names,
    before: u16,
    partitions: u16,
) -> Result<(), RepartitionError> {
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let had_several = exists(connection, &names.partitions()).await?;
    if has_log(connection, names).await? {
        unbind_log(&channel, names).await?;
    }
    unbind_items(&channel, names, had_several).await?;
    // A previous attempt may have left probes. Anything else is an event routed by the old number.
    for number in 0..before.max(partitions) {
        let counts = queue_counts(connection, names.partition(number)).await?;
        let left = counts.map_or(0, |counts| counts.messages as usize);
        take_probes(connection, names, number..number + 1, left).await?;
    }
    declare_queues(&channel, names, partitions).await?;
    let kept = if partitions > 1 { partitions } else { 0 };
    if had_several {
        for number in kept..before {
            unbind_partition(&channel, names, number).await?;
        }
    }
    if partitions > 1 {
        bind_partitions(&channel, names, partitions).await?;
    }
    close(&channel).await
}

/// Lets events in again, into the queues of `partitions`, and deletes the queues beyond, which are empty.
///
/// # Errors
/// [`RepartitionError`]; nothing is lost, and the call may be repeated.
pub async fn finish(
    connection: &Connection,
    names: &Names,
    before: u16,
    partitions: u16,
) -> Result<(), RepartitionError> {
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    items_last(&channel, names, partitions).await?;
    if has_log(connection, names).await? {
        bind_log(&channel, names).await?;
    }
    for number in partitions..before {
        let queue = names.partition(number);
        match queue_counts(connection, queue.clone()).await? {
            None => {}
            Some(counts) if counts.messages > 0 => {
                return Err(RepartitionError::Events {
                    queue: queue.to_string(),
                });
            }
            Some(_) => {
                let deleting = channel.queue_delete(queue, QueueDeleteOptions::default());
                within("deleting a queue", REQUEST_DEADLINE, deleting).await?;
            }
        }
    }
    close(&channel).await
}

/// The partition that each domain's events go to, as the broker routes them now: sends a probe for each domain through
/// the exchange and looks for it in the queues.
///
/// # Errors
/// [`RepartitionError`]; probes may remain in queues, and the next [`rebind`] drops them.
pub async fn routes(
    connection: &Connection,
    names: &Names,
    partitions: u16,
    domains: &[String],
) -> Result<BTreeMap<String, u16>, RepartitionError> {
    if partitions <= 1 {
        return Ok(domains.iter().map(|domain| (domain.clone(), 0)).collect());
    }
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let select = channel.confirm_select(ConfirmSelectOptions::default());
    within("asking for confirms", REQUEST_DEADLINE, select).await?;
    for some in domains.chunks(AT_ONCE) {
        let mut sent = Vec::with_capacity(some.len());
        for domain in some {
            sent.push((domain, probe(&channel, names, domain).await?));
        }
        for (domain, confirm) in sent {
            match within("confirming a probe", REQUEST_DEADLINE, confirm).await? {
                Confirmation::Ack(None) => {}
                _ => return Err(RepartitionError::Unrouted(domain.clone())),
            }
        }
    }
    let found = take_probes(connection, names, 0..partitions, domains.len()).await?;
    let found: BTreeMap<String, u16> = found.into_iter().collect();
    match domains.iter().find(|domain| !found.contains_key(*domain)) {
        Some(missing) => Err(RepartitionError::Unrouted(missing.clone())),
        None => Ok(found),
    }
}

async fn probe(
    channel: &Channel,
    names: &Names,
    domain: &str,
) -> Result<PublisherConfirm, AmqpError> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut headers = FieldTable::default();
    headers.insert(PROBE.into(), AMQPValue::LongString(domain.into()));
    let properties = BasicProperties::default().with_headers(headers);
    let key = short(domain);
    let publishing = channel.basic_publish(names.partitions(), key, options, &[], properties);
    within("publishing a probe", REQUEST_DEADLINE, publishing).await
}

/// Takes `expected` probes from queues that must hold nothing else; returns the queue's number and the domain of each.
async fn take_probes(
    connection: &Connection,
    names: &Names,
    queues: Range<u16>,
    expected: usize,
) -> Result<Vec<(String, u16)>, RepartitionError> {
    let mut taken = Vec::with_capacity(expected);
    if expected == 0 {
        return Ok(taken);
    }
    // Queues with a single active consumer give nothing to `basic.get`, so they must be consumed from. Unacknowledged
    // messages return to the queue with the channel.
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let mut consumers = SelectAll::new();
    for number in queues {
        let consuming = channel.basic_consume(
            names.partition(number),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = within("consuming", REQUEST_DEADLINE, consuming).await?;
        consumers.push(consumer.map(move |delivery| (number, delivery)));
    }
    while taken.len() < expected {
        let next = async { Ok(consumers.next().await) };
        let Some((number, delivery)) = within("getting a probe", REQUEST_DEADLINE, next).await?
        else {
            break;
        };
        let delivery = delivery?;
        let Some(domain) = header_text(&delivery.properties, PROBE) else {
            let queue = names.partition(number).to_string();
            return Err(RepartitionError::Events { queue });
        };
        let acking = delivery.acker.ack(BasicAckOptions::default());
        within("acknowledging a probe", REQUEST_DEADLINE, acking).await?;
        taken.push((domain, number));
    }
    // If consumers were dropped before their channel is closed, they would be cancelled one by one.
    close(&channel).await?;
    Ok(taken)
}

async fn close(channel: &Channel) -> Result<(), RepartitionError> {
    within("closing", REQUEST_DEADLINE, channel.close(200, "OK".into())).await?;
    Ok(())
}
