//! Conversion between rows and their database form.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, VectorName};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::facts::BUCKETS;
use super::failure::Trouble;
use crate::store::damage::{Unsound, item_id};
use crate::store::sound;
use kindred_domain::habits::Habits;
use kindred_domain::log::LogEntry;
use kindred_domain::store::{
    BesideRow, Content, DomainRow, FeatureRow, ItemRow, ListRow, Liveness, Neighbour, RemovalStage,
    Removed, SettingsRow,
};

/// A row, or what is wrong with it.
pub(super) type Read<T> = Result<T, Unsound>;

/// One change of one row, with everything its statement binds.
pub(super) struct RowChange {
    pub(super) domain: DomainName,
    /// For items and features; 0 for other rows.
    pub(super) bucket: i16,
    pub(super) stamp: i64,
    pub(super) change: Change,
}

/// The new content of a row.
#[allow(clippy::large_enum_variant)] // settings are in few changes, items in most
pub(super) enum Change {
    /// The row, and the domain's number of buckets.
    Domain(DomainRow, i16),
    PurgeDomain,
    Settings(SettingsRow),
    Item(ItemRow),
    PurgeItem(ItemId),
    Content(ItemId, Content),
    DeleteContent(ItemId),
    Feature(FeatureRow),
    /// The feature of one model.
    DeleteFeature(ItemId, ModelName),
    List(ListRow),
    DeleteList(ItemId),
    Beside(ModelName, BesideRow),
    BesideHabits(ModelName, Habits),
    BesideList(ModelName, ListRow),
    DeleteBesideList(ModelName, ItemId),
    Log(LogEntry),
    TrimLog(i64),
}

/// What an item lacks is not bound: every null is a tombstone, which scans have to skip, and of which databases warn.
/// [`RowChange::before`] deletes what the row had.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct ItemValues<'a> {
    domain: &'a str,
    bucket: i16,
    id: &'a str,
    version: i64,
    live: bool,
    hidden: bool,
    title: MaybeUnset<&'a str>,
    url: MaybeUnset<&'a str>,
    language: MaybeUnset<&'a str>,
    group: MaybeUnset<&'a str>,
    categories: &'a BTreeSet<String>,
    published_at: MaybeUnset<CqlTimestamp>,
    expires_at: MaybeUnset<CqlTimestamp>,
    attributes: &'a BTreeMap<String, String>,
    status: &'a str,
    since: CqlTimestamp,
    rejected: &'a str,
    content_hash: i64,
    image: MaybeUnset<&'a str>,
    publish_at: MaybeUnset<CqlTimestamp>,
    accepted_at: MaybeUnset<CqlTimestamp>,
    vector_hashes: BTreeMap<&'a str, i64>,
    stamp: i64,
}

const DELETED: &str = "deleted";
const EXPIRED: &str = "expired";
const REJECTED: &str = "rejected";
const LIVE: &str = "live";

/// The row's `status`: `deleted`, `expired`, `rejected` or `live`. It does not say whether a live
/// item's list exists yet: that would cost every item a second write.
fn status(row: &ItemRow) -> &'static str {
    match (row.liveness, &row.rejected) {
        (Liveness::Deleted, _) => DELETED,
        (Liveness::Expired, _) => EXPIRED,
        (Liveness::Live, Some(_)) => REJECTED,
        (Liveness::Live, None) => LIVE,
    }
}

