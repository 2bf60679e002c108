//! Errors of the database, and their translation into the store's errors.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::encoding::Malformed;
use crate::store::OpenError;
use kindred_domain::store::StoreError;

/// The remedy for a full disk.
const FULL_REMEDY: &str =
    "free space on the disk of the data directory; Kindred recovers by itself";
/// The remedy for damage.
const DAMAGED_REMEDY: &str = "stop Kindred, then put a backup of the data directory in its place, \
     or move it away and import the items again";

/// Why an operation on the database failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The batch may not be written; the database is fine.
    Store(StoreError),
    /// An error of the database.
    Database(redb::Error),
    /// A row is not one that this program writes.
    Row(Malformed),
    /// The database panicked.
    Panic(String),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::Row(error)
    }
}

impl Trouble {
    /// Whether the database is unusable until it is closed and opened again. redb refuses
    /// everything after an I/O error, and a panic may have left a lock poisoned.
    pub(super) fn wants_reopening(&self) -> bool {
        match self {
            Self::Store(_) | Self::Row(_) => false,
            Self::Database(_) | Self::Panic(_) => true,
        }
    }

    /// As a store error.
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Row(error) => StoreError::Damaged(format!("{error}; {DAMAGED_REMEDY}")),
            Self::Panic(detail) => StoreError::Damaged(format!(
                "the database panicked while reading ({detail}); {DAMAGED_REMEDY}"
            )),
            Self::Database(redb::Error::Io(error)) if is_full(&error) => {
                StoreError::Full(format!("{error}; {FULL_REMEDY}"))
            }
            Self::Database(redb::Error::PreviousIo) => StoreError::Away(
                "the disk failed a moment ago, or is full; the database is being opened again"
                    .to_string(),
            ),
            Self::Database(error) if is_damage(&error) => {
                StoreError::Damaged(format!("{error}; {DAMAGED_REMEDY}"))
            }
            Self::Database(error) => StoreError::Away(error.to_string()),
        }
    }

    /// The same, when the store is being opened.
    pub(super) fn into_open_error(self, place: &str) -> OpenError {
        let place = place.to_string();
        let detail = match self {
            Self::Database(
                redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch,
            ) => return OpenError::InUse { place },
            Self::Database(redb::Error::UpgradeRequired(format)) => format!(
                "its file has the old format {format} of the database; choose another data directory"
            ),
            trouble => match trouble.into_store_error() {
                StoreError::Damaged(detail) => format!("the store is damaged: {detail}"),
                StoreError::Full(detail) => format!("the disk is full: {detail}"),
                StoreError::Away(detail) => format!(
                    "{detail}; check that the directory can be read and written by this user"
                ),
                other @ (StoreError::Superseded { .. } | StoreError::Unknown(_)) => {
                    other.to_string()
                }
            },
        };
        OpenError::Unusable { place, detail }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => true,
        redb::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// Runs an operation on the database; a panic in it becomes an error.
///
/// redb verifies data when the store is opened, not at every read, so bytes that change on the disk
/// later can make it panic. After a panic nothing the operation touched is used again: the caller
/// closes and reopens the database.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Trouble::Panic(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()))
        .unwrap_or_else(|| "panic".to_string())
}
