//! Rows as the database has them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::value::CqlTimestamp;
use scylla::{DeserializeRow, SerializeRow};

use super::failure::Trouble;
use kindred_domain::store::{
    Content, DomainRow, FeatureRow, ItemRow, ListRow, Liveness, Neighbour, SettingsRow,
};

/// One change of one row, with all that its statement binds.
pub(super) struct RowChange {
    pub(super) domain: DomainName,
    /// Of items and features; 0 for the others.
    pub(super) bucket: i16,
    pub(super) stamp: i64,
    pub(super) change: Change,
}

/// What a row becomes.
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
}

#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct ItemValues<'a> {
    domain: &'a str,
    bucket: i16,
    id: &'a str,
    version: i64,
    live: bool,
    hidden: bool,
    title: Option<&'a str>,
    url: Option<&'a str>,
    language: Option<&'a str>,
    group: Option<&'a str>,
    categories: &'a BTreeSet<String>,
    published_at: Option<CqlTimestamp>,
    expires_at: Option<CqlTimestamp>,
    attributes: &'a BTreeMap<String, String>,
    status: &'a str,
    since: CqlTimestamp,
    rejected: &'a str,
    content_hash: i64,
    image: Option<&'a str>,
    publish_at: Option<CqlTimestamp>,
    accepted_at: Option<CqlTimestamp>,
    stamp: i64,
}

const DELETED: &str = "deleted";
const EXPIRED: &str = "expired";
const REJECTED: &str = "rejected";
const LIVE: &str = "live";

/// The row's `status`: `deleted`, `expired`, `rejected` or `live`. Whether a live item's list is
/// made already is not said here: that would cost every item a second write.
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
                row.dirty.map(u64::cast_signed),
                row.live.cast_signed(),
                row.visible.cast_signed(),
                row.next_expiry.map(to_cql),
                row.removal
                    .as_ref()
                    .map(serde_json::to_string)
                    .transpose()
                    .map_err(SerializationError::new)?,
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
                title: row.title.as_deref(),
                url: row.url.as_deref(),
                language: row.language.as_deref(),
                group: row.group.as_deref(),
                categories: &row.categories,
                published_at: row.published_at.map(to_cql),
                expires_at: row.expires_at.map(to_cql),
                attributes: &row.attributes,
                status: status(row),
                since: to_cql(row.since),
                // Not null: every null is a tombstone that scans have to step over.
                rejected: row.rejected.as_deref().unwrap_or_default(),
                content_hash: row.content_hash.cast_signed(),
                image: row.image.as_deref(),
                publish_at: row.publish_at.map(to_cql),
                accepted_at: row.accepted_at.map(to_cql),
                stamp,
            }
            .serialize(context, writer),
            Change::PurgeDomain => (stamp, domain).serialize(context, writer),
            Change::PurgeItem(id) => {
                (stamp, domain, bucket, id.as_str()).serialize(context, writer)
            }
            Change::Content(id, content) => {
                let vector = content.vector.as_deref().map(floats_to_bytes);
                (domain, id.as_str(), &content.text, vector, stamp).serialize(context, writer)
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
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl RowChange {
    /// Bytes of the row in a request, roughly: what decides how many go into one.
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
                    + 2 * FIXED
                    + row.id.as_str().len()
            }
            Change::Feature(row) => {
                4 * (row.feature.dense().len() + 2 * row.feature.term_ids().len())
                    + row.id.as_str().len()
            }
            Change::Content(id, content) => content.bytes() + id.as_str().len(),
            Change::List(row) => {
                // Three lengths and a score.
                let neighbours: usize = row
                    .neighbours
                    .iter()
                    .map(|n| 16 + n.id.as_str().len())
                    .sum();
                neighbours + FIXED + row.id.as_str().len()
            }
            Change::Domain(..) | Change::PurgeDomain | Change::Settings(_) => FIXED,
            Change::PurgeItem(id)
            | Change::DeleteContent(id)
            | Change::DeleteFeature(id, _)
            | Change::DeleteList(id) => id.as_str().len(),
        };
        values + self.domain.as_str().len() + FIXED
    }
}

