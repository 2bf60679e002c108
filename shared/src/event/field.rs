//! Reads the fields of an event one by one: type, range, and the message when one is wrong.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Utc};

use crate::event::member::{JsonType, Member, Members, whole_characters, without_mark};
use crate::event::{
    Limits, MAX_CATEGORIES, MAX_LABEL_BYTES, MAX_VECTOR, MAX_VECTORS, MAX_VERSION, Reason, Refusal,
};
use crate::language;
use crate::name::VectorName;

/// Characters of an offending value that a refusal quotes.
const QUOTED_CHARS: usize = 48;

/// The fields of an event that have not been read yet.
pub(super) struct Fields<'a>(Members<'a>);

/// The text of an event: UTF-8 within its limit, without a byte-order mark or lone surrogates.
pub(super) fn text<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Refusal> {
    // Checked before parsing, so that a huge message costs nothing.
    if bytes.len() > limits.message_bytes {
        return Err(Refusal::new(
            Reason::TooLarge,
            None,
            format!(
                "the event has {} bytes, the limit is {}: shorten it",
                bytes.len(),
                limits.message_bytes
            ),
        ));
    }
    let text = std::str::from_utf8(without_mark(bytes)).map_err(|error| {
        invalid_json(format!(
            "the event is not UTF-8 from byte {} on: send JSON in UTF-8",
            error.valid_up_to()
        ))
    })?;
    Ok(whole_characters(text))
}

fn invalid_json(what: String) -> Refusal {
    Refusal::new(Reason::InvalidJson, None, what)
}

impl<'a> Fields<'a> {
    /// The fields of the one JSON object that `text` must be.
    pub(super) fn open(text: &'a str) -> Result<Self, Refusal> {
        Members::read(text).map(Self).map_err(|error| {
            let what = match serde_json::from_str(text).map(Member::new) {
                Ok(value) if error.is_data() => format!("is {} at line 1 column 1", shown(value)),
                _ => format!("is not JSON ({error})"),
            };
            invalid_json(format!("the event {what}: send one JSON object"))
        })
    }

    /// Whether a field exists and is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    /// Whether a field exists, even if it is null.
    pub(super) fn is_said(&self, name: &str) -> bool {
        self.0.is_said(name)
    }

