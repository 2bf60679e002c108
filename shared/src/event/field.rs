//! One field of an event after the other: its type, its range, and what to say when it is wrong.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Utc};
use serde_json::{Map, Value};

use crate::event::{Limits, MAX_VECTOR, MAX_VERSION, Reason, Refusal};

/// Characters of an offending value that a refusal quotes.
const QUOTED_CHARS: usize = 48;

/// The fields of an event that were not taken yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of the one JSON object that `bytes` must be.
    pub(super) fn open(bytes: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        // Before anything is read, so that a huge message costs nothing.
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
        let invalid = |what: String| Refusal::new(Reason::InvalidJson, None, what);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            invalid(format!(
                "the event is not UTF-8 from byte {} on: send JSON in UTF-8",
                error.valid_up_to()
            ))
        })?;
        let value: Value = serde_json::from_str(text).map_err(|error| {
            invalid(format!(
                "the event is not JSON ({error}): send one JSON object"
            ))
        })?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(invalid(format!(
                "the event is {} at line 1 column 1: send one JSON object",
                shown(&value)
            ))),
        }
    }

    /// Whether a field is there and is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A string, or a refusal for the reason given.
    pub(super) fn string_or(
        &mut self,
        name: &str,
        reason: Reason,
        expected: &str,
    ) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(refuse(reason, name, &shown(&other), expected)),
        }
    }

    /// A string.
    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.string_or(name, Reason::InvalidField, "a string")
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

    /// A refusal of a field that holds a string, but the wrong one.
    pub(super) fn refuse_text(reason: Reason, name: &str, got: &str, expected: &str) -> Refusal {
        refuse(reason, name, &quoted(got), expected)
    }

    /// The primary subtag of a language tag in lower case.
    pub(super) fn language(&mut self) -> Result<Option<String>, Refusal> {
        const EXPECTED: &str = "a language tag such as \"en\" or \"en-GB\"";
        let tag = match self.string_or("language", Reason::InvalidField, EXPECTED)? {
            Some(tag) => tag,
            None => return Ok(None),
        };
        let mut subtags = tag.split('-');
        let primary = subtags.next().unwrap_or_default();
        let of_letters =
            (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        let well_formed = of_letters
            && subtags.all(|subtag| {
                (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
            });
        if well_formed {
            Ok(Some(primary.to_ascii_lowercase()))
        } else {
            Err(Self::refuse_text(
                Reason::InvalidField,
                "language",
                &tag,
                EXPECTED,
            ))
        }
    }

    /// A point in time: RFC 3339 with an offset, kept in UTC.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
        const EXPECTED: &str = "a time with its offset such as \"2026-11-23T09:00:00Z\" or \
                                \"2026-11-23T10:00:00+01:00\" (RFC 3339)";
        let written = match self.string_or(name, Reason::InvalidField, EXPECTED)? {
            Some(written) => written,
            None => return Ok(None),
        };
        match DateTime::parse_from_rfc3339(&written).map(|time| time.with_timezone(&Utc)) {
            // An offset can move a time out of the years that RFC 3339 can write.
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
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(refuse(
                Reason::InvalidField,
                name,
                &shown(&other),
                "true or false",
            )),
        }
    }

    /// A whole number of 0 … 2^53 − 1, written without fraction and exponent.
    pub(super) fn version(&mut self) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take("version") else {
            return Ok(None);
        };
        match value.as_u64().filter(|&version| version <= MAX_VERSION) {
            Some(version) => Ok(Some(version)),
            None => Err(refuse(
                Reason::InvalidVersion,
                "version",
                &shown(&value),
                &format!("a whole number from 0 to {MAX_VERSION}, such as milliseconds since 1970"),
            )),
        }
    }

    /// 1 … [`MAX_VECTOR`] numbers, each finite as `f32`, not all zero.
    pub(super) fn vector(&mut self) -> Result<Option<Vec<f32>>, Refusal> {
        let values = match self.take("vector") {
            None => return Ok(None),
            Some(Value::Array(values)) => values,
            Some(other) => {
                return Err(refuse(
                    Reason::InvalidVector,
                    "vector",
                    &shown(&other),
                    &format!("an array of 1 to {MAX_VECTOR} numbers"),
                ));
            }
        };
        let whole = |detail: String| Refusal::new(Reason::InvalidVector, Some("vector"), detail);
        if values.is_empty() || values.len() > MAX_VECTOR {
            return Err(whole(format!(
                "`vector` has {} values; expected 1 to {MAX_VECTOR}, or leave it out",
                values.len()
            )));
        }
        let mut vector = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let number = value.as_f64().map(|number| number as f32);
            match number.filter(|number| number.is_finite()) {
                Some(number) => vector.push(number),
                None => {
                    return Err(refuse(
                        Reason::InvalidVector,
                        &format!("vector[{at}]"),
                        &shown(value),
                        "a number within the range of a 32-bit float",
                    ));
                }
            }
        }
        if vector.iter().all(|&number| number == 0.0) {
            return Err(whole(format!(
                "all {} values of `vector` are zero as 32-bit floats: it has no direction to \
                 compare; leave it out",
                vector.len()
            )));
        }
        Ok(Some(vector))
    }

    /// A set of strings; absent is empty.
    pub(super) fn categories(&mut self) -> Result<BTreeSet<String>, Refusal> {
        let values = match self.take("categories") {
            None => return Ok(BTreeSet::new()),
            Some(Value::Array(values)) => values,
            Some(other) => {
                return Err(refuse(
                    Reason::InvalidField,
                    "categories",
                    &shown(&other),
                    "an array of strings",
                ));
            }
        };
        values
            .into_iter()
            .enumerate()
            .map(|(at, value)| match value {
                Value::String(category) => Ok(category),
                other => Err(refuse(
                    Reason::InvalidField,
                    &format!("categories[{at}]"),
                    &shown(&other),
                    "a string",
                )),
            })
            .collect()
    }

    /// A map of strings with at most `limit` entries; absent is empty, and so is an entry of null.
    pub(super) fn attributes(&mut self, limit: usize) -> Result<BTreeMap<String, String>, Refusal> {
        let entries = match self.take("attributes") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                return Err(refuse(
                    Reason::InvalidField,
                    "attributes",
                    &shown(&other),
                    "an object of strings",
                ));
            }
        };
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
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| match value {
                Value::String(value) => Ok((key, value)),
                other => Err(refuse(
                    Reason::InvalidField,
                    &format!("attributes.{}", cut(&key).escape_debug()),
                    &shown(&other),
                    "a string",
                )),
            })
            .collect()
    }
}

fn refuse(reason: Reason, field: &str, got: &str, expected: &str) -> Refusal {
    Refusal::new(
        reason,
        Some(field),
        format!("`{field}` is {got}; expected {expected}"),
    )
}

/// A value as a refusal shows it: short, on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(values) => format!("an array of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
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
