//! A session with Cassandra or ScyllaDB: how both programs connect, how long they wait, and what
//! they ask again by themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, NewSessionError, RequestAttemptError};
use scylla::policies::retry::{RequestInfo, RetryDecision, RetryPolicy, RetrySession};
use scylla::statement::{Consistency, SerialConsistency};

/// Longest a request may take, its repetitions included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest making one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is asked whether it still is one.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How often an idempotent request is sent again.
const REPETITIONS: u32 = 2;
/// CQL port when a node's address names none.
pub const DEFAULT_PORT: u16 = 9042;

/// Which database, and as whom.
#[derive(Clone)]
pub struct CqlOptions {
    /// `host` or `host:port` of at least one node.
    pub nodes: Vec<String>,
    /// The role to log in as; `None`: the database asks for none.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for CqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlOptions")
            .field("nodes", &self.nodes)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Connects, once. The session finds the other nodes and connects anew by itself later on.
/// `keyspace` is the one whose replicas are asked directly; it need not be there yet.
///
/// # Errors
/// Whatever the driver says; no node answers, mostly.
pub async fn connect(options: &CqlOptions, keyspace: &str) -> Result<Session, NewSessionError> {
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
    builder.build().await
}

/// A node's address with the default port where it names none.
fn with_port(node: &str) -> String {
    let after_brackets = node.rsplit(']').next().unwrap_or(node);
    if after_brackets.contains(':') {
        node.to_owned()
    } else {
        format!("{node}:{DEFAULT_PORT}")
    }
}

/// Sends an idempotent request again, at most [`REPETITIONS`] times, when another node or another
/// moment may do better; a conditional statement never.
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
                // Stamps make a write that came through the first time harmless the second time.
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
        };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
