//! The section of the broker.

use super::secret::{Secrecy, Secret};
use super::section::{CLUSTERED, Validate, section};
use super::values;

section! {
    /// RabbitMQ.
    struct Broker;

    /// Address of the RabbitMQ broker. Its user and what it may do are described in deploy/.
    amqp_url: Secret = "amqp://guest:guest@127.0.0.1:5672/%2f" {
        roles: CLUSTERED,
        expects: "a URL such as amqp://user:password@host:5672/%2f, or amqps://… for TLS",
        read: values::amqp_url,
        show: values::show_secret,
        secrecy: Secrecy::Url,
    }
}

impl Validate for Broker {}
