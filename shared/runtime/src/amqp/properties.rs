//! Properties of messages: what the management UI shows, and what ties a reply to its job.

use std::time::Duration;

use kindred_shared::wire::{
    EncodedJob, EncodedReply, JobAddress, PROTOCOL, PROTOCOL_HEADER, WireError, check_protocol,
};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// The app id of every message.
pub const APP_ID: &str = "kindred";
/// Written to disk, so that it outlives the broker.
const PERSISTENT: u8 = 2;

/// The properties of a job. It is dropped by the broker `expires` after it was sent; at least
/// one millisecond.
pub fn job_properties(
    job: &EncodedJob,
    address: JobAddress,
    reply_to: &ShortString,
    expires: Duration,
) -> BasicProperties {
    let mut headers = of_protocol();
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

/// Headers that name the protocol.
fn of_protocol() -> FieldTable {
    let mut headers = FieldTable::default();
    let protocol = AMQPValue::LongString(PROTOCOL.to_string().into());
    headers.insert(ShortString::from(PROTOCOL_HEADER), protocol);
    headers
}

/// Whether a job or reply with these properties is of a protocol that this program speaks.
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

/// Now, in whole seconds since 1970.
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

/// A short string: at most 255 bytes, cut where a character ends.
pub(super) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
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
        // Written before messages named it.
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
