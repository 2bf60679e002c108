//! Feedback: one event of what a reader did, and its validation.

use chrono::{DateTime, TimeDelta, Utc};
use kindred_shared::ItemId;
use kindred_shared::event::{Reason, Refusal};
use serde_json::{Map, Value};

/// Longest name of an event or a reader, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Highest position in a list.
const MAX_POSITION: u64 = 10_000;
/// Longest age of an event: an older one may have been counted, which is no longer remembered.
const MAX_AGE: TimeDelta = TimeDelta::hours(48);
/// How far ahead a client's clock may be. [`Tally`](super::tally::Tally) knows an event for that much longer than
/// [`MAX_AGE`], so that it is refused as too old before it is forgotten.
pub(super) const MAX_AHEAD: TimeDelta = TimeDelta::minutes(5);

/// What a reader did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// An item was seen in a list.
    Seen,
    /// It was clicked.
    Clicked,
}

impl FeedbackKind {
    /// The event's type.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Seen => "reader.seen",
            Self::Clicked => "reader.clicked",
        }
    }
}

/// What a reader did, in which arm of which experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// Seen or clicked.
    pub kind: FeedbackKind,
    /// The event's name: a repeated event counts once.
    pub event: String,
    /// The reader.
    pub reader: String,
    /// The item that was seen or clicked.
    pub item: ItemId,
    /// The experiment.
    pub experiment: String,
    /// The arm that the reader was in.
    pub arm: String,
}

impl Feedback {
    /// The fields that are read. Their values are texts and numbers; whatever else is in an event may be left out.
    pub const FIELDS: [&str; 10] = [
        "type",
        "domain",
        "event",
        "reader",
        "item",
        "from",
        "position",
        "experiment",
        "arm",
        "at",
    ];

    /// Reads an event of a domain. Unknown fields are ignored.
    ///
    /// # Errors
    /// A [`Refusal`] that names the field and what it should be.
    pub fn read(value: &Value, domain: &str, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let Some(object) = value.as_object() else {
            let detail = "each event is a JSON object";
            return Err(Refusal::new(Reason::InvalidJson, None, detail));
        };
        let kind = match object.get("type").and_then(Value::as_str) {
            Some("reader.seen") => FeedbackKind::Seen,
            Some("reader.clicked") => FeedbackKind::Clicked,
            Some(_) => {
                let detail = "type is reader.seen or reader.clicked";
                return Err(Refusal::new(Reason::UnknownType, Some("type"), detail));
            }
            None => return Err(missing("type")),
        };
        if given(object, "domain").is_some_and(|said| said.as_str() != Some(domain)) {
            let detail = format!("it was sent to {domain}");
            return Err(Refusal::new(Reason::DomainMismatch, Some("domain"), detail));
        }
        if given(object, "from").is_some() {
            id(object, "from")?;
        }
        let position = given(object, "position");
        if position.is_some_and(|at| at.as_u64().is_none_or(|at| at > MAX_POSITION)) {
            let detail = format!("position is a whole number of 0 to {MAX_POSITION}");
            return Err(Refusal::new(Reason::InvalidField, Some("position"), detail));
        }
        check_age(object, now)?;
        Ok(Self {
            kind,
            event: name(object, "event")?.to_owned(),
            reader: name(object, "reader")?.to_owned(),
            item: id(object, "item")?,
            experiment: name(object, "experiment")?.to_owned(),
            arm: name(object, "arm")?.to_owned(),
        })
    }
}

fn given<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn missing(name: &str) -> Refusal {
    let detail =
        format!("{name} is missing: feedback says type, event, reader, item, experiment and arm");
    Refusal::new(Reason::MissingField, Some(name), detail)
}

fn name<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, Refusal> {
    let value = given(object, field).ok_or_else(|| missing(field))?;
    let text = value.as_str();
    let text = text.filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len()));
    text.ok_or_else(|| {
        let detail = format!("{field} is a text of 1 to {MAX_NAME_BYTES} bytes");
        Refusal::new(Reason::InvalidField, Some(field), detail)
    })
}

