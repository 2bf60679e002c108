//! Sessions with Cassandra or ScyllaDB: how both programs connect, their timeouts, and what they
//! retry by themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, NewSessionError, RequestAttemptError};
use scylla::policies::retry::{RequestInfo, RetryDecision, RetryPolicy, RetrySession};
use scylla::statement::{Consistency, SerialConsistency};

use crate::tls::{TlsError, TlsFiles};

/// Timeout of a request, including retries.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for opening one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Keep-alive interval of idle connections.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Retries of an idempotent request.
const REPETITIONS: u32 = 2;
/// The CQL port of a node whose address names none.
pub const DEFAULT_PORT: u16 = 9042;

/// How to connect to a database.
#[derive(Clone)]
pub struct CqlOptions {
    /// At least one node, as `host` or `host:port`.
    pub nodes: Vec<String>,
    /// The role to log in as; `None` if the database does not authenticate.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The TLS files; `None`: connections are not encrypted.
    pub tls: Option<TlsFiles>,
}

/// Why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The TLS configuration is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Usually: no node answers.
    #[error(transparent)]
    Session(#[from] NewSessionError),
}

impl fmt::Debug for CqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlOptions")
            .field("nodes", &self.nodes)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Connects once. Afterwards the session discovers the other nodes and reconnects by itself.
/// Requests go directly to replicas of `keyspace`, which need not exist yet.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(options: &CqlOptions, keyspace: &str) -> Result<Session, ConnectError> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::Quorum)
        .serial_consistency(Some(SerialConsistency::Serial))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .retry_policy(Arc::new(RepeatIdempotent))
        .build();
    let nodes = options.nodes.iter().map(|node| with_port(node));
    let mut builder = SessionBuilder::new()
        .known_nodes(nodes)
        .connection_timeout(CONNECT_TIMEOUT)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .keyspaces_to_fetch([keyspace])
        .default_execution_profile_handle(profile.into_handle());
    if let Some(user) = &options.user {
        builder = builder.user(user, options.password.as_deref().unwrap_or_default());
    }
    if let Some(tls) = &options.tls {
        builder = builder.tls_context(Some(Arc::new(tls.client()?)));
    }
    Ok(builder.build().await?)
}

/// A node's address, with the default port if it names none.
fn with_port(node: &str) -> String {
    let after_brackets = node.rsplit(']').next().unwrap_or(node);
    if after_brackets.contains(':') {
        node.to_owned()
    } else {
        format!("{node}:{DEFAULT_PORT}")
    }
}

/// Retries an idempotent request, at most [`REPETITIONS`] times, when another node or another
/// moment may succeed; never a conditional statement.
#[derive(Debug, Clone, Copy)]
pub struct RepeatIdempotent;

impl RetryPolicy for RepeatIdempotent {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::new(Repetitions(0))
    }
}

struct Repetitions(u32);

impl RetrySession for Repetitions {
    fn decide_should_retry(&mut self, request: RequestInfo<'_>) -> RetryDecision {
        if !request.is_idempotent || request.consistency.is_serial() || self.0 == REPETITIONS {
            return RetryDecision::DontRetry;
        }
        self.0 += 1;
        match request.error {
            RequestAttemptError::BrokenConnectionError(_)
            | RequestAttemptError::UnableToAllocStreamId => RetryDecision::RetryNextTarget(None),
            RequestAttemptError::DbError(error, _) => match error {
                DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::ServerError
                | DbError::ReadFailure { .. } => RetryDecision::RetryNextTarget(None),
                // Stamps make it harmless if the first write succeeded after all.
                DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => {
                    RetryDecision::RetrySameTarget(None)
                }
                _ => RetryDecision::DontRetry,
            },
            _ => RetryDecision::DontRetry,
        }
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_port_has_the_default_one() {
        for (node, wanted) in [
            ("db", "db:9042"),
            ("db:19042", "db:19042"),
            ("10.0.0.1", "10.0.0.1:9042"),
            ("[::1]", "[::1]:9042"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(node), wanted);
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        let options = CqlOptions {
            nodes: vec!["db".into()],
            user: Some("kindred".into()),
            password: Some("hush".into()),
            tls: None,
        };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