impl SerializeRow for RowChange {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let (domain, bucket, stamp) = (self.domain.as_str(), self.bucket, self.stamp);
        match &self.change {
            Change::Domain(row, buckets) => (
                domain,
                row.model.as_str(),
                i16::from_ne_bytes(row.partition.to_ne_bytes()),
                buckets,
                to_cql(row.registered_at),
                unless_absent(row.dirty.map(u64::cast_signed)),
                row.live.cast_signed(),
                row.visible.cast_signed(),
                unless_absent(row.next_expiry.map(to_cql)),
                unless_absent(
                    row.removal
                        .as_ref()
                        .map(serde_json::to_string)
                        .transpose()
                        .map_err(SerializationError::new)?,
                ),
                stamp,
            )
                .serialize(context, writer),
            Change::Settings(row) => {
                let settings = serde_json::to_string(row).map_err(SerializationError::new)?;
                (domain, settings, to_cql(row.updated_at), stamp).serialize(context, writer)
            }
            Change::Item(row) => ItemValues {
                domain,
                bucket,
                id: row.id.as_str(),
                version: row.version.cast_signed(),
                live: row.liveness == Liveness::Live,
                hidden: row.hidden,
                title: unless_absent(row.title.as_deref()),
                url: unless_absent(row.url.as_deref()),
                language: unless_absent(row.language.as_deref()),
                group: unless_absent(row.group.as_deref()),
                categories: &row.categories,
                published_at: unless_absent(row.published_at.map(to_cql)),
                expires_at: unless_absent(row.expires_at.map(to_cql)),
                attributes: &row.attributes,
                status: status(row),
                since: to_cql(row.since),
                rejected: row.rejected.as_deref().unwrap_or_default(),
                content_hash: row.content_hash.cast_signed(),
                image: unless_absent(row.image.as_deref()),
                publish_at: unless_absent(row.publish_at.map(to_cql)),
                accepted_at: unless_absent(row.accepted_at.map(to_cql)),
                vector_hashes: row
                    .vector_hashes
                    .iter()
                    .map(|(name, hash)| (name.as_str(), hash.cast_signed()))
                    .collect(),
                stamp,
            }
            .serialize(context, writer),
            Change::PurgeDomain => (stamp, domain).serialize(context, writer),
            Change::PurgeItem(id) => {
                (stamp, domain, bucket, id.as_str()).serialize(context, writer)
            }
            Change::Content(id, content) => {
                let vector = content.vector.as_deref().map(floats_to_bytes);
                let vectors = content.vectors.iter();
                let vectors: BTreeMap<&str, Vec<u8>> = vectors
                    .map(|(name, vector)| (name.as_str(), floats_to_bytes(vector)))
                    .collect();
                (domain, id.as_str(), &content.text, vector, vectors, stamp)
                    .serialize(context, writer)
            }
            Change::Feature(row) => {
                let feature = &row.feature;
                let term_ids: Vec<u8> = feature
                    .term_ids()
                    .iter()
                    .flat_map(|id| id.to_le_bytes())
                    .collect();
                (
                    domain,
                    row.space.model().as_str(),
                    bucket,
                    row.id.as_str(),
                    row.version.cast_signed(),
                    row.space.as_str(),
                    floats_to_bytes(feature.dense()),
                    term_ids,
                    floats_to_bytes(feature.term_weights()),
                    bound(row.habits, row.version).cast_signed(),
                    stamp,
                )
                    .serialize(context, writer)
            }
            Change::DeleteFeature(id, model) => {
                (stamp, domain, model.as_str(), bucket, id.as_str()).serialize(context, writer)
            }
            Change::List(row) => {
                let neighbours: Vec<(&str, f32)> = row
                    .neighbours
                    .iter()
                    .map(|n| (n.id.as_str(), n.score))
                    .collect();
                let at = to_cql(row.updated_at);
                (
                    domain,
                    row.id.as_str(),
                    neighbours,
                    row.model.as_str(),
                    at,
                    stamp,
                )
                    .serialize(context, writer)
            }
            Change::DeleteContent(id) | Change::DeleteList(id) => {
                (stamp, domain, id.as_str()).serialize(context, writer)
            }
            Change::Beside(model, row) => {
                let state = serde_json::to_string(row).map_err(SerializationError::new)?;
                (domain, model.as_str(), state, stamp).serialize(context, writer)
            }
            Change::BesideHabits(model, habits) => {
                let habits = serde_json::to_string(habits).map_err(SerializationError::new)?;
                (domain, model.as_str(), habits, stamp).serialize(context, writer)
            }
            Change::BesideList(model, row) => {
                let neighbours: Vec<(&str, f32)> = row
                    .neighbours
                    .iter()
                    .map(|n| (n.id.as_str(), n.score))
                    .collect();
                let (model, id, at) = (model.as_str(), row.id.as_str(), to_cql(row.updated_at));
                (domain, model, id, neighbours, at, stamp).serialize(context, writer)
            }
            Change::DeleteBesideList(model, id) => {
                (stamp, domain, model.as_str(), id.as_str()).serialize(context, writer)
            }
            Change::Log(entry) => {
                let json = serde_json::to_string(entry).map_err(SerializationError::new)?;
                (domain, entry.number, json, stamp).serialize(context, writer)
            }
            Change::TrimLog(floor) => (stamp, domain, *floor).serialize(context, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl RowChange {
    /// For a row that does not bind what it lacks: the deletion of all that was written before it, with the stamp below.
    /// Both belong into one request, so that nobody sees one without the other.
    pub(super) fn before(&self) -> Option<Self> {
        let change = match &self.change {
            Change::Domain(..) => Change::PurgeDomain,
            Change::Item(row) => Change::PurgeItem(row.id.clone()),
            _ => return None,
        };
        Some(Self {
            domain: self.domain.clone(),
            bucket: self.bucket,
            stamp: self.stamp - 1,
            change,
        })
    }

    /// Approximate size of the row in a request, in bytes; decides how many rows a request gets.
    pub(super) fn bytes(&self) -> usize {
        const FIXED: usize = 64;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let values = match &self.change {
            Change::Item(row) => {
                let categories: usize = row.categories.iter().map(|c| 4 + c.len()).sum();
                let attributes: usize = row
                    .attributes
                    .iter()
                    .map(|(k, v)| 8 + k.len() + v.len())
                    .sum();
                text(&row.title)
                    + text(&row.url)
                    + text(&row.image)
                    + text(&row.group)
                    + text(&row.rejected)
                    + categories
                    + attributes
                    + row.vector_hashes.len() * FIXED
                    + 2 * FIXED
                    + row.id.as_str().len()
            }
            Change::Feature(row) => {
                4 * (row.feature.dense().len() + 2 * row.feature.term_ids().len())
                    + row.id.as_str().len()
            }
            Change::Content(id, content) => content.bytes() + id.as_str().len(),
            Change::List(row) | Change::BesideList(_, row) => {
                // Three lengths and a score.
                let neighbours: usize = row
                    .neighbours
                    .iter()
                    .map(|n| 16 + n.id.as_str().len())
                    .sum();
                neighbours + FIXED + row.id.as_str().len()
            }
            Change::Domain(..)
            | Change::PurgeDomain
            | Change::Settings(_)
            | Change::Beside(..)
            | Change::BesideHabits(..)
            | Change::Log(_)
            | Change::TrimLog(_) => FIXED,
            Change::PurgeItem(id)
            | Change::DeleteContent(id)
            | Change::DeleteFeature(id, _)
            | Change::DeleteBesideList(_, id)
            | Change::DeleteList(id) => id.as_str().len(),
        };
        values + self.domain.as_str().len() + FIXED
    }
}

fn unless_absent<T>(value: Option<T>) -> MaybeUnset<T> {
    MaybeUnset::from_option(value)
}

fn to_cql(at: DateTime<Utc>) -> CqlTimestamp {
    CqlTimestamp(at.timestamp_millis())
}

fn from_cql(at: CqlTimestamp) -> Result<DateTime<Utc>, String> {
    DateTime::from_timestamp_millis(at.0).ok_or_else(|| format!("{} ms is not a valid time", at.0))
}

fn floats_to_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(bytes: &[u8]) -> Result<Vec<f32>, String> {
    Ok(words(bytes)?.map(f32::from_le_bytes).collect())
}

/// Little-endian words of four bytes.
fn words<'a>(bytes: &'a [u8]) -> Result<impl Iterator<Item = [u8; 4]> + use<'a>, String> {
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(words.iter().copied())
    } else {
        Err(format!("{} bytes of numbers", bytes.len()))
    }
}

