//! The receiving side: replies, copies of dead jobs, and the number of workers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use kindred_runtime::amqp::card_from_value;
use kindred_runtime::amqp::{
    AmqpError, Connector, RECONNECT, REQUEST_DEADLINE, close, consumers, declare_replies, speaks,
    wait_out, within,
};
use kindred_shared::job::{JobRefusal, Reply};
use kindred_shared::wire::{
    DecodedReply, JobAddress, JobKind, UNKNOWN_PROTOCOL, UNREADABLE_REPLY, WireError, decode_reply,
    some_of,
};
use kindred_shared::worker::{GREETING, WORKER_HEADER};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use kindred_domain::dispatch::{Attempt, JobId, Returned};

/// Replies read ahead; each at most 8 MiB.
const PREFETCH: u16 = 8;
/// Pause between two counts of the consumers: 1 s.
const COUNT_EVERY: Duration = Duration::from_secs(1);

struct Link {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

/// Receives until told to stop; reconnects whenever the connection is lost.
pub(super) async fn run(
    connector: Connector,
    shared: Arc<Shared>,
    replies: mpsc::Sender<Returned>,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = RECONNECT;
    let mut link = None;
    let work = async {
        loop {
            match open(&connector, &shared).await {
                Ok(opened) => {
                    backoff.worked();
                    let open = link.insert(opened);
                    tracing::info!(
                        place = connector.place(),
                        role = "replies",
                        "amqp.connected"
                    );
                    shared.receiving.store(true, Ordering::Relaxed);
                    let lost = receive(open, &shared, &replies).await;
                    shared.receiving.store(false, Ordering::Relaxed);
                    shared.workers.store(0, Ordering::Relaxed);
                    close(&open.connection).await;
                    link = None;
                    wait_out(&mut backoff, &connector.place(), "replies", &lost).await;
                }
                Err(error) => wait_out(&mut backoff, &connector.place(), "replies", &error).await,
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    shared.receiving.store(false, Ordering::Relaxed);
    shared.workers.store(0, Ordering::Relaxed);
    if let Some(link) = &link {
        close(&link.connection).await;
    }
}

async fn open(connector: &Connector, shared: &Shared) -> Result<Link, AmqpError> {
    let connection = connector.connect("replies").await?;
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let options = &shared.options;
    let queue = declare_replies(&channel, &options.names, &options.boot_id).await?;
    let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
    within("limiting prefetch", REQUEST_DEADLINE, qos).await?;
    let consuming = channel.basic_consume(
        queue,
        "replies".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = within("consuming", REQUEST_DEADLINE, consuming).await?;
    count(&connection, shared).await?;
    Ok(Link {
        connection,
        channel,
        consumer,
    })
}

/// Counts workers: consumers of the work queue that has fewer. Uses its own channel, because a
/// missing queue closes it.
async fn count(connection: &Connection, shared: &Shared) -> Result<(), AmqpError> {
    let channel = within("opening", REQUEST_DEADLINE, connection.create_channel()).await?;
    let names = &shared.options.names;
    let mut fewest = u32::MAX;
    for kind in [JobKind::Extract, JobKind::Compare] {
        match consumers(&channel, names, kind).await {
            Ok(count) => fewest = fewest.min(count),
            Err(error) if error.is_not_found() => {
                shared.count(0);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    shared.count(fewest as usize);
    let closing = channel.close(200, "OK".into());
    within("closing a channel", REQUEST_DEADLINE, closing).await
}

/// Receives until the connection is lost; returns why.
async fn receive(link: &mut Link, shared: &Shared, replies: &mpsc::Sender<Returned>) -> String {
    let Link {
        connection,
        channel,
        consumer,
    } = link;
    // Side by side: over a slow network, counting takes seconds, and no reply may wait for it.
    tokio::select! {
        lost = keep_counting(connection, shared) => lost,
        lost = pass_on(channel, consumer, shared, replies) => lost,
    }
}

async fn keep_counting(connection: &Connection, shared: &Shared) -> String {
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        if let Err(error) = count(connection, shared).await {
            return error.to_string();
        }
    }
}

async fn pass_on(
    channel: &Channel,
    consumer: &mut Consumer,
    shared: &Shared,
    replies: &mpsc::Sender<Returned>,
) -> String {
    loop {
        let delivery = match consumer.next().await {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return error.to_string(),
            None => return "the reply queue is gone".to_owned(),
        };
        let tag = delivery.delivery_tag;
        if let Some(returned) = read(delivery, shared).await {
            shared.leave(returned.job, returned.attempt);
            if replies.send(returned).await.is_err() {
                return "nobody reads replies any more".to_owned();
            }
        }
        let ack = channel.basic_ack(tag, BasicAckOptions::default());
        if let Err(error) = within("acknowledging", REQUEST_DEADLINE, ack).await {
            return error.to_string();
        }
    }
}

/// Parses a message of the reply queue. `None`: not for this process.
async fn read(delivery: Delivery, shared: &Shared) -> Option<Returned> {
    let properties = &delivery.properties;
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    if let Some(card) = headers
        .and_then(|headers| headers.get(WORKER_HEADER))
        .and_then(card_from_value)
    {
        shared.saw(card);
    }
    // A greeting answers no job.
    if properties
        .kind()
        .as_ref()
        .is_some_and(|kind| kind.as_str() == GREETING)
    {
        return None;
    }
    let correlation = properties.correlation_id().as_ref()?.as_str();
    let address: JobAddress = correlation
        .parse()
        .inspect_err(|()| tracing::warn!(correlation, "reply.unknown_correlation"))
        .ok()?;
    let returned = |reply| {
        Some(Returned {
            job: JobId(address.job),
            attempt: Attempt(address.attempt),
            reply,
            kills_workers: false,
        })
    };
    if let Some(reason) = death(&delivery) {
        let options = &shared.options;
        let ours = properties.reply_to().as_ref() == Some(&options.names.replies(&options.boot_id));
        // Other reasons occur only with the topology of version 0.1; those jobs are sent again at
        // their deadline.
        if !ours || reason != "delivery_limit" {
            return None;
        }
        tracing::error!(
            job = address.job,
            attempt = address.attempt,
            "job.killed_its_workers"
        );
        let words = "it kills workers: it was delivered six times and never answered";
        return returned(Reply::Failed(words.to_owned())).map(|killer| Returned {
            kills_workers: true,
            ..killer
        });
    }
    if let Err(unknown) = speaks(properties) {
        return returned(Reply::Refused(JobRefusal {
            reason: UNKNOWN_PROTOCOL.to_owned(),
            detail: format!("a worker's reply: {unknown}"),
        }));
    }
    let kind = properties.kind().clone().unwrap_or_default();
    let (answer, decoded) = oneshot::channel();
    let body = delivery.data;
    rayon::spawn(move || {
        let _ = answer.send(decode_reply(kind.as_str(), &body));
    });
    let decoded = decoded
        .await
        .unwrap_or_else(|_| Err(WireError::Damaged("it could not be read".to_owned())));
    returned(match decoded {
        Ok(DecodedReply::Reply(reply)) => reply,
        Ok(DecodedReply::MissingBlocks(hashes)) => {
            shared.stored.forget(&hashes);
            Reply::Failed(format!("not stored: {}", some_of(&hashes)))
        }
        // Perhaps from a worker of another version: no item is to blame.
        Err(error) => Reply::Refused(JobRefusal {
            reason: UNREADABLE_REPLY.to_owned(),
            detail: error.to_string(),
        }),
    })
}

/// The reason a message was dead-lettered, if it was.
fn death(delivery: &Delivery) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?.inner();
    let AMQPValue::FieldArray(deaths) = headers.get("x-death")? else {
        return None;
    };
    let AMQPValue::FieldTable(latest) = deaths.as_slice().first()? else {
        return None;
    };
    match latest.inner().get("reason")? {
        AMQPValue::LongString(reason) => {
            Some(String::from_utf8_lossy(reason.as_bytes()).into_owned())
        }
        AMQPValue::ShortString(reason) => Some(reason.as_str().to_owned()),
        _ => None,
    }
}
