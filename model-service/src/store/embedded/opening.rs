//! The files of the data directory, and whether a store may be opened.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use redb::{Database, ReadableDatabase};

use super::Identity;
use super::failure::Trouble;
use super::tables::{META, Tables};
use super::writer::{GROUP, last_group};
use crate::store::OpenError;

/// Version of the store's layout. A store of a higher version is not opened.
pub(super) const STORE_VERSION: u32 = 2;
/// Memory redb may use for pages, in bytes. Its own default is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;
/// The database, in the data directory.
pub(crate) const FILE: &str = "kindred.redb";
/// The database while it is made for the first time.
pub(super) const UNFINISHED: &str = "kindred.redb.new";
/// Held locked while a process has the store.
const LOCK: &str = "kindred.lock";

pub(super) const VERSION: &str = "version";
const MODEL: &str = "model";
const PARTITIONS: &str = "partitions";

/// How the database is opened.
pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Takes the lock of a data directory. redb locks its file too, but lets go of it whenever the
/// database is opened again.
pub(super) fn lock(dir: &Path, place: &str) -> Result<File, OpenError> {
    let unusable = |error: io::Error| Trouble::from(error).into_open_error(place);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            place: place.to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Makes an empty store. It gets its name last, so that a crash leaves no half-made one.
pub(super) fn create(dir: &Path, identity: &Identity) -> Result<(), Trouble> {
    let unfinished = dir.join(UNFINISHED);
    if unfinished.try_exists()? {
        fs::remove_file(&unfinished)?;
    }
    let database = builder().create(&unfinished)?;
    let transaction = database.begin_write()?;
    Tables::open(&transaction)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(VERSION, STORE_VERSION.to_le_bytes().as_slice())?;
        meta.insert(MODEL, identity.model.as_bytes())?;
        meta.insert(PARTITIONS, identity.partitions.to_le_bytes().as_slice())?;
        meta.insert(GROUP, 0_u64.to_le_bytes().as_slice())?;
    }
    transaction.commit()?;
    database.close()?;
    fs::rename(&unfinished, dir.join(FILE))?;
    Ok(File::open(dir)?.sync_all()?)
}

/// Brings a store of an older version to today's, which is written last.
pub(super) fn upgrade(database: &Database, found: &Meta) -> Result<(), Trouble> {
    if found.version == STORE_VERSION {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    Tables::open(&transaction)?;
    transaction
        .open_table(META)?
        .insert(VERSION, STORE_VERSION.to_le_bytes().as_slice())?;
    transaction.commit()?;
    tracing::info!(from = found.version, to = STORE_VERSION, "store.upgraded");
    Ok(())
}

/// What a store says about itself.
pub(super) struct Meta {
    version: u32,
    model: String,
    partitions: u16,
    /// Number of the last group committed.
    pub(super) group: u64,
}

impl Meta {
    /// Whether this program may use it.
    pub(super) fn check(&self, place: &str, identity: &Identity) -> Result<(), OpenError> {
        let place = place.to_string();
        if self.version > STORE_VERSION {
            Err(OpenError::Newer {
                place,
                found: self.version,
                known: STORE_VERSION,
            })
        } else if self.model != identity.model {
            Err(OpenError::OtherModel {
                place,
                found: self.model.clone(),
                wanted: identity.model.clone(),
            })
        } else if self.partitions != identity.partitions {
            Err(OpenError::OtherPartitions {
                place,
                found: self.partitions,
                wanted: identity.partitions,
            })
        } else {
            Ok(())
        }
    }
}

/// What an open database says about itself.
pub(super) fn read_meta(database: &Database) -> Result<Meta, Trouble> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let value = |name: &str| match meta.get(name) {
        Ok(Some(value)) => Ok(value.value().to_vec()),
        Ok(None) => Err(missing(name)),
        Err(error) => Err(error.into()),
    };
    let version: [u8; 4] = value(VERSION)?.try_into().map_err(|_| missing(VERSION))?;
    let partitions = value(PARTITIONS)?;
    let partitions: [u8; 2] = partitions.try_into().map_err(|_| missing(PARTITIONS))?;
    Ok(Meta {
        version: u32::from_le_bytes(version),
        model: String::from_utf8(value(MODEL)?).map_err(|_| missing(MODEL))?,
        partitions: u16::from_le_bytes(partitions),
        group: last_group(&transaction)?,
    })
}

fn missing(name: &str) -> Trouble {
    Trouble::Database(redb::Error::Corrupted(format!(
        "it does not say its {name}; it may not be Kindred's"
    )))
}

/// Removes markers nobody needs any more; returns how many.
pub(super) fn purge_markers(database: &Database) -> Result<u64, Trouble> {
    let transaction = database.begin_write()?;
    let purged = Tables::open(&transaction)?.purge_markers()?;
    if purged == 0 {
        transaction.abort()?;
    } else {
        transaction.commit()?;
    }
    Ok(purged)
}