/// A column that every row must have.
fn there<T>(column: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("it has no {column}"))
}

/// A row of `domains` and its number of buckets. Any column except the name may be null if something other than Kindred
/// wrote the row.
pub(super) type StoredDomain<'a> = (
    &'a str,
    Option<&'a str>,
    Option<i16>,
    Option<i16>,
    Option<CqlTimestamp>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<CqlTimestamp>,
    Option<&'a str>,
);

/// A row of `domains`, as far as it is readable.
pub(super) struct ReadDomain {
    pub(super) domain: DomainName,
    /// `None`: not given.
    model: Option<ModelName>,
    pub(super) buckets: i16,
    partition: u16,
    registered_at: DateTime<Utc>,
    dirty: Option<u64>,
    live: u64,
    visible: u64,
    next_expiry: Option<DateTime<Utc>>,
    removal: Option<Removed>,
    wrong: Vec<String>,
}

impl ReadDomain {
    /// The row, and what was repaired in it. `model` is used if the row does not name one; without
    /// either there is no row.
    pub(super) fn put_right(self, model: Option<ModelName>) -> Option<(DomainRow, Option<String>)> {
        let mut row = DomainRow {
            model: self.model.or(model)?,
            domain: self.domain,
            partition: self.partition,
            registered_at: self.registered_at,
            dirty: self.dirty,
            live: self.live,
            visible: self.visible,
            next_expiry: self.next_expiry,
            removal: self.removal,
        };
        let mut wrong = self.wrong;
        wrong.extend(sound::domain(&mut row));
        if !wrong.is_empty() {
            row.dirty.get_or_insert(0);
        }
        Some((row, (!wrong.is_empty()).then(|| wrong.join("; "))))
    }