    fn take(&mut self, name: &str) -> Option<Member<'a>> {
        self.0.take(name)
    }

    /// A string; otherwise a refusal with the given reason.
    pub(super) fn string_or(
        &mut self,
        name: &str,
        reason: Reason,
        expected: &str,
    ) -> Result<Option<String>, Refusal> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.text() {
            Some(text) => Ok(Some(text)),
            None => Err(refuse(reason, name, &shown(value), expected)),
        }
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.string_or(name, Reason::InvalidField, "a string")
    }

    /// A string of at most `limit` bytes.
    pub(super) fn short(&mut self, name: &str, limit: usize) -> Result<Option<String>, Refusal> {
        let text = self.string(name)?;
        if let Some(text) = &text {
            within(name, text, limit)?;
        }
        Ok(text)
    }

    /// The text, within its limit.
    pub(super) fn text(&mut self, limit: usize) -> Result<Option<String>, Refusal> {
        let text = self.string("text")?;
        match &text {
            Some(text) if text.len() > limit => Err(Refusal::new(
                Reason::TooLarge,
                Some("text"),
                format!(
                    "`text` has {} bytes of UTF-8, the limit is {limit}: send less text",
                    text.len()
                ),
            )),
            _ => Ok(text),
        }
    }

    /// A refusal of a field that holds a string, but not a valid one.
    pub(super) fn refuse_text(reason: Reason, name: &str, got: &str, expected: &str) -> Refusal {
        refuse(reason, name, &quoted(got), expected)
    }

    /// A language tag, kept as sent.
    pub(super) fn language(&mut self) -> Result<Option<String>, Refusal> {
        const EXPECTED: &str = "a language tag such as \"en\" or \"en-GB\"";
        let tag = match self.string_or("language", Reason::InvalidField, EXPECTED)? {
            Some(tag) => tag,
            None => return Ok(None),
        };
        if language::is_well_formed(&tag) {
            Ok(Some(tag))
        } else {
            Err(Self::refuse_text(
                Reason::InvalidField,
                "language",
                &tag,
                EXPECTED,
            ))
        }
    }

    /// A point in time: RFC 3339 with an offset, converted to UTC.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
        const EXPECTED: &str = "a time with its offset such as \"2026-11-23T09:00:00Z\" or \
                                \"2026-11-23T10:00:00+01:00\" (RFC 3339)";
        let written = match self.string_or(name, Reason::InvalidField, EXPECTED)? {
            Some(written) => written,
            None => return Ok(None),
        };
        match DateTime::parse_from_rfc3339(&written).map(|time| time.with_timezone(&Utc)) {
            // An offset can move a time out of the range of years that RFC 3339 can express.
            Ok(time) if (0..=9999).contains(&time.year()) => Ok(Some(time)),
            _ => Err(Self::refuse_text(
                Reason::InvalidField,
                name,
                &written,
                EXPECTED,
            )),
        }
    }

    /// A boolean; absent is false.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        let Some(value) = self.take(name) else {
            return Ok(false);
        };
        value
            .flag()
            .ok_or_else(|| refuse(Reason::InvalidField, name, &shown(value), "true or false"))
    }

    /// A whole number from 0 to 2^53 − 1; `17.0` and `1.7e1` are also whole.
    pub(super) fn version(&mut self) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take("version") else {
            return Ok(None);
        };
        match value
            .whole_number()
            .filter(|&version| version <= MAX_VERSION)
        {
            Some(version) => Ok(Some(version)),
            None => Err(refuse(
                Reason::InvalidVersion,
                "version",
                &shown(value),
                &format!("a whole number from 0 to {MAX_VERSION}, such as milliseconds since 1970"),
            )),
        }
    }

    /// 1 to [`MAX_VECTOR`] numbers, each finite as `f32`, not all zero.
    pub(super) fn vector(&mut self) -> Result<Option<Vec<f32>>, Refusal> {
        let vector = self.take("vector");
        vector.map(|value| numbers("vector", value)).transpose()
    }

    /// Vectors by name, each as [`Self::vector`]; empty if absent. Null entries count as absent.
    pub(super) fn vectors(&mut self) -> Result<BTreeMap<VectorName, Vec<f32>>, Refusal> {
        let Some(value) = self.take("vectors") else {
            return Ok(BTreeMap::new());
        };
        let Some(entries) = value.object() else {
            return Err(refuse(
                Reason::InvalidVector,
                "vectors",
                &shown(value),
                "an object of vectors by name, such as {\"clip\":[0.1,0.2]}",
            ));
        };
        // Sorted by name, so that of several errors the same one is always reported.
        let entries: BTreeMap<Cow<'_, str>, Member<'_>> = entries.into_iter().collect();
        let there = entries.iter().filter(|(_, value)| !value.is_null());
        if there.clone().count() > MAX_VECTORS {
            return Err(too_many_vectors(there.count()));
        }
        there
            .map(|(name, value)| {
                let field = format!("vectors.{}", cut(name).escape_debug());
                let name = VectorName::new(name).map_err(|error| {
                    Refusal::new(Reason::InvalidVector, Some(&field), error.to_string())
                })?;
                Ok((name, numbers(&field, *value)?))
            })
            .collect()
    }

    /// A set of at most [`MAX_CATEGORIES`] short strings; empty if absent.
    pub(super) fn categories(&mut self) -> Result<BTreeSet<String>, Refusal> {
        let Some(value) = self.take("categories") else {
            return Ok(BTreeSet::new());
        };
        let Some(values) = value.array() else {
            return Err(refuse(
                Reason::InvalidField,
                "categories",
                &shown(value),
                "an array of strings",
            ));
        };
        let labels: BTreeSet<String> = values
            .into_iter()
            .enumerate()
            .map(|(at, value)| {
                let name = format!("categories[{at}]");
                let label = value.text().ok_or_else(|| {
                    refuse(Reason::InvalidField, &name, &shown(value), "a string")
                })?;
                within(&name, &label, MAX_LABEL_BYTES)?;
                Ok(label)
            })
            .collect::<Result<_, Refusal>>()?;
        if labels.len() > MAX_CATEGORIES {
            return Err(Refusal::new(
                Reason::TooLarge,
                Some("categories"),
                format!(
                    "`categories` has {} entries, the limit is {MAX_CATEGORIES}: send fewer",
                    labels.len()
                ),
            ));
        }
        Ok(labels)
    }

    /// A map of strings with at most `limit` entries; empty if absent. Null entries count as
    /// absent.
    pub(super) fn attributes(&mut self, limit: usize) -> Result<BTreeMap<String, String>, Refusal> {
        let changes = self.attribute_changes(limit)?.unwrap_or_default();
        let there = changes.into_iter();
        Ok(there
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }

    /// A map of strings and nulls with at most `limit` strings.
    pub(super) fn attribute_changes(
        &mut self,
        limit: usize,
    ) -> Result<Option<BTreeMap<String, Option<String>>>, Refusal> {
        let Some(value) = self.take("attributes") else {
            return Ok(None);
        };
        let Some(entries) = value.object() else {
            return Err(refuse(
                Reason::InvalidField,
                "attributes",
                &shown(value),
                "an object of strings",
            ));
        };
        // Sorted by name, so that of several errors the same one is always reported.
        let entries: BTreeMap<Cow<'_, str>, Member<'_>> = entries.into_iter().collect();
        let there = entries.values().filter(|value| !value.is_null()).count();
        if there > limit {
            return Err(Refusal::new(
                Reason::TooLarge,
                Some("attributes"),
                format!("`attributes` has {there} entries, the limit is {limit}: send fewer"),
            ));
        }
        entries
            .into_iter()
            .map(|(key, value)| match value.text() {
                Some(text) => Ok((key.into_owned(), Some(text))),
                None if value.is_null() => Ok((key.into_owned(), None)),
                None => Err(refuse(
                    Reason::InvalidField,
                    &format!("attributes.{}", cut(&key).escape_debug()),
                    &shown(value),
                    "a string",
                )),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// The refusal of an item with this many vectors.
pub(super) fn too_many_vectors(count: usize) -> Refusal {
    let detail = format!(
        "the item has {count} vectors, the limit is {MAX_VECTORS}, `vector` included: send fewer"
    );
    Refusal::new(Reason::TooLarge, Some("vectors"), detail)
}

/// A vector: 1 to [`MAX_VECTOR`] numbers, each finite as `f32`, not all zero.
fn numbers(field: &str, value: Member<'_>) -> Result<Vec<f32>, Refusal> {
    let Some(values) = value.array() else {
        return Err(refuse(
            Reason::InvalidVector,
            field,
            &shown(value),
            &format!("an array of 1 to {MAX_VECTOR} numbers"),
        ));
    };
    let whole = |detail: String| Refusal::new(Reason::InvalidVector, Some(field), detail);
    if values.is_empty() || values.len() > MAX_VECTOR {
        return Err(whole(format!(
            "`{field}` has {} values; expected 1 to {MAX_VECTOR}, or leave it out",
            values.len()
        )));
    }
    let mut vector = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        let number = value.number().map(|number| number as f32);
        match number.filter(|number| number.is_finite()) {
            Some(number) => vector.push(number),
            None => {
                return Err(refuse(
                    Reason::InvalidVector,
                    &format!("{field}[{at}]"),
                    &shown(value),
                    "a number within the range of a 32-bit float",
                ));
            }
        }
    }
    if vector.iter().all(|&number| number == 0.0) {
        return Err(whole(format!(
            "all {} values of `{field}` are zero as 32-bit floats: it has no direction to compare; leave it out",
            vector.len()
        )));
    }
    Ok(vector)
}

/// Refuses a text that exceeds its limit.
fn within(name: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.len() <= limit {
        return Ok(());
    }
    let detail = format!(
        "`{name}` has {} bytes of UTF-8, the limit is {limit}: shorten it",
        text.len()
    );
    Err(Refusal::new(Reason::TooLarge, Some(name), detail))
}

fn refuse(reason: Reason, field: &str, got: &str, expected: &str) -> Refusal {
    Refusal::new(
        reason,
        Some(field),
        format!("`{field}` is {got}; expected {expected}"),
    )
}

/// A value as a refusal quotes it: short, on one line.
fn shown(value: Member<'_>) -> String {
    match value.kind() {
        JsonType::Null | JsonType::Flag | JsonType::Number => cut(value.json()),
        JsonType::Text => value
            .text()
            .map_or_else(|| "a string".to_owned(), |text| quoted(&text)),
        JsonType::Array => {
            let values = value.array().map_or(0, |values| values.len());
            format!("an array of {values}")
        }
        JsonType::Object => "an object".to_owned(),
    }
}

/// A text as a refusal quotes it: its first characters, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
