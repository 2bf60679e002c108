//! Connections to the broker. Every await on the broker has a deadline. When a connection is lost,
//! its user makes a new one, with growing pauses, for as long as it takes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::Backoff;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::runtime::default_runtime;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};

use crate::host::process_name;
use crate::tls::TlsFiles;

/// Deadline for opening a connection: 10 s.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline for a request on a channel: 10 s.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline for closing a connection cleanly: 2 s.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Delays between connection attempts.
pub const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// Seconds between heartbeats, unless the address sets another value. A frozen peer is noticed in
/// less than three of them, and its queues go to the next consumer.
const HEARTBEAT_S: u16 = 5;

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("amqp_url is invalid: {0}; expected an address such as amqp://user:password@host:5672/%2f")]
pub struct AddressError(String);

/// A failed request to the broker.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AmqpError {
    /// No answer before the deadline.
    #[error("{what}: the broker has not answered within {}", humanly(.limit))]
    Late {
        /// What was requested.
        what: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The broker or the connection reported an error.
    #[error("{what}: {}", words(.error))]
    Broker {
        /// What was requested.
        what: &'static str,
        /// The error.
        error: lapin::Error,
    },
}

impl AmqpError {
    /// Whether the requested object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is_soft(&AMQPSoftError::NOTFOUND)
    }

    /// Whether the user lacks the permission.
    pub fn is_refused(&self) -> bool {
        self.is_soft(&AMQPSoftError::ACCESSREFUSED)
    }

    /// Whether an object of that name exists with other properties.
    pub fn is_other(&self) -> bool {
        self.is_soft(&AMQPSoftError::PRECONDITIONFAILED)
    }

    /// The broker's own message, without the request and without a remedy.
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

/// An error as text, with a remedy where one is known.
fn words(error: &lapin::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                "; give the user the permissions of deploy/rabbitmq/README.md"
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                "; it exists with other arguments: delete it when it is empty, and start again"
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

/// Awaits an answer of the broker, up to a deadline.
///
/// # Errors
/// [`AmqpError::Late`] past the deadline, [`AmqpError::Broker`] for an error of the broker or the
/// connection.
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

/// Closes a connection cleanly, or gives up. Drop its consumers only *after* this: dropping a
/// consumer on a live connection cancels it, and later messages then overtake its unacknowledged
/// ones.
pub async fn close(connection: &Connection) {
    if connection.status().connected() {
        let closing = connection.close(200, "OK".into());
        if let Err(error) = within("closing", CLOSE_DEADLINE, closing).await {
            tracing::debug!(%error, "amqp.close_failed");
        }
    }
}

/// Opens connections to one broker.
#[derive(Debug, Clone)]
pub struct Connector {
    uri: AMQPUri,
    tls: TlsFiles,
    program: String,
    /// Additional client properties.
    about: Vec<(&'static str, String)>,
}

impl Connector {
    /// For an address like `amqp://user:password@host:5672/%2f`. Adds `?heartbeat=5` unless the
    /// address sets a heartbeat. `program` names the connections in the management UI.
    ///
    /// # Errors
    /// [`AddressError`], which does not contain the address because that may hold a password.
    pub fn new(url: &str, program: &str) -> Result<Self, AddressError> {
        let mut uri: AMQPUri = url.parse().map_err(AddressError)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        Ok(Self {
            uri,
            tls: TlsFiles::default(),
            program: program.to_owned(),
            about: Vec::new(),
        })
    }

    /// Adds client properties that describe the program.
    #[must_use]
    pub fn about(self, about: Vec<(&'static str, String)>) -> Self {
        Self { about, ..self }
    }

    /// Uses these files if the address is `amqps://`.
    #[must_use]
    pub fn with_tls(self, tls: TlsFiles) -> Self {
        Self { tls, ..self }
    }

    /// Host, port and virtual host, without user and password.
    pub fn place(&self) -> String {
        let authority = &self.uri.authority;
        format!("{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }

    /// The user that connections log in as. The broker refuses messages that name another (`user_id`).
    pub fn user(&self) -> ShortString {
        super::short::short(&self.uri.authority.userinfo.username)
    }

    /// One attempt at a connection, named `<program> <host>:<process id> <role>`.
    ///
    /// # Errors
    /// [`AmqpError`] when there is none within [`CONNECT_DEADLINE`].
    pub async fn connect(&self, role: &str) -> Result<Connection, AmqpError> {
        let name = format!("{} {} {role}", self.program, process_name());
        let named = ConnectionProperties::default().with_connection_name(name.into());
        let about = self.about.iter();
        let properties = about.fold(named, |properties, (key, value)| {
            properties.with_client_property((*key).into(), value.as_str().into())
        });
        let connecting = async {
            let tls = self.uri.scheme == AMQPScheme::AMQPS;
            let tls = tls.then(|| self.tls.client()).transpose();
            let tls = tls.map_err(io::Error::other)?;
            let tls = tls.map(|tls| RustlsConnector::from(Arc::new(tls)));
            // Not lapin's own way, which trusts the system's authorities in addition to ours.
            let open = async move |uri: AMQPUri, runtime| {
                let place = uri.authority;
                let hosts = tokio::net::lookup_host((place.host.as_str(), place.port)).await?;
                let hosts: Vec<_> = hosts.collect();
                let stream = AsyncTcpStream::connect(&runtime, hosts).await?;
                Ok(match &tls {
                    Some(tls) => stream.into_rustls(tls, &place.host).await?,
                    None => stream,
                })
            };
            Connection::connector(self.uri.clone(), default_runtime()?, open, properties).await
        };
        within("connecting", CONNECT_DEADLINE, connecting).await
    }

    /// Retries until there is a connection, and logs every failure.
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

/// Logs what is wrong with the broker, then waits before the next attempt.
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
        assert_eq!(connector.user().as_str(), "app");
        let given = Connector::new("amqp://app:secret@host/v?heartbeat=3", "kindred").unwrap();
        assert_eq!(given.uri.query.heartbeat, Some(3));
        let error = Connector::new("http://app:secret@host", "kindred").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