fn id(object: &Map<String, Value>, field: &str) -> Result<ItemId, Refusal> {
    let value = given(object, field).ok_or_else(|| missing(field))?;
    ItemId::new(value.as_str().unwrap_or_default())
        .map_err(|error| Refusal::new(Reason::InvalidId, Some(field), error.to_string()))
}

fn check_age(object: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), Refusal> {
    let Some(at) = given(object, "at") else {
        return Ok(());
    };
    let at = at
        .as_str()
        .and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let detail = match at {
        Some(at) if now - at.to_utc() > MAX_AGE => {
            "at is more than 48 hours ago: it is no longer known whether the event was counted"
        }
        Some(at) if at.to_utc() - now > MAX_AHEAD => {
            "at is more than 5 minutes ahead: correct the clock of the client"
        }
        Some(_) => return Ok(()),
        None => "at is a time as RFC 3339 writes it, such as 2026-11-23T09:00:00Z",
    };
    Err(Refusal::new(Reason::InvalidField, Some("at"), detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_424_400, 0).unwrap()
    }

    fn good() -> Value {
        json!({"type": "reader.clicked", "event": "e1", "reader": "r1", "item": "a-9", "from": "a-17",
            "position": 3, "experiment": "x", "arm": "b", "at": "2026-11-23T08:00:00Z", "more": [1]})
    }

    #[test]
    fn an_event_is_read() {
        let read = Feedback::read(&good(), "news", now()).unwrap();
        assert_eq!(read.kind, FeedbackKind::Clicked);
        assert_eq!((&*read.reader, read.item.as_str()), ("r1", "a-9"));
        assert_eq!((&*read.experiment, &*read.arm), ("x", "b"));
        let mut least = good();
        for name in ["from", "position", "at", "more"] {
            least[name] = Value::Null;
        }
        assert_eq!(Feedback::read(&least, "news", now()), Ok(read));
    }

    #[test]
    fn nothing_but_its_fields_is_read() {
        let Value::Object(mut all) = good() else {
            panic!("an object");
        };
        all.insert("domain".to_owned(), json!("news"));
        let more = all.len();
        all.retain(|name, _| Feedback::FIELDS.contains(&name.as_str()));
        assert_eq!((more, all.len()), (11, Feedback::FIELDS.len()));
        let read = Feedback::read(&Value::Object(all), "news", now());
        assert_eq!(read, Feedback::read(&good(), "news", now()));
    }

    #[test]
    fn a_clock_may_be_five_minutes_ahead() {
        let mut ahead = good();
        ahead["at"] = json!("2026-11-23T10:05:00+01:00");
        assert!(Feedback::read(&ahead, "news", now()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            Feedback::read(&json!([1]), "news", now())
                .unwrap_err()
                .reason,
            Reason::InvalidJson
        );
        for (field, value, reason) in [
            ("type", json!("reader.left"), Reason::UnknownType),
            ("type", Value::Null, Reason::MissingField),
            ("domain", json!("blog"), Reason::DomainMismatch),
            ("event", json!(""), Reason::InvalidField),
            ("event", json!(7), Reason::InvalidField),
            ("reader", json!("r".repeat(257)), Reason::InvalidField),
            ("reader", Value::Null, Reason::MissingField),
            ("item", Value::Null, Reason::MissingField),
            ("item", json!("a\nb"), Reason::InvalidId),
            ("from", json!(1), Reason::InvalidId),
            ("position", json!(-1), Reason::InvalidField),
            ("position", json!(10_001), Reason::InvalidField),
            ("experiment", Value::Null, Reason::MissingField),
            ("arm", json!(["b"]), Reason::InvalidField),
            ("at", json!("yesterday"), Reason::InvalidField),
            ("at", json!("2026-11-21T08:59:59Z"), Reason::InvalidField),
            ("at", json!("2026-11-23T09:05:01Z"), Reason::InvalidField),
            ("at", json!("9999-12-31T23:59:59Z"), Reason::InvalidField),
        ] {
            let mut bad = good();
            bad[field] = value;
            let refused = Feedback::read(&bad, "news", now()).unwrap_err();
            assert_eq!(
                (refused.reason, refused.field.as_deref()),
                (reason, Some(field))
            );
        }
    }
}
