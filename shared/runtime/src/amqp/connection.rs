//! Connections. Every await on the broker has a deadline; whoever needs a connection makes a new
//! one when the old one is lost, with a growing pause, for as long as it takes.

use std::time::Duration;

use kindred_shared::Backoff;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};

/// Longest a connection may take to be made: 10 s.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest a request on a channel may take: 10 s.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Longest a connection may take to be closed in good order: 2 s.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts at a connection.
pub const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// Seconds between heartbeats, unless the address says otherwise: a frozen peer is noticed after
/// less than three of them, and its queues go to the next consumer.
const HEARTBEAT_S: u16 = 5;

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("amqp_url cannot be read: {0}; it is like amqp://user:password@host:5672/%2f")]
pub struct AddressError(String);

/// What went wrong with the broker.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AmqpError {
    /// No answer in time.
    #[error("{what}: the broker has not answered within {}", humanly(.limit))]
    Late {
        /// What was asked.
        what: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The broker or the connection said no.
    #[error("{what}: {}", words(.error))]
    Broker {
        /// What was asked.
        what: &'static str,
        /// What was answered.
        error: lapin::Error,
    },
}

impl AmqpError {
    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is_soft(&AMQPSoftError::NOTFOUND)
    }

    /// Whether the user may not do it.
    pub fn is_refused(&self) -> bool {
        self.is_soft(&AMQPSoftError::ACCESSREFUSED)
    }

    /// Whether something of that name is there and is declared otherwise.
    pub fn is_other(&self) -> bool {
        self.is_soft(&AMQPSoftError::PRECONDITIONFAILED)
    }

    /// What the broker said, without what it was asked and without a remedy.
    pub fn broker_words(&self) -> String {
        match self {
            Self::Late { .. } => self.to_string(),
            Self::Broker { error, .. } => match error.kind() {
                ErrorKind::ProtocolError(error) => error.get_message().to_string(),
                _ => error.to_string(),
            },
        }
    }

    fn is_soft(&self, soft: &AMQPSoftError) -> bool {
        matches!(self, Self::Broker { error, .. }
            if matches!(error.kind(), ErrorKind::ProtocolError(error)
                if *error.kind() == AMQPErrorKind::Soft(soft.clone())))
    }
}

/// An error in words, with a remedy where one is known.
fn words(error: &lapin::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                "; give the user the permissions of deploy/rabbitmq/README.md"
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                "; it was declared otherwise before: delete it when it is empty, and start again"
            }
            _ => "",
        },
        _ => "",
    };
    format!("{error}{remedy}")
}

fn humanly(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f32())
}

/// Awaits an answer of the broker, but not for ever.
///
/// # Errors
/// [`AmqpError::Late`] past the limit, [`AmqpError::Broker`] as answered.
pub async fn within<T>(
    what: &'static str,
    limit: Duration,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(AmqpError::Broker { what, error }),
        Err(_) => Err(AmqpError::Late { what, limit }),
    }
}

/// Closes a connection in good order, or lets it go. Consumers on it must be dropped *after* this:
/// dropping one on a live connection cancels it, and a cancelled consumer's unacknowledged
/// messages are overtaken by later ones.
pub async fn close(connection: &Connection) {
    if connection.status().connected() {
        let closing = connection.close(200, "OK".into());
        if let Err(error) = within("closing", CLOSE_DEADLINE, closing).await {
            tracing::debug!(%error, "amqp.close_failed");
        }
    }
}

/// Makes connections to one broker.
#[derive(Debug, Clone)]
pub struct Connector {
    uri: AMQPUri,
    program: String,
}

impl Connector {
    /// For an address like `amqp://user:password@host:5672/%2f`; `?heartbeat=10` is added unless a
    /// heartbeat is given. `program` is what the management UI shows connections as.
    ///
    /// # Errors
    /// [`AddressError`] without the address in it, which may hold a password.
    pub fn new(url: &str, program: &str) -> Result<Self, AddressError> {
        let mut uri: AMQPUri = url.parse().map_err(AddressError)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        Ok(Self {
            uri,
            program: program.to_owned(),
        })
    }

    /// Host, port and virtual host, without user and password.
    pub fn place(&self) -> String {
        let authority = &self.uri.authority;
        format!("{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }

    /// One attempt at a connection, named `<program> <role>`.
    ///
    /// # Errors
    /// [`AmqpError`] when there is none within [`CONNECT_DEADLINE`].
    pub async fn connect(&self, role: &str) -> Result<Connection, AmqpError> {
        let name = format!("{} {role}", self.program);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        within("connecting", CONNECT_DEADLINE, connecting).await
    }

    /// Tries until there is a connection, saying so each time there is none.
    pub async fn connect_patiently(&self, role: &str) -> Connection {
        let mut backoff = RECONNECT;
        loop {
            match self.connect(role).await {
                Ok(connection) => {
                    tracing::info!(place = self.place(), role, "amqp.connected");
                    return connection;
                }
                Err(error) => wait_out(&mut backoff, &self.place(), role, &error).await,
            }
        }
    }
}

/// Says what of the broker is away, then waits before the next attempt.
pub async fn wait_out(
    backoff: &mut Backoff,
    place: &str,
    role: &str,
    error: &(dyn std::fmt::Display + Sync),
) {
    let delay = backoff.failed();
    let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(place, role, %error, retry_ms, "amqp.away");
    tokio::time::sleep(delay).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn addresses_get_a_heartbeat_and_show_no_password() {
        let connector = Connector::new("amqp://app:secret@host:5673/%2f", "kindred").unwrap();
        assert_eq!(connector.uri.query.heartbeat, Some(5));
        assert_eq!(connector.place(), "host:5673//");
        let given = Connector::new("amqp://app:secret@host/v?heartbeat=3", "kindred").unwrap();
        assert_eq!(given.uri.query.heartbeat, Some(3));
        let error = Connector::new("http://app:secret@host", "kindred").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
