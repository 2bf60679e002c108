//! Message properties: what the management UI shows, and what correlates a reply with its job.

use std::time::Duration;

use kindred_shared::wire::{
    EncodedJob, EncodedReply, JobAddress, PROTOCOL, PROTOCOL_HEADER, WireError, check_protocol,
};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::short::short;
use super::topology::Names;

/// The app id of every message.
pub const APP_ID: &str = "kindred";
/// The delivery mode that makes the broker write a message to disk, so that it survives a restart.
const PERSISTENT: u8 = 2;

/// Header of a job: the exchange that routes to the queue of its reply. Services of version 0.1 do not set it; only the
/// default exchange routes to their queues.
const REPLY_EXCHANGE: &str = "x-kindred-reply-exchange";

/// Where a reply goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyAddress {
    /// The exchange to publish to; empty: the default exchange.
    pub exchange: ShortString,
    /// The queue, which is also the routing key.
    pub queue: ShortString,
}

impl ReplyAddress {
    /// The address of a queue: through the exchange for replies if it exists, else through the default exchange.
    pub fn new(queue: ShortString, is_exchange_there: bool) -> Self {
        let exchange = match is_exchange_there {
            true => Names::default().reply_exchange(),
            false => ShortString::default(),
        };
        Self { exchange, queue }
    }

    /// Where to answer a job with these properties; `None` if it does not say. No exchange other than these two is ever
    /// written to, whatever the job says.
    pub fn of(job: &BasicProperties) -> Option<Self> {
        let queue = job.reply_to().clone()?;
        let named = header_text(job, REPLY_EXCHANGE);
        let ours = Names::default().reply_exchange();
        Some(Self::new(
            queue,
            named.is_some_and(|named| named == ours.as_str()),
        ))
    }
}

/// The properties of a job. The broker drops the job `expires` after it was sent, at least one millisecond.
pub fn job_properties(
    job: &EncodedJob,
    address: JobAddress,
    reply_to: &ShortString,
    expires: Duration,
) -> BasicProperties {
    let mut headers = of_protocol();
    let exchange = Names::default().reply_exchange().to_string();
    headers.insert(
        ShortString::from(REPLY_EXCHANGE),
        AMQPValue::LongString(exchange.into()),
    );
    for (name, value) in &job.headers {
        headers.insert(
            ShortString::from(*name),
            AMQPValue::LongString(value.as_str().into()),
        );
    }
    let millis = expires.as_millis().clamp(1, u128::from(u32::MAX / 2));
    base(job.content_type, job.kind.word())
        .with_message_id(short(&format!("{reply_to}/{address}")))
        .with_correlation_id(short(&address.to_string()))
        .with_reply_to(reply_to.clone())
        .with_expiration(short(&millis.to_string()))
        .with_headers(headers)
}

/// The properties of a reply to a job with these properties.
pub fn reply_properties(reply: &EncodedReply, job: &BasicProperties) -> BasicProperties {
    let correlation = job.correlation_id().clone().unwrap_or_default();
    let message = job.message_id().clone().unwrap_or_default();
    base(reply.content_type, reply.kind)
        .with_message_id(short(&format!("re:{message}")))
        .with_correlation_id(correlation)
        .with_headers(of_protocol())
}

/// Headers that name the protocol version.
fn of_protocol() -> FieldTable {
    let mut headers = FieldTable::default();
    let protocol = AMQPValue::LongString(PROTOCOL.to_string().into());
    headers.insert(ShortString::from(PROTOCOL_HEADER), protocol);
    headers
}

/// Whether this program speaks the protocol of a job or reply with these properties.
///
/// # Errors
/// [`WireError::UnknownProtocol`].
pub fn speaks(properties: &BasicProperties) -> Result<(), WireError> {
    let headers = properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(PROTOCOL_HEADER)) {
        None => Ok(()),
        Some(AMQPValue::ShortString(said)) => check_protocol(said.as_str()),
        Some(AMQPValue::LongString(said)) => {
            check_protocol(&String::from_utf8_lossy(said.as_bytes()))
        }
        Some(other) => Err(WireError::UnknownProtocol(format!("{other:?}"))),
    }
}

/// Content type, type, app id and timestamp; persistent.
pub(super) fn base(content_type: &str, kind: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type(short(content_type))
        .with_type(short(kind))
        .with_app_id(ShortString::from(APP_ID))
        .with_timestamp(timestamp_of_seconds())
        .with_delivery_mode(PERSISTENT)
}

/// The current time, in whole seconds since 1970.
pub fn timestamp_of_seconds() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp()).unwrap_or(0)
}

/// A header's value as text.
pub fn header_text(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kindred_shared::wire::JSON;

    use super::*;

    fn saying(value: AMQPValue) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(PROTOCOL_HEADER.into(), value);
        BasicProperties::default().with_headers(headers)
    }

    fn text(said: &str) -> AMQPValue {
        AMQPValue::LongString(said.into())
    }

    #[test]
    fn a_reply_goes_by_its_exchange_or_the_default_one_and_by_no_other() {
        assert_eq!(ReplyAddress::of(&BasicProperties::default()), None);
        let asking = |header: Option<&str>| {
            let mut headers = FieldTable::default();
            if let Some(header) = header {
                headers.insert(REPLY_EXCHANGE.into(), text(header));
            }
            let properties = BasicProperties::default().with_headers(headers);
            let address = ReplyAddress::of(&properties.with_reply_to("kindred.replies.a".into()));
            address.map(|to| (to.exchange.to_string(), to.queue.to_string()))
        };
        let to = |exchange: &str| Some((exchange.to_owned(), "kindred.replies.a".to_owned()));
        assert_eq!(asking(Some("kindred.replies")), to("kindred.replies"));
        // From a service before the header existed, and from somebody else.
        assert_eq!(asking(None), to(""));
        assert_eq!(asking(Some("kindred.items")), to(""));
    }

    #[test]
    fn messages_name_their_protocol_and_others_than_those_spoken_are_refused() {
        let reply = EncodedReply {
            kind: "compared",
            content_type: JSON,
            body: vec![],
        };
        let reply = reply_properties(&reply, &BasicProperties::default());
        let named = header_text(&reply, PROTOCOL_HEADER);
        assert_eq!(named.as_deref(), Some(&*PROTOCOL.to_string()));
        assert_eq!(speaks(&reply), Ok(()));
        // Written before messages named their protocol.
        assert_eq!(speaks(&BasicProperties::default()), Ok(()));
        assert_eq!(speaks(&saying(text("1"))), Ok(()));
        for said in [
            text("0"),
            text("2"),
            text(""),
            text("one"),
            AMQPValue::Boolean(true),
        ] {
            let refused = speaks(&saying(said.clone()));
            let is_unknown = matches!(refused, Err(WireError::UnknownProtocol(_)));
            assert!(is_unknown, "{said:?}: {refused:?}");
        }
    }
}