fn to_cql(at: DateTime<Utc>) -> CqlTimestamp {
    CqlTimestamp(at.timestamp_millis())
}

fn from_cql(table: &'static str, at: CqlTimestamp) -> Result<DateTime<Utc>, Trouble> {
    DateTime::from_timestamp_millis(at.0)
        .ok_or_else(|| Trouble::Row(table, format!("{} ms is no time", at.0)))
}

fn floats_to_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(table: &'static str, bytes: &[u8]) -> Result<Vec<f32>, Trouble> {
    Ok(words(table, bytes)?.map(f32::from_le_bytes).collect())
}

/// Little-endian words of four bytes.
fn words<'a>(
    table: &'static str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = [u8; 4]> + use<'a>, Trouble> {
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(words.iter().copied())
    } else {
        Err(Trouble::Row(
            table,
            format!("{} bytes of numbers", bytes.len()),
        ))
    }
}

fn model_of(table: &'static str, name: &str) -> Result<ModelName, Trouble> {
    ModelName::new(name).map_err(|error| Trouble::Row(table, error.to_string()))
}

fn id_of(table: &'static str, id: &str) -> Result<ItemId, Trouble> {
    ItemId::new(id).map_err(|error| Trouble::Row(table, error.to_string()))
}

/// A row of `domains` and its number of buckets.
pub(super) type StoredDomain<'a> = (
    &'a str,
    &'a str,
    i16,
    i16,
    CqlTimestamp,
    Option<i64>,
    i64,
    i64,
    Option<CqlTimestamp>,
    Option<&'a str>,
);

/// Decodes a row of `domains`.
pub(super) fn domain(row: StoredDomain<'_>) -> Result<(DomainRow, i16), Trouble> {
    const TABLE: &str = "domains";
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
    if buckets < 1 {
        return Err(Trouble::Row(TABLE, format!("{name} has {buckets} buckets")));
    }
    let row = DomainRow {
        domain: DomainName::new(name).map_err(|e| Trouble::Row(TABLE, e.to_string()))?,
        model: model_of(TABLE, model)?,
        partition: u16::from_ne_bytes(partition.to_ne_bytes()),
        registered_at: from_cql(TABLE, registered_at)?,
        dirty: dirty.map(i64::cast_unsigned),
        live: live.cast_unsigned(),
        visible: visible.cast_unsigned(),
        next_expiry: next_expiry.map(|at| from_cql(TABLE, at)).transpose()?,
        removal: removal
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| Trouble::Row(TABLE, error.to_string()))?,
    };
    Ok((row, buckets))
}

/// Decodes the row of `domain_settings`, if there is one.
pub(super) fn settings(found: &QueryRowsResult) -> Result<Option<SettingsRow>, Trouble> {
    const TABLE: &str = "domain_settings";
    let row = found.maybe_first_row::<(&str, CqlTimestamp)>()?;
    row.map(|(settings, updated_at)| {
        let row = serde_json::from_str(settings);
        Ok(SettingsRow {
            updated_at: from_cql(TABLE, updated_at)?,
            ..row.map_err(|error| Trouble::Row(TABLE, error.to_string()))?
        })
    })
    .transpose()
}

#[derive(DeserializeRow)]
struct StoredItem<'a> {
    id: &'a str,
    version: i64,
    status: &'a str,
    since: CqlTimestamp,
    hidden: bool,
    title: Option<String>,
    url: Option<String>,
    language: Option<String>,
    group: Option<String>,
    categories: BTreeSet<String>,
    published_at: Option<CqlTimestamp>,
    expires_at: Option<CqlTimestamp>,
    attributes: BTreeMap<String, String>,
    rejected: String,
    content_hash: i64,
    image: Option<String>,
    publish_at: Option<CqlTimestamp>,
    accepted_at: Option<CqlTimestamp>,
}

/// Decodes rows of `items`.
pub(super) fn items(found: &QueryRowsResult) -> Result<Vec<ItemRow>, Trouble> {
    found
        .rows::<StoredItem<'_>>()?
        .map(|row| item(row?))
        .collect()
}

