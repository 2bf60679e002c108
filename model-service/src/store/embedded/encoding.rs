//! Encodes rows as bytes and decodes them.
//!
//! A value is a head (stamp, then the kind of value) and, unless it marks a deletion, a body.
//! Numbers are little-endian; a text is its length as `u32` and its bytes; an optional value is
//! preceded by a byte (0 or 1); vectors and weights are plain `f32` arrays. A key is the domain, a
//! zero byte (no name contains one) and the item's id, so that a domain's rows are adjacent and
//! ordered by the bytes of the id. A feature's key has the model and another zero byte in between.

use chrono::{DateTime, Utc};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space, VectorName};

use crate::store::sound;
use kindred_domain::habits::Habits;
use kindred_domain::log::LogEntry;
use kindred_domain::store::{
    BesideRow, Content, DomainRow, FeatureRow, FeatureStamp, ItemRow, Lease, ListRow, Liveness,
    Neighbour, SettingsRow, Stamp,
};

/// Bytes of a head: the stamp and one byte for the kind of value.
const HEAD_BYTES: usize = 9;
/// A deletion: nothing follows.
const MARKER: u8 = 0;
/// A row in the first (and so far only) format.
const ROW_1: u8 = 1;

/// The head of every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Write time of the row or of its deletion.
    pub(super) stamp: Stamp,
    /// Whether the row was deleted.
    pub(super) deleted: bool,
}

/// The bytes are not what this module writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read: {0}")]
pub(super) struct Malformed(String);

fn malformed(what: &str) -> Malformed {
    Malformed(what.to_string())
}

/// The key of an item's row; with an empty id, that of the domain's own row.
pub(super) fn key(domain: &DomainName, id: &str) -> Vec<u8> {
    joined(&[domain.as_str(), id])
}

/// The key of an item's feature of a model.
pub(super) fn feature_key(domain: &str, model: &ModelName, id: &str) -> Vec<u8> {
    joined(&[domain, model.as_str(), id])
}

/// The key of an entry of a domain's log: its number has 20 digits, so that keys are ordered by number.
pub(super) fn log_key(domain: &DomainName, number: i64) -> Vec<u8> {
    joined(&[domain.as_str(), &log_id(number)])
}

/// The last part of the key of an entry.
pub(super) fn log_id(number: i64) -> String {
    format!("{:020}", number.max(0))
}

