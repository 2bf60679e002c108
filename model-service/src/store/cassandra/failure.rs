//! Errors of the database, and their translation into the store's errors.

use kindred_runtime::cql::ConnectError;
use scylla::errors::{
    DbError, DeserializationError, ExecutionError, IntoRowsResultError, MaybeFirstRowError,
    PrepareError, RequestAttemptError, RowsError,
};

use crate::store::OpenError;
use kindred_domain::store::StoreError;

/// Why an operation on the database failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// A request failed.
    #[error(transparent)]
    Execution(Box<ExecutionError>),
    /// A statement could not be prepared.
    #[error(transparent)]
    Prepare(Box<PrepareError>),
    /// No session could be opened.
    #[error(transparent)]
    Session(Box<ConnectError>),
    /// A row is not one that this program writes.
    #[error("a row of {0} was not written by Kindred: {1}")]
    Row(&'static str, String),
    /// The answer has an unexpected form.
    #[error("the database's answer cannot be read: {0}")]
    Answer(String),
    /// The role lacks a permission.
    #[error("{0}")]
    Forbidden(String),
    /// A moment ago no quorum of replicas answered, so this was not sent.
    #[error("no quorum of replicas answers")]
    NoQuorum,
    /// A model service is running and must not be.
    #[error("{0}")]
    InUse(String),
}

macro_rules! boxed {
    ($($variant:ident: $error:ty),+) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )+};
}
boxed!(
    Execution: ExecutionError,
    Prepare: PrepareError,
    Session: ConnectError
);

macro_rules! answers {
    ($($error:ty),+) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Answer(error.to_string())
            }
        }
    )+};
}
answers!(
    IntoRowsResultError,
    RowsError,
    MaybeFirstRowError,
    DeserializationError
);

/// The remedy for damage.
const DAMAGED_REMEDY: &str = "something else wrote into Kindred's keyspace, or it was restored \
     in part; remove the row, or restore the keyspace whole";
/// The remedy for a full disk.
const FULL_REMEDY: &str = "free space on the database's disks; Kindred recovers by itself";

impl Trouble {
    /// As a store error, for a read.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Row(..) | Self::Answer(_) => {
                StoreError::Damaged(format!("{self}; {DAMAGED_REMEDY}"))
            }
            Self::Execution(_)
            | Self::Prepare(_)
            | Self::Session(_)
            | Self::Forbidden(_)
            | Self::NoQuorum
            | Self::InUse(_) => StoreError::Away(self.to_string()),
        }
    }

    /// As a store error, for a write: depends on whether it may have been done.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::Execution(error) if is_full(&error) => {
                StoreError::Full(format!("{error}; {FULL_REMEDY}"))
            }
            Self::Execution(error) if is_unknown(&error) => StoreError::Unknown(error.to_string()),
            other => other.of_read(),
        }
    }

    /// Whether waiting is pointless when this happens while the store is opened.
    pub(super) fn into_open_error(self, place: &str) -> Result<OpenError, String> {
        match self {
            Self::Row(..) => Ok(OpenError::Unusable {
                place: place.to_owned(),
                detail: format!("{self}; {DAMAGED_REMEDY}"),
            }),
            other => Err(other.to_string()),
        }
    }
}

/// Whether a failed write may have been done, or may still be done.
pub(super) fn is_unknown(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::RequestTimeout(_) => true,
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::DbError(error, _) => !matches!(
                error,
                DbError::SyntaxError
                    | DbError::Invalid
                    | DbError::AuthenticationError
                    | DbError::Unauthorized
                    | DbError::ConfigError
                    | DbError::Unavailable { .. }
                    | DbError::IsBootstrapping
                    | DbError::Unprepared { .. }
                    | DbError::ProtocolError
                    | DbError::RateLimitReached { .. }
            ),
            RequestAttemptError::SerializationError(_)
            | RequestAttemptError::CqlRequestSerialization(_)
            | RequestAttemptError::UnableToAllocStreamId => false,
            _ => true,
        },
        _ => false,
    }
}

/// Whether the database refused for lack of space: by its guardrail on disk usage, or because the
/// disk is full.
fn is_full(error: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(_, text)) = error else {
        return false;
    };
    let text = text.to_ascii_lowercase();
    text.contains("disk usage") || text.contains("disk_usage") || text.contains("no space left")
}

/// Whether the role lacks a permission.
pub(super) fn is_unauthorized(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    fn said(error: DbError, text: &str) -> Trouble {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, text.into())).into()
    }

    #[test]
    fn says_whether_a_write_may_have_been_done() {
        let timeout = DbError::WriteTimeout {
            consistency: Consistency::Quorum,
            received: 0,
            required: 1,
            write_type: WriteType::Simple,
        };
        let unavailable = DbError::Unavailable {
            consistency: Consistency::Quorum,
            required: 2,
            alive: 1,
        };
        let word = |trouble: Trouble| trouble.of_write();
        assert!(matches!(
            word(said(timeout.clone(), "")),
            StoreError::Unknown(_)
        ));
        assert!(matches!(said(timeout, "").of_read(), StoreError::Away(_)));
        assert!(matches!(word(said(unavailable, "")), StoreError::Away(_)));
        let guardrail = "Guardrail data_disk_usage_percentage violated: disk usage is full";
        assert!(matches!(
            word(said(DbError::Invalid, guardrail)),
            StoreError::Full(_)
        ));
        let odd = Trouble::Row("items", "no version".into());
        assert!(matches!(odd.of_read(), StoreError::Damaged(_)));
    }
}
