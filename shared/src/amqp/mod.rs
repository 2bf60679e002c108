//! RabbitMQ: the names and shape of everything declared there, connections that come back by
//! themselves, and publishing with confirms.

mod connection;
mod inspection;
mod publisher;
mod topology;

pub use connection::{
    AddressError, AmqpError, Backoff, CLOSE_DEADLINE, CONNECT_DEADLINE, Connector,
    REQUEST_DEADLINE, close, within,
};
pub use inspection::{Arguments, Inspected, Permission, Presence, inspect, permitted};
pub use publisher::{
    CONFIRM_DEADLINE, Confirmed, Outgoing, PublishFault, Publisher, event_message, event_properties,
};
pub use topology::{
    ITEMS_SETTLE, Names, QueueCounts, TopologyError, consumers, declare, declare_replies,
    definitions, exists, queue_counts,
};