    /// Whether the domain is registered.
    pub(super) fn is_there(&self) -> bool {
        let removal = self.removal.as_ref();
        removal.is_none_or(|removed| removed.stage == RemovalStage::Past)
    }

    /// Whether the row names the domain's model.
    pub(super) fn has_model(&self) -> bool {
        self.model.is_some()
    }
}

/// Decodes a row of `domains`. `None`: it has no domain name.
pub(super) fn domain(row: StoredDomain<'_>) -> Option<ReadDomain> {
    let (
        name,
        model,
        partition,
        buckets,
        registered_at,
        dirty,
        live,
        visible,
        next_expiry,
        removal,
    ) = row;
    let mut wrong = Vec::new();
    let mut right = |problem: String| wrong.push(problem);
    let model = match model.map(ModelName::new) {
        Some(Ok(model)) => Some(model),
        Some(Err(error)) => {
            right(error.to_string());
            None
        }
        None => {
            right("it has no model".to_owned());
            None
        }
    };
    let buckets = buckets.filter(|buckets| *buckets > 0).unwrap_or_else(|| {
        right("it has no buckets".to_owned());
        BUCKETS
    });
    let mut time = |at: Option<CqlTimestamp>| match at.map(from_cql) {
        Some(Err(why)) => {
            right(why);
            None
        }
        Some(Ok(at)) => Some(at),
        None => None,
    };
    let (registered_at, next_expiry) = (time(registered_at), time(next_expiry));
    let removal = match removal.map(serde_json::from_str::<Removed>) {
        Some(Err(error)) => {
            right(format!("its removal cannot be read: {error}"));
            None
        }
        Some(Ok(removal)) => Some(removal),
        None => None,
    };
    if registered_at.is_none() || live.is_none() || visible.is_none() {
        right("a column is empty".to_owned());
    }
    let partition = partition.unwrap_or_else(|| {
        right("it has no partition".to_owned());
        0
    });
    Some(ReadDomain {
        domain: DomainName::new(name).ok()?,
        model,
        buckets,
        partition: u16::from_ne_bytes(partition.to_ne_bytes()),
        registered_at: registered_at.unwrap_or_default(),
        dirty: dirty.map(i64::cast_unsigned),
        live: live.unwrap_or_default().cast_unsigned(),
        visible: visible.unwrap_or_default().cast_unsigned(),
        next_expiry,
        removal,
        wrong,
    })
}

/// Decodes the row of `domain_settings`, if there is one.
pub(super) fn settings(found: &QueryRowsResult) -> Result<Option<Read<SettingsRow>>, Trouble> {
    let row = found.maybe_first_row::<(Option<&str>, Option<CqlTimestamp>)>()?;
    let read = |(settings, updated_at): (Option<&str>, Option<CqlTimestamp>)| {
        let row = serde_json::from_str(there("settings", settings)?);
        let row: SettingsRow = row.map_err(|error| error.to_string())?;
        let updated_at = sound::time(from_cql(there("updated_at", updated_at)?)?)?;
        Ok(SettingsRow { updated_at, ..row })
    };
    Ok(row.map(|row| read(row).map_err(|why: String| Unsound::new("", why))))
}