fn joined(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// The first key after all that start like this one: a key with an empty id.
pub(super) fn end_of(mut key: Vec<u8>) -> Vec<u8> {
    if let Some(separator) = key.last_mut() {
        *separator = 1;
    }
    key
}

/// The domain of a key, and the rest of the key.
pub(super) fn split_key(key: &[u8]) -> Result<(&str, &str), Malformed> {
    let text = std::str::from_utf8(key).map_err(|_| malformed("its key is not UTF-8"))?;
    text.split_once('\0')
        .ok_or_else(|| malformed("its key has one part"))
}

/// The item of a key as written there, valid or not.
pub(super) fn said_id(key: &[u8]) -> String {
    let last = key.rsplit(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
}

/// The item of a key: its last part.
pub(super) fn id_of(key: &[u8]) -> Result<ItemId, Malformed> {
    let (_, rest) = split_key(key)?;
    item_id(rest.rsplit_once('\0').map_or(rest, |(_, id)| id))
}

/// The model of a feature's key.
fn model_of(key: &[u8]) -> Result<ModelName, Malformed> {
    let (_, rest) = split_key(key)?;
    let model = rest.split_once('\0').map_or("", |(model, _)| model);
    ModelName::new(model).map_err(|error| Malformed(error.to_string()))
}

fn item_id(text: &str) -> Result<ItemId, Malformed> {
    ItemId::new(text).map_err(|error| Malformed(error.to_string()))
}

/// Head and body of a value.
pub(super) fn split_value(value: &[u8]) -> Result<(Head, RowReader<'_>), Malformed> {
    let mut reader = RowReader(value);
    let stamp = Stamp::stored(reader.i64()?);
    let deleted = match reader.u8()? {
        MARKER => true,
        ROW_1 => false,
        _ => return Err(malformed("its format is unknown")),
    };
    Ok((Head { stamp, deleted }, reader))
}

/// Encodes one value at a time into a reused buffer.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// The bytes of the current value.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn begin(&mut self, stamp: Stamp, format: u8) {
        self.0.clear();
        self.0.extend_from_slice(&stamp.as_i64().to_le_bytes());
        self.0.push(format);
        debug_assert_eq!(self.0.len(), HEAD_BYTES);
    }

    /// The marker of a deletion.
    pub(super) fn marker(&mut self, stamp: Stamp) {
        self.begin(stamp, MARKER);
    }

    /// A domain's row; its name is in the key.
    pub(super) fn domain(&mut self, stamp: Stamp, row: &DomainRow) {
        self.begin(stamp, ROW_1);
        self.text(row.model.as_str());
        self.u64(u64::from(row.partition));
        self.time(row.registered_at);
        self.maybe(row.dirty.as_ref(), |w, epoch| w.u64(*epoch));
        self.u64(row.live);
        self.u64(row.visible);
        self.maybe(row.next_expiry.as_ref(), |w, at| w.time(*at));
        // Older rows end here.
        self.maybe(row.removal.as_ref(), |w, removed| {
            let written = serde_json::to_string(removed);
            w.text(&written.expect("a removal is texts and a time"));
        });
    }

    /// A domain's settings: JSON, so that settings of newer versions are kept.
    pub(super) fn settings(&mut self, stamp: Stamp, row: &SettingsRow) {
        self.begin(stamp, ROW_1);
        self.time(row.updated_at);
        let settings = serde_json::to_string(row);
        self.text(&settings.expect("settings are a map from text"));
    }

    /// An entry of a domain's log.
    pub(super) fn log(&mut self, stamp: Stamp, entry: &LogEntry) {
        self.begin(stamp, ROW_1);
        let entry = serde_json::to_string(entry);
        self.text(&entry.expect("an entry is texts, a time and JSON"));
    }

    /// The state of a model next to the served one; its name is in the key.
    pub(super) fn beside(&mut self, stamp: Stamp, row: &BesideRow) {
        self.begin(stamp, ROW_1);
        let row = serde_json::to_string(row);
        self.text(&row.expect("a row is numbers and a time"));
    }

    /// The habits of its features.
    pub(super) fn habits(&mut self, stamp: Stamp, habits: &Habits) {
        self.begin(stamp, ROW_1);
        let habits = serde_json::to_string(habits);
        self.text(&habits.expect("habits are numbers and texts"));
    }

    /// An item's row; its id is in the key.
    pub(super) fn item(&mut self, stamp: Stamp, row: &ItemRow) {
        self.begin(stamp, ROW_1);
        self.u64(row.version);
        self.0.push(match row.liveness {
            Liveness::Live => 0,
            Liveness::Deleted => 1,
            Liveness::Expired => 2,
        });
        self.time(row.since);
        self.0.push(u8::from(row.hidden));
        for field in [&row.title, &row.url, &row.language, &row.group] {
            self.maybe(field.as_ref(), |w, text| w.text(text));
        }
        self.count(row.categories.len());
        row.categories.iter().for_each(|label| self.text(label));
        self.maybe(row.published_at.as_ref(), |w, at| w.time(*at));
        self.maybe(row.expires_at.as_ref(), |w, at| w.time(*at));
        self.count(row.attributes.len());
        for (name, value) in &row.attributes {
            self.text(name);
            self.text(value);
        }
        self.maybe(row.rejected.as_ref(), |w, why| w.text(why));
        self.u64(row.content_hash);
        // Older rows end here and stay readable.
        self.maybe(row.image.as_ref(), |w, text| w.text(text));
        self.maybe(row.publish_at.as_ref(), |w, at| w.time(*at));
        self.maybe(row.accepted_at.as_ref(), |w, at| w.time(*at));
        let hashes = &row.vector_hashes;
        self.maybe(Some(hashes).filter(|all| !all.is_empty()), |w, hashes| {
            w.count(hashes.len());
            for (name, hash) in hashes {
                w.text(name.as_str());
                w.u64(*hash);
            }
        });
    }

    /// An item's content.
    pub(super) fn content(&mut self, stamp: Stamp, content: &Content) {
        self.begin(stamp, ROW_1);
        self.maybe(content.vector.as_ref(), |w, vector| w.floats(vector));
        self.maybe(content.text.as_ref(), |w, text| w.text(text));
        // Older rows end here and stay readable.
        let vectors = &content.vectors;
        self.maybe(Some(vectors).filter(|all| !all.is_empty()), |w, vectors| {
            w.count(vectors.len());
            for (name, vector) in vectors {
                w.text(name.as_str());
                w.floats(vector);
            }
        });
    }

    /// An item's feature; its id is in the key.
    pub(super) fn feature(&mut self, stamp: Stamp, row: &FeatureRow) {
        self.begin(stamp, ROW_1);
        self.u64(row.version);
        self.0.push(u8::from(row.feature.is_zero()));
        self.text(row.space.as_str());
        self.floats(row.feature.dense());
        self.count(row.feature.term_ids().len());
        for id in row.feature.term_ids() {
            self.0.extend_from_slice(&id.to_le_bytes());
        }
        self.floats(row.feature.term_weights());
        // Older rows end here and stay readable.
        self.maybe(
            Some(&row.habits).filter(|habits| **habits != 0),
            |w, habits| {
                w.u64(*habits);
            },
        );
    }

    /// An item's list; its id is in the key.
    pub(super) fn list(&mut self, stamp: Stamp, row: &ListRow) {
        self.begin(stamp, ROW_1);
        self.text(row.model.as_str());
        self.time(row.updated_at);
        self.count(row.neighbours.len());
        for neighbour in &row.neighbours {
            self.0.extend_from_slice(&neighbour.score.to_le_bytes());
            self.text(neighbour.id.as_str());
        }
    }

    /// A lease row. It has no stamp: it is written only by compare-and-set.
    pub(super) fn lease(&mut self, lease: &Lease) {
        self.begin(Stamp::stored(0), ROW_1);
        self.u64(lease.epoch);
        self.u64(lease.beat);
        self.text(&lease.owner);
        self.text(&lease.address);
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("limits on events keep every count within u32");
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn time(&mut self, at: DateTime<Utc>) {
        self.0.extend_from_slice(&at.timestamp().to_le_bytes());
        self.0
            .extend_from_slice(&at.timestamp_subsec_nanos().to_le_bytes());
    }

    fn floats(&mut self, values: &[f32]) {
        self.count(values.len());
        self.0.reserve(4 * values.len());
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Decodes what [`Writer`] wrote.
pub(super) struct RowReader<'a>(&'a [u8]);

impl<'a> RowReader<'a> {
    /// A domain's row, given its key.
    pub(super) fn domain(mut self, key: &[u8]) -> Result<DomainRow, Malformed> {
        let name = split_key(key)?.0;
        Ok(DomainRow {
            domain: DomainName::new(name).map_err(|error| Malformed(error.to_string()))?,
            model: self.model()?,
            partition: u16::try_from(self.u64()?).map_err(|_| malformed("no partition"))?,
            registered_at: self.time()?,
            dirty: self.maybe(Self::u64)?,
            live: self.u64()?,
            visible: self.u64()?,
            next_expiry: self.maybe(Self::time)?,
            removal: self.later(|r| {
                serde_json::from_str(r.text()?).map_err(|error| Malformed(error.to_string()))
            })?,
        })
    }

    /// A domain's settings.
    pub(super) fn settings(mut self) -> Result<SettingsRow, Malformed> {
        let updated_at = self.time()?;
        let row = serde_json::from_str(self.text()?);
        let row = row.map_err(|error| Malformed(error.to_string()))?;
        Ok(SettingsRow { updated_at, ..row })
    }

    /// An entry of a domain's log.
    pub(super) fn log(mut self) -> Result<LogEntry, Malformed> {
        serde_json::from_str(self.text()?).map_err(|error| Malformed(error.to_string()))
    }

    /// The state of a model next to the served one.
    pub(super) fn beside(mut self) -> Result<BesideRow, Malformed> {
        serde_json::from_str(self.text()?).map_err(|error| Malformed(error.to_string()))
    }

    /// The habits of its features.
    pub(super) fn habits(mut self) -> Result<Habits, Malformed> {
        serde_json::from_str(self.text()?).map_err(|error| Malformed(error.to_string()))
    }

    /// An item's row, given its key.
    pub(super) fn item(mut self, key: &[u8]) -> Result<ItemRow, Malformed> {
        let row = ItemRow {
            id: id_of(key)?,
            version: self.u64()?,
            liveness: match self.u8()? {
                0 => Liveness::Live,
                1 => Liveness::Deleted,
                2 => Liveness::Expired,
                _ => return Err(malformed("an unknown liveness")),
            },
            since: self.time()?,
            hidden: self.bool()?,
            title: self.maybe(Self::owned_text)?,
            url: self.maybe(Self::owned_text)?,
            language: self.maybe(Self::owned_text)?,
            group: self.maybe(Self::owned_text)?,
            categories: self.many(Self::owned_text)?,
            published_at: self.maybe(Self::time)?,
            expires_at: self.maybe(Self::time)?,
            attributes: self.many(|r| Ok((r.owned_text()?, r.owned_text()?)))?,
            rejected: self.maybe(Self::owned_text)?,
            content_hash: self.u64()?,
            image: self.later(Self::owned_text)?,
            publish_at: self.later(Self::time)?,
            accepted_at: self.later(Self::time)?,
            vector_hashes: self
                .later(|r| r.many(|r| Ok((r.vector_name()?, r.u64()?))))?
                .unwrap_or_default(),
        };
        sound::item(row).map_err(Malformed)
    }

    /// An item's content.
    pub(super) fn content(mut self) -> Result<Content, Malformed> {
        let content = Content {
            vector: self.maybe(Self::floats)?,
            text: self.maybe(Self::owned_text)?,
            vectors: self
                .later(|r| r.many(|r| Ok((r.vector_name()?, r.floats()?))))?
                .unwrap_or_default(),
        };
        sound::content(content).map_err(Malformed)
    }

    /// A feature row without its feature, which is still read: a damaged row does not count.
    pub(super) fn feature_of(self, key: &[u8]) -> Result<FeatureStamp, Malformed> {
        let FeatureRow {
            version,
            space,
            feature,
            ..
        } = self.feature(key)?;
        Ok(FeatureStamp {
            version,
            space,
            zero: feature.is_zero(),
        })
    }

    /// The beginning of a feature row.
    pub(super) fn feature_stamp(&mut self) -> Result<FeatureStamp, Malformed> {
        Ok(FeatureStamp {
            version: self.u64()?,
            zero: self.bool()?,
            space: Space::stored(self.text()?),
        })
    }

    /// An item's feature, given its key.
    pub(super) fn feature(mut self, key: &[u8]) -> Result<FeatureRow, Malformed> {
        let FeatureStamp {
            version,
            space,
            zero,
        } = self.feature_stamp()?;
        let dense = self.floats()?;
        let ids = self.words()?.map(u32::from_le_bytes).collect();
        let weights = self.floats()?;
        let feature =
            Feature::new(dense, ids, weights).map_err(|error| Malformed(error.to_string()))?;
        if feature.is_zero() != zero {
            return Err(malformed("it is zero and is not"));
        }
        let row = FeatureRow {
            id: id_of(key)?,
            version,
            space,
            feature,
            habits: self.later(Self::u64)?.unwrap_or(0),
        };
        sound::feature(row, &model_of(key)?).map_err(Malformed)
    }

    /// An item's list, given its key.
    pub(super) fn list(mut self, key: &[u8]) -> Result<ListRow, Malformed> {
        let row = ListRow {
            id: id_of(key)?,
            model: self.model()?,
            updated_at: self.time()?,
            neighbours: self.many(|r| {
                let score = f32::from_le_bytes(r.array()?);
                let id = item_id(r.text()?)?;
                Ok(Neighbour { id, score })
            })?,
        };
        sound::list(row).map_err(Malformed)
    }

    /// A lease row.
    pub(super) fn lease(mut self) -> Result<Lease, Malformed> {
        Ok(Lease {
            epoch: self.u64()?,
            beat: self.u64()?,
            owner: self.owned_text()?,
            address: self.owned_text()?,
        })
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("neither 0 nor 1")),
        }
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.u32()? as usize;
        std::str::from_utf8(self.take(bytes)?).map_err(|_| malformed("a text is not UTF-8"))
    }

    fn owned_text(&mut self) -> Result<String, Malformed> {
        self.text().map(str::to_string)
    }

    fn model(&mut self) -> Result<ModelName, Malformed> {
        ModelName::new(self.text()?).map_err(|error| Malformed(error.to_string()))
    }

    fn vector_name(&mut self) -> Result<VectorName, Malformed> {
        VectorName::new(self.text()?).map_err(|error| Malformed(error.to_string()))
    }

    fn time(&mut self) -> Result<DateTime<Utc>, Malformed> {
        let (seconds, nanos) = (self.i64()?, self.u32()?);
        DateTime::from_timestamp(seconds, nanos).ok_or_else(|| malformed("no time"))
    }

    /// The next counted array of four-byte values.
    fn words(&mut self) -> Result<impl Iterator<Item = [u8; 4]> + 'a, Malformed> {
        let count = self.u32()? as usize;
        let bytes = count.checked_mul(4).ok_or_else(|| malformed("a count"))?;
        let (words, _) = self.take(bytes)?.as_chunks::<4>();
        Ok(words.iter().copied())
    }

    fn floats(&mut self) -> Result<Vec<f32>, Malformed> {
        Ok(self.words()?.map(f32::from_le_bytes).collect())
    }

    fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A value added to rows later: absent if the row ends before it.
    fn later<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.maybe(read)
    }

    fn many<T, C: FromIterator<T>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<C, Malformed> {
        let count = self.u32()?;
        (0..count).map(|_| read(self)).collect()
    }
}
