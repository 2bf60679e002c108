//! Dead letters: a whole message, with the reason in its headers.

use kindred_runtime::amqp::{Names, Outgoing};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::raw::Raw;

/// Header: a documented reason code.
const REASON: &str = "x-kindred-reason";
/// Header: what is wrong and what would be right.
const DETAIL: &str = "x-kindred-detail";
/// Header: the routing key it was published with.
const ROUTING_KEY: &str = "x-kindred-routing-key";
/// Headers that would route a copy elsewhere.
const ROUTING_HEADERS: [&str; 2] = ["CC", "BCC"];
/// Longest detail, in characters.
const MAX_DETAIL: usize = 2_000;

/// The dead letter for a message: its body and properties, without its expiration (it must stay), its user (the dead
/// letter is ours), and the copies it asked for.
pub(super) fn letter(names: &Names, raw: &Raw, reason: &str, detail: &str) -> Outgoing {
    let own = &raw.properties;
    let mut headers = FieldTable::default();
    for (name, value) in own.headers().iter().flat_map(FieldTable::inner) {
        if !ROUTING_HEADERS.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let detail: String = detail.chars().take(MAX_DETAIL).collect();
    for (name, text) in [(REASON, reason), (DETAIL, &detail), (ROUTING_KEY, &raw.key)] {
        headers.insert(ShortString::from(name), AMQPValue::LongString(text.into()));
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_headers(headers);
    macro_rules! keep {
        ($($get:ident $set:ident),+) => {$(
            if let Some(value) = own.$get().clone() {
                properties = properties.$set(value);
            }
        )+};
    }
    keep!(
        content_type with_content_type, content_encoding with_content_encoding,
        correlation_id with_correlation_id, message_id with_message_id,
        timestamp with_timestamp, kind with_type, app_id with_app_id
    );
    Outgoing {
        exchange: names.dead(),
        key: names.items_dead(),
        properties,
        body: raw.body.clone(),
        mandatory: true,
    }
}