/// Decodes rows of `domain_log`.
pub(super) fn log(found: &QueryRowsResult) -> Result<Vec<Read<LogEntry>>, Trouble> {
    let rows = found.rows::<(i64, Option<&str>)>()?;
    rows.map(|row| {
        let (number, entry) = row?;
        let read = |text| serde_json::from_str::<LogEntry>(text).map_err(|error| error.to_string());
        let read = there("entry", entry).and_then(read);
        Ok(read.map_err(|why| Unsound::new(&number.to_string(), why)))
    })
    .collect()
}

/// The state of a model next to the served one, and the habits of its features.
pub(super) type StoredBeside = (Option<Read<BesideRow>>, Option<Read<Habits>>);

/// Everything stored of a model next to the served one except its lists.
pub(super) fn beside(found: &QueryRowsResult) -> Result<StoredBeside, Trouble> {
    let row = found.maybe_first_row::<(Option<&str>, Option<&str>)>()?;
    let (state, habits) = row.unwrap_or_default();
    let damaged = |error: serde_json::Error| Unsound::new("", error.to_string());
    Ok((
        state.map(|state| serde_json::from_str(state).map_err(damaged)),
        habits.map(|habits| serde_json::from_str(habits).map_err(damaged)),
    ))
}

#[derive(DeserializeRow)]
struct StoredItem<'a> {
    id: &'a str,
    version: Option<i64>,
    status: Option<&'a str>,
    since: Option<CqlTimestamp>,
    hidden: Option<bool>,
    title: Option<String>,
    url: Option<String>,
    language: Option<String>,
    group: Option<String>,
    categories: BTreeSet<String>,
    published_at: Option<CqlTimestamp>,
    expires_at: Option<CqlTimestamp>,
    attributes: BTreeMap<String, String>,
    rejected: Option<String>,
    content_hash: Option<i64>,
    image: Option<String>,
    publish_at: Option<CqlTimestamp>,
    accepted_at: Option<CqlTimestamp>,
    vector_hashes: BTreeMap<String, i64>,
}

/// Decodes rows of `items`.
pub(super) fn items(found: &QueryRowsResult) -> Result<Vec<Read<ItemRow>>, Trouble> {
    let rows = found.rows::<StoredItem<'_>>()?;
    rows.map(|row| {
        let row = row?;
        let id = row.id.to_owned();
        Ok(item(row).map_err(|why| Unsound::new(&id, why)))
    })
    .collect()
}

fn item(row: StoredItem<'_>) -> Result<ItemRow, String> {
    let time = |at: Option<CqlTimestamp>| at.map(from_cql).transpose();
    let row = ItemRow {
        id: ItemId::new(row.id).map_err(|error| error.to_string())?,
        version: there("version", row.version)?.cast_unsigned(),
        liveness: match there("status", row.status)? {
            DELETED => Liveness::Deleted,
            EXPIRED => Liveness::Expired,
            REJECTED | LIVE => Liveness::Live,
            other => return Err(format!("its status is {other:?}")),
        },
        since: from_cql(there("since", row.since)?)?,
        hidden: there("hidden", row.hidden)?,
        title: row.title,
        url: row.url,
        language: row.language,
        group: row.group,
        categories: row.categories,
        published_at: time(row.published_at)?,
        expires_at: time(row.expires_at)?,
        attributes: row.attributes,
        rejected: row.rejected.filter(|reason| !reason.is_empty()),
        content_hash: there("content_hash", row.content_hash)?.cast_unsigned(),
        image: row.image,
        publish_at: time(row.publish_at)?,
        accepted_at: time(row.accepted_at)?,
        // Rows from before migration 11 have none.
        vector_hashes: row
            .vector_hashes
            .into_iter()
            .map(|(name, hash)| Ok((vector_name(&name)?, hash.cast_unsigned())))
            .collect::<Result<_, String>>()?,
    };
    sound::item(row)
}

/// Decodes ids of `similar_items`, or of `items`.
pub(super) fn ids(found: &QueryRowsResult) -> Result<Vec<Read<ItemId>>, Trouble> {
    let rows = found.rows::<(&str,)>()?;
    rows.map(|row| Ok(item_id(row?.0))).collect()
}

