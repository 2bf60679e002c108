//! The files of the data directory, and checks whether a store may be opened.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use kindred_shared::{ModelInputs, ModelName};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable};

use super::Identity;
use super::encoding::{end_of, feature_key, split_key, split_value};
use super::failure::Trouble;
use super::tables::{META, StampedTable, Tables};
use super::writer::{GROUP, last_group};
use crate::store::{OpenError, first_model};

/// Version of the store's layout. A store of a higher version is not opened.
pub(super) const STORE_VERSION: u32 = 2;
/// Memory redb may use for pages, in bytes. Its default is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;
/// The database, in the data directory.
pub(crate) const FILE: &str = "kindred.redb";
/// The database while it is being created.
pub(super) const UNFINISHED: &str = "kindred.redb.new";
/// Held locked while a process has the store.
const LOCK: &str = "kindred.lock";

pub(super) const VERSION: &str = "version";
/// Version 1 stored the model and inputs of all features here. It reads this before it checks the
/// version, so the entry must always exist.
pub(super) const MODEL: &str = "model";
/// Prefix of entries that hold the inputs with which a model's features here were made.
const INPUTS: &str = "inputs:";
const PARTITIONS: &str = "partitions";

/// Stored texts, drafts and hidden items are private to the user that runs the program. The modes
/// of existing files and directories are left unchanged.
const OWN_FILE: u32 = 0o600;
const OWN_DIRECTORY: u32 = 0o700;

/// Creates the data directory and its parents if missing.
pub(super) fn make_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(OWN_DIRECTORY)
        .create(dir)
}

/// Options for opening the database.
pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Takes the lock of a data directory. redb locks its file, too, but releases it whenever the
/// database is reopened.
pub(super) fn lock(dir: &Path, place: &str) -> Result<File, OpenError> {
    let unusable = |error: io::Error| Trouble::from(error).into_open_error(place);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(OWN_FILE)
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

/// Creates an empty store. It is renamed last, so that a crash leaves no incomplete store.
pub(super) fn create(dir: &Path, identity: &Identity) -> Result<(), Trouble> {
    let unfinished = dir.join(UNFINISHED);
    if unfinished.try_exists()? {
        fs::remove_file(&unfinished)?;
    }
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(OWN_FILE)
        .open(&unfinished)?;
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    fill(&database, identity)?;
    database.close()?;
    fs::rename(&unfinished, dir.join(FILE))?;
    Ok(File::open(dir)?.sync_all()?)
}

/// Creates the tables of an empty store.
pub(super) fn fill(database: &Database, identity: &Identity) -> Result<(), Trouble> {
    let transaction = database.begin_write()?;
    Tables::open(&transaction, &[])?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(VERSION, STORE_VERSION.to_le_bytes().as_slice())?;
        meta.insert(MODEL, b"".as_slice())?;
        meta.insert(PARTITIONS, identity.partitions.to_le_bytes().as_slice())?;
        meta.insert(GROUP, 0_u64.to_le_bytes().as_slice())?;
    }
    Ok(transaction.commit()?)
}

/// A store's metadata.
pub(super) struct Meta {
    pub(super) version: u32,
    /// The models that have features here, or were known, and their inputs.
    pub(super) models: BTreeMap<ModelName, String>,
    partitions: u16,
    /// Number of the last committed group.
    pub(super) group: u64,
}

impl Meta {
    /// What the store was created for.
    pub(super) fn identity(&self) -> Identity {
        let models = self.models.iter().map(|(model, inputs)| ModelInputs {
            model: model.clone(),
            inputs: inputs.clone(),
        });
        Identity {
            models: models.collect(),
            partitions: self.partitions,
        }
    }

    /// Checks whether this program may use it.
    pub(super) fn check(&self, place: &str, identity: &Identity) -> Result<(), OpenError> {
        let place = place.to_string();
        if self.version > STORE_VERSION {
            Err(OpenError::Newer {
                place,
                found: self.version,
                known: STORE_VERSION,
            })
        } else if self.partitions != identity.partitions {
            Err(OpenError::OtherPartitions {
                place,
                found: self.partitions,
                wanted: identity.partitions,
            })
        } else if let Some((found, wanted)) = self.other(&identity.models) {
            Err(OpenError::OtherModel {
                place,
                found: found.to_string(),
                wanted: wanted.to_string(),
            })
        } else {
            Ok(())
        }
    }

    /// The first model whose inputs here differ from the program's.
    fn other<'a>(&self, known: &'a [ModelInputs]) -> Option<(ModelInputs, &'a ModelInputs)> {
        known.iter().find_map(|wanted| {
            let inputs = self.models.get(&wanted.model)?;
            let found = ModelInputs {
                model: wanted.model.clone(),
                inputs: inputs.clone(),
            };
            (found != *wanted).then_some((found, wanted))
        })
    }
}

/// The metadata of an open database.
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
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| missing(MODEL));
    let mut models = BTreeMap::new();
    for entry in meta.iter()? {
        let (key, inputs) = entry?;
        if let Some(model) = key.value().strip_prefix(INPUTS) {
            let model = ModelName::new(model).map_err(|_| missing(MODEL))?;
            models.insert(model, text(inputs.value())?);
        }
    }
    if let Some(first) = first_model(&text(&value(MODEL)?)?) {
        models.entry(first.model).or_insert(first.inputs);
    }
    Ok(Meta {
        version: u32::from_le_bytes(version),
        models,
        partitions: u16::from_le_bytes(partitions),
        group: last_group(&transaction)?,
    })
}

fn missing(name: &str) -> Trouble {
    Trouble::Database(redb::Error::Corrupted(format!(
        "it has no entry {name}; it may not be a store of Kindred"
    )))
}

/// Records the inputs of models that are new to the store.
pub(super) fn remember(database: &Database, models: &[ModelInputs]) -> Result<(), Trouble> {
    let transaction = database.begin_write()?;
    let mut is_new = false;
    {
        let mut meta = transaction.open_table(META)?;
        for ModelInputs { model, inputs } in models {
            let key = format!("{INPUTS}{model}");
            if meta.get(&*key)?.is_none() {
                meta.insert(&*key, inputs.as_bytes())?;
                is_new = true;
            }
        }
    }
    if is_new {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(())
}

/// Number of features of a model, over all domains.
pub(super) fn features_of(database: &Database, model: &ModelName) -> Result<u64, Trouble> {
    let transaction = database.begin_read()?;
    let domains = transaction.open_table(StampedTable::Domains.definition())?;
    let features = transaction.open_table(StampedTable::Features.definition())?;
    let mut count = 0;
    for domain in domains.iter()? {
        let (key, _) = domain?;
        let Ok((name, _)) = split_key(key.value()) else {
            continue;
        };
        let first = feature_key(name, model, "");
        let end = end_of(first.clone());
        for row in features.range(&*first..&*end)? {
            let is_deleted = split_value(row?.1.value()).is_ok_and(|(head, _)| head.deleted);
            count += u64::from(!is_deleted);
        }
    }
    Ok(count)
}

/// Removes deletion markers that are no longer needed; returns how many.
pub(super) fn purge_markers(database: &Database, models: &[ModelName]) -> Result<u64, Trouble> {
    let transaction = database.begin_write()?;
    let purged = Tables::open(&transaction, models)?.purge_markers()?;
    if purged == 0 {
        transaction.abort()?;
    } else {
        transaction.commit()?;
    }
    Ok(purged)
}
