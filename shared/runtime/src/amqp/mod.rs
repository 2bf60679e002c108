//! RabbitMQ: names and topology, connections that reconnect by themselves, and publishing with
//! confirms.

mod card;
mod connection;
mod inspection;
mod properties;
mod publisher;
pub mod repartition;
mod short;
mod topology;

pub use card::{card_from_value, card_to_value};
pub use connection::{
    AddressError, AmqpError, CLOSE_DEADLINE, CONNECT_DEADLINE, Connector, RECONNECT,
    REQUEST_DEADLINE, close, wait_out, within,
};
pub use inspection::{Arguments, Inspected, Permission, Presence, inspect, inspect_log, permitted};
pub use properties::{
    APP_ID, ReplyAddress, header_text, job_properties, reply_properties, speaks,
    timestamp_of_seconds,
};
pub use publisher::{
    CONFIRM_DEADLINE, Confirmed, Outgoing, PublishFault, Publisher, event_message, event_properties,
};
pub use topology::{
    ITEMS_SETTLE, LogRetention, Names, QueueCounts, TopologyError, consumers, declare,
    declare_replies, definitions, exists, queue_counts,
};