/// Binds the fingerprint of habits to the version of the feature made with them; applying it twice
/// gives the fingerprint back. An older program that rewrites the row leaves this column unchanged,
/// and it must not seem to describe the new feature. 0 stays 0.
fn bound(habits: u64, version: u64) -> u64 {
    match habits ^ version.wrapping_mul(0x9E37_79B9_7F4A_7C15) {
        _ if habits == 0 => 0,
        0 => habits,
        bound => bound,
    }
}

/// Decodes rows of `item_features` of a model.
pub(super) fn features(
    found: &QueryRowsResult,
    model: &ModelName,
) -> Result<Vec<Read<FeatureRow>>, Trouble> {
    type Bytes<'a> = Option<&'a [u8]>;
    type Stored<'a> = (
        &'a str,
        Option<i64>,
        Option<&'a str>,
        Bytes<'a>,
        Bytes<'a>,
        Bytes<'a>,
        Option<i64>,
    );
    let read = |(id, version, space, dense, term_ids, term_weights, habits): Stored<'_>| {
        let term_ids = words(there("term_ids", term_ids)?)?;
        let term_ids = term_ids.map(u32::from_le_bytes).collect();
        let dense = floats(there("dense", dense)?)?;
        let term_weights = floats(there("term_weights", term_weights)?)?;
        let feature = Feature::new(dense, term_ids, term_weights);
        let version = there("version", version)?.cast_unsigned();
        let row = FeatureRow {
            id: ItemId::new(id).map_err(|error| error.to_string())?,
            version,
            space: Space::stored(there("space", space)?),
            // Rows from before migration 7 have none.
            habits: bound(habits.map_or(0, i64::cast_unsigned), version),
            feature: feature.map_err(|error| error.to_string())?,
        };
        sound::feature(row, model)
    };
    let rows = found.rows::<Stored<'_>>()?;
    rows.map(|row| {
        let row = row?;
        Ok(read(row).map_err(|why: String| Unsound::new(row.0, why)))
    })
    .collect()
}

/// Decodes the row of `item_texts`, if there is one.
pub(super) fn content(found: &QueryRowsResult) -> Result<Option<Result<Content, String>>, Trouble> {
    type Stored<'a> = (
        Option<String>,
        Option<&'a [u8]>,
        BTreeMap<&'a str, &'a [u8]>,
    );
    let row = found.maybe_first_row::<Stored<'_>>()?;
    Ok(row.map(|(text, vector, vectors)| {
        let vector = vector.map(floats).transpose()?;
        let vectors = vectors.into_iter();
        let vectors = vectors.map(|(name, bytes)| Ok((vector_name(name)?, floats(bytes)?)));
        let vectors = vectors.collect::<Result<_, String>>()?;
        sound::content(Content {
            text,
            vector,
            vectors,
        })
    }))
}

fn vector_name(name: &str) -> Result<VectorName, String> {
    VectorName::new(name).map_err(|error| error.to_string())
}

/// Decodes the row of `similar_items`, if there is one.
pub(super) fn list(
    id: &ItemId,
    found: &QueryRowsResult,
) -> Result<Option<Result<ListRow, String>>, Trouble> {
    type Stored<'a> = (
        Option<Vec<(&'a str, f32)>>,
        Option<&'a str>,
        Option<CqlTimestamp>,
    );
    let read = |(neighbours, model, updated_at): Stored<'_>| {
        // The database stores an empty list as null.
        let neighbours = neighbours.unwrap_or_default().into_iter();
        let neighbours = neighbours.map(|(id, score)| {
            let id = ItemId::new(id).map_err(|error| error.to_string())?;
            Ok(Neighbour { id, score })
        });
        let model = ModelName::new(there("model", model)?);
        sound::list(ListRow {
            id: id.clone(),
            neighbours: neighbours.collect::<Result<_, String>>()?,
            model: model.map_err(|error| error.to_string())?,
            updated_at: from_cql(there("updated_at", updated_at)?)?,
        })
    };
    Ok(found.maybe_first_row::<Stored<'_>>()?.map(read))
}