fn item(row: StoredItem<'_>) -> Result<ItemRow, Trouble> {
    const TABLE: &str = "items";
    Ok(ItemRow {
        id: id_of(TABLE, row.id)?,
        version: row.version.cast_unsigned(),
        liveness: match row.status {
            DELETED => Liveness::Deleted,
            EXPIRED => Liveness::Expired,
            REJECTED | LIVE => Liveness::Live,
            other => return Err(Trouble::Row(TABLE, format!("status {other:?}"))),
        },
        since: from_cql(TABLE, row.since)?,
        hidden: row.hidden,
        title: row.title,
        url: row.url,
        language: row.language,
        group: row.group,
        categories: row.categories,
        published_at: row.published_at.map(|at| from_cql(TABLE, at)).transpose()?,
        expires_at: row.expires_at.map(|at| from_cql(TABLE, at)).transpose()?,
        attributes: row.attributes,
        rejected: Some(row.rejected).filter(|reason| !reason.is_empty()),
        content_hash: row.content_hash.cast_unsigned(),
        image: row.image,
        publish_at: row.publish_at.map(|at| from_cql(TABLE, at)).transpose()?,
        accepted_at: row.accepted_at.map(|at| from_cql(TABLE, at)).transpose()?,
    })
}

/// Decodes ids of `similar_items`.
pub(super) fn list_ids(found: &QueryRowsResult) -> Result<Vec<ItemId>, Trouble> {
    ids("similar_items", found)
}

/// Decodes ids of `items`.
pub(super) fn item_ids(found: &QueryRowsResult) -> Result<Vec<ItemId>, Trouble> {
    ids("items", found)
}

fn ids(table: &'static str, found: &QueryRowsResult) -> Result<Vec<ItemId>, Trouble> {
    found
        .rows::<(&str,)>()?
        .map(|row| id_of(table, row?.0))
        .collect()
}

/// Decodes rows of `item_features`.
pub(super) fn features(found: &QueryRowsResult) -> Result<Vec<FeatureRow>, Trouble> {
    const TABLE: &str = "item_features";
    type Stored<'a> = (&'a str, i64, &'a str, &'a [u8], &'a [u8], &'a [u8]);
    let rows = found.rows::<Stored<'_>>()?;
    rows.map(|row| {
        let (id, version, space, dense, term_ids, term_weights) = row?;
        let term_ids = words(TABLE, term_ids)?.map(u32::from_le_bytes).collect();
        let (dense, term_weights) = (floats(TABLE, dense)?, floats(TABLE, term_weights)?);
        let feature = Feature::new(dense, term_ids, term_weights)
            .map_err(|error| Trouble::Row(TABLE, error.to_string()))?;
        Ok(FeatureRow {
            id: id_of(TABLE, id)?,
            version: version.cast_unsigned(),
            space: Space::stored(space),
            feature,
        })
    })
    .collect()
}

/// Decodes the row of `item_texts`, if there is one.
pub(super) fn content(found: &QueryRowsResult) -> Result<Option<Content>, Trouble> {
    let row = found.maybe_first_row::<(Option<String>, Option<&[u8]>)>()?;
    row.map(|(text, vector)| {
        let vector = vector
            .map(|bytes| floats("item_texts", bytes))
            .transpose()?;
        Ok(Content { text, vector })
    })
    .transpose()
}

/// Decodes the row of `similar_items`, if there is one.
pub(super) fn list(id: &ItemId, found: &QueryRowsResult) -> Result<Option<ListRow>, Trouble> {
    const TABLE: &str = "similar_items";
    type Stored<'a> = (Vec<(&'a str, f32)>, &'a str, CqlTimestamp);
    let row = found.maybe_first_row::<Stored<'_>>()?;
    row.map(|(neighbours, model, updated_at)| {
        let neighbours = neighbours
            .into_iter()
            .map(|(id, score)| {
                Ok(Neighbour {
                    id: id_of(TABLE, id)?,
                    score,
                })
            })
            .collect::<Result<_, Trouble>>()?;
        Ok(ListRow {
            id: id.clone(),
            neighbours,
            model: model_of(TABLE, model)?,
            updated_at: from_cql(TABLE, updated_at)?,
        })
    })
    .transpose()
}
